//! What is recorded: some processes, a command, or the whole machine.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use crate::args::RecordArgs;
use crate::command::{self, Held};
use crate::proc_maps;

/// What is recorded.
pub(crate) enum Target {
    /// Every process.
    Machine,
    /// These processes.
    Processes(Vec<u32>),
    /// These threads, each with its process in front.
    Threads(Vec<(u32, u32)>),
    /// A command that is held until the clocks are attached.
    Command(Held),
}

impl Target {
    /// Reads the target from the command line; a command is started and held.
    pub(crate) fn from_args(args: &RecordArgs) -> Result<Self> {
        proc_maps::check_proc()?;
        if args.all {
            return Ok(Self::Machine);
        }
        if !args.command.is_empty() {
            return Ok(Self::Command(command::hold(&args.command, args.output == Path::new("-"))?));
        }
        if !args.tids.is_empty() {
            let threads: Result<BTreeSet<_>> =
                args.tids.iter().map(|tid| Ok((proc_maps::process_of(*tid)?, *tid))).collect();
            return Ok(Self::Threads(threads?.into_iter().collect()));
        }
        if args.pids.is_empty() {
            // What narrows it says the rest.
            return Ok(Self::Machine);
        }
        let mut pids = args.pids.clone();
        pids.sort_unstable();
        pids.dedup();
        for pid in &pids {
            proc_maps::threads(*pid)?;
        }
        if !args.no_inherit {
            // Children that are already there belong to the target as those that come later do.
            pids.extend(proc_maps::descendants(&pids));
            pids.sort_unstable();
        }
        Ok(Self::Processes(pids))
    }

    /// Whether processes that the target creates belong to it.
    pub(crate) fn has_children(&self, args: &RecordArgs) -> bool {
        matches!(self, Self::Processes(_) | Self::Command(_)) && !args.no_inherit
    }

    /// Ids of the processes, or of the threads where it is those alone, whose ticks count; none for the whole machine.
    pub(crate) fn ticking(&self) -> Vec<u32> {
        match self {
            Self::Threads(threads) => threads.iter().map(|(_, tid)| *tid).collect(),
            _ => self.pids(),
        }
    }

    /// The processes that are there now; none for the whole machine.
    pub(crate) fn pids(&self) -> Vec<u32> {
        match self {
            Self::Machine => Vec::new(),
            Self::Processes(pids) => pids.clone(),
            Self::Threads(threads) => {
                threads.iter().map(|(pid, _)| *pid).collect::<BTreeSet<_>>().into_iter().collect()
            }
            Self::Command(held) => vec![held.pid],
        }
    }
}
