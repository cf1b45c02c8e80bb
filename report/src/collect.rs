//! From a recording to its distinct stacks: filter, replay, unwind, count.

use std::collections::BTreeMap;

use profrec_format::{Arch, Error, Recording, Sample, Segment, UserState};
use rayon::prelude::*;

use crate::counter::{CountedThread, StackCounter};
use crate::evidence::{Evidence, ModuleNumbers};
use crate::filter::SampleFilter;
use crate::modules::{LocalBinaries, Modules};
use crate::progress::{self, Doing};
use crate::replay::replay;
use crate::stacks::{Location, Stacks, Verdict};
use crate::unwind::{ProcessView, Unwinder, WalkedFrame};
use crate::world::Instant;

/// What a recording comes down to.
#[derive(Debug, Default)]
pub struct Collected {
    /// The stacks that passed the filter.
    pub stacks: Stacks,
    /// Samples that the filter held back.
    pub filtered_out: u64,
    /// Ticks that all samples stand for that could be read, whether the filter held them back or not.
    pub ticks_read: u64,
    /// Samples that could not be read, whether the filter would have held them back or not.
    pub unreadable: u64,
    /// What kept segments from being read to their ends, in the order of the segments.
    pub errors: Vec<Error>,
    /// Samples that were read, by CPU, whether the filter let them through or not.
    pub by_cpu: BTreeMap<u32, u64>,
    /// Whether processes have a sample with a copied stack, by their ids, where ticks of some were counted and others sampled.
    pub has_stack: BTreeMap<u32, bool>,
    /// Samples that were not counted: there are more distinct stacks than can be kept.
    pub uncounted: u64,
    /// Samples that were not counted: their call frame information is more than their segment's allowance.
    pub not_walked: u64,
}

impl Collected {
    /// Adds what came of a segment; its stacks go to the counter.
    fn add(&mut self, (part, stacks): (Self, StackCounter), counter: &mut StackCounter) {
        counter.absorb(stacks);
        self.filtered_out += part.filtered_out;
        self.ticks_read += part.ticks_read;
        self.uncounted += part.uncounted;
        self.not_walked += part.not_walked;
        self.unreadable += part.unreadable;
        self.errors.extend(part.errors);
        part.has_stack.into_iter().for_each(|(pid, has_stack)| *self.has_stack.entry(pid).or_default() |= has_stack);
        part.by_cpu.into_iter().for_each(|(cpu, count)| *self.by_cpu.entry(cpu).or_default() += count);
    }
}

/// Unwinds and counts the samples of a recording. Segments are worked on in parallel, as many at once as there are threads, while what
/// came of those before is put together in their order.
pub fn collect(
    recording: &Recording<'_>,
    (evidence, numbers): (&Evidence, &ModuleNumbers),
    local: &dyn LocalBinaries,
    filter: &SampleFilter,
) -> Collected {
    let modules = Modules::new(evidence, local);
    let header = recording.header();
    let samples = recording.segments().iter().map(Segment::sample_count).fold(0, u64::saturating_add);
    let doing = progress::doing("unwinding", samples);
    let start = header.start_monotonic;
    let is_hybrid = header.is_hybrid();
    let plan = Plan { modules: &modules, numbers, filter, start, arch: header.arch, is_hybrid, doing };
    if let [segment] = recording.segments() {
        let (collected, counter) = plan.collect(segment);
        return Collected { stacks: counter.finish(), ..collected };
    }
    let mut counter = StackCounter::default();
    let mut whole = Collected::default();
    let mut parts = Vec::new();
    for batch in recording.segments().chunks(rayon::current_num_threads()) {
        let put_together = || parts.drain(..).for_each(|part| whole.add(part, &mut counter));
        let next = || batch.par_iter().map(|segment| plan.collect(segment)).collect();
        (parts, ()) = rayon::join(next, put_together);
    }
    parts.into_iter().for_each(|part| whole.add(part, &mut counter));
    whole.uncounted += counter.uncounted();
    whole.stacks = counter.finish();
    whole
}

