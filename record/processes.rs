//! The recorded processes, and how many of them are remembered: a process that is forgotten while it runs is learnt anew
//! from `/proc` when it is needed again.

use rustc_hash::FxHashMap;

use crate::process::{Mapped, Process, Thread};

/// What is remembered of all processes together takes no more bytes than this, as long as more than one is remembered.
const MOST_BYTES: usize = 24 << 20;

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

    /// The ids of those that have not ended.
    pub(crate) fn running(&self) -> impl Iterator<Item = u32> {
        self.by_pid.iter().filter(|(_, process)| process.ended.is_none()).map(|(pid, _)| *pid)
    }

    /// How many threads those have.
    pub(crate) fn running_threads(&self) -> u64 {
        let running = self.by_pid.values().filter(|process| process.ended.is_none());
        running.map(|process| process.threads.len() as u64).sum()
    }

    /// All process ids.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.by_pid.keys().copied().collect()
    }

    /// Forgets the processes that ended before `time`, and when the others take too much memory, those that were not needed for
    /// the longest time. Gives those of them that were running.
    pub(crate) fn forget(&mut self, time: u64) -> Vec<(u32, Process)> {
        self.by_pid.retain(|_, process| process.ended.is_none_or(|ended| ended >= time));
        self.forget_down_to(MOST_BYTES)
    }

    fn forget_down_to(&mut self, most: usize) -> Vec<(u32, Process)> {
        let mut bytes: usize = self.by_pid.values().map(size).sum();
        if bytes <= most {
            return Vec::new();
        }
        let mut by_use: Vec<(u64, u32)> = self.by_pid.iter().map(|(pid, process)| (process.used, *pid)).collect();
        by_use.sort_unstable();
        by_use.pop();
        let mut forgotten = Vec::new();
        for (_, pid) in by_use {
            // Some more than necessary, or all is counted again the next time.
            if bytes <= most / 4 * 3 {
                break;
            }
            let process = self.by_pid.remove(&pid);
            bytes -= process.as_ref().map_or(0, size);
            forgotten.extend(process.filter(|process| process.ended.is_none()).map(|process| (pid, process)));
        }
        self.by_pid.shrink_to_fit();
        forgotten
    }
}

/// About how many bytes a process takes. Mappings that it shares with its parent count for both.
fn size(process: &Process) -> usize {
    /// A thread's place in its table, and its name.
    const THREAD: usize = 2 * size_of::<(u32, Thread)>() + 32;
    /// The code ranges, if they have been asked for, take half as much as the mappings.
    const MAPPING: usize = size_of::<Mapped>() * 3 / 2;
    /// Where a mapping starts, in its table.
    const TOLD: usize = 16;
    2 * size_of::<(u32, Process)>()
        + process.threads.len() * THREAD
        + process.mappings().len() * MAPPING
        + process.told() * TOLD
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use profrec_format::ModuleId;

    use super::*;

    fn mapped(start: u64, end: u64, module: ModuleId) -> Mapped {
        Mapped { start, end, offset: start, module }
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
        assert!(processes.forget(8).is_empty());
        assert!(processes.get(11).is_some());
        assert!(processes.fork((11, 11), (10, 10), 9) && !processes.has_ended(11));
        assert!(processes.exit(11, 11, 10));
        processes.forget(11);
        assert!(processes.get(11).is_none());
    }

    /// However many processes, threads and mappings there are, what is remembered stays below the limit: those that were
    /// needed last.
    #[test]
    fn memory_is_bounded() {
        let mut processes = Processes::default();
        for pid in 1..=60_000 {
            let process = processes.entry(pid);
            process.exec(pid, "a process".to_owned(), u64::from(pid));
            for module in 1..8 {
                let start = u64::from(module) << 20;
                assert!(process.map(mapped(start, start + 4096, module), 1));
            }
            process.used = u64::from(pid);
            if pid % 1_000 == 0 {
                let forgotten = processes.forget(0);
                assert!(forgotten.iter().all(|(forgotten, _)| *forgotten < pid));
            }
        }
        assert!(processes.by_pid.values().map(size).sum::<usize>() <= MOST_BYTES);
        assert!(processes.get(60_000).is_some() && processes.get(1).is_none());
        for tid in 0..1_000_000 {
            assert!(processes.fork((60_000, tid), (60_000, 60_000), 9));
        }
        processes.forget(0);
        assert_eq!(processes.pids(), [60_000]);
    }
}
