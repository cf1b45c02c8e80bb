//! Counting: every location, stack and thread name is kept once, and equal stacks are added up.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::HashMap;

use crate::stacks::{Count, Frame, Location, LocationId, Stack, StackId, Stacks, Verdict};
use crate::unwind::WalkedFrame;

/// Stacks while they are being counted, in the order in which they come.
pub struct StackCounter {
    /// How many more frames, or what takes as much memory, may be kept.
    room: usize,
    uncounted: u64,
    location_ids: HashMap<Location, LocationId>,
    locations: Vec<Location>,
    /// For each verdict, the stacks that have it.
    stack_ids: [HashMap<Box<[Frame]>, StackId>; VERDICTS],
    stacks: u32,
    comm_ids: HashMap<String, u32>,
    cgroup_ids: HashMap<Arc<str>, u32>,
    counts: HashMap<Counted, u64>,
    cgroups: BTreeMap<u32, Arc<str>>,
    frames: Vec<Frame>,
}

/// What a distinct stack, and a distinct thread with a stack, takes besides its frames, in frames.
const ENTRY: usize = 8;
/// Frames of the distinct stacks of a whole recording: with what belongs to them, 4 GiB.
const ROOM: usize = 1 << 27;
/// The same for one segment, which is one minute.
const SEGMENT_ROOM: usize = 1 << 25;

/// How many verdicts there are.
const VERDICTS: usize = 7;

/// What is counted: one thread with one stack.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Counted {
    comm: u32,
    pid: u32,
    tid: u32,
    cpu: Option<u32>,
    cgroup: u32,
    stack: StackId,
}

/// A thread as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountedThread<'a> {
    /// Its name.
    pub comm: &'a str,
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// The CPU that it runs on, when stacks are to be counted for each.
    pub cpu: Option<u32>,
    /// Path of the cgroup that its process is in, when stacks are to be counted for each; else nothing.
    pub cgroup: &'a str,
}

impl Default for StackCounter {
    fn default() -> Self {
        Self::with_room(ROOM)
    }
}

impl StackCounter {
    /// A counter for one segment.
    pub fn of_segment() -> Self {
        Self::with_room(SEGMENT_ROOM)
    }

    fn with_room(room: usize) -> Self {
        Self {
            room,
            uncounted: 0,
            location_ids: HashMap::default(),
            locations: Vec::new(),
            stack_ids: Default::default(),
            stacks: 0,
            comm_ids: HashMap::default(),
            cgroup_ids: HashMap::default(),
            counts: HashMap::default(),
            cgroups: BTreeMap::new(),
            frames: Vec::new(),
        }
    }

    /// Samples that were not counted because there was no room for another stack.
    pub fn uncounted(&self) -> u64 {
        self.uncounted
    }

    /// Notes the cgroup of a process that has a sample; the last one counts.
    pub fn note_cgroup(&mut self, pid: u32, cgroup: &Arc<str>) {
        if !cgroup.is_empty() && self.cgroups.get(&pid) != Some(cgroup) {
            self.cgroups.insert(pid, cgroup.clone());
        }
    }

    /// Counts samples of one thread with one stack, each as often as it stands for a tick.
    pub fn count(&mut self, thread: CountedThread<'_>, frames: &[WalkedFrame], verdict: Verdict, samples: u64) {
        self.add(thread, frames.iter().map(|frame| (frame.location, frame.guessed)), verdict, samples);
    }

    /// Counts samples of one thread with a stack of places, of which some are guessed.
    fn add(
        &mut self,
        thread: CountedThread<'_>,
        frames: impl ExactSizeIterator<Item = (Location, bool)>,
        verdict: Verdict,
        samples: u64,
    ) {
        if self.room < frames.len() + 2 * ENTRY {
            self.uncounted += samples;
            return;
        }
        let mut scratch = std::mem::take(&mut self.frames);
        scratch.clear();
        scratch.extend(frames.map(|(location, guessed)| Frame::new(self.location(location), guessed)));
        let stack = self.stack(&scratch, verdict);
        self.frames = scratch;
        let comm = self.comm(thread.comm);
        let cgroup = self.cgroup(thread.cgroup);
        let kept = self.counts.len();
        let counted = Counted { comm, pid: thread.pid, tid: thread.tid, cpu: thread.cpu, cgroup, stack };
        *self.counts.entry(counted).or_default() += samples;
        self.room -= ENTRY * (self.counts.len() - kept);
    }

    /// Adds what another counter counted.
    pub fn absorb(&mut self, other: &Stacks) {
        other.cgroups.iter().for_each(|(pid, cgroup)| self.note_cgroup(*pid, cgroup));
        let mut frames = Vec::new();
        for count in &other.counts {
            let Some(stack) = other.stacks.get(count.stack as usize) else { continue };
            frames.clear();
            frames.extend(stack.frames.iter().filter_map(|frame| {
                let location = *other.locations.get(frame.location() as usize)?;
                Some((location, frame.guessed()))
            }));
            let thread = CountedThread {
                comm: &count.comm,
                pid: count.pid,
                tid: count.tid,
                cpu: count.cpu,
                cgroup: &count.cgroup,
            };
            self.add(thread, frames.iter().copied(), stack.verdict, count.samples);
        }
    }

