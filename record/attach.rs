//! Puts the clocks where the target runs.
//!
//! A clock that follows a thread ticks only while the thread runs, and the rest of the machine does not
//! even notice. New threads and child processes inherit it, but each starts with a whole period: one
//! that uses less CPU than that is never seen. (300 times `/bin/true`, 0.25 s of CPU, at 999 Hz: 3
//! samples with inherited clocks, 205 with CPU-wide ones.) So these clocks are for processes that are
//! there and stay; a command, or processes that have children, get one clock a CPU and a filter at the
//! top of the BPF program. So do processes with many threads, each of which would need its own clock.

use std::io::Write;

use anyhow::Result;
use rustc_hash::FxHashMap;

use crate::perf_event::Scope;
use crate::proc_maps;
use crate::sampler::Sampler;
use crate::side_band::SideBand;
use crate::stream::{Stream, now};
use crate::target::Target;

/// With more threads than this, clocks are CPU-wide.
pub(crate) const MOST_THREAD_CLOCKS: usize = 64;

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
    pub(crate) fn choose(target: &Target, inherit: bool) -> Result<Self> {
        Ok(match target {
            Target::Machine => Self::Cpus,
            Target::Command(_) => Self::FilteredCpus,
            Target::Threads(threads) if threads.len() <= MOST_THREAD_CLOCKS => Self::OneThread,
            Target::Threads(_) => Self::FilteredCpus,
            Target::Processes(pids) => {
                let mut threads = 0;
                for pid in pids {
                    threads += proc_maps::threads(*pid)?.len();
                }
                let has_children = inherit && pids.iter().any(|pid| !proc_maps::descendants(*pid).is_empty());
                if threads > MOST_THREAD_CLOCKS || has_children {
                    Self::FilteredCpus
                } else {
                    Self::Threads { inherit }
                }
            }
        })
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
            Self::OneThread | Self::Threads { .. } => Ok(false),
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
                let mut attached = 0;
                for &cpu in cpus {
                    attached += usize::from(sampler.attach(Scope::Cpu(cpu), period, Some(stream.side_band()))?);
                }
                Ok(attached)
            }
        }
    }
}

/// The threads of one process that get clocks.
struct Threads {
    pid: u32,
    inherit: bool,
    period: u64,
}

impl Threads {
    /// Attaches to every thread, and to those that appear meanwhile: a thread whose creator had no
    /// clock yet has inherited none.
    fn attach<W: Write>(&self, sampler: &mut Sampler, stream: &mut Stream<W>) -> Result<usize> {
        /// A process that creates threads faster than clocks can be attached is not waited for.
        const MOST_ROUNDS: usize = 100;
        let mut since: FxHashMap<u32, u64> = FxHashMap::default();
        let mut attached = 0;
        for _ in 0..MOST_ROUNDS {
            let threads = proc_maps::threads(self.pid).unwrap_or_default();
            let new: Vec<u32> = threads.into_iter().filter(|tid| !since.contains_key(tid)).collect();
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
}
