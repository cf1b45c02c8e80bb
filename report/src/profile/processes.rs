//! The processes of a profile.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::stacks::Stacks;

/// One process and its samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// The name of its main thread, else of the thread with the most samples.
    pub comm: String,
    /// Threads that were sampled.
    pub threads: u64,
    /// Samples.
    pub samples: u64,
    /// Path of its cgroup; empty when unknown.
    pub cgroup: Arc<str>,
}

/// The processes, most samples first.
pub(super) fn count(stacks: &Stacks) -> Vec<Process> {
    let mut threads: BTreeMap<u32, BTreeMap<(u32, &str), u64>> = BTreeMap::new();
    for count in &stacks.counts {
        *threads.entry(count.pid).or_default().entry((count.tid, &count.comm)).or_default() += count.samples;
    }
    let mut processes: Vec<Process> = threads
        .iter()
        .map(|(&pid, threads)| process(pid, threads, stacks.cgroups.get(&pid).cloned().unwrap_or_default()))
        .collect();
    processes.sort_by_key(|process| (std::cmp::Reverse(process.samples), process.pid));
    processes
}

fn process(pid: u32, threads: &BTreeMap<(u32, &str), u64>, cgroup: Arc<str>) -> Process {
    let main = |tid: u32| tid == pid;
    let named = threads.iter().max_by_key(|((tid, _), samples)| (main(*tid), **samples));
    let mut tids: Vec<u32> = threads.keys().map(|(tid, _)| *tid).collect();
    tids.dedup();
    Process {
        pid,
        comm: named.map(|((_, comm), _)| (*comm).to_owned()).unwrap_or_default(),
        threads: tids.len() as u64,
        samples: threads.values().sum(),
        cgroup,
    }
}
