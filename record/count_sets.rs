//! The two sets of maps that ticks are counted in: one is active, the other one is read.

use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::counts::Counts;

/// Elements that are read at once.
const AT_ONCE: u32 = 1024;

/// `IS_SPARE` in bpf/count.h.
const IS_SPARE: u32 = 1 << 30;

/// How many entries the maps have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) stacks: u32,
    pub(crate) counts: u32,
}

/// A set of maps.
pub(crate) struct CountSet {
    pub(crate) counts: MapHandle,
    pub(crate) stacks: MapHandle,
    /// Stacks whose places others have.
    pub(crate) spare: MapHandle,
}

/// Both sets.
pub(crate) struct CountSets {
    pub(crate) sets: [CountSet; 2],
    /// The kernel waits for running programs when this map of maps is changed, to contain `nothing`.
    pub(crate) barrier: MapHandle,
    pub(crate) nothing: MapHandle,
}

impl CountSets {
    /// Waits until all programs have ended that run now.
    pub(crate) fn wait_for_programs(&self) -> Result<()> {
        let descriptor = self.nothing.as_fd().as_raw_fd().to_le_bytes();
        self.barrier.update(&0_u32.to_le_bytes(), &descriptor, MapFlags::ANY).context("waiting for ticks to end")
    }

    /// Reads and clears a set that is not active.
    pub(crate) fn take(&self, which: usize) -> Result<Counts> {
        let mut counts = Counts::default();
        let set = &self.sets[which];
        // A batch that a full bucket has cut short looks like the last one: what is left comes in the next round.
        loop {
            let elements = set.counts.lookup_and_delete_batch(AT_ONCE, MapFlags::ANY, MapFlags::ANY);
            let mut some = false;
            for (place, tally) in elements.context("reading counts")? {
                some = true;
                counts.add(&place, &tally);
            }
            if !some {
                break;
            }
        }
        take_stacks(&set.stacks, 0, &mut counts)?;
        take_stacks(&set.spare, IS_SPARE, &mut counts)?;
        Ok(counts)
    }
}

/// Reads and clears a map of stacks, whose ids have this flag where they are referred to.
fn take_stacks(map: &MapHandle, flag: u32, counts: &mut Counts) -> Result<()> {
    // The kernel finds the next key by the one before: so none is deleted meanwhile.
    let ids: Vec<Vec<u8>> = map.keys().collect();
    for id in ids {
        let addresses = map.lookup(&id, MapFlags::ANY).context("reading stacks")?;
        map.delete(&id).context("clearing stacks")?;
        if let (Some(addresses), Some(id)) = (addresses, id.first_chunk()) {
            counts.add_stack(u32::from_le_bytes(*id) | flag, addresses);
        }
    }
    Ok(())
}
