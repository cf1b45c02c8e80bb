//! Equal stacks counted once, before any name is known: the model between unwinding and naming.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::evidence::ModuleIndex;
use crate::jit::JitName;
use crate::paths::{PathId, Paths};

/// An index into [`Stacks::locations`].
pub type LocationId = u32;
/// An index into [`Stacks::stacks`].
pub type StackId = u32;

/// A recording reduced to its distinct stacks. The order of everything in it depends on the
/// recording alone.
#[derive(Debug, Default)]
pub struct Stacks {
    /// Distinct places in code.
    pub locations: Vec<Location>,
    /// The frames of stacks, from the outermost on.
    pub paths: Paths<Frame>,
    /// Distinct stacks.
    pub stacks: Vec<Stack>,
    /// Threads, sorted.
    pub threads: Vec<Thread>,
    /// How often which thread was seen with which stack; sorted, each combination once.
    pub counts: Vec<Count>,
    /// Paths of the processes' cgroups, by process id; the last of each, where they are known.
    pub cgroups: BTreeMap<u32, Arc<str>>,
    /// Samples that passed the filters, over all of `counts`; each counts as often as it stands for a tick.
    pub samples: u64,
}

/// A place in code. Return addresses are moved back by one, so that the address lies inside the
/// call instruction: names and lines are looked up with it as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Location {
    /// In a module, at an address as the module states it.
    Module {
        /// Which module.
        module: ModuleIndex,
        /// The module's own address.
        address: u64,
    },
    /// In the kernel.
    Kernel {
        /// The kernel's address.
        address: u64,
    },
    /// In code that a process made at run time and has named.
    Jit {
        /// Which name.
        name: JitName,
    },
    /// In memory without a file, in code that has no name.
    Anonymous {
        /// Process id.
        pid: u32,
        /// The address in that process.
        address: u64,
    },
    /// In a process, outside of all that is known to be mapped.
    Process {
        /// Process id.
        pid: u32,
        /// The address in that process.
        address: u64,
    },
}

/// One stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stack {
    /// Its frames: which of [`Stacks::paths`].
    pub end: PathId,
    /// How its walk ended.
    pub verdict: Verdict,
}

/// One frame of a stack: where it is, and whether it was found by a rule of thumb. There are very many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frame(u32);

impl Frame {
    /// A frame at a location; `guessed`, if not by call frame information. There are fewer than 2,147,483,648 locations.
    pub fn new(location: LocationId, guessed: bool) -> Self {
        Self(location << 1 | u32::from(guessed))
    }

    /// Where it is.
    pub fn location(self) -> LocationId {
        self.0 >> 1
    }

    /// It was found by a rule of thumb.
    pub fn guessed(self) -> bool {
        self.0 & 1 != 0
    }
}

/// How the walk of a stack ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// In start code, at a frame whose CFI marks the end, or in a kernel thread's entry.
    Complete,
    /// At memory that the recording does not hold.
    Truncated,
    /// At code without call frame information, and no rule of thumb led on.
    NoCfi,
    /// At a value that cannot be true: a register that is not known, a stack pointer that does not grow.
    Implausible,
    /// At a return address that is no code, and no rule of thumb led on.
    NotCode,
    /// There was no user stack to walk: user stacks were not asked for.
    NotRecorded,
    /// There was no user stack: the kernel was just starting or ending the program.
    ExecOrExit,
}

impl From<profrec_format::Verdict> for Verdict {
    fn from(verdict: profrec_format::Verdict) -> Self {
        match verdict {
            profrec_format::Verdict::Complete => Self::Complete,
            profrec_format::Verdict::Truncated => Self::Truncated,
            profrec_format::Verdict::NoCfi => Self::NoCfi,
            profrec_format::Verdict::NotRecorded => Self::NotRecorded,
            // One of a later version is some way in which a stack is not complete.
            _ => Self::Implausible,
        }
    }
}

impl From<Verdict> for profrec_format::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Complete => Self::Complete,
            Verdict::Truncated => Self::Truncated,
            Verdict::NoCfi => Self::NoCfi,
            Verdict::Implausible | Verdict::NotCode => Self::Implausible,
            Verdict::NotRecorded | Verdict::ExecOrExit => Self::NotRecorded,
        }
    }
}

