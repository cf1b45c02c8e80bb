//! The threads that stacks are counted for, each kept once, with the texts of their names and cgroups.

use std::sync::Arc;

use foldhash::HashMap;

use super::CountedThread;
use crate::stacks::{Thread, ThreadId};

/// Threads by their numbers, in the order in which they came.
#[derive(Default)]
pub(super) struct Threads {
    texts: Texts,
    numbers: HashMap<NumberedThread, ThreadId>,
}

/// A thread, with its texts by their numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct NumberedThread {
    comm: u32,
    pid: u32,
    tid: u32,
    cpu: Option<u32>,
    cgroup: u32,
}

impl Threads {
    /// The number of a thread.
    pub(super) fn number(&mut self, thread: CountedThread<'_>) -> ThreadId {
        let CountedThread { comm, pid, tid, cpu, cgroup } = thread;
        let (comm, cgroup) = (self.texts.number(comm), self.texts.number(cgroup));
        let next = self.numbers.len() as ThreadId;
        *self.numbers.entry(NumberedThread { comm, pid, tid, cpu, cgroup }).or_insert(next)
    }

    /// The same, where it is known.
    pub(super) fn known(&self, thread: CountedThread<'_>) -> Option<ThreadId> {
        let CountedThread { comm, pid, tid, cpu, cgroup } = thread;
        let (comm, cgroup) = (self.texts.known(comm)?, self.texts.known(cgroup)?);
        self.numbers.get(&NumberedThread { comm, pid, tid, cpu, cgroup }).copied()
    }

    /// The threads by their numbers.
    pub(super) fn in_order(&self) -> Vec<Thread> {
        let texts = in_order(&self.texts.0, Arc::clone);
        let text = |number: u32| texts[number as usize].clone();
        in_order(&self.numbers, |&NumberedThread { comm, pid, tid, cpu, cgroup }| Thread {
            comm: text(comm),
            pid,
            tid,
            cpu,
            cgroup: text(cgroup),
        })
    }

    /// The threads, sorted, and for each old number the new one.
    pub(super) fn sorted(&self) -> (Vec<Thread>, Vec<ThreadId>) {
        let mut threads: Vec<(Thread, ThreadId)> = self.in_order().into_iter().zip(0..).collect();
        threads.sort_unstable();
        let mut places = vec![0; threads.len()];
        threads.iter().enumerate().for_each(|(place, (_, id))| places[*id as usize] = place as ThreadId);
        (threads.into_iter().map(|(thread, _)| thread).collect(), places)
    }
}

/// Names of threads and paths of cgroups, each kept once.
#[derive(Default)]
struct Texts(HashMap<Arc<str>, u32>);

impl Texts {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.known(text) {
            return number;
        }
        let number = self.0.len() as u32;
        self.0.insert(text.into(), number);
        number
    }

    fn known(&self, text: &str) -> Option<u32> {
        self.0.get(text).copied()
    }
}

/// What has become of the keys of a table, in the order of their numbers, which are those from 0 on.
fn in_order<K, V>(numbers: &HashMap<K, u32>, value: impl FnMut(&K) -> V) -> Vec<V> {
    let mut order: Vec<(u32, &K)> = numbers.iter().map(|(key, number)| (*number, key)).collect();
    order.sort_unstable_by_key(|(number, _)| *number);
    order.into_iter().map(|(_, key)| key).map(value).collect()
}
