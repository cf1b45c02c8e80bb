//! What opening a unit costs, before it is opened: its table of abbreviations, its first entry, and the header of its line
//! program. Many units can share each of them.

use gimli::{
    Abbreviations, AttributeValue, DW_AT_stmt_list, DW_FORM_implicit_const, DebugAbbrevOffset, DebugLineOffset, Dwarf,
    Reader, Section, UnitHeader,
};

use super::Bytes;
use super::allowance::{Meter, Trouble};

/// The longest table of abbreviations that is read: in memory it takes some thirty times its length.
const MAX_TABLE: u64 = 1 << 20;
/// The longest list of folders and files of a line program that is read: in memory it may take a hundred times its length.
const MAX_LINE_HEADER: u64 = 4 << 20;

/// Counts the bytes of a table of abbreviations as work.
pub(super) fn pay_for_table(
    dwarf: &Dwarf<Bytes<'_>>,
    offset: DebugAbbrevOffset,
    meter: &mut Meter<'_>,
) -> Result<(), Trouble> {
    let mut bytes = *dwarf.debug_abbrev.reader();
    bytes.skip(offset.0)?;
    let whole = bytes.len();
    // Code, tag, whether there are children, pairs of name and form.
    while bytes.read_uleb128()? != 0 {
        let before = bytes.len();
        bytes.read_uleb128()?;
        bytes.read_u8()?;
        loop {
            let (name, form) = (bytes.read_uleb128()?, bytes.read_uleb128()?);
            if form == u64::from(DW_FORM_implicit_const.0) {
                bytes.read_sleb128()?;
            }
            if (name, form) == (0, 0) {
                break;
            }
        }
        meter.work((before - bytes.len()) as u64)?;
        meter.no_longer_than(MAX_TABLE, (whole - bytes.len()) as u64)?;
    }
    Ok(())
}

/// Counts the attributes of a unit's first entry as work, and what is read with it.
pub(super) fn pay_for_root(
    dwarf: &Dwarf<Bytes<'_>>,
    header: &UnitHeader<Bytes<'_>>,
    table: &Abbreviations,
    meter: &mut Meter<'_>,
) -> Result<(), Trouble> {
    let mut entries = header.entries_raw(table, None)?;
    let Some(abbreviation) = entries.read_abbreviation()? else { return Ok(()) };
    meter.work(abbreviation.attributes().len() as u64)?;
    for &specification in abbreviation.attributes() {
        let attribute = entries.read_attribute(specification)?;
        if let (DW_AT_stmt_list, AttributeValue::DebugLineRef(offset)) = (attribute.name(), attribute.value()) {
            pay_for_line_header(dwarf, offset, meter)?;
        }
    }
    Ok(())
}

fn pay_for_line_header(
    dwarf: &Dwarf<Bytes<'_>>,
    offset: DebugLineOffset,
    meter: &mut Meter<'_>,
) -> Result<(), Trouble> {
    let mut bytes = *dwarf.debug_line.reader();
    bytes.skip(offset.0)?;
    let (_, format) = bytes.read_initial_length()?;
    if bytes.read_u16()? >= 5 {
        // Sizes of addresses and of segment selectors.
        bytes.skip(2)?;
    }
    let length = bytes.read_length(format)?.min(bytes.len()) as u64;
    meter.no_longer_than(MAX_LINE_HEADER, length)?;
    meter.work(length)
}
