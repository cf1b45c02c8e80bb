//! Where an address space has executable memory, in a form that is quick to hold words against.

use profrec_format::StackRange;

/// Ranges with a smaller gap between them are in one cluster.
const CLUSTER_GAP: u64 = 16 << 20;
/// No more clusters than this, whatever lies between them: each costs a comparison for each word.
const MAX_CLUSTERS: usize = 6;

/// The executable ranges of one address space.
#[derive(Clone, Debug, Default)]
pub(crate) struct CodeRanges {
    /// Ascending, not overlapping, not touching.
    ranges: Vec<StackRange>,
    /// Bounds of neighbours among the ranges: the program, its libraries, code made at run time.
    /// Heaps, whose addresses fill stacks, lie between them.
    pub(crate) clusters: Vec<StackRange>,
    /// Which pages of the clusters are in the ranges; `None` where bits would be too many, or ranges are not made of pages.
    pages: Option<Pages>,
}

/// One bit for each page of some clusters: of the words of a stack, one out of twenty is looked up here, in no order that a
/// processor could guess.
#[derive(Clone, Debug, Default)]
struct Pages {
    spans: Vec<Span>,
    /// The first one is of no page.
    bits: Vec<u64>,
}

/// The pages of a cluster.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u64,
    pages: u64,
    /// The bit of its first page.
    first: u64,
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
        let pages = Pages::of(&ranges, &clusters);
        Self { ranges, clusters, pages }
    }

    /// Whether one of the ranges holds an address.
    #[inline]
    pub(crate) fn contains(&self, address: u64) -> bool {
        match &self.pages {
            Some(pages) => pages.contain(address),
            None => self.find(address).is_some(),
        }
    }

    /// The range that holds an address.
    fn find(&self, address: u64) -> Option<StackRange> {
        let after = self.ranges.partition_point(|range| range.start <= address);
        let range = *self.ranges.get(after.checked_sub(1)?)?;
        contains(range, address).then_some(range)
    }
}

impl Pages {
    /// The smallest that is executable by itself.
    const SIZE: u64 = 4096;
    /// 64 KiB of bits.
    const MOST: u64 = 1 << 19;

    /// The pages of ascending ranges, each of which lies in one of the clusters.
    fn of(ranges: &[StackRange], clusters: &[StackRange]) -> Option<Self> {
        let mut spans = Vec::with_capacity(clusters.len());
        let mut first = 1;
        for cluster in clusters {
            let pages = (cluster.end - cluster.start) / Self::SIZE;
            spans.push(Span { start: cluster.start, pages, first });
            first += pages;
        }
        let is_made_of_pages = |range: &StackRange| (range.start | range.end).is_multiple_of(Self::SIZE);
        if first > Self::MOST || !ranges.iter().all(is_made_of_pages) {
            return None;
        }
        let mut bits = vec![0; first.div_ceil(64) as usize];
        let mut pages = Self { spans, bits: Vec::new() };
        for range in ranges {
            let first = pages.bit(range.start);
            for bit in first..first + (range.end - range.start) / Self::SIZE {
                bits[(bit / 64) as usize] |= 1 << (bit % 64);
            }
        }
        pages.bits = bits;
        Some(pages)
    }

    /// The bit of an address's page.
    #[inline]
    fn bit(&self, address: u64) -> u64 {
        let mut bit = 0;
        for span in &self.spans {
            let page = address.wrapping_sub(span.start) / Self::SIZE;
            bit = if page < span.pages { span.first + page } else { bit };
        }
        bit
    }

    #[inline]
    fn contain(&self, address: u64) -> bool {
        let bit = self.bit(address);
        self.bits[(bit / 64) as usize] >> (bit % 64) & 1 != 0
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
#[inline]
pub(crate) fn contains(range: StackRange, address: u64) -> bool {
    address.wrapping_sub(range.start) < range.end - range.start
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By bits of pages or by a search, just what lies in a range is found, whatever clusters there are: small ones, one that is too wide for bits, more
    /// than there may be, none, and ranges that begin within a page.
    #[test]
    fn what_lies_in_a_range_is_found() {
        const GIB: u64 = 1 << 30;
        let far = |step: u64| (1..=9).map(|number| (number * step, number * step + 0x3000)).collect::<Vec<_>>();
        let near = vec![(0x40_0000, 0x40_1000), (0x40_3000, 0x45_0000), (7 * GIB, 7 * GIB + 0x1000)];
        let wide = vec![(0x1000, 4 * GIB), (5 * GIB, 6 * GIB)];
        let odd = vec![(0x1010, 0x2000), (0x3000, 0x3fff)];
        for (ranges, has_bits) in
            [(near, true), (far(GIB), false), (far(32 << 20), true), (wide, false), (odd, false), (vec![], true)]
        {
            let code = CodeRanges::new(ranges.iter().copied());
            assert_eq!(code.pages.is_some(), has_bits, "{ranges:x?}");
            assert!(code.clusters.len() <= MAX_CLUSTERS);
            let ends = ranges.iter().flat_map(|(start, end)| [*start, *end]);
            let near = ends.flat_map(|end| [end.wrapping_sub(4097), end.wrapping_sub(1), end, end + 1, end + 4096]);
            for address in near.chain([0, 1 << 47, u64::MAX]) {
                let expected = ranges.iter().any(|(start, end)| (*start..*end).contains(&address));
                assert_eq!(code.contains(address), expected, "{address:x} in {ranges:x?}");
            }
        }
    }
}
