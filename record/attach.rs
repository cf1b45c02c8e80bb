//! Puts the clocks where the target runs.
//!
//! A clock that follows a thread ticks only while the thread runs, and the rest of the machine does not
//! even notice. New threads and child processes inherit it, but each starts with a whole period: one
//! that uses less CPU than that is never seen. (300 times `/bin/true`, 0.25 s of CPU, at 999 Hz: 3
//! samples with inherited clocks, 205 with CPU-wide ones.) So these clocks are for processes that are
//! there and stay; a command, or processes that have children, get one clock a CPU and a filter at the
//! top of the BPF program. So do processes with many threads, each of which would need its own clock. Clocks of CPUs
//! are there for the others, too, and do not tick: they take over where threads turn out to be short-lived (short_lives.rs).
//!
//! A target does not stand still until all is in place: threads and child processes that came meanwhile are looked for
//! afterwards, until there are none.

use std::io::Write;

use anyhow::Result;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::perf_event::Scope;
use crate::proc_maps;
use crate::sampler::Sampler;
use crate::side_band::SideBand;
use crate::stream::{Stream, now};
use crate::target::Target;

/// With more threads than this, clocks are CPU-wide.
pub(crate) const MOST_THREAD_CLOCKS: usize = 64;
/// Whoever creates threads or processes faster than they can be looked for is not waited for.
const MOST_ROUNDS: usize = 100;

/// Which clocks a recording uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clocks {
    /// One a CPU; every tick counts.
    Cpus,
    /// One a CPU; those ticks count that hit the target.
    FilteredCpus,
    /// One for each thread of the target.
    OneThread,
    /// One a thread.
    Threads {
        /// Child processes inherit it.
        inherit: bool,
    },
}

impl Clocks {
    /// What suits the target.
    pub(crate) fn choose(target: &Target, inherit: bool) -> Self {
        match target {
            Target::Machine => Self::Cpus,
            Target::Command(_) => Self::FilteredCpus,
            Target::Threads(threads) if threads.len() <= MOST_THREAD_CLOCKS => Self::OneThread,
            Target::Threads(_) => Self::FilteredCpus,
            Target::Processes(pids) => {
                // Children that were found with the others may have ended since.
                let threads: usize = pids.iter().map(|pid| proc_maps::threads(*pid).map_or(0, |all| all.len())).sum();
                let has_children = inherit && pids.iter().any(|pid| !proc_maps::children(*pid).is_empty());
                if threads > MOST_THREAD_CLOCKS || has_children {
                    Self::FilteredCpus
                } else {
                    Self::Threads { inherit }
                }
            }
        }
    }

    /// Whether ticks of others than the target must be told apart.
    pub(crate) fn needs_filter(self) -> bool {
        self == Self::FilteredCpus
    }

    /// Whether threads and processes inherit them.
    pub(crate) fn are_inherited(self) -> bool {
        matches!(self, Self::Threads { .. })
    }

    /// Starts one on a CPU that came, if there is one on each. Whether it did.
    pub(crate) fn follow(self, cpu: u32, sampler: &mut Sampler, side_band: &SideBand, period: u64) -> Result<bool> {
        match self {
            Self::Cpus | Self::FilteredCpus => sampler.attach(Scope::Cpu(cpu), period, Some(side_band)),
            Self::Threads { .. } => sampler.reserve(cpu, side_band).map(|()| false),
            Self::OneThread => Ok(false),
        }
    }

    /// Starts them; gives their number.
    pub(crate) fn attach<W: Write>(
        self,
        target: &Target,
        sampler: &mut Sampler,
        stream: &mut Stream<W>,
        cpus: &[u32],
        period: u64,
    ) -> Result<usize> {
        match self {
            Self::OneThread => {
                let mut attached = 0;
                for tid in target.ticking() {
                    attached += usize::from(sampler.attach(Scope::OneThread(tid), period, None)?);
                }
                Ok(attached)
            }
            Self::Threads { inherit } => {
                // First, for each gets a number: threads may come faster than there are numbers.
                for &cpu in cpus {
                    sampler.reserve(cpu, stream.side_band())?;
                }
                let mut attached = 0;
                for pid in target.pids() {
                    let threads = Threads { pid, inherit, period };
                    attached += threads.attach(sampler, stream)?;
                }
                Ok(attached)
            }
            Self::Cpus | Self::FilteredCpus => {
                for id in target.ticking() {
                    sampler.add_target(id)?;
                }
                add_late_children(&target.pids(), sampler, stream)?;
                let mut attached = 0;
                for &cpu in cpus {
                    attached += usize::from(sampler.attach(Scope::Cpu(cpu), period, Some(stream.side_band()))?);
                }
                Ok(attached)
            }
        }
    }
}

