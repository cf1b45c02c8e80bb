//! Columns of counts as a frame has them: numbers whose chances are learned from those before them in their column. A flush stands
//! alone and is small; what a general compressor says of such a one to its reader (trees, distances) is a fifth of it.
//!
//! A number is its length in bits, the bit below its highest one, the next, and so on. How likely each of these is, is counted apart for each column: that of
//! the length by the length of the number before, that of bits by the length and the bits above them.

use crate::error::Error;
use crate::range_coder::{Coder, EVEN, RangeDecoder, RangeEncoder};
use crate::varint;

/// Lengths of numbers before that are told apart: 0, 1, 2, and more.
const CONTEXTS: usize = 4;
/// Lengths below this are told in so many bits; others have this there, and in as many bits as follow how much longer they are.
const LONG: u32 = 7;
const SHORT_BITS: u32 = 3;
const MORE_BITS: u32 = 6;
/// Bits below the highest one whose chances are learned; others are as often set as not.
const LEARNED_BITS: u32 = 3;
const LONGEST: u32 = 64;

/// The chance that a bit is set.
#[derive(Clone, Copy, Debug)]
struct Chance {
    /// In 65,536ths; neither 0 nor all.
    set: u16,
    /// How many bits it was learned from, at most the length of [`RATES`] less 1.
    bits: u8,
}

/// By how much of the distance to what it was a bit changes its chance, in 65,536ths. The first one 4/7, then ever less.
const RATES: [u16; 80] = {
    let mut rates = [0; 80];
    let mut bits = 0;
    while bits < rates.len() {
        rates[bits] = (4 * 65_536 / (4 * bits + 7)) as u16;
        bits += 1;
    }
    rates
};
/// No chance is nearer to 0 or 1.
const LEAST: u16 = 24;

impl Chance {
    const UNKNOWN: Self = Self { set: EVEN, bits: 0 };

    #[inline]
    fn code(&mut self, coder: &mut impl Coder, bit: bool) -> bool {
        let bit = coder.code(bit, self.set);
        let rate = u32::from(RATES[usize::from(self.bits)]);
        let set = u32::from(self.set);
        let set = if bit { set + (((u32::from(u16::MAX) - set) * rate) >> 16) } else { set - ((set * rate) >> 16) };
        self.set = (set as u16).clamp(LEAST, u16::MAX - LEAST);
        self.bits = (self.bits + 1).min(RATES.len() as u8 - 1);
        bit
    }
}

/// What is known of a column.
struct Model {
    /// By the length of the number before, and the bits of this one's so far behind a 1.
    lengths: [[Chance; 1 << SHORT_BITS]; CONTEXTS],
    more: [[Chance; 1 << MORE_BITS]; CONTEXTS],
    /// By the length, and the bits below the highest one so far behind a 1.
    bits: [[Chance; 1 << LEARNED_BITS]; LONGEST as usize + 1],
    /// The lowest bit of a longer number, which is the sign of a difference. By the length.
    lowest: [Chance; LONGEST as usize + 1],
    before: u32,
}

impl Model {
    fn new() -> Self {
        Self {
            lengths: [[Chance::UNKNOWN; 1 << SHORT_BITS]; CONTEXTS],
            more: [[Chance::UNKNOWN; 1 << MORE_BITS]; CONTEXTS],
            bits: [[Chance::UNKNOWN; 1 << LEARNED_BITS]; LONGEST as usize + 1],
            lowest: [Chance::UNKNOWN; LONGEST as usize + 1],
            before: 0,
        }
    }

    /// Passes a length, which may be more than a number has.
    #[inline]
    fn code_length(&mut self, coder: &mut impl Coder, length: u32) -> u32 {
        let context = (self.before as usize).min(CONTEXTS - 1);
        match code_tree(&mut self.lengths[context], coder, length.min(LONG)) {
            LONG => LONG + code_tree(&mut self.more[context], coder, length.saturating_sub(LONG)),
            short => short,
        }
    }

