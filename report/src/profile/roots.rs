//! What a sample is of as a whole, whatever its stack: what stands at the root of the tree.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{By, Code, Function, Process, RootId, StackCount};
use crate::refine::Side;
use crate::stacks::{Count, Stacks, Thread};

/// What is not known.
const UNKNOWN: &str = "[unknown]";

/// The samples of a recording, and what they are of.
pub(super) struct Roots<'a> {
    by: By,
    stacks: &'a Stacks,
    /// By process id.
    processes: BTreeMap<u32, &'a Process>,
    /// By process id and thread id, where threads are asked for: of the names that a thread had, the one with the most samples.
    threads: BTreeMap<(u32, u32), &'a str>,
}

impl<'a> Roots<'a> {
    pub(super) fn new(by: By, stacks: &'a Stacks, processes: &'a [Process]) -> Self {
        let threads = if by == By::Thread { names_of_threads(stacks) } else { BTreeMap::new() };
        Self { by, stacks, processes: processes.iter().map(|process| (process.pid, process)).collect(), threads }
    }

    /// The threads, CPUs and so on with their samples, where these are asked for.
    pub(super) fn groups(&self) -> Vec<Function> {
        if !self.by.is_of_samples() {
            return Vec::new();
        }
        let mut groups: BTreeMap<Cow<'_, str>, u64> = BTreeMap::new();
        for (thread, samples) in self.stacks.threads.iter().zip(self.stacks.samples_by_thread()) {
            if samples > 0 {
                *groups.entry(self.root(thread)).or_default() += samples;
            }
        }
        let groups = groups.into_iter().map(|(name, samples)| Function {
            self_samples: samples,
            total_samples: samples,
            ..Function::new((*name).into(), "".into(), Code::User)
        });
        groups.collect()
    }

    /// The roots in the order of their names, and how often each stack was seen under each. Above and below a function, there is a root
    /// only where it is asked for.
    pub(super) fn stack_counts(&self, side: Option<Side>) -> (Vec<String>, Vec<StackCount>) {
        let has_root = side.is_none() || self.by.is_of_samples();
        let of_threads: Vec<Cow<'_, str>> =
            self.stacks.threads.iter().filter(|_| has_root).map(|thread| self.root(thread)).collect();
        let shown = of_threads.iter().zip(self.stacks.samples_by_thread()).filter(|(_, samples)| *samples > 0);
        let mut roots: Vec<&str> = shown.map(|(root, _)| &**root).collect();
        roots.sort_unstable();
        roots.dedup();
        let place = |root: &Cow<'_, str>| roots.binary_search(&&**root).unwrap_or_default() as RootId;
        let of_threads: Vec<RootId> = of_threads.iter().map(place).collect();
        let counts = self.stacks.counts.iter().filter(|count| (count.stack as usize) < self.stacks.stacks.len());
        let count = |count: &Count| StackCount {
            root: of_threads.get(count.thread as usize).copied(),
            stack: count.stack,
            samples: count.samples,
        };
        let mut counts: Vec<StackCount> = counts.map(count).collect();
        counts.sort_unstable_by_key(|count| (count.root, count.stack));
        counts.dedup_by(|next, kept| {
            let is_same = (next.root, next.stack) == (kept.root, kept.stack);
            kept.samples += if is_same { next.samples } else { 0 };
            is_same
        });
        counts.shrink_to_fit();
        (roots.into_iter().map(str::to_owned).collect(), counts)
    }

    /// The name of the thread, unless something else is asked for.
    fn root(&self, thread: &'a Thread) -> Cow<'a, str> {
        let Thread { comm, pid, tid, cpu, cgroup } = thread;
        let process = self.processes.get(pid).copied();
        match self.by {
            By::Thread => format!("{} ({pid}/{tid})", self.threads.get(&(*pid, *tid)).unwrap_or(&&**comm)).into(),
            By::Process => format!("{} ({pid})", process.map_or(&**comm, |process| &*process.comm)).into(),
            By::Cpu => cpu.map_or(UNKNOWN.into(), |cpu| format!("CPU {cpu}").into()),
            By::Cgroup => match &**cgroup {
                "" => UNKNOWN.into(),
                cgroup => cgroup.into(),
            },
            _ => (&**comm).into(),
        }
    }
}

fn names_of_threads(stacks: &Stacks) -> BTreeMap<(u32, u32), &str> {
    let mut names: BTreeMap<(u32, u32), BTreeMap<&str, u64>> = BTreeMap::new();
    for (thread, samples) in stacks.threads.iter().zip(stacks.samples_by_thread()) {
        if samples > 0 {
            *names.entry((thread.pid, thread.tid)).or_default().entry(&thread.comm).or_default() += samples;
        }
    }
    let named = names.into_iter().filter_map(|(thread, names)| {
        let (name, _) = names.into_iter().max_by_key(|(_, samples)| *samples)?;
        Some((thread, name))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread that changes its name is one row, and one root of the tree, by the name of most of its samples; its namesake is another.
    #[test]
    fn a_thread_that_changed_its_name_is_one() {
        let thread = |comm: &str, tid| Thread { comm: comm.into(), pid: 7, tid, cpu: None, cgroup: "".into() };
        let count = |thread, samples| Count { thread, stack: 0, samples };
        let verdict = crate::stacks::Verdict::Complete;
        let stacks = Stacks {
            stacks: vec![crate::stacks::Stack { end: crate::paths::NOTHING, verdict }],
            threads: vec![thread("after", 7), thread("before", 7), thread("before", 8)],
            counts: vec![count(0, 5), count(1, 4), count(2, 2)],
            ..Stacks::default()
        };
        let roots = Roots::new(By::Thread, &stacks, &[]);
        let rows: Vec<_> = roots.groups().iter().map(|row| (row.name.to_string(), row.self_samples)).collect();
        assert_eq!(rows, [("after (7/7)".to_owned(), 9), ("before (7/8)".to_owned(), 2)]);
        assert_eq!(roots.stack_counts(None).1.len(), 2);
    }
}