/// A thread under one name, and what else its stacks are counted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thread {
    /// The thread's name at that time.
    pub comm: Arc<str>,
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// The CPU, when stacks are counted for each.
    pub cpu: Option<u32>,
    /// Path of the cgroup that the process was in; empty when unknown, or when stacks are not counted for each.
    pub cgroup: Arc<str>,
}

/// An index into [`Stacks::threads`].
pub type ThreadId = u32;

/// How often one thread was seen with one stack. There are many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count {
    /// Which thread.
    pub thread: ThreadId,
    /// Which stack.
    pub stack: StackId,
    /// Samples, each as often as it stands for a tick.
    pub samples: u64,
}

/// How the samples' walks ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Samples in all.
    pub total: u64,
    /// See [`Verdict::Complete`].
    pub complete: u64,
    /// See [`Verdict::Truncated`].
    pub truncated: u64,
    /// See [`Verdict::NoCfi`].
    pub no_cfi: u64,
    /// See [`Verdict::Implausible`]; those of [`Verdict::NotCode`] too.
    pub implausible: u64,
    /// See [`Verdict::NotCode`].
    pub not_code: u64,
    /// See [`Verdict::NotRecorded`].
    pub not_recorded: u64,
    /// See [`Verdict::ExecOrExit`].
    pub exec_or_exit: u64,
    /// Samples, with whatever verdict, that have a guessed frame inside.
    pub guessed: u64,
}

impl Stacks {
    /// The frames of a stack, innermost first; kernel frames come before user frames.
    pub fn frames(&self, stack: &Stack) -> impl Iterator<Item = Frame> + '_ {
        self.paths.from_last(stack.end)
    }

    /// Counts the samples by how their walks ended.
    pub fn verdicts(&self) -> Verdicts {
        let has_guess = self.paths.fold(false, |before, frame| *before || frame.guessed());
        let mut verdicts = Verdicts::default();
        for count in &self.counts {
            let Some(stack) = self.stacks.get(count.stack as usize) else { continue };
            verdicts.total += count.samples;
            *verdicts.of(stack.verdict) += count.samples;
            if stack.verdict == Verdict::NotCode {
                verdicts.not_code += count.samples;
            }
            if has_guess[stack.end as usize] {
                verdicts.guessed += count.samples;
            }
        }
        verdicts
    }

    /// How many samples each thread has.
    pub fn samples_by_thread(&self) -> Vec<u64> {
        let mut samples = vec![0; self.threads.len()];
        for count in &self.counts {
            if let Some(samples) = samples.get_mut(count.thread as usize) {
                *samples += count.samples;
            }
        }
        samples
    }

    /// How many samples each path has, with all that begin with it.
    pub fn path_samples(&self) -> Vec<u64> {
        let end = |count: &Count| Some((self.stacks.get(count.stack as usize)?.end, count.samples));
        self.paths.totals(self.counts.iter().filter_map(end))
    }

    /// How many frames of all samples are at each location.
    pub fn samples_by_location(&self) -> Vec<u64> {
        let totals = self.path_samples();
        let mut samples = vec![0; self.locations.len()];
        for (path, _, frame) in self.paths.iter() {
            if let Some(samples) = samples.get_mut(frame.location() as usize) {
                *samples += totals[path as usize];
            }
        }
        samples
    }

    /// In how many samples each of so many modules appears.
    pub fn samples_by_module(&self, modules: usize) -> Vec<u64> {
        self.paths.samples_by(modules, &self.path_samples(), |frame: Frame| {
            match self.locations.get(frame.location() as usize) {
                Some(Location::Module { module, .. }) => Some(*module as usize),
                _ => None,
            }
        })
    }
}

impl Verdicts {
    fn of(&mut self, verdict: Verdict) -> &mut u64 {
        match verdict {
            Verdict::Complete => &mut self.complete,
            Verdict::Truncated => &mut self.truncated,
            Verdict::NoCfi => &mut self.no_cfi,
            Verdict::Implausible | Verdict::NotCode => &mut self.implausible,
            Verdict::NotRecorded => &mut self.not_recorded,
            Verdict::ExecOrExit => &mut self.exec_or_exit,
        }
    }
}