    /// Passes a number; `None` for what is none.
    #[inline]
    fn code(&mut self, coder: &mut impl Coder, number: u64) -> Option<u64> {
        let length = self.code_length(coder, u64::BITS - number.leading_zeros());
        let bits = self.bits.get_mut(length as usize)?;
        self.before = length;
        let mut value = u64::from(length > 0);
        for at in (0..length.saturating_sub(1)).rev() {
            let bit = number >> at & 1 != 0;
            let bit = match bits.get_mut(value as usize) {
                Some(chance) => chance.code(coder, bit),
                None if at == 0 => self.lowest[length as usize].code(coder, bit),
                None => coder.code(bit, EVEN),
            };
            value = value << 1 | u64::from(bit);
        }
        Some(value)
    }
}

/// Passes the bits of a value, from the highest down.
#[inline]
fn code_tree<const PLACES: usize>(chances: &mut [Chance; PLACES], coder: &mut impl Coder, value: u32) -> u32 {
    let mut place = 1;
    for at in (0..PLACES.trailing_zeros()).rev() {
        place = place << 1 | usize::from(chances[place].code(coder, value >> at & 1 != 0));
    }
    place as u32 - PLACES as u32
}

/// Appends columns, each of which has its length in front, as a frame of counts has them: how many columns, how many numbers each has,
/// and all numbers.
pub(crate) fn pack(columns: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let mut at = 0;
    let mut ends = Vec::new();
    for _ in 0..varint::take(columns, &mut at)? {
        let length = usize::try_from(varint::take(columns, &mut at)?).unwrap_or(usize::MAX);
        let start = at;
        let end = start.checked_add(length).filter(|end| *end <= columns.len());
        at = end.ok_or(Error::content(start, "a column that ends inside its frame"))?;
        ends.push((start, at));
    }
    varint::put(out, ends.len() as u64);
    for (start, end) in &ends {
        // The last byte of a number has no high bit.
        varint::put(out, columns[*start..*end].iter().filter(|byte| **byte < 0x80).count() as u64);
    }
    let mut encoder = RangeEncoder::new(out);
    for (mut at, end) in ends.into_iter().filter(|(start, end)| start < end) {
        let mut model = Model::new();
        while at < end {
            let number = varint::take(&columns[..end], &mut at)?;
            model.code(&mut encoder, number);
        }
    }
    encoder.finish();
    Ok(())
}

const WHOLE: &str = "whole numbers of counts";
const AS_LONG: &str = "columns as long as they are said to be";

/// The columns of a frame of counts, which have so many bytes, in `columns`' memory. What is more is refused before it is there.
pub(crate) fn unpack(content: &[u8], length: usize, mut columns: Vec<u8>) -> Result<Vec<u8>, Error> {
    let mut counts = 0;
    let how_many = varint::take(content, &mut counts)?;
    let mut start = counts;
    for _ in 0..how_many {
        varint::take(content, &mut start)?;
    }
    columns.clear();
    varint::put(&mut columns, how_many);
    let mut decoder = RangeDecoder::new(&content[start..]);
    let mut column = Vec::new();
    for _ in 0..how_many {
        let count = varint::take(content, &mut counts)?;
        if count > 0 {
            // In front of it is its length.
            let room = length.saturating_sub(columns.len() + 1);
            let unpacked = unpack_column(&mut decoder, count, room, &mut column);
            unpacked.map_err(|expected| Error::content(start, expected))?;
        }
        varint::put(&mut columns, column.len() as u64);
        columns.append(&mut column);
    }
    if columns.len() != length || !decoder.is_at_end() {
        return Err(Error::content(start, AS_LONG));
    }
    Ok(columns)
}

