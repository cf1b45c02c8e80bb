//! Debug info that was made to cost more than it is long: each test takes hours, all memory or the whole stack if its bound is
//! taken away.

use gimli::{
    DW_AT_high_pc, DW_AT_low_pc, DW_FORM_addr, DW_FORM_data4, DW_TAG_compile_unit, DW_TAG_inlined_subroutine,
    DW_TAG_subprogram,
};

use super::*;

/// Abbreviations of a unit, a function and an inlined function; each has a range, the last two have children.
const UNIT: u8 = 1;
const FUNCTION: u8 = 2;
const INLINED: u8 = 3;

fn abbreviations() -> Vec<u8> {
    let entry = |code: u8, tag: gimli::DwTag| {
        let (low, high) = (DW_AT_low_pc.0 as u8, DW_AT_high_pc.0 as u8);
        [code, tag.0 as u8, 1, low, DW_FORM_addr.0 as u8, high, DW_FORM_data4.0 as u8, 0, 0]
    };
    let entries = [
        entry(UNIT, DW_TAG_compile_unit),
        entry(FUNCTION, DW_TAG_subprogram),
        entry(INLINED, DW_TAG_inlined_subroutine),
    ];
    [entries.concat(), vec![0]].concat()
}

fn entry(code: u8, low: u64, size: u32) -> Vec<u8> {
    [&[code][..], &low.to_le_bytes(), &size.to_le_bytes()].concat()
}

/// A unit of DWARF 4.
fn unit(abbreviations: u32, entries: &[u8]) -> Vec<u8> {
    let header = [&4_u16.to_le_bytes()[..], &abbreviations.to_le_bytes(), &[8]].concat();
    let length = (header.len() + entries.len()) as u32;
    [&length.to_le_bytes()[..], &header, entries].concat()
}

fn found(abbreviations: &[u8], info: &[u8], addresses: &[u64]) -> (Found, bool) {
    let sections = DwarfSections::load(|id| match id {
        SectionId::DebugAbbrev => Ok::<_, gimli::Error>(abbreviations),
        SectionId::DebugInfo => Ok(info),
        _ => Ok(&[][..]),
    });
    let sections = sections.unwrap();
    let dwarf = sections.borrow(|data| EndianSlice::new(data, LittleEndian));
    let allowance = Allowance::of(&dwarf);
    let parts = Parts { beside: &[], package: None };
    let reading = Reading { units: Units::list(&dwarf), shared: None, allowance, parts, lines: true };
    (reading.frames_at(addresses, &progress::doing("test", 0)), reading.allowance.is_exhausted())
}

/// The same shape, not hostile, is read: one function inlined into another.
#[test]
fn harmless() {
    let entries =
        [entry(UNIT, 0x1000, 0x100), entry(FUNCTION, 0x1000, 0x80), entry(INLINED, 0x1010, 0x10), vec![0, 0, 0]]
            .concat();
    let (found, exhausted) = found(&abbreviations(), &unit(0, &entries), &[0x1000, 0x1010, 0x1020, 0x1090]);
    let lengths: Vec<usize> = found.frames.iter().map(Vec::len).collect();
    assert_eq!((lengths, exhausted), (vec![1, 2, 1, 0], false));
}

/// Ten thousands of units that each begin their abbreviations at another place of one long table.
#[test]
fn units_that_share_a_table() {
    let (mut table, mut units) = (Vec::new(), Vec::new());
    for number in 1..30_000_u32 {
        let code = [0x80 | (number & 0x7f) as u8, 0x80 | (number >> 7 & 0x7f) as u8, (number >> 14) as u8];
        units.extend(unit(table.len() as u32, &[&code[..], &entry(UNIT, 0x1000, 0x100)[1..]].concat()));
        table.extend([&code[..], &abbreviations()[1..9]].concat());
    }
    table.push(0);
    let (found, exhausted) = found(&table, &units, &[0x1000]);
    assert!(exhausted && found.trouble.is_some());
}

/// Functions that all cover all addresses.
#[test]
fn functions_that_cover_everything() {
    let functions = [entry(FUNCTION, 0x1000, 0x10_0000), vec![0]].concat().repeat(50_000);
    let entries = [entry(UNIT, 0x1000, 0x10_0000), functions, vec![0]].concat();
    let addresses: Vec<u64> = (0x1000..0x5000).collect();
    assert!(found(&abbreviations(), &unit(0, &entries), &addresses).1);
}

/// Functions that are inlined into each other without end neither exhaust the stack nor make a chain without end.
#[test]
fn inlined_for_ever() {
    let inlined = entry(INLINED, 0x1000, 0x100).repeat(300_000);
    let entries = [entry(UNIT, 0x1000, 0x100), entry(FUNCTION, 0x1000, 0x100), inlined].concat();
    let (found, _) = found(&abbreviations(), &unit(0, &entries), &[0x1000, 0x1001]);
    assert!(found.frames.iter().all(|frames| frames.len() > 100 && frames.len() < 1000));
}

/// Debug info that is cut or changed anywhere is no panic.
#[test]
fn damage() {
    let entries =
        [entry(UNIT, 0x1000, 0x100), entry(FUNCTION, 0x1000, 0x80), entry(INLINED, 0x1010, 0x10), vec![0, 0, 0]]
            .concat();
    let (table, info) = (abbreviations(), unit(0, &entries));
    for at in 0..info.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut changed = info.clone();
            changed[at] = value;
            found(&table, &changed, &[0x1000, 0x1010]);
        }
        found(&table, &info[..at], &[0x1000]);
    }
    for at in 0..table.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut changed = table.clone();
            changed[at] = value;
            found(&changed, &info, &[0x1000, 0x1010]);
        }
        found(&table[..at], &info, &[0x1000]);
    }
}
