//! Counting: every location, stack and thread name is kept once, and equal stacks are added up.

mod last_stacks;
#[cfg(test)]
mod room_tests;
mod threads;

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::HashMap;

use self::last_stacks::{CountedFrame, LastStacks};
use self::threads::Threads;
use crate::paths::{NOTHING, PathCollector, PathId};
use crate::stacks::{Count, Frame, Location, LocationId, Stack, StackId, Stacks, Thread, ThreadId, Verdict};
use crate::unwind::WalkedFrame;

/// Stacks while they are being counted, in the order in which they come.
pub struct StackCounter {
    /// How much more may be kept: what takes 32 bytes, up to the end of a report.
    room: usize,
    uncounted: u64,
    location_ids: HashMap<Location, LocationId>,
    locations: Vec<Location>,
    /// Stacks from their outermost frames on.
    paths: PathCollector<Frame>,
    threads: Threads,
    counts: HashMap<Counted, u64>,
    cgroups: BTreeMap<u32, Arc<str>>,
    last: LastStacks,
}

/// What a new frame below others takes, in room.
const FRAME: usize = 4;
/// What a distinct thread with a stack takes besides, and for how many of its frames it takes one more: views look at each.
const ENTRY: usize = 16;
const NAMED_IN_ROOM: usize = 8;
/// Room for a whole recording: 4 GiB.
const ROOM: usize = 1 << 27;
/// The same for one segment, which is one minute.
const SEGMENT_ROOM: usize = 1 << 25;

