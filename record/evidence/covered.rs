//! Which code of a module the segment has call frame information for.

use std::collections::BTreeMap;
use std::ops::Range;

/// Functions that do not overlap, or hardly.
#[derive(Default)]
pub(super) struct Covered {
    /// Start and end of each.
    functions: BTreeMap<u64, u64>,
    /// The one that was found last: one place is asked about after another, in their order.
    last: Range<u64>,
}

impl Covered {
    /// Adds a function.
    pub(super) fn add(&mut self, function: Range<u64>) {
        self.functions.insert(function.start, function.end);
        self.last = function;
    }

    /// Whether an address is in one of them.
    pub(super) fn contains(&mut self, address: u64) -> bool {
        if !self.last.contains(&address)
            && let Some((start, end)) = self.functions.range(..=address).next_back()
        {
            self.last = *start..*end;
        }
        self.last.contains(&address)
    }

    /// The next segment has none yet.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each address between the first and the last byte is in a function, whatever was asked before; a new segment knows none.
    #[test]
    fn addresses_are_in_functions_from_start_to_end() {
        let mut covered = Covered::default();
        assert!(!covered.contains(0));
        [10..20, 20..21, 40..50].into_iter().for_each(|function| covered.add(function));
        let (inside, outside) = ([10, 19, 20, 40, 49], [0, 9, 21, 39, 50, u64::MAX]);
        for (one, other) in inside.into_iter().flat_map(|one| outside.map(|other| (one, other))) {
            assert!(covered.contains(one) && !covered.contains(other), "{one}, {other}");
        }
        covered.clear();
        assert!(inside.into_iter().all(|address| !covered.contains(address)));
    }
}
