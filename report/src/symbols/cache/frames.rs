//! What debug info says at addresses, all of it in one row: tens of thousands of addresses are read and forgotten at once.

use foldhash::HashMap;

use crate::symbols::dwarf::DwarfFrame;

/// Frames by address.
#[derive(Debug, Default)]
pub(in crate::symbols) struct KnownFrames {
    all: Vec<DwarfFrame>,
    /// For each address the place of its first frame, and how many there are.
    places: HashMap<u64, (usize, usize)>,
}

impl KnownFrames {
    /// With room for so many addresses.
    pub(super) fn with_room(addresses: usize) -> Self {
        Self {
            all: Vec::with_capacity(addresses),
            places: HashMap::with_capacity_and_hasher(addresses, Default::default()),
        }
    }

    /// Whether something is known of an address, be it that there are no frames.
    pub(in crate::symbols) fn knows(&self, address: u64) -> bool {
        self.places.contains_key(&address)
    }

    /// The frames at an address.
    pub(in crate::symbols) fn get(&self, address: u64) -> Option<&[DwarfFrame]> {
        let &(first, count) = self.places.get(&address)?;
        self.all.get(first..first + count)
    }

    /// Adds an address, or takes its frames in place of others.
    pub(super) fn insert(&mut self, address: u64, frames: impl IntoIterator<Item = DwarfFrame>) {
        let first = self.all.len();
        self.all.extend(frames);
        self.places.insert(address, (first, self.all.len() - first));
    }

    /// Forgets an address.
    pub(super) fn remove(&mut self, address: u64) {
        self.places.remove(&address);
    }

    /// Addresses and their frames, ascending.
    pub(super) fn in_order(&self) -> Vec<(u64, &[DwarfFrame])> {
        let mut known: Vec<_> =
            self.places.iter().map(|(&address, &(first, count))| (address, &self.all[first..first + count])).collect();
        known.sort_unstable_by_key(|(address, _)| *address);
        known
    }
}

impl PartialEq for KnownFrames {
    fn eq(&self, other: &Self) -> bool {
        self.in_order() == other.in_order()
    }
}

impl Eq for KnownFrames {}