    /// Brings everything into an order that depends on what was counted alone: locations by place,
    /// stacks by their locations from the innermost frame on, counts by thread.
    pub fn finish(self) -> Stacks {
        let (locations, new_locations) = in_order(self.locations);
        let mut stacks = Vec::with_capacity(self.stacks as usize);
        for (verdict, ids) in ALL_VERDICTS.into_iter().zip(self.stack_ids) {
            for (frames, id) in ids {
                let mut frames = frames.into_vec();
                frames
                    .iter_mut()
                    .for_each(|frame| *frame = Frame::new(new_locations[frame.location() as usize], frame.guessed()));
                stacks.push((Stack { frames, verdict }, id));
            }
        }
        stacks.sort_unstable_by(|(a, _), (b, _)| a.frames.cmp(&b.frames).then(a.verdict.cmp(&b.verdict)));
        let mut new_stacks = vec![0; stacks.len()];
        for (new, (_, old)) in stacks.iter().enumerate() {
            new_stacks[*old as usize] = new as StackId;
        }
        let mut comms = vec![""; self.comm_ids.len()];
        for (comm, id) in &self.comm_ids {
            comms[*id as usize] = comm;
        }
        let no_cgroup: Arc<str> = "".into();
        let mut cgroups = vec![&no_cgroup; self.cgroup_ids.len()];
        for (cgroup, id) in &self.cgroup_ids {
            cgroups[*id as usize] = cgroup;
        }
        let mut counts: Vec<_> = self
            .counts
            .iter()
            .map(|(counted, &samples)| Count {
                comm: comms[counted.comm as usize].to_owned(),
                pid: counted.pid,
                tid: counted.tid,
                cpu: counted.cpu,
                cgroup: cgroups[counted.cgroup as usize].clone(),
                stack: new_stacks[counted.stack as usize],
                samples,
            })
            .collect();
        counts.sort_unstable();
        let samples = counts.iter().map(|count| count.samples).sum();
        let stacks = stacks.into_iter().map(|(stack, _)| stack).collect();
        Stacks { locations, stacks, counts, cgroups: self.cgroups, samples }
    }

    fn location(&mut self, location: Location) -> LocationId {
        *self.location_ids.entry(location).or_insert_with(|| {
            self.locations.push(location);
            (self.locations.len() - 1) as LocationId
        })
    }

    fn stack(&mut self, frames: &[Frame], verdict: Verdict) -> StackId {
        let ids = &mut self.stack_ids[verdict as usize];
        if let Some(&id) = ids.get(frames) {
            return id;
        }
        let id = self.stacks;
        self.stacks += 1;
        self.room -= frames.len() + ENTRY;
        ids.insert(frames.into(), id);
        id
    }

    fn comm(&mut self, comm: &str) -> u32 {
        if let Some(&id) = self.comm_ids.get(comm) {
            return id;
        }
        let id = self.comm_ids.len() as u32;
        self.comm_ids.insert(comm.to_owned(), id);
        id
    }

    fn cgroup(&mut self, cgroup: &str) -> u32 {
        if let Some(&id) = self.cgroup_ids.get(cgroup) {
            return id;
        }
        let id = self.cgroup_ids.len() as u32;
        self.cgroup_ids.insert(cgroup.into(), id);
        id
    }
}

/// Every verdict, at the place that its number says.
const ALL_VERDICTS: [Verdict; VERDICTS] = [
    Verdict::Complete,
    Verdict::Truncated,
    Verdict::NoCfi,
    Verdict::Implausible,
    Verdict::NotCode,
    Verdict::NotRecorded,
    Verdict::ExecOrExit,
];

