//! Bits in fewer bits than they are: one whose chance is known takes the less, the likelier it is. The coder of arithmetic coding: all bits
//! so far stand for a range of fractions, each bit for its share of the range.

/// Chances are in 65,536ths.
const CHANCE_BITS: u32 = 16;
/// Both sides of an equal chance.
pub(crate) const EVEN: u16 = 1 << (CHANCE_BITS - 1);

/// Passes bits one way or the other.
pub(crate) trait Coder {
    /// Writes `bit`, and gives it back; or reads one, and gives that. `chance` is that it is set, and never 0.
    fn code(&mut self, bit: bool, chance: u16) -> bool;
}

/// The range: its first and its last fraction, in 2³²nds.
#[derive(Clone, Copy, Debug)]
struct Range {
    first: u32,
    last: u32,
}

impl Default for Range {
    fn default() -> Self {
        Self { first: 0, last: u32::MAX }
    }
}

impl Range {
    /// The last fraction that says that the bit is set.
    fn middle(self, chance: u16) -> u32 {
        self.first + ((u64::from(self.last - self.first) * u64::from(chance)) >> CHANCE_BITS) as u32
    }

    /// The share of a bit.
    fn narrow(&mut self, bit: bool, middle: u32) {
        if bit {
            self.last = middle;
        } else {
            self.first = middle + 1;
        }
    }

    /// Drops a first byte that all fractions of the range have in common.
    fn shift(&mut self) -> Option<u8> {
        if (self.first ^ self.last) >> 24 != 0 {
            return None;
        }
        let byte = (self.first >> 24) as u8;
        (self.first, self.last) = (self.first << 8, self.last << 8 | 0xff);
        Some(byte)
    }
}

/// The writer's side.
#[derive(Debug)]
pub(crate) struct RangeEncoder<'a> {
    out: &'a mut Vec<u8>,
    range: Range,
}

impl<'a> RangeEncoder<'a> {
    /// Appends to `out`.
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, range: Range::default() }
    }

    /// Ends the bits: a byte that is in the range, whatever zeros follow.
    pub(crate) fn finish(self) {
        self.out.push((self.range.first >> 24) as u8 + 1);
    }
}

impl Coder for RangeEncoder<'_> {
    #[inline]
    fn code(&mut self, bit: bool, chance: u16) -> bool {
        self.range.narrow(bit, self.range.middle(chance));
        while let Some(byte) = self.range.shift() {
            self.out.push(byte);
        }
        bit
    }
}

/// The reader's side.
#[derive(Debug)]
pub(crate) struct RangeDecoder<'a> {
    bytes: &'a [u8],
    /// How many bytes were taken, also of the zeros behind the end.
    taken: usize,
    range: Range,
    fraction: u32,
}

impl<'a> RangeDecoder<'a> {
    /// Bytes that the coder looks ahead.
    const AHEAD: usize = 4;

    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Self { bytes, taken: 0, range: Range::default(), fraction: 0 };
        (0..Self::AHEAD).for_each(|_| decoder.take());
        decoder
    }

    fn take(&mut self) {
        let byte = self.bytes.get(self.taken).copied().unwrap_or(0);
        self.fraction = self.fraction << 8 | u32::from(byte);
        self.taken += 1;
    }

    /// Whether bits were asked for that are not there.
    pub(crate) fn is_beyond_end(&self) -> bool {
        self.taken >= self.bytes.len() + Self::AHEAD
    }

    /// Whether these were all bits.
    pub(crate) fn is_at_end(&self) -> bool {
        self.taken + 1 == self.bytes.len() + Self::AHEAD
    }
}

impl Coder for RangeDecoder<'_> {
    #[inline]
    fn code(&mut self, _unknown: bool, chance: u16) -> bool {
        let middle = self.range.middle(chance);
        let bit = self.fraction <= middle;
        self.range.narrow(bit, middle);
        while self.range.shift().is_some() {
            self.take();
        }
        bit
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn coded(bits: &[(bool, u16)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = RangeEncoder::new(&mut bytes);
        for (bit, chance) in bits {
            assert_eq!(encoder.code(*bit, *chance), *bit);
        }
        encoder.finish();
        bytes
    }

    proptest! {
        /// Bits come back, whatever their chances, and nothing is left over.
        #[test]
        fn bits_come_back(bits in vec((any::<bool>(), 1u16..), 0..600)) {
            let bytes = coded(&bits);
            let mut decoder = RangeDecoder::new(&bytes);
            for (bit, chance) in &bits {
                prop_assert!(!decoder.is_beyond_end());
                prop_assert_eq!(decoder.code(false, *chance), *bit);
            }
            prop_assert!(decoder.is_at_end());
        }

        /// Arbitrary bytes give bits, never a panic, and are at an end.
        #[test]
        fn arbitrary_bytes_are_safe(bytes: Vec<u8>, chances in vec(1u16.., 600)) {
            let mut decoder = RangeDecoder::new(&bytes);
            chances.into_iter().for_each(|chance| _ = decoder.code(false, chance));
        }
    }

    /// Likely bits take little: a thousand of a chance of 99 in 100 each, 15 bits in theory.
    #[test]
    fn likely_bits_take_little() {
        assert_eq!(coded(&[(true, 64_880); 1_000]).len(), 2);
    }
}
