//! Whole numbers in as few bytes as they need: LEB128, and the foldings that make typical
//! differences small. Every folding is a bijection on 64 bits, so that nothing is ever lost.

use crate::error::Error;

/// Appends `value` as LEB128: seven bits a byte, the lowest first, the high bit set on all but the
/// last.
#[inline]
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    if (0x80..0x4000).contains(&value) {
        return out.extend_from_slice(&[value as u8 | 0x80, (value >> 7) as u8]);
    }
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes the LEB128 number at `at` and moves `at` behind it.
#[inline]
pub(crate) fn take(bytes: &[u8], at: &mut usize) -> Result<u64, Error> {
    match bytes.get(*at..) {
        Some(&[byte, ..]) if byte < 0x80 => {
            *at += 1;
            Ok(u64::from(byte))
        }
        Some(&[low, high, ..]) if high < 0x80 => {
            *at += 2;
            Ok(u64::from(low & 0x7f) | u64::from(high) << 7)
        }
        _ => take_long(bytes, at),
    }
}

fn take_long(bytes: &[u8], at: &mut usize) -> Result<u64, Error> {
    let start = *at;
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let Some(&byte) = bytes.get(*at) else {
            return Err(Error::content(start, "a whole number"));
        };
        *at += 1;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Error::content(start, "a number of at most 64 bits"))
}

/// Folds a signed difference so that small ones of either sign become small numbers.
pub(crate) fn fold(difference: u64) -> u64 {
    let signed = difference as i64;
    ((signed << 1) ^ (signed >> 63)) as u64
}

/// The inverse of [`fold`].
pub(crate) fn unfold(folded: u64) -> u64 {
    (folded >> 1) ^ (folded & 1).wrapping_neg()
}

/// Folds a signed difference that is usually a multiple of 8: the low three bits go to the top,
/// where they are the sign's copies for such a difference.
pub(crate) fn fold_words(difference: u64) -> u64 {
    let signed = difference as i64;
    fold(((signed >> 3) ^ ((signed & 7) << 61)) as u64)
}

/// The inverse of [`fold_words`].
pub(crate) fn unfold_words(folded: u64) -> u64 {
    let shifted = unfold(folded);
    let sign = (((shifted << 3) as i64) >> 63) as u64;
    (shifted << 3) | (((shifted >> 61) ^ sign) & 7)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Any number comes back from its bytes, and nothing is left over.
        #[test]
        fn numbers_round_trip(value: u64) {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            let mut at = 0;
            prop_assert_eq!(take(&bytes, &mut at).unwrap(), value);
            prop_assert_eq!(at, bytes.len());
        }

        /// Both foldings are bijections, whatever the difference.
        #[test]
        fn foldings_round_trip(value: u64) {
            prop_assert_eq!(unfold(fold(value)), value);
            prop_assert_eq!(unfold_words(fold_words(value)), value);
        }

        /// Arbitrary bytes give numbers or an error, never a panic.
        #[test]
        fn arbitrary_bytes_are_safe(bytes: Vec<u8>) {
            let mut at = 0;
            while take(&bytes, &mut at).is_ok() {}
        }
    }

    /// Word distances of either sign take one byte up to 63 words.
    #[test]
    fn near_words_take_one_byte() {
        for words in -64i64..64 {
            assert!(fold_words((words * 8) as u64) < 0x80, "{words}");
        }
    }
}
