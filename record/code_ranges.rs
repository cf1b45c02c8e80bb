//! Where an address space has executable memory, in a form that is quick to hold words against.

use profrec_format::StackRange;

/// Ranges with a smaller gap between them are in one cluster.
const CLUSTER_GAP: u64 = 16 << 20;
/// No more clusters than this, whatever lies between them: each costs a comparison for each word.
pub(crate) const MAX_CLUSTERS: usize = 6;

/// The executable ranges of one address space.
#[derive(Clone, Debug, Default)]
pub(crate) struct CodeRanges {
    /// Ascending, not overlapping, not touching.
    ranges: Vec<StackRange>,
    /// Bounds of neighbours among the ranges: the program, its libraries, code made at run time.
    /// Heaps, whose addresses fill stacks, lie between them.
    pub(crate) clusters: Vec<StackRange>,
}

impl CodeRanges {
    /// From ranges in ascending order; those that touch become one.
    pub(crate) fn new(sorted: impl Iterator<Item = (u64, u64)>) -> Self {
        let sorted = sorted.map(|(start, end)| StackRange { start, end });
        let ranges = joined(sorted, 0);
        let mut clusters = joined(ranges.iter().copied(), CLUSTER_GAP);
        while clusters.len() > MAX_CLUSTERS {
            let smallest = clusters.windows(2).map(|pair| pair[1].start - pair[0].end).min();
            clusters = joined(clusters.into_iter(), smallest.unwrap_or(u64::MAX));
        }
        Self { ranges, clusters }
    }

    /// The range that holds an address.
    pub(crate) fn find(&self, address: u64) -> Option<StackRange> {
        let after = self.ranges.partition_point(|range| range.start <= address);
        let range = *self.ranges.get(after.checked_sub(1)?)?;
        contains(range, address).then_some(range)
    }
}

/// Ascending ranges, where those with a gap of at most `gap` have become one.
fn joined(sorted: impl Iterator<Item = StackRange>, gap: u64) -> Vec<StackRange> {
    let mut joined: Vec<StackRange> = Vec::new();
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.start.saturating_sub(last.end) <= gap => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// One comparison instead of two: below `start` the difference wraps around.
pub(crate) fn contains(range: StackRange, address: u64) -> bool {
    address.wrapping_sub(range.start) < range.end - range.start
}
