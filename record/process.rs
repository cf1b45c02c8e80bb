//! A recorded process as it is at the time of the last process event: name, threads, executable mappings and cgroup, and which
//! of it the current segment of the recording has already defined.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use profrec_format::{ModuleId, Process as Definition};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::code_ranges::CodeRanges;
use crate::hybrid::tally::Had;

/// More executable mappings than the kernel's usual limit of mappings of all kinds (65,530) are not remembered of a process:
/// 3 MB.
pub(crate) const MOST_MAPPINGS: usize = 96 << 10;

/// An executable mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Offset in the module of the byte at `start`.
    pub(crate) offset: u64,
    pub(crate) module: ModuleId,
}

impl Mapped {
    pub(crate) fn contains(&self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }

    /// The part from `start` to `end`, which must lie inside.
    fn part(&self, start: u64, end: u64) -> Self {
        Self { start, end, offset: self.offset.wrapping_add(start - self.start), module: self.module }
    }

    fn holds(&self, other: &Self) -> bool {
        self.start <= other.start && other.end <= self.end && self.part(other.start, other.end) == *other
    }
}

/// A thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Thread {
    pub(crate) comm: String,
    /// Since when it has this name.
    pub(crate) since: u64,
    /// The segment that has its name.
    pub(crate) defined_in: u64,
}

/// A process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Process {
    pub(crate) parent: u32,
    pub(crate) comm: String,
    pub(crate) kernel_thread: bool,
    /// Since when it is as it is.
    pub(crate) since: u64,
    /// When it ended, if it has.
    pub(crate) ended: Option<u64>,
    /// Its mappings are known; else `/proc` is to be asked.
    pub(crate) known: bool,
    /// The segment that has its definition.
    pub(crate) defined_in: u64,
    /// As it was then.
    defined_at: u64,
    /// Where mappings start that the segment has.
    told: FxHashSet<u64>,
    pub(crate) had: Had,
    /// It has a new program, which has not been seen running.
    pub(crate) is_new: bool,
    /// When it was last needed.
    pub(crate) used: u64,
    pub(crate) threads: FxHashMap<u32, Thread>,
    /// Empty when it is not known. A child process has its parent's.
    pub(crate) cgroup: Arc<str>,
    /// When it was asked for its cgroup, and not only its parent; else 0.
    pub(crate) cgroup_asked: u64,
    /// The id of the one that its last tick was in; 0 when that is not known.
    pub(crate) cgroup_id: u64,
    /// Mappings that were not remembered since `/proc` was asked.
    pub(crate) refused: usize,
    /// By ascending address, not overlapping. Shared with the process that it was forked from, until either changes.
    mappings: Arc<Vec<Mapped>>,
    /// Never the same for two states of mappings, of this process or any.
    layout_number: u64,
    code: Option<Arc<CodeRanges>>,
}

impl Process {
    /// One that `/proc` tells of; its mappings are to follow.
    pub(crate) fn found(parent: u32, comm: String, kernel_thread: bool) -> Self {
        Self { parent, comm, kernel_thread, known: true, ..Self::default() }
    }

    /// What defines it in a recording.
    pub(crate) fn definition(&self, pid: u32, time: u64) -> Definition {
        Definition {
            time,
            pid,
            parent: self.parent,
            comm: self.comm.clone(),
            kernel_thread: self.kernel_thread,
            cgroup: self.cgroup.to_string(),
        }
    }

    pub(crate) fn mappings(&self) -> &[Mapped] {
        &self.mappings
    }

    /// Notes that a segment defines it, as it is at `time`; which mappings that has is to be told.
    pub(crate) fn defined(&mut self, segment: u64, time: u64) {
        (self.defined_in, self.defined_at) = (segment, time);
        self.told.clear();
    }

    /// As of when the segment at hand has it.
    pub(crate) fn defined_at(&self) -> u64 {
        self.defined_at
    }

    /// Notes that the segment at hand has a mapping. False when it had it before.
    pub(crate) fn tell(&mut self, mapped: Mapped) -> bool {
        self.told.insert(mapped.start)
    }

    /// How many mappings the segment at hand has, at most.
    pub(crate) fn told(&self) -> usize {
        self.told.len()
    }

    /// The executable ranges, for the filter.
    pub(crate) fn code(&mut self) -> &CodeRanges {
        let mappings = &self.mappings;
        let ranges = || CodeRanges::new(mappings.iter().map(|mapped| (mapped.start, mapped.end)));
        self.code.get_or_insert_with(|| Arc::new(ranges()))
    }

    /// The mapping that holds an address.
    pub(crate) fn find(&self, address: u64) -> Option<&Mapped> {
        let after = self.mappings.partition_point(|mapped| mapped.start <= address);
        self.mappings.get(after.checked_sub(1)?).filter(|mapped| mapped.contains(address))
    }

    /// Whether more mappings may be remembered.
    pub(crate) fn has_room(&self) -> bool {
        self.mappings.len() < MOST_MAPPINGS
    }

    /// Adds a mapping, which replaces whatever it overlaps: unmapping is never reported. False when
    /// nothing changes, as when a JIT compiler makes its memory writable and back, and when there are too many.
    pub(crate) fn map(&mut self, new: Mapped, time: u64) -> bool {
        if new.start >= new.end || self.find(new.start).is_some_and(|mapped| mapped.holds(&new)) || !self.has_room() {
            return false;
        }
        let first = self.mappings.partition_point(|mapped| mapped.end <= new.start);
        let last = self.mappings.partition_point(|mapped| mapped.start < new.end).max(first);
        let mut put = Vec::with_capacity(3);
        // What is told of a part stays told: a reader splits mappings, too.
        let rest_is_told = self.mappings[first..last].last().is_some_and(|mapped| self.told.contains(&mapped.start));
        for mapped in self.mappings[first..last].iter().filter(|mapped| mapped.start >= new.start) {
            self.told.remove(&mapped.start);
        }
        if let Some(mapped) = self.mappings[first..last].first().filter(|mapped| mapped.start < new.start) {
            put.push(mapped.part(mapped.start, new.start));
        }
        put.push(new);
        if let Some(mapped) = self.mappings[first..last].last().filter(|mapped| mapped.end > new.end) {
            put.push(mapped.part(new.end, mapped.end));
            if rest_is_told {
                self.told.insert(new.end);
            }
        }
        Arc::make_mut(&mut self.mappings).splice(first..last, put);
        self.changed(time);
        true
    }