/// Sorted locations, and for each old id the new one.
fn in_order(locations: Vec<Location>) -> (Vec<Location>, Vec<LocationId>) {
    let mut order: Vec<_> = locations.into_iter().enumerate().map(|(old, location)| (location, old)).collect();
    order.sort_unstable();
    let mut new_ids = vec![0; order.len()];
    for (new, (_, old)) in order.iter().enumerate() {
        new_ids[*old] = new as LocationId;
    }
    (order.into_iter().map(|(location, _)| location).collect(), new_ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(address: u64) -> WalkedFrame {
        WalkedFrame { location: Location::Kernel { address }, address, guessed: false }
    }

    fn thread(tid: u32) -> CountedThread<'static> {
        CountedThread { comm: "main", pid: 1, tid, cpu: None, cgroup: "" }
    }

    /// What a process did before it was moved to another cgroup is counted for the first one, where cgroups are asked for; in the
    /// list of processes it is in the last one.
    #[test]
    fn a_process_that_moves_is_counted_for_both_cgroups() {
        let mut counter = StackCounter::default();
        for (cgroup, samples) in [("/first", 3), ("/second", 2), ("/first", 1), ("/second", 1)] {
            let mut part = StackCounter::default();
            part.count(CountedThread { cgroup, ..thread(1) }, &[frame(1)], Verdict::Complete, samples);
            part.note_cgroup(1, &cgroup.into());
            counter.absorb(&part.finish());
        }
        let stacks = counter.finish();
        let counts: Vec<_> = stacks.counts.iter().map(|count| (&*count.cgroup, count.samples)).collect();
        assert_eq!(counts, [("/first", 4), ("/second", 3)]);
        assert_eq!(stacks.cgroups.get(&1).map(|cgroup| &**cgroup), Some("/second"));
    }

    /// Equal stacks of a thread are one count; another thread or another verdict is another count.
    #[test]
    fn equal_stacks_are_counted_once() {
        let mut counter = StackCounter::default();
        counter.count(thread(1), &[frame(2), frame(1)], Verdict::Complete, 1);
        counter.count(thread(1), &[frame(2), frame(1)], Verdict::Complete, 1);
        counter.count(thread(2), &[frame(2), frame(1)], Verdict::Complete, 1);
        counter.count(thread(1), &[frame(2), frame(1)], Verdict::Truncated, 1);
        let stacks = counter.finish();
        assert_eq!((stacks.locations.len(), stacks.stacks.len(), stacks.samples), (2, 2, 4));
        assert_eq!(stacks.counts.iter().map(|count| count.samples).collect::<Vec<_>>(), [2, 1, 1]);
        let verdicts = stacks.verdicts();
        assert_eq!((verdicts.total, verdicts.complete, verdicts.truncated), (4, 3, 1));
    }

    /// Whatever the order of counting, and however it was divided, the result is the same.
    #[test]
    fn the_order_of_counting_does_not_show() {
        let samples = [(1, vec![frame(9), frame(3)]), (2, vec![frame(3)]), (1, vec![frame(5), frame(3)])];
        let mut forward = StackCounter::default();
        let mut backward = StackCounter::default();
        for (tid, frames) in &samples {
            forward.count(thread(*tid), frames, Verdict::Complete, 1);
        }
        for (tid, frames) in samples.iter().rev() {
            let mut part = StackCounter::default();
            part.count(thread(*tid), frames, Verdict::Complete, 1);
            backward.absorb(&part.finish());
        }
        assert_eq!(format!("{:?}", forward.finish()), format!("{:?}", backward.finish()));
    }

    /// Addresses that were chosen to meet in one bucket of a hash table (here: one that multiplies by a known number, as
    /// compilers' tables do) do not make counting quadratic: that would take minutes.
    #[test]
    fn chosen_addresses_do_not_meet() {
        const MULTIPLIER: u64 = 0xf135_7aea_2e62_a9c5;
        let inverse =
            (0..6).fold(1u64, |inverse, _| inverse.wrapping_mul(2u64.wrapping_sub(MULTIPLIER.wrapping_mul(inverse))));
        assert_eq!(MULTIPLIER.wrapping_mul(inverse), 1);
        let start = cpu_seconds();
        let mut counter = StackCounter::default();
        for number in 0..400_000u64 {
            let address = number.wrapping_mul(inverse).wrapping_sub(MULTIPLIER);
            counter.count(thread(1), &[frame(address)], Verdict::Complete, 1);
        }
        assert_eq!(counter.finish().locations.len(), 400_000);
        let spent = cpu_seconds() - start;
        assert!(spent < 20, "{spent} s");
    }

    /// CPU time of this thread: what others do on the machine does not count.
    fn cpu_seconds() -> i64 {
        rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).tv_sec
    }

    /// What a counter keeps depends on how many distinct stacks there are, never on how often they are seen.
    #[test]
    fn memory_grows_with_distinct_stacks() {
        let kept = |stacks: u64, rounds: u64| {
            let mut counter = StackCounter::default();
            for number in 0..stacks * rounds {
                let stack = [frame(number % stacks), frame(1), frame(2)];
                counter.count(thread((number % 3) as u32), &stack, Verdict::Complete, 1);
            }
            let StackCounter { location_ids, locations, stack_ids, counts, frames, .. } = &counter;
            let stack_ids: usize = stack_ids.iter().map(|ids| ids.capacity()).sum();
            let capacities = [location_ids.capacity(), locations.capacity(), stack_ids, counts.capacity()];
            (capacities, frames.capacity(), counter.room)
        };
        let few = kept(50, 3);
        assert_eq!(few, kept(50, 30));
        assert_eq!(few, kept(50, 3_000));
        assert!(kept(500, 3).2 < few.2);
    }

    /// Distinct stacks without end are not kept; what was not counted is known.
    #[test]
    fn what_has_no_room_is_known() {
        let mut counter = StackCounter::with_room(100);
        for address in 0..10 {
            counter.count(thread(1), &[frame(address), frame(1)], Verdict::Complete, 3);
        }
        let uncounted = counter.uncounted();
        let stacks = counter.finish();
        assert_eq!((stacks.stacks.len(), stacks.samples, uncounted), (5, 15, 15));
    }

    /// The number of a verdict is its place in the list of all verdicts.
    #[test]
    fn verdicts_have_their_places() {
        for (place, verdict) in ALL_VERDICTS.into_iter().enumerate() {
            assert_eq!(verdict as usize, place);
        }
    }
}
