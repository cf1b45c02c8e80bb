//! The recorded processes as they are at the time of the last process event: names, threads and
//! executable mappings, and which of it the current segment of the recording has already defined.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use profrec_format::ModuleId;
use rustc_hash::FxHashMap;

use crate::code_ranges::CodeRanges;

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
    ended: Option<u64>,
    /// Its mappings are known; else `/proc` is to be asked.
    pub(crate) known: bool,
    /// The segment that has its definition.
    pub(crate) defined_in: u64,
    pub(crate) threads: BTreeMap<u32, Thread>,
    /// By ascending address, not overlapping.
    mappings: Vec<Mapped>,
    /// Never the same for two states of mappings, of this process or any.
    layout_number: u64,
    code: Option<CodeRanges>,
}

impl Process {
    /// One that `/proc` tells of; its mappings are to follow.
    pub(crate) fn found(parent: u32, comm: String, kernel_thread: bool) -> Self {
        Self { parent, comm, kernel_thread, known: true, ..Self::default() }
    }

    pub(crate) fn mappings(&self) -> &[Mapped] {
        &self.mappings
    }

    /// The executable ranges, for the filter.
    pub(crate) fn code(&mut self) -> &CodeRanges {
        let mappings = &self.mappings;
        self.code.get_or_insert_with(|| CodeRanges::new(mappings.iter().map(|mapped| (mapped.start, mapped.end))))
    }

    /// The mapping that holds an address.
    pub(crate) fn find(&self, address: u64) -> Option<&Mapped> {
        let after = self.mappings.partition_point(|mapped| mapped.start <= address);
        let mapped = self.mappings.get(after.checked_sub(1)?)?;
        (address < mapped.end).then_some(mapped)
    }

    /// Adds a mapping, which replaces whatever it overlaps: unmapping is never reported. False when
    /// nothing changes, as when a JIT compiler makes its memory writable and back.
    pub(crate) fn map(&mut self, new: Mapped, time: u64) -> bool {
        if new.start >= new.end || self.find(new.start).is_some_and(|mapped| mapped.holds(&new)) {
            return false;
        }
        let first = self.mappings.partition_point(|mapped| mapped.end <= new.start);
        let last = self.mappings.partition_point(|mapped| mapped.start < new.end).max(first);
        let mut put = Vec::with_capacity(3);
        if let Some(mapped) = self.mappings[first..last].first().filter(|mapped| mapped.start < new.start) {
            put.push(mapped.part(mapped.start, new.start));
        }
        put.push(new);
        if let Some(mapped) = self.mappings[first..last].last().filter(|mapped| mapped.end > new.end) {
            put.push(mapped.part(new.end, mapped.end));
        }
        self.mappings.splice(first..last, put);
        self.changed(time);
        true
    }

    /// A new program: no mappings, one thread.
    pub(crate) fn exec(&mut self, pid: u32, comm: String, time: u64) {
        self.mappings.clear();
        self.known = true;
        self.threads.clear();
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
    fn forked(&self, parent: u32, (tid, thread): (u32, Thread), time: u64) -> Self {
        let comm = thread.comm.clone();
        Self {
            parent,
            comm,
            since: time,
            defined_in: 0,
            ended: None,
            threads: BTreeMap::from([(tid, thread)]),
            code: self.code.clone(),
            mappings: self.mappings.clone(),
            ..*self
        }
    }
}

/// The recorded processes.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    by_pid: FxHashMap<u32, Process>,
}

impl Processes {
    pub(crate) fn get_mut(&mut self, pid: u32) -> Option<&mut Process> {
        self.by_pid.get_mut(&pid)
    }

    pub(crate) fn get(&self, pid: u32) -> Option<&Process> {
        self.by_pid.get(&pid)
    }

    pub(crate) fn insert(&mut self, pid: u32, process: Process) {
        self.by_pid.insert(pid, process);
    }

    pub(crate) fn entry(&mut self, pid: u32) -> &mut Process {
        self.by_pid.entry(pid).or_default()
    }

    /// A thread came into being; its process too, when `pid` is not `parent`. False when the parent
    /// is not one of ours.
    pub(crate) fn fork(&mut self, (pid, tid): (u32, u32), (parent, parent_tid): (u32, u32), time: u64) -> bool {
        let Some(creator) = self.by_pid.get_mut(&parent) else {
            return false;
        };
        let comm = creator.threads.get(&parent_tid).map_or_else(|| creator.comm.clone(), |thread| thread.comm.clone());
        let thread = Thread { comm, since: time, defined_in: 0 };
        if pid == parent {
            creator.threads.insert(tid, thread);
        } else {
            let child = creator.forked(parent, (tid, thread), time);
            self.by_pid.insert(pid, child);
        }
        true
    }

    /// A thread ended, and its process with it when it was the last one known: its last ticks may still
    /// come, so it is remembered for a while. False when it is not one of ours.
    pub(crate) fn exit(&mut self, pid: u32, tid: u32, time: u64) -> bool {
        let Some(process) = self.by_pid.get_mut(&pid) else {
            return false;
        };
        if process.threads.keys().any(|known| *known != tid) {
            process.threads.remove(&tid);
        } else {
            process.ended = Some(time);
        }
        true
    }

    /// Whether a process is one of ours and has ended.
    pub(crate) fn has_ended(&self, pid: u32) -> bool {
        self.by_pid.get(&pid).is_some_and(|process| process.ended.is_some())
    }

    /// Forgets the processes that ended before `time`.
    pub(crate) fn forget_ended(&mut self, time: u64) {
        self.by_pid.retain(|_, process| process.ended.is_none_or(|ended| ended >= time));
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

    /// A child starts with its parent's mappings, and changes to one do not touch the other.
    #[test]
    fn a_child_has_a_copy() {
        let mut processes = Processes::default();
        processes.entry(10).map(mapped(0x1000, 0x2000, 1), 1);
        assert!(processes.fork((11, 11), (10, 10), 5));
        processes.get_mut(11).unwrap().exec(11, "true".to_owned(), 6);
        assert_eq!(processes.get(10).unwrap().mappings().len(), 1);
        assert_eq!(processes.get(11).unwrap().mappings().len(), 0);
        assert!(!processes.fork((21, 21), (20, 20), 5));
        assert!(!processes.exit(20, 20, 7));
    }

    /// A process that has ended is there for its last ticks, and gone later; its number can be used anew at once.
    #[test]
    fn an_ended_process_is_remembered_for_a_while() {
        let mut processes = Processes::default();
        processes.entry(10).map(mapped(0x1000, 0x2000, 1), 1);
        assert!(processes.fork((11, 11), (10, 10), 5) && processes.fork((11, 12), (11, 11), 6));
        assert!(processes.exit(11, 11, 7) && !processes.has_ended(11));
        assert!(processes.exit(11, 12, 8) && processes.has_ended(11));
        processes.forget_ended(8);
        assert!(processes.get(11).is_some());
        assert!(processes.fork((11, 11), (10, 10), 9) && !processes.has_ended(11));
        assert!(processes.exit(11, 11, 10));
        processes.forget_ended(11);
        assert!(processes.get(11).is_none());
    }
}