/// What is the same for each segment.
struct Plan<'a> {
    modules: &'a Modules<'a>,
    numbers: &'a ModuleNumbers,
    filter: &'a SampleFilter,
    start: u64,
    arch: Arch,
    is_hybrid: bool,
    doing: Doing,
}

impl Plan<'_> {
    fn collect(&self, segment: &Segment<'_>) -> (Collected, StackCounter) {
        let mut collected = Collected::default();
        let mut counter = StackCounter::of_segment();
        let mut unwinder = Unwinder::new(self.modules, self.arch).strict(self.filter.strict);
        let mut frames = Vec::new();
        let mut read = 0;
        let outcome = replay(segment, self.numbers, |sample, instant| {
            read += 1;
            self.doing.advance(1);
            let ticks = u64::from(sample.weight);
            collected.ticks_read += ticks;
            *collected.by_cpu.entry(sample.cpu).or_default() += ticks;
            if self.is_hybrid {
                let has_stack = collected.has_stack.entry(sample.pid).or_default();
                *has_stack |= matches!(sample.user, UserState::Stack(_));
            }
            if !self.filter.lets_through(sample, instant, self.start) {
                collected.filtered_out += 1;
                return;
            }
            if unwinder.work() > segment.allowance() {
                collected.not_walked += ticks;
                return;
            }
            frames.clear();
            let verdict = walk(&mut unwinder, sample, instant, &mut frames);
            let cpu = self.filter.keep_cpus.then_some(sample.cpu);
            let cgroup = if self.filter.keep_cgroups { &**instant.cgroup } else { "" };
            let thread = CountedThread { comm: instant.comm, pid: sample.pid, tid: sample.tid, cpu, cgroup };
            counter.count(thread, &frames, verdict, ticks);
            counter.note_cgroup(sample.pid, instant.cgroup);
        });
        collected.unreadable = segment.sample_count().saturating_sub(read);
        collected.errors.extend(outcome.err());
        collected.uncounted = counter.uncounted();
        (collected, counter)
    }
}

/// Finds the frames of both sides of a sample, the kernel's first.
fn walk(unwinder: &mut Unwinder<'_>, sample: &Sample, instant: Instant<'_>, frames: &mut Vec<WalkedFrame>) -> Verdict {
    frames.extend(sample.kernel_chain.iter().enumerate().map(kernel_frame));
    walk_user(unwinder, sample, instant, frames)
}

/// Finds the frames of the user side of a sample.
pub fn walk_user(
    unwinder: &mut Unwinder<'_>,
    sample: &Sample,
    instant: Instant<'_>,
    frames: &mut Vec<WalkedFrame>,
) -> Verdict {
    let process = ProcessView { pid: sample.pid, thread: sample.tid, space: instant.space, time: sample.time };
    match &sample.user {
        _ if instant.between_programs => Verdict::ExecOrExit,
        UserState::Stack(stack) => unwinder.walk(stack, process, frames),
        UserState::Chain(addresses) => unwinder.chain(addresses, process, frames),
        UserState::Unwound(stack) => unwinder.unwound(stack, process, frames),
        UserState::None => kernel_only(sample, instant),
    }
}

/// A sample without a user side is complete only in a thread of the kernel, whose chain ends in its
/// entry; the idle threads have process id 0.
fn kernel_only(sample: &Sample, instant: Instant<'_>) -> Verdict {
    match instant.kernel_thread || sample.pid == 0 {
        false => Verdict::ExecOrExit,
        true if sample.kernel_chain.is_empty() => Verdict::NotRecorded,
        true => Verdict::Complete,
    }
}