/// What is counted: one thread with one stack.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Counted {
    thread: ThreadId,
    end: PathId,
    verdict: Verdict,
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
            paths: PathCollector::default(),
            threads: Threads::default(),
            counts: HashMap::default(),
            cgroups: BTreeMap::new(),
            last: LastStacks::default(),
        }
    }

    /// Samples of stacks that there was no room for. Those of stacks that are kept are counted to the end.
    pub fn uncounted(&self) -> u64 {
        self.uncounted
    }

    /// Notes the cgroup of a process that has a sample; the last one counts.
    pub fn note_cgroup(&mut self, pid: u32, cgroup: &Arc<str>) {
        if !cgroup.is_empty() && self.cgroups.get(&pid) != Some(cgroup) {
            self.cgroups.insert(pid, cgroup.clone());
        }
    }

    /// Counts samples of one thread with one stack, innermost frame first, each as often as it stands for a tick.
    pub fn count(&mut self, thread: CountedThread<'_>, frames: &[WalkedFrame], verdict: Verdict, samples: u64) {
        let mut last = self.last.take(thread.tid, frames);
        let mut end = last.last().map_or(NOTHING, |known| known.end);
        let mut new = &frames[..frames.len() - last.len()];
        while let [inner @ .., frame] = new
            && let Some(path) = self.known_path(end, frame.location, frame.guessed)
        {
            (end, new) = (path, inner);
            last.push(CountedFrame { location: frame.location, guessed: frame.guessed, end });
        }
        let has_room = self.has_room(new.len(), frames.len());
        for frame in new.iter().rev().filter(|_| has_room) {
            end = self.path(end, frame.location, frame.guessed);
            last.push(CountedFrame { location: frame.location, guessed: frame.guessed, end });
        }
        self.last.keep(thread.tid, last);
        if new.is_empty() || has_room {
            self.add(thread, (end, verdict), frames.len(), samples);
        } else {
            self.uncounted += samples;
        }
    }

    /// Adds what another counter counted.
    pub fn absorb(&mut self, other: Self) {
        other.cgroups.iter().for_each(|(pid, cgroup)| self.note_cgroup(*pid, cgroup));
        let threads = other.threads.in_order();
        let mut counts: Vec<_> = other.counts.into_iter().collect();
        counts.sort_unstable();
        let depths = other.paths.depths();
        // What there is no room for is not taken over: neither its frames' locations nor its thread.
        let mut paths = vec![None; other.paths.count()];
        let mut unknown = Vec::new();
        for (Counted { thread, end, verdict }, samples) in counts {
            let (mut path, depth) = (end, depths[end as usize] as usize);
            while let (None, Some((before, frame))) = (paths[path as usize], other.paths.step(path)) {
                unknown.push((path, frame));
                path = before;
            }
            let location = |frame: Frame| other.locations[frame.location() as usize];
            let mut end = paths[path as usize].unwrap_or(NOTHING);
            while let Some(&(path, frame)) = unknown.last()
                && let Some(known) = self.known_path(end, location(frame), frame.guessed())
            {
                end = known;
                paths[path as usize] = Some(known);
                unknown.pop();
            }
            if !unknown.is_empty() && !self.has_room(unknown.len(), depth) {
                self.uncounted += samples;
                unknown.clear();
                continue;
            }
            while let Some((path, frame)) = unknown.pop() {
                end = self.path(end, location(frame), frame.guessed());
                paths[path as usize] = Some(end);
            }
            let Thread { comm, pid, tid, cpu, cgroup } = &threads[thread as usize];
            let thread = CountedThread { comm, pid: *pid, tid: *tid, cpu: *cpu, cgroup };
            self.add(thread, (end, verdict), depth, samples);
        }
    }

    /// Brings everything into an order that depends on what was counted alone: locations by place,
    /// stacks by their locations from the outermost frame on, counts by thread.
    pub fn finish(self) -> Stacks {
        drop((self.location_ids, self.last));
        let (locations, new_locations) = sorted(self.locations);
        let new_frame = |frame: Frame| Frame::new(new_locations[frame.location() as usize], frame.guessed());
        let (paths, new_paths) = self.paths.finish(new_frame);
        let stack = |counted: &Counted| Stack { end: new_paths[counted.end as usize], verdict: counted.verdict };
        let mut stacks: Vec<Stack> = self.counts.keys().map(stack).collect();
        stacks.sort_unstable();
        stacks.dedup();
        stacks.shrink_to_fit();
        let (threads, places) = self.threads.sorted();
        let place = |stack: Stack| stacks.binary_search(&stack).unwrap_or_default() as StackId;
        let count = |(counted, samples): (Counted, u64)| Count {
            thread: places[counted.thread as usize],
            stack: place(stack(&counted)),
            samples,
        };
        let mut counts: Vec<Count> = self.counts.into_iter().map(count).collect();
        counts.sort_unstable();
        let samples = counts.iter().map(|count| count.samples).sum();
        Stacks { locations, paths, stacks, threads, counts, cgroups: self.cgroups, samples }
    }

    /// Adds samples of a stack of so many frames, all of which are known. Where there is no room for another count, they are added only
    /// to one that is known.
    fn add(&mut self, thread: CountedThread<'_>, (end, verdict): (PathId, Verdict), depth: usize, samples: u64) {
        if self.has_room(0, depth) {
            let thread = self.threads.number(thread);
            let kept = self.counts.len();
            *self.counts.entry(Counted { thread, end, verdict }).or_default() += samples;
            self.room -= room_of_stack(depth) * (self.counts.len() - kept);
            return;
        }
        let known = self.threads.known(thread);
        match known.and_then(|thread| self.counts.get_mut(&Counted { thread, end, verdict })) {
            Some(known) => *known += samples,
            None => self.uncounted += samples,
        }
    }

    /// Whether another stack of so many frames may be kept, of which so many are new.
    fn has_room(&self, new: usize, depth: usize) -> bool {
        self.room >= new * FRAME + room_of_stack(depth)
    }

    /// A stack that goes on with a frame. There is room for it.
    fn path(&mut self, before: PathId, location: Location, guessed: bool) -> PathId {
        let next = self.locations.len() as LocationId;
        let id = *self.location_ids.entry(location).or_insert(next);
        if id == next {
            self.locations.push(location);
        }
        let kept = self.paths.count();
        let path = self.paths.path(before, Frame::new(id, guessed));
        self.room -= FRAME * (self.paths.count() - kept);
        path
    }

    /// The same, where it is known.
    fn known_path(&self, before: PathId, location: Location, guessed: bool) -> Option<PathId> {
        let location = *self.location_ids.get(&location)?;
        self.paths.known(before, Frame::new(location, guessed))
    }
}

/// What a distinct stack of so many frames takes of room, beside its frames that no other has.
fn room_of_stack(depth: usize) -> usize {
    ENTRY + depth.div_ceil(NAMED_IN_ROOM)
}

/// Sorted locations, and for each old id the new one.
fn sorted(locations: Vec<Location>) -> (Vec<Location>, Vec<LocationId>) {
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
            counter.absorb(part);
        }
        let stacks = counter.finish();
        let cgroup = |count: &Count| &*stacks.threads[count.thread as usize].cgroup;
        let counts: Vec<_> = stacks.counts.iter().map(|count| (cgroup(count), count.samples)).collect();
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
            backward.absorb(part);
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
            let StackCounter { location_ids, locations, paths, counts, .. } = &counter;
            let capacities = [location_ids.capacity(), locations.capacity(), paths.count(), counts.capacity()];
            (capacities, counter.last.capacity(), counter.room)
        };
        let few = kept(50, 3);
        assert_eq!(few, kept(50, 30));
        assert_eq!(few, kept(50, 3_000));
        assert!(kept(500, 3).2 < few.2);
    }
}
