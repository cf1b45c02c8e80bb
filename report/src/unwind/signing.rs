//! An instruction of call frame information that gimli does not know: `DW_CFA_AARCH64_negate_ra_state_with_pc` (compilers that sign return
//! addresses with the address of the signing instruction, PAuth_LR). It has no operands, and signatures are taken off whatever it
//! says; so in its place `DW_CFA_nop` says the same.

use profrec_format::CfiSection;

/// `DW_CFA_AARCH64_negate_ra_state_with_pc`
pub(super) const NEGATE_WITH_PC: u8 = 0x2c;
const NOP: u8 = 0;

/// The entry of a function, whose addresses have so many bytes each, without it. `augmented`: behind the addresses there is a length,
/// and so many bytes of other data.
pub(super) fn entry_without(form: CfiSection, entry: &[u8], address_size: usize, augmented: bool) -> Option<Vec<u8>> {
    let wide = entry.starts_with(&[0xff; 4]);
    let pointer = if wide && form == CfiSection::DebugFrame { 8 } else { 4 };
    let mut start = if wide { 12 } else { 4 } + pointer + 2 * address_size;
    if augmented {
        start += block(entry.get(start..)?, 0)?;
    }
    let mut entry = entry.to_vec();
    leave_out(entry.get_mut(start..)?);
    Some(entry)
}

/// Puts nothing in its place, wherever it stands among these instructions, up to one that is not known.
fn leave_out(instructions: &mut [u8]) {
    let mut at = 0;
    while let Some(&code) = instructions.get(at) {
        if code == NEGATE_WITH_PC {
            instructions[at] = NOP;
        }
        let Some(length) = instructions.get(at + 1..).and_then(|rest| operands(code, rest)) else { return };
        at += 1 + length;
    }
}

/// Bytes of an instruction's operands (DWARF 5, table 7.29); `None` when they are not whole, or the instruction is not known.
fn operands(code: u8, rest: &[u8]) -> Option<usize> {
    let numbers = match code {
        // advance_loc, restore; nop, remember_state, restore_state, negate_ra_state
        0x40..0x80 | 0xc0.. | 0x00 | 0x0a | 0x0b | 0x2c | 0x2d => return Some(0),
        // set_loc in the encoding of the entry's addresses is not known here.
        0x02 => return Some(1),
        0x03 => return Some(2),
        0x04 => return Some(4),
        // def_cfa_expression
        0x0f => return block(rest, 0),
        // expression, val_expression
        0x10 | 0x16 => return block(rest, 1),
        // offset; restore_extended, undefined, same_value, def_cfa_register, def_cfa_offset and its signed form, args_size
        0x80..0xc0 | 0x06..=0x08 | 0x0d | 0x0e | 0x13 | 0x2e => 1,
        // offset_extended, register, def_cfa, and the signed forms; val_offset
        0x05 | 0x09 | 0x0c | 0x11 | 0x12 | 0x14 | 0x15 => 2,
        _ => return None,
    };
    leb128(rest, numbers)
}

/// So many LEB128 numbers.
fn leb128(bytes: &[u8], numbers: usize) -> Option<usize> {
    let mut ends = bytes.iter().enumerate().filter(|(_, byte)| **byte & 0x80 == 0);
    Some(ends.nth(numbers.checked_sub(1)?)?.0 + 1)
}

/// So many numbers, then a length and a block of that length. Blocks are short: a length of more than one byte is not followed.
fn block(bytes: &[u8], numbers: usize) -> Option<usize> {
    let start = if numbers == 0 { 0 } else { leb128(bytes, numbers)? };
    let length = *bytes.get(start).filter(|length| **length < 0x80)?;
    Some(start + 1 + usize::from(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The instruction is left out; the same byte among operands, and in an expression, is none.
    #[test]
    fn only_the_instruction_is_left_out() {
        let mut instructions = [0x0e, 0x2c, 0x2c, 0x02, 0x2c, 0x16, 6, 2, 0x2c, 0x2c, 0x93, 0x2c, 0x2c, 0x41, 0x2c];
        leave_out(&mut instructions);
        assert_eq!(instructions, [0x0e, 0x2c, 0, 0x02, 0x2c, 0x16, 6, 2, 0x2c, 0x2c, 0x93, 0x2c, 0, 0x41, 0]);
    }

    /// Behind what is not known, or not whole, nothing is touched.
    #[test]
    fn what_is_not_known_ends_it() {
        for instructions in [&[0x3f, 0x2c][..], &[0x01, 0x2c], &[0x0c, 0x87], &[0x10], &[]] {
            let mut left = instructions.to_vec();
            leave_out(&mut left);
            assert_eq!(left, instructions);
        }
    }
}
