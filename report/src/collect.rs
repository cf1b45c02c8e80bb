//! From a recording to its distinct stacks: filter, replay, unwind, count.

use profrec_format::{Arch, Error, Recording, Sample, Segment, UserState};
use rayon::prelude::*;

use crate::counter::{CountedThread, StackCounter};
use crate::evidence::{Evidence, ModuleNumbers};
use crate::filter::SampleFilter;
use crate::modules::{LocalBinaries, Modules};
use crate::replay::{Instant, replay};
use crate::stacks::{Location, Stacks, Verdict};
use crate::unwind::{ProcessView, Unwinder, WalkedFrame};

/// What a recording comes down to.
#[derive(Debug, Default)]
pub struct Collected {
    /// The stacks that passed the filter.
    pub stacks: Stacks,
    /// Samples that the filter held back.
    pub filtered_out: u64,
    /// What kept segments from being read to their ends, in the order of the segments.
    pub unreadable: Vec<Error>,
}

/// Unwinds and counts the samples of a recording.
pub fn collect(
    recording: &Recording<'_>,
    (evidence, numbers): (&Evidence, &ModuleNumbers),
    local: &dyn LocalBinaries,
    filter: &SampleFilter,
) -> Collected {
    let modules = Modules::new(evidence, local);
    let header = recording.header();
    let plan = Plan { modules: &modules, numbers, filter, start: header.start_monotonic, arch: header.arch };
    let parts: Vec<_> = recording.segments().par_iter().map(|segment| plan.collect(segment)).collect();
    merge(parts)
}

/// Puts the segments' results together, in the segments' order.
fn merge(mut parts: Vec<Collected>) -> Collected {
    if parts.len() == 1 {
        return parts.pop().unwrap_or_default();
    }
    let mut counter = StackCounter::default();
    let mut whole = Collected::default();
    for part in parts {
        counter.absorb(&part.stacks);
        whole.filtered_out += part.filtered_out;
        whole.unreadable.extend(part.unreadable);
    }
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
}

impl Plan<'_> {
    fn collect(&self, segment: &Segment<'_>) -> Collected {
        let mut collected = Collected::default();
        let mut counter = StackCounter::default();
        let mut unwinder = Unwinder::new(self.modules, self.arch);
        let mut frames = Vec::new();
        let outcome = replay(segment, self.numbers, |sample, instant| {
            if !self.filter.lets_through(sample, instant.comm, self.start) {
                collected.filtered_out += 1;
                return;
            }
            frames.clear();
            let verdict = walk(&mut unwinder, sample, instant, &mut frames);
            let thread = CountedThread { comm: instant.comm, pid: sample.pid, tid: sample.tid };
            counter.count(thread, &frames, verdict, 1);
        });
        collected.unreadable.extend(outcome.err());
        collected.stacks = counter.finish();
        collected
    }
}

/// Finds the frames of both sides of a sample, the kernel's first.
fn walk(unwinder: &mut Unwinder<'_>, sample: &Sample, instant: Instant<'_>, frames: &mut Vec<WalkedFrame>) -> Verdict {
    frames.extend(sample.kernel_chain.iter().enumerate().map(kernel_frame));
    let process = ProcessView { pid: sample.pid, space: instant.space };
    match &sample.user {
        UserState::Stack(stack) => unwinder.walk(stack, process, frames),
        UserState::Chain(addresses) => unwinder.chain(addresses, process, frames),
        UserState::None => kernel_only(sample, instant),
    }
}

/// A sample without a user side is complete only in a thread of the kernel, whose chain ends in its
/// entry; the idle threads have process id 0.
fn kernel_only(sample: &Sample, instant: Instant<'_>) -> Verdict {
    let kernel_thread = instant.kernel_thread || sample.pid == 0;
    if kernel_thread && !sample.kernel_chain.is_empty() { Verdict::Complete } else { Verdict::NotRecorded }
}

/// All addresses of a kernel chain but the innermost are return addresses.
fn kernel_frame((depth, address): (usize, &u64)) -> WalkedFrame {
    let address = if depth == 0 { *address } else { address.wrapping_sub(1) };
    WalkedFrame { location: Location::Kernel { address }, guessed: false }
}
