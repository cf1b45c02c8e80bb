//! The two sets of maps that ticks are counted in: one is active, the other one is read.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::counts::Counts;
use crate::skeleton::{OpenProfrecMaps, ProfrecSkel};

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

impl Sizes {
    /// Entries for stacks whose places others have.
    pub(crate) fn spare(self) -> u32 {
        self.stacks / 4
    }
}

/// A set of maps.
struct CountSet {
    counts: MapHandle,
    stacks: MapHandle,
    /// Stacks whose places others have.
    spare: MapHandle,
}

/// Both sets.
pub(crate) struct CountSets {
    sets: [CountSet; 2],
    /// The kernel waits for running programs when this map of maps is changed, to contain `nothing`.
    barrier: MapHandle,
    nothing: MapHandle,
}

impl CountSets {
    /// Those of programs that were loaded for counting.
    pub(crate) fn of(skeleton: &ProfrecSkel<'_>) -> libbpf_rs::Result<Self> {
        let maps = &skeleton.maps;
        let first = CountSet {
            counts: MapHandle::try_from(&maps.first_counts)?,
            stacks: MapHandle::try_from(&maps.first_stacks)?,
            spare: MapHandle::try_from(&maps.first_spare)?,
        };
        let second = CountSet {
            counts: MapHandle::try_from(&maps.second_counts)?,
            stacks: MapHandle::try_from(&maps.second_stacks)?,
            spare: MapHandle::try_from(&maps.second_spare)?,
        };
        let (barrier, nothing) = (MapHandle::try_from(&maps.barrier)?, MapHandle::try_from(&maps.nothing)?);
        Ok(Self { sets: [first, second], barrier, nothing })
    }

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
        let mut is_one_step = true;
        for id in counts.stack_ids() {
            let map = if id & IS_SPARE == 0 { &set.stacks } else { &set.spare };
            let addresses = take_stack(map, &(id & !IS_SPARE).to_le_bytes(), &mut is_one_step)?;
            addresses.into_iter().for_each(|addresses| counts.add_stack(id, &addresses));
        }
        clear_stacks(&set.stacks, &mut is_one_step)?;
        clear_stacks(&set.spare, &mut is_one_step)?;
        Ok(counts)
    }
}

/// Has the maps that ticks are counted in created only where they are used.
pub(crate) fn create(maps: &mut OpenProfrecMaps<'_>, sizes: Option<Sizes>) -> Result<()> {
    if let Some(sizes) = sizes {
        maps.first_counts.set_max_entries(sizes.counts)?;
        maps.second_counts.set_max_entries(sizes.counts)?;
        maps.first_stacks.set_max_entries(sizes.stacks)?;
        maps.second_stacks.set_max_entries(sizes.stacks)?;
        maps.first_spare.set_max_entries(sizes.spare())?;
        maps.second_spare.set_max_entries(sizes.spare())?;
        let stack = longest_chain() * 8;
        maps.first_stacks.set_value_size(stack)?;
        maps.second_stacks.set_value_size(stack)?;
        maps.first_spare.set_value_size(stack)?;
        maps.second_spare.set_value_size(stack)?;
        return Ok(());
    }
    maps.first_counts.set_autocreate(false)?;
    maps.second_counts.set_autocreate(false)?;
    maps.first_stacks.set_autocreate(false)?;
    maps.second_stacks.set_autocreate(false)?;
    maps.first_spare.set_autocreate(false)?;
    maps.second_spare.set_autocreate(false)?;
    maps.barrier.set_autocreate(false)?;
    maps.nothing.set_autocreate(false)?;
    Ok(())
}

/// Addresses in the longest chain that the kernel walks: MAX_CHAIN in bpf/profrec.bpf.c, or what the administrator allows.
fn longest_chain() -> u32 {
    const MOST: u32 = 127;
    let allowed = fs::read_to_string("/proc/sys/kernel/perf_event_max_stack");
    let allowed = allowed.ok().and_then(|text| text.trim().parse().ok());
    allowed.unwrap_or(MOST).clamp(1, MOST)
}

/// Clears a map of the stacks that are left: no count refers to them, for there was no room for it.
fn clear_stacks(map: &MapHandle, is_one_step: &mut bool) -> Result<()> {
    // The kernel finds the next key by the one before: so none is deleted meanwhile.
    let ids: Vec<Vec<u8>> = map.keys().collect();
    ids.iter().try_for_each(|id| take_stack(map, id, is_one_step).map(drop))
}

/// Reads and clears a stack. Older kernels refuse to do so in one step.
fn take_stack(map: &MapHandle, id: &[u8], is_one_step: &mut bool) -> Result<Option<Vec<u8>>> {
    if *is_one_step {
        match map.lookup_and_delete(id) {
            Ok(addresses) => return Ok(addresses),
            Err(_refused) => *is_one_step = false,
        }
    }
    let addresses = map.lookup(id, MapFlags::ANY).context("reading stacks")?;
    if addresses.is_some() {
        map.delete(id).context("clearing stacks")?;
    }
    Ok(addresses)
}
