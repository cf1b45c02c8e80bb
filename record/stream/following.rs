//! Children for which the kernel found no room among the recorded processes: it is told of them again.

use std::io::Write;

use anyhow::Result;
use profrec_format::{Loss, LossCause};
use rustc_hash::FxHashSet;

use super::{Follow, Stream, now};
use crate::progress;
use crate::sampler::Sampler;
use crate::side_band::What;

/// What there is to know of them.
#[derive(Debug, Default)]
pub(super) struct LostChildren {
    /// Those that were told.
    told: u64,
    /// The kernel is to be told of all processes again.
    are_looked_for: bool,
}

impl<W: Write> Stream<W> {
    /// Whether the children of those that are recorded are, too, and no others.
    pub(crate) fn follows_children(&self) -> bool {
        self.follow == Follow::Children
    }

    /// How many threads of recorded processes have ended so far; events that were lost may have been such ends.
    pub(crate) fn threads_ended(&self) -> u64 {
        self.threads_ended
    }

    /// How many threads of recorded processes there are now.
    pub(crate) fn threads_alive(&self) -> u64 {
        self.processes.running_threads()
    }

    /// Has the kernel record the children for which it found no room since the last time.
    pub(super) fn follow_lost_children(&mut self, sampler: &Sampler) -> Result<()> {
        self.follow_again(sampler.lost_children(), |pid| sampler.add_target(pid).is_ok())
    }

    /// The same, when there were `lost` such children so far. `add` tells the kernel of a process, unless there is no room.
    pub(super) fn follow_again(&mut self, lost: u64, mut add: impl FnMut(u32) -> bool) -> Result<()> {
        let new = lost - std::mem::replace(&mut self.lost_children.told, lost);
        if new == 0 && !self.lost_children.are_looked_for {
            return Ok(());
        }
        let is_added = self.followed().into_iter().all(&mut add);
        // Children that they have had meanwhile are found the next time.
        self.lost_children.are_looked_for = new > 0 || !is_added;
        if new == 0 {
            return Ok(());
        }
        if lost == new {
            progress::put(
                "profrec: the kernel had no room for some children of the recorded processes: what they did until it was told of them again is \
                 missing\n",
            );
        }
        self.lose(Loss::at(now(), LossCause::ProcessEvents, new))
    }

    /// The processes that are to be recorded, also those whose beginning waits for ticks.
    pub(crate) fn followed(&mut self) -> FxHashSet<u32> {
        self.look_at_side_band();
        let mut followed: FxHashSet<u32> = self.processes.running().collect();
        if self.follow == Follow::Nothing {
            return followed;
        }
        for event in &self.pending {
            if let What::Fork { pid, parent, .. } = event.what
                && followed.contains(&parent)
            {
                followed.insert(pid);
            }
        }
        followed
    }
}
