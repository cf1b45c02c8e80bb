//! The first look at copied stacks: which words lie inside any of a few ranges of addresses. Deep
//! stacks bring ten thousand words a sample, and nearly all of them are of no interest, so they are
//! looked at 64 at a time; the compiler turns the loop into vector instructions.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    _MM_HINT_T0, _mm_prefetch, _mm512_cmplt_epu64_mask, _mm512_set_epi64, _mm512_set1_epi64, _mm512_sub_epi64,
};

use profrec_format::StackRange;

/// Words that are looked at together: one for each bit of the answer.
pub(crate) const BLOCK: usize = 64;

/// Words of a stack that stand one after the other, as they were copied.
pub(crate) type Block = [[u8; 8]; BLOCK];

/// Has what comes a page behind a block, which is looked at next, loaded meanwhile: from one page of the ring to the next,
/// processors do not look ahead by themselves.
#[inline]
pub(crate) fn expect(block: &Block) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..size_of::<Block>() / 64 {
        let ahead = block.as_ptr().cast::<i8>().wrapping_add(AHEAD + 64 * line);
        // SAFETY: nothing is read, whatever is there.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead) };
    }
}

/// Bytes.
const AHEAD: usize = 4096;

/// One bit for each word that lies inside one of the ranges, the first word's the lowest.
pub(crate) fn inside_any(block: &Block, ranges: &[StackRange]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has what the function asks for.
        return unsafe { inside_any_avx512(block, ranges) };
    } else if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function asks for.
        return unsafe { inside_any_avx2(block, ranges) };
    }
    inside_any_portable(block, ranges)
}

/// The compiler makes vectors of the loop below, but takes half as long again.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn inside_any_avx512(block: &Block, ranges: &[StackRange]) -> u64 {
    let mut inside = 0;
    for range in ranges {
        let start = _mm512_set1_epi64(range.start as i64);
        let length = _mm512_set1_epi64(range.end.wrapping_sub(range.start) as i64);
        for (eighth, words) in block.as_chunks::<8>().0.iter().enumerate() {
            let [a, b, c, d, e, f, g, h] = words.map(i64::from_le_bytes);
            let words = _mm512_set_epi64(h, g, f, e, d, c, b, a);
            let found = _mm512_cmplt_epu64_mask(_mm512_sub_epi64(words, start), length);
            inside |= u64::from(found) << (8 * eighth);
        }
    }
    inside
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn inside_any_avx2(block: &Block, ranges: &[StackRange]) -> u64 {
    inside_any_portable(block, ranges)
}

#[inline(always)]
fn inside_any_portable(block: &Block, ranges: &[StackRange]) -> u64 {
    let mut inside = 0;
    for range in ranges {
        let length = range.end.wrapping_sub(range.start);
        for (bit, word) in block.iter().enumerate() {
            // One comparison instead of two: below `start` the difference wraps around.
            inside |= u64::from(u64::from_le_bytes(*word).wrapping_sub(range.start) < length) << bit;
        }
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What runs on this processor and the portable version agree with two comparisons, at the ends of ranges and for
    /// values with the highest bit set.
    #[test]
    fn bits_are_those_of_words_inside() {
        let ranges = [StackRange { start: 0x1000, end: 0x1800 }, StackRange { start: 1 << 63, end: (1 << 63) + 2 }];
        let values = [0, 0xfff, 0x1000, 0x17ff, 0x1800, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, (1 << 63) + 2, u64::MAX];
        let words: [u64; BLOCK] = std::array::from_fn(|at| values[at % values.len()]);
        let mut expected = 0;
        for (bit, word) in words.iter().enumerate() {
            let inside = ranges.iter().any(|range| range.start <= *word && *word < range.end);
            expected |= u64::from(inside) << bit;
        }
        let block = words.map(u64::to_le_bytes);
        assert_eq!(inside_any_portable(&block, &ranges), expected);
        assert_eq!(inside_any(&block, &ranges), expected);
        assert_eq!(inside_any(&block, &[]), 0);
    }
}