/// Has clocks of CPUs take over from those of threads, which go on where that fails.
pub(crate) fn change_to_cpus<W: Write>(sampler: &mut Sampler, stream: &mut Stream<W>) -> Result<()> {
    if stream.follows_children() {
        sampler.follow_children()?;
    }
    let mut known: FxHashSet<u32> = FxHashSet::default();
    for _ in 0..MOST_ROUNDS {
        // The kernel tells of a child before the program looks whether its parent counts: one of them finds it.
        let new: Vec<u32> = stream.followed().into_iter().filter(|pid| known.insert(*pid)).collect();
        if new.is_empty() {
            break;
        }
        new.into_iter().try_for_each(|pid| sampler.add_target(pid))?;
    }
    // Of processes that were forgotten, for there were too many, only /proc tells.
    add_late_children(&known.into_iter().collect::<Vec<_>>(), sampler, stream)?;
    sampler.change_to_cpus()
}

/// Has the children of processes count, too, that came into being before those counted themselves.
fn add_late_children<W: Write>(known: &[u32], sampler: &Sampler, stream: &mut Stream<W>) -> Result<()> {
    if !stream.follows_children() {
        return Ok(());
    }
    each_late_child(known, proc_maps::descendants, |child| {
        sampler.add_target(child)?;
        stream.learn(child, now())
    })
}

/// Tells of the children that came into being before the kernel was told of their parents, whom it follows from then on.
fn each_late_child(
    known: &[u32],
    descendants: impl Fn(&[u32]) -> Vec<u32>,
    mut each: impl FnMut(u32) -> Result<()>,
) -> Result<()> {
    let mut known: FxHashSet<u32> = known.iter().copied().collect();
    for _ in 0..MOST_ROUNDS {
        let all: Vec<u32> = known.iter().copied().collect();
        let mut is_last = true;
        for child in descendants(&all) {
            is_last &= !known.insert(child);
            each(child)?;
        }
        if is_last {
            break;
        }
    }
    Ok(())
}

/// The threads of one process that get clocks, with those of the children that it has meanwhile.
struct Threads {
    pid: u32,
    inherit: bool,
    period: u64,
}

impl Threads {
    /// Attaches to every thread, and to those that appear meanwhile: one whose creator had no clock yet has inherited none.
    fn attach<W: Write>(&self, sampler: &mut Sampler, stream: &mut Stream<W>) -> Result<usize> {
        let mut since: FxHashMap<u32, u64> = FxHashMap::default();
        let mut attached = 0;
        for _ in 0..MOST_ROUNDS {
            let new: Vec<u32> = self.all().filter(|tid| !since.contains_key(tid)).collect();
            if new.is_empty() {
                break;
            }
            for tid in new {
                let inherited = match stream.creation(tid) {
                    Some((creator, time)) => since.get(&creator).is_some_and(|attached| *attached < time),
                    None => false,
                };
                if !inherited {
                    let scope = Scope::Thread { tid, processes: self.inherit };
                    attached += usize::from(sampler.attach(scope, self.period, None)?);
                }
                since.insert(tid, now());
            }
        }
        Ok(attached)
    }

    /// Those that are there now.
    fn all(&self) -> impl Iterator<Item = u32> {
        let children = if self.inherit { proc_maps::descendants(&[self.pid]) } else { Vec::new() };
        [self.pid].into_iter().chain(children).flat_map(|pid| proc_maps::threads(pid).unwrap_or_default())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::*;

    /// Children of children that come while their parents are told of are told of, too; each once.
    #[test]
    fn children_that_come_meanwhile_are_told_of() {
        let children = RefCell::new(BTreeMap::from([(1, vec![2])]));
        let descendants = |known: &[u32]| -> Vec<u32> {
            let children = children.borrow();
            let all = known.iter().filter_map(|pid| children.get(pid)).flatten().copied();
            all.filter(|child| !known.contains(child)).collect()
        };
        let mut told = Vec::new();
        let tell = |child| {
            // Until it is told of, it goes on having children.
            if child < 5 {
                children.borrow_mut().insert(child, vec![child + 1]);
            }
            told.push(child);
            Ok(())
        };
        each_late_child(&[1], descendants, tell).unwrap();
        assert_eq!(told, [2, 3, 4, 5]);
    }

    /// A child that has ended since it was found keeps nobody from recording the others.
    #[test]
    fn a_child_that_has_ended_has_no_threads() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let clocks = Clocks::choose(&Target::Processes(vec![child.id()]), true);
        assert_eq!(clocks, Clocks::Threads { inherit: true });
    }

    /// Whoever has children without end is not waited for.
    #[test]
    fn children_without_end_are_not_waited_for() {
        let mut told = 0;
        let descendants = |known: &[u32]| vec![known.len() as u32 + 100];
        each_late_child(&[1], descendants, |_| {
            told += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(told, MOST_ROUNDS);
    }
}
