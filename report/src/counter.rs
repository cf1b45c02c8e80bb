//! Counting: every location, stack and thread name is kept once, and equal stacks are added up.

mod last_stacks;
#[cfg(test)]
mod room_tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::HashMap;

use self::last_stacks::{CountedFrame, LastStacks};
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
    texts: Texts,
    /// Threads in the order in which they came.
    threads: HashMap<NumberedThread, ThreadId>,
    counts: HashMap<Counted, u64>,
    cgroups: BTreeMap<u32, Arc<str>>,
    last: LastStacks,
}

/// What a new frame below others takes, in room.
const FRAME: usize = 4;
/// What a distinct thread with a stack takes besides, and its frames when they are named one after the other.
const ENTRY: usize = 16;
const NAMED_IN_ROOM: usize = 8;
/// Room for a whole recording: 4 GiB.
const ROOM: usize = 1 << 27;
/// The same for one segment, which is one minute.
const SEGMENT_ROOM: usize = 1 << 25;

/// A thread, with its texts by their numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct NumberedThread {
    comm: u32,
    pid: u32,
    tid: u32,
    cpu: Option<u32>,
    cgroup: u32,
}

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
            texts: Texts::default(),
            threads: HashMap::default(),
            counts: HashMap::default(),
            cgroups: BTreeMap::new(),
            last: LastStacks::default(),
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

    /// Counts samples of one thread with one stack, innermost frame first, each as often as it stands for a tick.
    pub fn count(&mut self, thread: CountedThread<'_>, frames: &[WalkedFrame], verdict: Verdict, samples: u64) {
        let mut last = self.last.take(thread.tid, frames);
        if self.room < (frames.len() - last.len()) * FRAME + room_of_stack(frames.len()) {
            self.uncounted += samples;
            self.last.keep(thread.tid, last);
            return;
        }
        let mut end = last.last().map_or(NOTHING, |known| known.end);
        for frame in frames.iter().rev().skip(last.len()) {
            let location = self.location(frame.location);
            end = self.path(end, Frame::new(location, frame.guessed));
            last.push(CountedFrame { location: frame.location, guessed: frame.guessed, end });
        }
        self.last.keep(thread.tid, last);
        let CountedThread { comm, pid, tid, cpu, cgroup } = thread;
        let (comm, cgroup) = (self.texts.number(comm), self.texts.number(cgroup));
        let thread = self.thread(NumberedThread { comm, pid, tid, cpu, cgroup });
        self.add(Counted { thread, end, verdict }, frames.len(), samples);
    }

    /// Adds what another counter counted.
    pub fn absorb(&mut self, other: Self) {
        other.cgroups.iter().for_each(|(pid, cgroup)| self.note_cgroup(*pid, cgroup));
        let threads_of_other = in_order(&other.threads, |thread| *thread);
        let texts = other.texts.in_order();
        let mut counts: Vec<_> = other.counts.into_iter().collect();
        counts.sort_unstable();
        let depths = other.paths.depths();
        // What there is no room for is not taken over: neither its frames' locations nor its thread.
        let mut paths = vec![None; other.paths.count()];
        let mut unknown = Vec::new();
        for (Counted { thread, end, verdict }, samples) in counts {
            let mut path = end;
            while let (None, Some((before, frame))) = (paths[path as usize], other.paths.step(path)) {
                unknown.push((path, frame));
                path = before;
            }
            let depth = depths[end as usize] as usize;
            if self.room < unknown.len() * FRAME + room_of_stack(depth) {
                self.uncounted += samples;
                unknown.clear();
                continue;
            }
            let mut new = paths[path as usize].unwrap_or(NOTHING);
            while let Some((path, frame)) = unknown.pop() {
                let location = self.location(other.locations[frame.location() as usize]);
                new = self.path(new, Frame::new(location, frame.guessed()));
                paths[path as usize] = Some(new);
            }
            let thread = threads_of_other[thread as usize];
            let [comm, cgroup] = [thread.comm, thread.cgroup].map(|text| self.texts.number(&texts[text as usize]));
            let thread = self.thread(NumberedThread { comm, cgroup, ..thread });
            self.add(Counted { thread, end: new, verdict }, depth, samples);
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
        let (threads, places) = self.texts.threads(&self.threads);
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

    /// Adds samples of a stack of so many frames. There is room for it.
    fn add(&mut self, counted: Counted, depth: usize, samples: u64) {
        let kept = self.counts.len();
        *self.counts.entry(counted).or_default() += samples;
        self.room -= room_of_stack(depth) * (self.counts.len() - kept);
    }

    fn location(&mut self, location: Location) -> LocationId {
        *self.location_ids.entry(location).or_insert_with(|| {
            self.locations.push(location);
            (self.locations.len() - 1) as LocationId
        })
    }

    /// A stack that goes on with a frame. There is room for it.
    fn path(&mut self, before: PathId, frame: Frame) -> PathId {
        let kept = self.paths.count();
        let path = self.paths.path(before, frame);
        self.room -= FRAME * (self.paths.count() - kept);
        path
    }

    fn thread(&mut self, thread: NumberedThread) -> ThreadId {
        let next = self.threads.len() as ThreadId;
        *self.threads.entry(thread).or_insert(next)
    }
}

/// What a distinct stack of so many frames takes of room, beside its frames that no other has.
fn room_of_stack(depth: usize) -> usize {
    ENTRY + depth.div_ceil(NAMED_IN_ROOM)
}

/// Names of threads and paths of cgroups, each kept once.
#[derive(Default)]
struct Texts(HashMap<Arc<str>, u32>);

impl Texts {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.0.get(text) {
            return number;
        }
        let number = self.0.len() as u32;
        self.0.insert(text.into(), number);
        number
    }

    fn in_order(&self) -> Vec<Arc<str>> {
        in_order(&self.0, Arc::clone)
    }

    /// The threads with their texts, sorted, and for each old number the new one.
    fn threads(&self, numbered: &HashMap<NumberedThread, ThreadId>) -> (Vec<Thread>, Vec<ThreadId>) {
        let texts = self.in_order();
        let text = |number: u32| texts[number as usize].clone();
        let with_texts = |(thread, id): (&NumberedThread, &ThreadId)| {
            let NumberedThread { comm, pid, tid, cpu, cgroup } = *thread;
            (Thread { comm: text(comm), pid, tid, cpu, cgroup: text(cgroup) }, *id)
        };
        let mut threads: Vec<(Thread, ThreadId)> = numbered.iter().map(with_texts).collect();
        threads.sort_unstable();
        let mut places = vec![0; threads.len()];
        threads.iter().enumerate().for_each(|(place, (_, id))| places[*id as usize] = place as ThreadId);
        (threads.into_iter().map(|(thread, _)| thread).collect(), places)
    }
}

/// What has become of the keys of a table, in the order of their numbers, which are those from 0 on.
fn in_order<K, V>(numbers: &HashMap<K, u32>, value: impl FnMut(&K) -> V) -> Vec<V> {
    let mut order: Vec<(u32, &K)> = numbers.iter().map(|(key, number)| (*number, key)).collect();
    order.sort_unstable_by_key(|(number, _)| *number);
    order.into_iter().map(|(_, key)| key).map(value).collect()
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
