//! What was at an address at a time, in one process. Pieces of code overlap in any way, so they are kept in a segment tree over
//! their addresses: each piece is at the few nodes that make up its range, and each node has its pieces in the order of time.
//!
//! ```text
//!          ┌───────┴───────┐            an address is below one node of each level;
//!      ┌───┴───┐       ┌───┴───┐        of the pieces at these nodes, the latest
//!      a       b       c       d        before the time is the one
//! ```

use super::JitName;

/// A piece of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Piece {
    /// Since when it is there, or was first seen.
    pub(super) time: u64,
    /// Its first address, and one past its last.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) name: JitName,
}

/// The code of one process over the time.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// By time; of one time in the order of the recording.
    pieces: Vec<Piece>,
    /// All starts and ends, ascending.
    bounds: Vec<u64>,
    /// The root is node 1, the children of a node have twice its number, and one more. Node `bounds.len() + n` is the range from
    /// bound n to the next.
    nodes: Vec<Vec<u32>>,
}

impl Timeline {
    pub(super) fn new(mut pieces: Vec<Piece>) -> Self {
        pieces.sort_by_key(|piece| piece.time);
        let mut bounds: Vec<u64> = pieces.iter().flat_map(|piece| [piece.start, piece.end]).collect();
        bounds.sort_unstable();
        bounds.dedup();
        let mut timeline = Self { nodes: vec![Vec::new(); 2 * bounds.len()], bounds, pieces: Vec::new() };
        for (number, piece) in pieces.iter().enumerate() {
            timeline.put(number as u32, piece);
        }
        Self { pieces, ..timeline }
    }

    fn put(&mut self, number: u32, piece: &Piece) {
        let leaf = |bound: u64| self.bounds.len() + self.bounds.partition_point(|known| *known < bound);
        let (mut first, mut end) = (leaf(piece.start), leaf(piece.end));
        while first < end {
            if first % 2 == 1 {
                self.nodes[first].push(number);
                first += 1;
            }
            if end % 2 == 1 {
                end -= 1;
                self.nodes[end].push(number);
            }
            (first, end) = (first / 2, end / 2);
        }
    }

    /// The latest piece at or before a time. If there is none, the code was seen late: then the first after it, of several
    /// that were seen at once the last.
    pub(super) fn find(&self, address: u64, time: u64) -> Option<JitName> {
        let place = self.bounds.partition_point(|bound| *bound <= address).checked_sub(1)?;
        let leaf = self.bounds.len() + place;
        let nodes = || std::iter::successors(Some(leaf), |node| Some(node / 2)).take_while(|node| *node > 0);
        let nodes = || nodes().filter_map(|node| self.nodes.get(node));
        let latest = |time| nodes().filter_map(|pieces| self.latest(pieces, time)).max();
        let found = latest(time).or_else(|| {
            let first = nodes().filter_map(|pieces| pieces.first()).min()?;
            latest(self.pieces.get(*first as usize)?.time)
        });
        self.pieces.get(found? as usize).map(|piece| piece.name)
    }

    /// The last of these pieces at a time.
    fn latest(&self, pieces: &[u32], time: u64) -> Option<u32> {
        let is_due = |number: &u32| self.pieces.get(*number as usize).is_some_and(|piece| piece.time <= time);
        pieces.partition_point(is_due).checked_sub(1).and_then(|last| pieces.get(last)).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn piece(time: u64, start: u64, end: u64, name: JitName) -> Piece {
        Piece { time, start, end, name }
    }

    /// The rule, one piece after the other.
    fn slowly(pieces: &[Piece], address: u64, time: u64) -> Option<JitName> {
        let there: Vec<&Piece> = pieces.iter().filter(|piece| (piece.start..piece.end).contains(&address)).collect();
        let first = there.iter().map(|piece| piece.time).min()?;
        let time = time.max(first);
        there.iter().filter(|piece| piece.time <= time).max_by_key(|piece| piece.time).map(|piece| piece.name)
    }

    /// A method that takes the place of another has it from its time on, and only where it is.
    #[test]
    fn a_method_replaces_another() {
        let timeline = Timeline::new(vec![piece(10, 100, 200, 1), piece(20, 150, 250, 2)]);
        let asked = [(120, 30), (160, 19), (160, 20), (200, 20), (250, 30), (99, 30)];
        let found = asked.map(|(address, time)| timeline.find(address, time));
        assert_eq!(found, [Some(1), Some(1), Some(2), Some(2), None, None]);
    }

    /// A sample that is earlier than the first look at the map has the name that was seen then.
    #[test]
    fn what_was_seen_late_has_a_name() {
        let timeline = Timeline::new(vec![piece(10, 100, 200, 1), piece(10, 100, 200, 2), piece(20, 100, 200, 3)]);
        assert_eq!([5, 10, 19, 20].map(|time| timeline.find(100, time)), [Some(2), Some(2), Some(2), Some(3)]);
        assert_eq!(Timeline::new(Vec::new()).find(0, 0), None);
    }

    proptest! {
        /// However pieces overlap, the one that is found is the one of the rule.
        #[test]
        fn finds_what_the_rule_says(
            pieces in vec((0u64..6, 0u64..40, 1u64..20), 0..30),
            asked in vec((0u64..64, 0u64..8), 30),
        ) {
            let pieces: Vec<Piece> = pieces.iter().enumerate()
                .map(|(name, &(time, start, size))| piece(time, start, start + size, name as JitName)).collect();
            let timeline = Timeline::new(pieces.clone());
            for (address, time) in asked {
                prop_assert_eq!(timeline.find(address, time), slowly(&pieces, address, time));
            }
        }
    }
}
