//! How large a function's frame becomes, and whether it has no caller, as its FDE tells (DWARF 5, section 6.4.2). What follows an instruction
//! that is not known is not seen.

use std::ops::RangeInclusive;

use super::encoding::{Bytes, encoded_size};

/// A number that takes three bytes as LEB128, or more.
const LARGE: u64 = 1 << 14;

/// The largest distance of the CFA from its register that an FDE states by number, and the smallest one that is less than a page below, in
/// bytes; `None` when no distance is [`LARGE`].
pub(super) fn large_frame(fde: &[u8], cie: &[u8], encoding: u8) -> Option<RangeInclusive<u64>> {
    const MORE_FOLLOWS: u8 = 0x80;
    let instructions = instructions(fde, cie, encoding)?;
    // Most FDEs have no such number, and need not be read.
    let bytes = instructions.0;
    let pairs = bytes.iter().zip(bytes.get(1..)?);
    let may_be_large = pairs.fold(0, |any, (first, second)| any | (first & second)) & MORE_FOLLOWS != 0;
    may_be_large.then(|| frame_size(instructions)).filter(|size| *size.end() >= LARGE)
}

/// Whether the function has no caller, somewhere.
pub(super) fn marks_end(fde: &[u8], cie: &[u8], encoding: u8) -> bool {
    let mut marks_end = false;
    let instructions = instructions(fde, cie, encoding).unwrap_or_default();
    each(instructions, |instruction| marks_end |= matches!(instruction, Instruction::NoCaller));
    marks_end
}

/// What [`large_frame`] gives, of frames of any size: zeros when there is none.
fn frame_size(instructions: Bytes<'_>) -> RangeInclusive<u64> {
    const PAGE: u64 = 4096;
    let (mut least, mut largest) = (u64::MAX, 0);
    each(instructions, |instruction| {
        if let Instruction::Size(size) = instruction {
            (least, largest) = (least.min(size), largest.max(size));
        }
    });
    let mut smallest = least.min(largest);
    if largest - smallest >= PAGE {
        smallest = largest;
        each(instructions, |instruction| match instruction {
            Instruction::Size(size) if largest - size < PAGE => smallest = smallest.min(size),
            _ => {}
        });
    }
    smallest..=largest
}

/// What matters here of an instruction.
enum Instruction {
    /// The CFA is so far from its register.
    Size(u64),
    NoCaller,
}

/// Tells of each instruction that matters, up to the end or one that is not known.
fn each(mut instructions: Bytes<'_>, mut tell: impl FnMut(Instruction)) {
    while let Some(instruction) = next(&mut instructions) {
        instruction.map(&mut tell);
    }
}

/// What stands behind the addresses, and behind data for exceptions where there is any.
fn instructions<'a>(fde: &'a [u8], cie: &[u8], encoding: u8) -> Option<Bytes<'a>> {
    const CIE_AUGMENTATION: usize = 9;
    let mut bytes = Bytes(fde.get(8 + 2 * encoded_size(encoding)?..)?);
    if cie.get(CIE_AUGMENTATION) == Some(&b'z') {
        let length = bytes.leb128()?;
        bytes.skip(usize::try_from(length).ok()?)?;
    }
    Some(bytes)
}

/// Takes an instruction; `Some(None)` is one that does not matter.
fn next(bytes: &mut Bytes<'_>) -> Option<Option<Instruction>> {
    /// The return address, in DWARF's numbers of registers.
    const RETURN_ADDRESS: u64 = 16;
    const DEF_CFA: u8 = 0x0c;
    const DEF_CFA_OFFSET: u8 = 0x0e;
    let code = bytes.u8()?;
    match code {
        // advance_loc, restore; nop, remember_state, restore_state, and aarch64's negate_ra_state, without and with its address
        0x40..0x80 | 0xc0.. | 0x00 | 0x0a | 0x0b | 0x2c | 0x2d => {}
        // offset; restore_extended, same_value, def_cfa_register, GNU_args_size
        0x80..0xc0 | 0x06 | 0x08 | 0x0d | 0x2e => _ = bytes.leb128()?,
        // undefined
        0x07 => return Some((bytes.leb128()? == RETURN_ADDRESS).then_some(Instruction::NoCaller)),
        // advance_loc1, 2, 4
        0x02 => bytes.skip(1)?,
        0x03 => bytes.skip(2)?,
        0x04 => bytes.skip(4)?,
        // offset_extended, register
        0x05 | 0x09 => _ = (bytes.leb128()?, bytes.leb128()?),
        DEF_CFA => {
            bytes.leb128()?;
            return Some(Some(Instruction::Size(bytes.leb128()?)));
        }
        DEF_CFA_OFFSET => return Some(Some(Instruction::Size(bytes.leb128()?))),
        // def_cfa_expression
        0x0f => {
            let length = bytes.leb128()?;
            bytes.skip(usize::try_from(length).ok()?)?;
        }
        // expression, val_expression
        0x10 | 0x16 => {
            bytes.leb128()?;
            let length = bytes.leb128()?;
            bytes.skip(usize::try_from(length).ok()?)?;
        }
        _ => return None,
    }
    Some(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CIE: [u8; 17] = [16, 0, 0, 0, 0, 0, 0, 0, 1, b'z', b'R', 0, 1, 0x78, 16, 1, 0x1b];
    const ENCODING: u8 = 0x1b;

    fn fde(instructions: &[u8]) -> Vec<u8> {
        [&[0; 16], &[0][..], instructions].concat()
    }

    /// The frame of librustc_driver's largest function, its pushes before, six arguments that are pushed, and its end.
    #[test]
    fn the_largest_offsets_are_found() {
        let pushes = [0x41, 0x0e, 16, 0x86, 2, 0x42, 0x0e, 24, 0x8f, 3];
        let body = [0x02, 200, 0x0e, 0xb0, 0xfb, 0x20, 0x0a, 0x41, 0x0e, 0xe0, 0xfb, 0x20];
        let end = [0x03, 1, 2, 0x0e, 8, 0x0b, 0, 0];
        assert_eq!(large_frame(&fde(&[&pushes[..], &body, &end].concat()), &CIE, ENCODING), Some(540_080..=540_128));
        assert_eq!(large_frame(&fde(&[&pushes[..], &end].concat()), &CIE, ENCODING), None);
    }

    /// What `_start` and `clone` say of the return address; of others that is nothing.
    #[test]
    fn no_caller_is_said() {
        for (register, is_said) in [(16, true), (6, false)] {
            assert_eq!(marks_end(&fde(&[0x0c, 7, 16, 0x41, 0x07, register]), &CIE, ENCODING), is_said);
        }
    }

    /// An FDE that ends anywhere, or holds what is not known, gives what was found before.
    #[test]
    fn short_and_strange_entries_are_harmless() {
        let whole = fde(&[
            0x0e, 0x90, 0x80, 0x02, 0x0f, 2, 0x77, 8, 0x10, 6, 1, 0, 0x0c, 7, 0xa0, 0x80, 0x02, 0x3f, 0x0e, 0xc0, 0x80,
            0x02,
        ]);
        assert_eq!(large_frame(&whole, &CIE, ENCODING), Some(0x8010..=0x8020));
        for length in 0..whole.len() {
            let size = large_frame(&whole[..length], &CIE, ENCODING);
            assert!(size.is_none_or(|size| *size.end() <= 0x8020));
            assert!(!marks_end(&whole[..length], &CIE, ENCODING));
        }
    }
}