/// All addresses of a kernel chain but the innermost are return addresses.
fn kernel_frame((depth, address): (usize, &u64)) -> WalkedFrame {
    let address = if depth == 0 { *address } else { address.wrapping_sub(1) };
    WalkedFrame { location: Location::Kernel { address }, address, guessed: false }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::modules::NoLocalBinaries;
    use profrec_format::{Header, Mapping, Module, ModuleKind, Process, Record, Totals, UserStack, Writer};

    fn define(writer: &mut Writer<Vec<u8>>, time: u64, kernel_thread: bool) {
        let process = Process { time, pid: 5, comm: "main".into(), kernel_thread, ..Process::default() };
        let module = Module { id: 3, kind: ModuleKind::File, path: "/bin/x".into(), build_id: vec![1] };
        let mapping = Mapping { time, pid: 5, start: 0x1000, end: 0x2000, offset: 0x400, module: 3 };
        writer.record(&Record::Process(process)).unwrap();
        writer.record(&Record::Module(module)).unwrap();
        writer.record(&Record::Mapping(mapping)).unwrap();
    }

    fn sample(time: u64, kernel_chain: Vec<u64>, user: UserState) -> Sample {
        Sample { time, pid: 5, tid: 5, kernel_chain, user, ..Sample::default() }
    }

    /// One segment for each part, each of which defines the process again.
    fn collected(kernel_thread: bool, parts: Vec<Vec<Sample>>, filter: &SampleFilter) -> Collected {
        collected_with(&Header::default(), kernel_thread, parts, filter)
    }

    fn collected_with(
        header: &Header,
        kernel_thread: bool,
        parts: Vec<Vec<Sample>>,
        filter: &SampleFilter,
    ) -> Collected {
        let mut writer = Writer::create(Vec::new(), header).unwrap();
        for (number, part) in parts.into_iter().enumerate() {
            if number > 0 {
                writer.start_segment().unwrap();
            }
            define(&mut writer, part[0].time, kernel_thread);
            for sample in part {
                writer.sample(&sample).unwrap();
            }
        }
        let bytes = writer.finish(&Totals::default()).unwrap();
        let recording = Recording::open(&bytes).unwrap();
        let (evidence, numbers) = Evidence::gather(&recording);
        collect(&recording, (&evidence, &numbers), &NoLocalBinaries, filter)
    }

    fn verdict(kernel_thread: bool, sample: Sample) -> Verdict {
        let collected = collected(kernel_thread, vec![vec![sample]], &SampleFilter::default());
        collected.stacks.stacks[0].verdict
    }

    /// Kernel frames come before user frames; in each, all but the innermost address are moved into the call.
    #[test]
    fn both_sides_of_a_sample() {
        let user = UserState::Chain(vec![0x1100, 0x1200]);
        let collected = collected(false, vec![vec![sample(10, vec![0xff10, 0xff20], user)]], &SampleFilter::default());
        let stacks = collected.stacks;
        let frames = stacks.frames(&stacks.stacks[0]).map(|frame| stacks.locations[frame.location() as usize]);
        let expected = [
            Location::Kernel { address: 0xff10 },
            Location::Kernel { address: 0xff1f },
            Location::Module { module: 0, address: 0x500 },
            Location::Module { module: 0, address: 0x5ff },
        ];
        assert!(frames.eq(expected));
    }

    /// A process is sampled when any of its samples has a copied stack, and counted otherwise; where there is one way only, nobody asks.
    #[test]
    fn processes_are_sampled_or_counted() {
        let parts = || {
            let chain = |time| sample(time, vec![], UserState::Chain(vec![0x1100]));
            let stack = sample(3_000_000, vec![], UserState::Stack(UserStack::default()));
            vec![vec![chain(1_000_000), Sample { pid: 6, ..chain(2_000_000) }], vec![stack, chain(4_000_000)]]
        };
        let header = Header { counted_every: 1, ..Header::default() };
        let filter = SampleFilter::default();
        let hybrid = collected_with(&header, false, parts(), &filter).has_stack;
        assert_eq!(hybrid, BTreeMap::from([(5, true), (6, false)]));
        assert_eq!(collected(false, parts(), &filter).has_stack, BTreeMap::new());
    }

    /// Equal stacks in several segments are one stack, and what the filter holds back is counted.
    #[test]
    fn segments_are_merged() {
        let chain = || UserState::Chain(vec![0x1100]);
        let parts = vec![
            vec![sample(1_000_000, vec![], chain())],
            vec![sample(2_000_000, vec![], chain()), sample(3_000_000, vec![], chain())],
        ];
        let filter = SampleFilter { to: Some(3_000_000), ..SampleFilter::default() };
        let collected = collected(false, parts, &filter);
        assert_eq!((collected.stacks.stacks.len(), collected.stacks.samples, collected.filtered_out), (1, 2, 1));
    }

    /// What is left of a recording depends on its distinct stacks alone, however many samples and segments it has.
    #[test]
    fn memory_grows_with_distinct_stacks() {
        let size = |segments: u64, rounds: u64| {
            let parts = (0..segments).map(|segment| {
                let samples = (0..rounds * 7).map(|number| {
                    let chain = UserState::Chain(vec![0x1100 + 16 * (number % 7), 0x1800]);
                    sample(segment * 1_000_000_000 + (number + 1) * 1_024, vec![], chain)
                });
                samples.collect()
            });
            let stacks = collected(false, parts.collect(), &SampleFilter::default()).stacks;
            assert_eq!(stacks.samples, segments * rounds * 7);
            (stacks.locations.len(), stacks.stacks.len(), stacks.paths.count(), stacks.counts.len())
        };
        assert_eq!(size(1, 3), (8, 7, 9, 7));
        assert_eq!(size(1, 3), size(1, 300));
        assert_eq!(size(1, 3), size(9, 30));
    }

    /// A sample counts as often as it stands for a tick, in one segment and over several.
    #[test]
    fn weights_count() {
        let weighted =
            |time, address, weight| Sample { weight, ..sample(time, vec![], UserState::Chain(vec![address])) };
        let parts = vec![
            vec![weighted(1_000_000, 0x1100, 4), weighted(2_000_000, 0x1200, 1)],
            vec![weighted(3_000_000, 0x1100, 8), weighted(4_000_000, 0x1300, 2)],
        ];
        let filter = SampleFilter { to: Some(4_000_000), ..SampleFilter::default() };
        let collected = collected(false, parts, &filter);
        let counts: Vec<_> = collected.stacks.counts.iter().map(|count| count.samples).collect();
        assert_eq!((counts, collected.stacks.samples, collected.ticks_read), (vec![12, 1], 13, 15));
    }

    /// A kernel thread's chain ends in its entry; another process without a user side is about to have another or to end.
    #[test]
    fn samples_without_a_user_side() {
        let chain = || sample(10, vec![0xff10], UserState::None);
        assert_eq!(verdict(true, chain()), Verdict::Complete);
        assert_eq!(verdict(false, chain()), Verdict::ExecOrExit);
        assert_eq!(verdict(true, sample(10, vec![], UserState::None)), Verdict::NotRecorded);
    }

    /// Code without call frame information, in a chain and in a stack.
    #[test]
    fn code_without_information() {
        let stack = UserState::Stack(UserStack { ip: 0x1100, sp: 0x7000, ..UserStack::default() });
        assert_eq!(verdict(false, sample(10, vec![], stack)), Verdict::NoCfi);
        assert_eq!(verdict(false, sample(10, vec![], UserState::Chain(vec![0x1100]))), Verdict::NoCfi);
        assert_eq!(verdict(false, sample(10, vec![], UserState::Chain(vec![]))), Verdict::NotRecorded);
        assert_eq!(verdict(false, sample(10, vec![], UserState::Chain(vec![0x1100; 127]))), Verdict::Truncated);
    }
}
