//! What a sample is of as a whole, whatever its stack: what stands at the root of the tree.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{By, Code, Function, PathCount, Process};
use crate::refine::Side;
use crate::stacks::{Count, Stacks};

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
        for count in &self.stacks.counts {
            *groups.entry(self.root(count)).or_default() += count.samples;
        }
        let groups = groups.into_iter().map(|(name, samples)| Function {
            self_samples: samples,
            total_samples: samples,
            ..Function::new((*name).into(), "".into(), Code::User)
        });
        groups.collect()
    }

    /// How often each stack was seen under each root. Above and below a function, there is a root only where it is asked for.
    pub(super) fn path_counts(&self, side: Option<Side>) -> Vec<PathCount> {
        let has_root = side.is_none() || self.by.is_of_samples();
        let counts = self.stacks.counts.iter().filter(|count| (count.stack as usize) < self.stacks.stacks.len());
        let root = |count| has_root.then(|| self.root(count));
        let mut counts: Vec<_> = counts.map(|count| ((root(count), count.stack as usize), count.samples)).collect();
        // Stable, because that is quick where most of them are in order already.
        counts.sort_by(|(a, _), (b, _)| a.cmp(b));
        counts.dedup_by(|(next, samples), (kept, sum)| {
            let is_same = next == kept;
            *sum += if is_same { *samples } else { 0 };
            is_same
        });
        let counts = counts.into_iter();
        counts.map(|((root, path), samples)| PathCount { root: root.map(Cow::into_owned), path, samples }).collect()
    }

    /// The name of the sample's thread, unless something else is asked for.
    fn root(&self, count: &'a Count) -> Cow<'a, str> {
        let Count { comm, pid, tid, cpu, cgroup, .. } = count;
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
    for count in &stacks.counts {
        *names.entry((count.pid, count.tid)).or_default().entry(&count.comm).or_default() += count.samples;
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
        let count = |comm: &str, tid, samples| Count {
            comm: comm.into(),
            pid: 7,
            tid,
            cpu: None,
            cgroup: "".into(),
            stack: 0,
            samples,
        };
        let stacks = Stacks {
            stacks: vec![crate::stacks::Stack {
                end: crate::paths::NOTHING,
                verdict: crate::stacks::Verdict::Complete,
            }],
            counts: vec![count("after", 7, 5), count("before", 7, 4), count("before", 8, 2)],
            ..Stacks::default()
        };
        let roots = Roots::new(By::Thread, &stacks, &[]);
        let rows: Vec<_> = roots.groups().iter().map(|row| (row.name.to_string(), row.self_samples)).collect();
        assert_eq!(rows, [("after (7/7)".to_owned(), 9), ("before (7/8)".to_owned(), 2)]);
        assert_eq!(roots.path_counts(None).len(), 2);
    }
}