/// The next column: so many numbers in at most so many bytes. An error is what was expected.
fn unpack_column(
    decoder: &mut RangeDecoder<'_>,
    count: u64,
    room: usize,
    column: &mut Vec<u8>,
) -> Result<(), &'static str> {
    let mut model = Model::new();
    for _ in 0..count {
        let number = model.code(decoder, 0).filter(|_| !decoder.is_beyond_end());
        varint::put(column, number.ok_or(WHOLE)?);
        if column.len() > room {
            return Err(AS_LONG);
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn joined(columns: &[Vec<u64>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        varint::put(&mut bytes, columns.len() as u64);
        for column in columns {
            let mut numbers = Vec::new();
            column.iter().for_each(|number| varint::put(&mut numbers, *number));
            varint::put(&mut bytes, numbers.len() as u64);
            bytes.append(&mut numbers);
        }
        bytes
    }

    fn packed(columns: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        pack(columns, &mut bytes).unwrap();
        bytes
    }

    proptest! {
        /// Columns come back, whatever is in them.
        #[test]
        fn columns_come_back(columns in vec(vec(prop_oneof![0u64..9, any::<u64>(), Just(u64::MAX)], 0..60), 0..5)) {
            let columns = joined(&columns);
            prop_assert_eq!(unpack(&packed(&columns), columns.len(), vec![1]).unwrap(), columns);
        }

        /// A content that is longer, shorter or of another length than it was is refused.
        #[test]
        fn other_lengths_are_refused(columns in vec(vec(any::<u64>(), 1..20), 1..4)) {
            let columns = joined(&columns);
            let content = packed(&columns);
            for length in [columns.len() - 1, columns.len() + 1] {
                prop_assert!(unpack(&content, length, Vec::new()).is_err());
            }
            let longer = [content.as_slice(), &[0]].concat();
            for content in [&longer[..], &content[..content.len() / 2]] {
                prop_assert!(unpack(content, columns.len(), Vec::new()).is_err());
            }
        }

        /// Arbitrary bytes give columns or an error, never a panic, and no more than they are said to be.
        #[test]
        fn arbitrary_bytes_are_safe(content: Vec<u8>, length in 0usize..10_000) {
            if let Ok(columns) = unpack(&content, length, Vec::new()) {
                prop_assert_eq!(columns.len(), length);
            }
            let _refused = pack(&content, &mut Vec::new());
        }
    }

    /// Numbers of each length come back, the least and the greatest of it, also behind each other one.
    #[test]
    fn numbers_of_each_length_come_back() {
        let numbers: Vec<u64> = (0..64).flat_map(|bit| [1 << bit, u64::MAX >> bit]).chain([0]).collect();
        let pairs = numbers.iter().flat_map(|one| numbers.iter().flat_map(move |other| [*one, *other])).collect();
        let columns = joined(&[Vec::new(), pairs, Vec::new(), numbers]);
        assert_eq!(unpack(&packed(&columns), columns.len(), Vec::new()).unwrap(), columns);
    }

    /// Columns that are short by themselves, but not together, are refused at the first one that is too much: few bytes can ask for many of them.
    #[test]
    fn columns_that_explode_together_are_refused() {
        const LENGTH: u64 = 10_000;
        let mut content = Vec::new();
        for number in [4, LENGTH - 10, LENGTH - 10, LENGTH - 10, LENGTH - 10] {
            varint::put(&mut content, number);
        }
        let mut encoder = RangeEncoder::new(&mut content);
        let mut model = Model::new();
        (0..LENGTH - 10).for_each(|_| _ = model.code(&mut encoder, 0));
        let mut model = Model::new();
        (0..100).for_each(|_| _ = model.code(&mut encoder, 0));
        encoder.finish();
        let refused = unpack(&content, LENGTH as usize, Vec::new()).unwrap_err();
        assert!(matches!(refused, Error::Content { expected: AS_LONG, .. }), "{refused}");
    }

    /// What repeats takes next to nothing; a few bits of what does not are learned.
    #[test]
    fn what_repeats_takes_little() {
        assert!(packed(&joined(&[vec![20_000_000; 1_000]])).len() < 2_600);
        assert!(packed(&joined(&[vec![7; 1_000]])).len() < 20);
        let halves: Vec<u64> = (0..1_000).map(|number| number * 7 % 11 % 2).collect();
        assert!(packed(&joined(&[halves])).len() < 140);
    }
}
