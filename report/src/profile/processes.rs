//! The processes of a profile.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::stacks::{Count, Frame, Location, Stacks, Verdict};

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
    /// Of these, those with a user side.
    pub user_samples: u64,
    /// Of these, those whose stacks end in start code.
    pub complete: u64,
    /// Path of its cgroup; empty when unknown.
    pub cgroup: Arc<str>,
}

/// The processes, most samples first.
pub(super) fn count(stacks: &Stacks) -> Vec<Process> {
    let mut threads: BTreeMap<u32, BTreeMap<(u32, &str), u64>> = BTreeMap::new();
    for (thread, samples) in stacks.threads.iter().zip(stacks.samples_by_thread()) {
        if samples > 0 {
            *threads.entry(thread.pid).or_default().entry((thread.tid, &thread.comm)).or_default() += samples;
        }
    }
    let mut processes: Vec<Process> = threads
        .iter()
        .map(|(&pid, threads)| process(pid, threads, stacks.cgroups.get(&pid).cloned().unwrap_or_default()))
        .collect();
    let ends = ends(stacks);
    for process in &mut processes {
        (process.user_samples, process.complete) = ends.get(&process.pid).copied().unwrap_or_default();
    }
    processes.sort_by_key(|process| (std::cmp::Reverse(process.samples), process.pid));
    processes
}

impl Process {
    /// How many of the stacks with a user side end in start code, in percent; `None` when there are none.
    pub fn complete_percent(&self) -> Option<f64> {
        (self.user_samples > 0).then(|| 100.0 * self.complete as f64 / self.user_samples as f64)
    }
}

/// By process: samples with a user side, and those of them whose stacks end in start code.
fn ends(stacks: &Stacks) -> BTreeMap<u32, (u64, u64)> {
    let mut ends: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    let is_user = |frame: Frame| {
        let location = stacks.locations.get(frame.location() as usize);
        location.is_some_and(|location| !matches!(location, Location::Kernel { .. }))
    };
    let has_user_frame = stacks.paths.fold(false, |before, frame| *before || is_user(frame));
    // A sample has a user side, be it one whose stack is not known.
    let has_user_side = |count: &&Count| {
        let stack = stacks.stacks.get(count.stack as usize);
        stack.is_some_and(|stack| stack.verdict == Verdict::NotRecorded || has_user_frame[stack.end as usize])
    };
    for count in stacks.counts.iter().filter(has_user_side) {
        let Some(thread) = stacks.threads.get(count.thread as usize) else { continue };
        let (user, complete) = ends.entry(thread.pid).or_default();
        *user += count.samples;
        let is_complete = |verdict| verdict == Verdict::Complete;
        if stacks.stacks.get(count.stack as usize).is_some_and(|stack| is_complete(stack.verdict)) {
            *complete += count.samples;
        }
    }
    ends
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
        user_samples: 0,
        complete: 0,
        cgroup,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::tests::paths;
    use crate::stacks::{Stack, Thread};

    /// Of a process' samples, those without a user side say nothing about its stacks; a stack that is not known did not end
    /// in start code.
    #[test]
    fn only_user_stacks_end_in_start_code() {
        let frame = |location| Frame::new(location, false);
        let (paths, ends) = paths(&[vec![frame(0)], vec![frame(1), frame(0)], vec![frame(1)]]);
        let stack = |path: usize, verdict| Stack { end: ends[path], verdict };
        let count = |stack, samples| Count { thread: 0, stack, samples };
        let stacks = Stacks {
            locations: vec![Location::Kernel { address: 1 }, Location::Process { pid: 7, address: 2 }],
            stacks: vec![
                stack(0, Verdict::ExecOrExit),
                stack(1, Verdict::Complete),
                stack(2, Verdict::Implausible),
                stack(0, Verdict::NotRecorded),
            ],
            paths,
            threads: vec![Thread { comm: "p".into(), pid: 7, tid: 7, cpu: None, cgroup: "".into() }],
            counts: vec![count(0, 100), count(1, 6), count(2, 3), count(3, 1)],
            ..Stacks::default()
        };
        let processes = super::count(&stacks);
        let process = &processes[0];
        assert_eq!((process.samples, process.user_samples, process.complete), (110, 10, 6));
        assert_eq!(process.complete_percent(), Some(60.0));
    }
}