    /// A new program: no mappings, one thread.
    pub(crate) fn exec(&mut self, pid: u32, comm: String, time: u64) {
        self.mappings = Arc::default();
        self.told.clear();
        self.defined_at = time;
        (self.known, self.is_new) = (true, true);
        // Who starts a program often moves it to its cgroup first.
        (self.cgroup_asked, self.cgroup_id) = (0, 0);
        self.threads = FxHashMap::default();
        self.threads.insert(pid, Thread { comm: comm.clone(), since: time, defined_in: 0 });
        self.comm = comm;
        self.changed(time);
    }

    /// A number for the mappings as they are: it changes with them.
    pub(crate) fn layout_number(&self) -> u64 {
        self.layout_number
    }

    /// Gives the layout a new number though it is the same: what was remembered of its stacks is not to be relied on.
    pub(crate) fn renew_layout(&mut self) {
        static LAYOUTS: AtomicU64 = AtomicU64::new(0);
        self.layout_number = LAYOUTS.fetch_add(1, Ordering::Relaxed) + 1;
    }

    fn changed(&mut self, time: u64) {
        self.renew_layout();
        self.code = None;
        self.since = self.since.max(time);
    }

    /// What a child process starts with.
    pub(crate) fn forked(&self, parent: u32, (tid, thread): (u32, Thread), time: u64) -> Self {
        Self {
            parent,
            comm: thread.comm.clone(),
            since: time,
            used: time,
            defined_in: 0,
            defined_at: time,
            told: self.told.clone(),
            had: Had::default(),
            is_new: false,
            ended: None,
            threads: FxHashMap::from_iter([(tid, thread)]),
            cgroup: Arc::clone(&self.cgroup),
            cgroup_asked: 0,
            cgroup_id: 0,
            code: self.code.clone(),
            mappings: Arc::clone(&self.mappings),
            ..*self
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn mapped(start: u64, end: u64, module: ModuleId) -> Mapped {
        Mapped { start, end, offset: start, module }
    }

    /// A mapping in the middle of another splits it, and the parts keep their offsets.
    #[test]
    fn a_mapping_replaces_what_it_overlaps() {
        let mut process = Process::default();
        assert!(process.map(mapped(0x1000, 0x5000, 1), 1));
        assert!(process.map(mapped(0x2000, 0x3000, 2), 2));
        let all = [mapped(0x1000, 0x2000, 1), mapped(0x2000, 0x3000, 2), mapped(0x3000, 0x5000, 1)];
        assert_eq!(process.mappings(), all);
        assert!(process.map(mapped(0x1800, 0x4800, 3), 3));
        let all = [mapped(0x1000, 0x1800, 1), mapped(0x1800, 0x4800, 3), mapped(0x4800, 0x5000, 1)];
        assert_eq!(process.mappings(), all);
        assert_eq!(process.find(0x47ff).unwrap().module, 3);
        assert!(process.find(0x5000).is_none());
        assert_eq!(process.since, 3);
    }

    /// Memory that is mapped again as it was changes nothing.
    #[test]
    fn a_repeated_mapping_changes_nothing() {
        let mut process = Process::default();
        process.map(mapped(0x1000, 0x5000, 1), 1);
        assert!(!process.map(mapped(0x2000, 0x3000, 1), 2));
        assert!(!process.map(mapped(0x3000, 0x3000, 9), 2));
        assert_eq!(process.since, 1);
    }

    /// What a segment has been told of a mapping holds for the parts that another one leaves of it, and of nothing else.
    #[test]
    fn what_is_left_of_a_mapping_is_told() {
        let mut process = Process::default();
        process.map(mapped(0x1000, 0x5000, 1), 1);
        process.map(mapped(0x7000, 0x9000, 1), 1);
        process.defined(1, 1);
        assert!(process.tell(mapped(0x1000, 0x5000, 1)));
        process.map(mapped(0x2000, 0x3000, 2), 2);
        let told = |process: &Process| {
            process.mappings().iter().map(|it| process.told.contains(&it.start)).collect::<Vec<_>>()
        };
        assert_eq!(told(&process), [true, false, true, false]);
        process.map(mapped(0x7800, 0x8000, 2), 3);
        assert_eq!(told(&process), [true, false, true, false, false, false]);
        process.map(mapped(0x1000, 0x4000, 3), 4);
        assert_eq!(told(&process), [false, true, false, false, false]);
        process.exec(1, "new".to_owned(), 5);
        assert_eq!((process.told(), process.defined_at()), (0, 5));
    }

    /// A process that maps without end is remembered up to a limit, and what was there stays.
    #[test]
    fn mappings_have_a_limit() {
        let mut process = Process::default();
        let page = |number: u64| mapped(number << 13, (number << 13) + 0x1000, 1);
        let added = (1..MOST_MAPPINGS as u64 + 100).filter(|number| process.map(page(*number), 1)).count();
        assert_eq!((added, process.mappings().len(), process.has_room()), (MOST_MAPPINGS, MOST_MAPPINGS, false));
        assert_eq!(process.find(1 << 13), Some(&page(1)));
    }
}
