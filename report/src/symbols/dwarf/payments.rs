//! What opening a unit costs: its table of abbreviations, its first entry with its texts, and the header of its line
//! program; and what any other text costs. Many units can share each of them.

use gimli::{
    Abbreviations, AttributeValue, DW_AT_comp_dir, DW_AT_name, DW_AT_stmt_list, DW_FORM_implicit_const,
    DebugAbbrevOffset, DebugLineOffset, Dwarf, Reader, Section, UnitHeader, UnitRef,
};

use super::Bytes;
use super::allowance::{Meter, Trouble};

/// The longest table of abbreviations that is read: in memory it takes some thirty times its length.
const MAX_TABLE: u64 = 1 << 20;
/// The longest list of folders and files of a line program that is read: in memory it may take a hundred times its length.
const MAX_LINE_HEADER: u64 = 4 << 20;
/// Bytes of a text that are looked at before they are paid for.
const TEXT_STEP: usize = 4 << 10;

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

/// Counts the attributes of a unit's first entry and its bytes as work, and what is read with it. Gives the texts that
/// opening the unit looks for.
pub(super) fn pay_for_root<'a>(
    dwarf: &Dwarf<Bytes<'a>>,
    header: &UnitHeader<Bytes<'a>>,
    table: &Abbreviations,
    meter: &mut Meter<'_>,
) -> Result<[Option<AttributeValue<Bytes<'a>>>; 2], Trouble> {
    let (mut name, mut folder) = (None, None);
    let mut entries = header.entries_raw(table, None)?;
    let start = entries.next_offset();
    let Some(abbreviation) = entries.read_abbreviation()? else { return Ok([None, None]) };
    meter.work(abbreviation.attributes().len() as u64)?;
    for &specification in abbreviation.attributes() {
        let attribute = entries.read_attribute(specification)?;
        match (attribute.name(), attribute.value()) {
            (DW_AT_stmt_list, AttributeValue::DebugLineRef(offset)) => pay_for_line_header(dwarf, offset, meter)?,
            (DW_AT_name, value) => name = Some(value),
            (DW_AT_comp_dir, value) => folder = Some(value),
            _ => {}
        }
    }
    meter.work((entries.next_offset().0 - start.0) as u64)?;
    Ok([name, folder])
}

/// Counts the bytes up to the end of a text as work, or up to the end of its section where the text has none. A text
/// that stands in its entry is paid for with the entry.
pub(super) fn pay_for_text<'a>(
    unit: UnitRef<'_, Bytes<'a>>,
    value: AttributeValue<Bytes<'a>>,
    meter: &mut Meter<'_>,
) -> Result<(), Trouble> {
    let dwarf = unit.dwarf;
    let place = match value {
        AttributeValue::DebugStrRef(offset) => Some((&dwarf.debug_str, offset)),
        AttributeValue::DebugStrOffsetsIndex(index) => {
            unit.string_offset(index).ok().map(|offset| (&dwarf.debug_str, offset))
        }
        AttributeValue::DebugStrRefSup(offset) => dwarf.sup().map(|shared| (&shared.debug_str, offset)),
        _ => None,
    };
    let place = place.map(|(section, offset)| (section.reader(), offset.0));
    let place = match value {
        AttributeValue::DebugLineStrRef(offset) => Some((dwarf.debug_line_str.reader(), offset.0)),
        _ => place,
    };
    let mut rest = place.and_then(|(section, offset)| section.slice().get(offset..)).unwrap_or_default();
    while !rest.is_empty() {
        let (part, behind) = rest.split_at(rest.len().min(TEXT_STEP));
        let end = part.iter().position(|&byte| byte == 0);
        meter.work(end.unwrap_or(part.len()) as u64)?;
        rest = if end.is_some() { &[] } else { behind };
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
