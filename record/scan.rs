//! The first look at copied stacks: which words may be pointers that are kept. Deep stacks bring thousands of words a
//! sample, and most of them are of no interest, so they are looked at 64 at a time; on x86-64 with vector instructions.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m512i, _MM_HINT_T0, _mm_prefetch, _mm512_add_epi64, _mm512_cmpgt_epu64_mask, _mm512_cmplt_epu64_mask,
    _mm512_set_epi64, _mm512_set1_epi64, _mm512_sub_epi64, _mm512_testn_epi64_mask,
};

use profrec_format::StackRange;

use crate::code_ranges::contains;

/// Words that are looked at together: one for each bit of the answer.
pub(crate) const BLOCK: usize = 64;

/// Words of a stack that stand one after the other, as they were copied.
pub(crate) type Block = [[u8; 8]; BLOCK];

/// What words of a block are: one bit for each word, the first word's the lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Inside one of the clusters of executable memory.
    pub(crate) in_clusters: u64,
    /// Inside the stack that they stand on.
    pub(crate) in_stack: u64,
    /// Greater than the address that they stand at.
    pub(crate) upward: u64,
    /// Multiples of 8, the size of a word.
    pub(crate) aligned: u64,
}

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

/// Looks at a block that stands at `address`, on `stack`.
pub(crate) fn look(block: &Block, address: u64, stack: StackRange, clusters: &[StackRange]) -> Seen {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has what the function asks for.
        return unsafe { look_avx512(block, address, stack, clusters) };
    } else if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function asks for.
        return unsafe { look_avx2(block, address, stack, clusters) };
    }
    look_portable(block, address, stack, clusters)
}

/// The compiler makes vectors of the portable loops, but takes half as long again.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn look_avx512(block: &Block, address: u64, stack: StackRange, clusters: &[StackRange]) -> Seen {
    let mut seen = Seen::default();
    for cluster in clusters {
        let (start, length) = (all(cluster.start), all(length(*cluster)));
        for (eighth, words) in block.as_chunks().0.iter().enumerate() {
            let inside = _mm512_cmplt_epu64_mask(_mm512_sub_epi64(vector(words), start), length);
            seen.in_clusters |= u64::from(inside) << (8 * eighth);
        }
    }
    let (start, length) = (all(stack.start), all(length(stack)));
    let mut addresses = _mm512_add_epi64(all(address), _mm512_set_epi64(56, 48, 40, 32, 24, 16, 8, 0));
    for (eighth, words) in block.as_chunks().0.iter().enumerate() {
        let words = vector(words);
        let inside = _mm512_cmplt_epu64_mask(_mm512_sub_epi64(words, start), length);
        seen.in_stack |= u64::from(inside) << (8 * eighth);
        seen.upward |= u64::from(_mm512_cmpgt_epu64_mask(words, addresses)) << (8 * eighth);
        seen.aligned |= u64::from(_mm512_testn_epi64_mask(words, all(7))) << (8 * eighth);
        addresses = _mm512_add_epi64(addresses, all(64));
    }
    seen
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn all(value: u64) -> __m512i {
    _mm512_set1_epi64(value as i64)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn vector(words: &[[u8; 8]; 8]) -> __m512i {
    let [a, b, c, d, e, f, g, h] = words.map(i64::from_le_bytes);
    _mm512_set_epi64(h, g, f, e, d, c, b, a)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn look_avx2(block: &Block, address: u64, stack: StackRange, clusters: &[StackRange]) -> Seen {
    look_portable(block, address, stack, clusters)
}

#[inline(always)]
fn look_portable(block: &Block, address: u64, stack: StackRange, clusters: &[StackRange]) -> Seen {
    let mut seen = Seen::default();
    for cluster in clusters {
        seen.in_clusters |= bits(block, |_, word| contains(*cluster, word));
    }
    seen.in_stack = bits(block, |_, word| contains(stack, word));
    seen.upward = bits(block, |bit, word| word > address.wrapping_add(8 * bit));
    seen.aligned = bits(block, |_, word| word.is_multiple_of(8));
    seen
}

#[inline(always)]
fn bits(block: &Block, is_set: impl Fn(u64, u64) -> bool) -> u64 {
    let word = |(bit, word): (usize, &[u8; 8])| u64::from(is_set(bit as u64, u64::from_le_bytes(*word))) << bit;
    block.iter().enumerate().map(word).fold(0, |bits, bit| bits | bit)
}

fn length(range: StackRange) -> u64 {
    range.end - range.start
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What runs on this processor and the portable version agree with two comparisons, at the ends of ranges and for
    /// values with the highest bit set.
    #[test]
    fn bits_are_those_of_words_inside() {
        let stack = StackRange { start: 1 << 63, end: (1 << 63) + 0x208 };
        let clusters = [StackRange { start: 0x1000, end: 0x1800 }, StackRange { start: 0x3000, end: 0x3001 }];
        let values = [
            0,
            0xfff,
            0x1000,
            0x17ff,
            0x1800,
            0x3000,
            (1 << 63) - 1,
            1 << 63,
            (1 << 63) + 1,
            u64::MAX,
            (1 << 63) + 0x108,
        ];
        let words: [u64; BLOCK] = std::array::from_fn(|at| values[at % values.len()]);
        let address = 1 << 63;
        let mut expected = Seen::default();
        for (bit, word) in words.iter().enumerate() {
            let is_in = |range: &StackRange| range.start <= *word && *word < range.end;
            expected.in_clusters |= u64::from(clusters.iter().any(is_in)) << bit;
            expected.in_stack |= u64::from(is_in(&stack)) << bit;
            expected.upward |= u64::from(*word > address + 8 * bit as u64) << bit;
            expected.aligned |= u64::from(word % 8 == 0) << bit;
        }
        let block = words.map(u64::to_le_bytes);
        assert_eq!(look_portable(&block, address, stack, &clusters), expected);
        assert_eq!(look(&block, address, stack, &clusters), expected);
        let none = look(&block, address, StackRange::default(), &[]);
        assert_eq!((none.in_clusters, none.in_stack), (0, 0));
    }
}
