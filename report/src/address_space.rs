//! The executable mappings of one process at one instant.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::evidence::ModuleIndex;

/// The executable mappings of a process: ascending, not overlapping.
#[derive(Clone, Debug, Default)]
pub struct AddressSpace {
    mappings: Vec<MappedRange>,
    version: u64,
}

/// How many versions of address spaces there have been.
static VERSIONS: AtomicU64 = AtomicU64::new(1);

/// One executable mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappedRange {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// Offset in the module of the byte at `start`.
    pub offset: u64,
    /// What is mapped.
    pub module: ModuleIndex,
}

impl MappedRange {
    /// The part of this mapping from `address` on; `address` lies inside.
    fn tail(self, address: u64) -> Self {
        Self { start: address, offset: self.offset.wrapping_add(address - self.start), ..self }
    }
}

impl PartialEq for AddressSpace {
    fn eq(&self, other: &Self) -> bool {
        self.mappings == other.mappings
    }
}

impl Eq for AddressSpace {}

impl AddressSpace {
    /// Adds a mapping; it replaces whatever it overlaps, and what sticks out of it stays. An
    /// empty mapping changes nothing.
    pub fn insert(&mut self, new: MappedRange) {
        if new.start >= new.end {
            return;
        }
        let first = self.mappings.partition_point(|old| old.end <= new.start);
        let last = self.mappings.partition_point(|old| old.start < new.end);
        let overlapped = self.mappings.get(first..last).unwrap_or_default();
        let before = overlapped.first().filter(|old| old.start < new.start);
        let before = before.map(|old| MappedRange { end: new.start, ..*old });
        let after = overlapped.last().filter(|old| old.end > new.end).map(|old| old.tail(new.end));
        let replacement = before.into_iter().chain([new]).chain(after);
        self.mappings.splice(first..last.max(first), replacement);
        self.version = VERSIONS.fetch_add(1, Ordering::Relaxed);
    }

    /// How many mappings have to make room for a new one.
    pub fn moved_by(&self, new: MappedRange) -> usize {
        self.mappings.len() - self.mappings.partition_point(|old| old.end <= new.start)
    }

    /// The module mapped at an address, and the offset in it.
    pub fn lookup(&self, address: u64) -> Option<(ModuleIndex, u64)> {
        let index = self.mappings.partition_point(|mapping| mapping.start <= address).checked_sub(1)?;
        let mapping = self.mappings.get(index).filter(|mapping| address < mapping.end)?;
        Some((mapping.module, mapping.offset.wrapping_add(address - mapping.start)))
    }

    /// A number that only copies of one another share, and only until either changes. It is not the same from run to run.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The mappings by ascending address.
    pub fn mappings(&self) -> &[MappedRange] {
        &self.mappings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mapped(start: u64, end: u64, offset: u64, module: ModuleIndex) -> MappedRange {
        MappedRange { start, end, offset, module }
    }

    /// The first and the last byte belong to a mapping, the bytes around it do not.
    #[test]
    fn lookup_respects_both_ends() {
        let mut space = AddressSpace::default();
        space.insert(mapped(0x1000, 0x3000, 0x500, 7));
        assert_eq!(space.lookup(0xfff), None);
        assert_eq!(space.lookup(0x1000), Some((7, 0x500)));
        assert_eq!(space.lookup(0x2fff), Some((7, 0x24ff)));
        assert_eq!(space.lookup(0x3000), None);
    }

    /// A mapping in the middle of another leaves both ends of the old one with the right offsets.
    #[test]
    fn insert_splits_what_it_overlaps() {
        let mut space = AddressSpace::default();
        space.insert(mapped(0x1000, 0x5000, 0, 1));
        space.insert(mapped(0x2000, 0x3000, 0, 2));
        let expected = [mapped(0x1000, 0x2000, 0, 1), mapped(0x2000, 0x3000, 0, 2), mapped(0x3000, 0x5000, 0x2000, 1)];
        assert_eq!(space.mappings(), expected);
    }

    /// An empty or reversed mapping, as a damaged file may hold, changes nothing.
    #[test]
    fn empty_mapping_is_ignored() {
        let mut space = AddressSpace::default();
        space.insert(mapped(0x2000, 0x2000, 0, 1));
        space.insert(mapped(0x2000, 0x1000, 0, 1));
        assert_eq!(space, AddressSpace::default());
    }

    proptest! {
        /// After any inserts the newest mapping that holds an address is the one that is found.
        #[test]
        fn newest_mapping_wins(inserts in proptest::collection::vec((0u64..64, 0u64..64), 1..24), address in 0u64..64) {
            let mut space = AddressSpace::default();
            for (number, &(start, end)) in inserts.iter().enumerate() {
                space.insert(mapped(start, end, start, number as ModuleIndex));
            }
            let newest = inserts.iter().rposition(|&(start, end)| start <= address && address < end);
            prop_assert_eq!(space.lookup(address), newest.map(|number| (number as ModuleIndex, address)));
        }
    }
}
