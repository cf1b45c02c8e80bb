//! The processes, threads and mappings that there are when a part of a recording begins, as records.

use foldhash::{HashMap, HashSet};
use profrec_format::{Exec, Exit, Mapping, Process, Record, Sample, Thread};

use crate::world::{self, World};

/// More mappings and threads than any machine has at once.
const LIMIT: usize = 2 << 20;

/// Whose samples and children the part has: what has ended before it is needed for these alone.
#[derive(Default)]
pub(super) struct Wanted {
    pids: HashSet<u32>,
    tids: HashSet<u32>,
}

impl Wanted {
    /// The thread of a sample.
    pub(super) fn add_sample(&mut self, sample: &Sample) {
        self.pids.insert(sample.pid);
        self.tids.extend([sample.pid, sample.tid]);
    }

    /// The creator of a process or thread.
    pub(super) fn add_record(&mut self, record: &Record) {
        if let Record::Fork(fork) = record {
            self.pids.insert(fork.parent);
            self.tids.insert(fork.parent_tid);
        }
    }
}

/// The records that make, of nothing, the world as it is at `time`. `None` when there are more than any machine
/// makes necessary.
pub(super) fn definitions(world: &World<'_>, time: u64, wanted: &Wanted) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    let is_needed = |pid: u32, process: &world::Process| !process.has_ended || wanted.pids.contains(&pid);
    for (&pid, process) in in_order(&world.processes) {
        if !is_needed(pid, process) {
            continue;
        }
        let comm = world.threads.get(&pid).map(|thread| thread.comm.clone()).unwrap_or_default();
        let (parent, kernel_thread, cgroup) = (process.parent, process.kernel_thread, process.cgroup.to_string());
        records.push(Record::Process(Process { time, pid, parent, comm: comm.clone(), kernel_thread, cgroup }));
        if process.is_new {
            records.push(Record::Exec(Exec { time, pid, comm }));
        }
        if records.len() + process.space.mappings().len() > LIMIT {
            return None;
        }
        records.extend(process.space.mappings().iter().map(|mapped| {
            let (start, end, offset, module) = (mapped.start, mapped.end, mapped.offset, mapped.module);
            Record::Mapping(Mapping { time, pid, start, end, offset, module })
        }));
        if process.has_ended {
            records.push(Record::Exit(Exit { time, pid, tid: pid }));
        }
    }
    for (&tid, thread) in in_order(&world.threads) {
        let is_named = world.processes.get(&tid).is_some_and(|process| is_needed(tid, process));
        if !is_named && (!thread.has_ended || wanted.tids.contains(&tid)) {
            records.push(Record::Thread(Thread { time, pid: thread.pid, tid, comm: thread.comm.clone() }));
        }
    }
    (records.len() <= LIMIT).then_some(records)
}

/// What is known by number, in the order of the numbers.
fn in_order<T>(map: &HashMap<u32, T>) -> Vec<(&u32, &T)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_unstable_by_key(|(number, _)| **number);
    entries
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use profrec_format::Fork;

    /// A process that has a new program when the part begins keeps its parent: an exec alone does not tell it.
    #[test]
    fn a_process_that_is_new_by_exec_lost_its_parent() {
        let fork = Record::Fork(Fork { time: 1, pid: 7, tid: 7, parent: 5, parent_tid: 5 });
        let exec = Record::Exec(Exec { time: 2, pid: 7, comm: "b".into() });
        let numbers = HashMap::default();
        let mut whole = World::new(&numbers, vec![fork, exec], 100);
        whole.before(10);
        let records = definitions(&whole, 10, &Wanted::default()).unwrap();
        let mut part = World::new(&numbers, records, 100);
        part.before(11);
        let process = &part.processes[&7];
        assert_eq!((process.parent, process.is_new, &*part.threads[&7].comm), (5, true, "b"));
    }
}
