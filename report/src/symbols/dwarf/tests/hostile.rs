//! Debug info that was made to cost more than it is long: each test takes hours, all memory or the whole stack if its bound is
//! taken away.

use gimli::{
    DW_AT_abstract_origin, DW_AT_declaration, DW_AT_dwo_name, DW_AT_external, DW_AT_high_pc, DW_AT_low_pc, DW_AT_name,
    DW_AT_ranges, DW_AT_sibling, DW_AT_stmt_list, DW_FORM_addr, DW_FORM_data4, DW_FORM_flag_present, DW_FORM_line_strp,
    DW_FORM_ref_addr, DW_FORM_ref4, DW_FORM_sec_offset, DW_FORM_string, DW_FORM_strp, DW_TAG_compile_unit,
    DW_TAG_inlined_subroutine, DW_TAG_skeleton_unit, DW_TAG_subprogram, DW_TAG_variable, DwAt, DwForm,
};

use super::*;

/// Abbreviations of a unit, a function and an inlined function; each has a range, the last two have children.
const UNIT: u8 = 1;
const FUNCTION: u8 = 2;
const INLINED: u8 = 3;
/// What a test adds to them.
const OTHER: u8 = 4;

fn abbreviations() -> Vec<u8> {
    abbreviations_with(&[])
}

/// The abbreviations, and others.
fn abbreviations_with(others: &[Vec<u8>]) -> Vec<u8> {
    let entries = [
        abbreviation(UNIT, DW_TAG_compile_unit, &RANGE),
        abbreviation(FUNCTION, DW_TAG_subprogram, &RANGE),
        abbreviation(INLINED, DW_TAG_inlined_subroutine, &RANGE),
    ];
    [entries.concat(), others.concat(), vec![0]].concat()
}

const RANGE: [(DwAt, DwForm); 2] = [(DW_AT_low_pc, DW_FORM_addr), (DW_AT_high_pc, DW_FORM_data4)];

/// An abbreviation of entries with children.
fn abbreviation(code: u8, tag: gimli::DwTag, attributes: &[(DwAt, DwForm)]) -> Vec<u8> {
    let attributes = attributes.iter().flat_map(|(name, form)| [name.0 as u8, form.0 as u8]);
    [code, tag.0 as u8, 1].into_iter().chain(attributes).chain([0, 0]).collect()
}

/// The same of entries with tens of thousands of attributes, none of which takes a byte.
fn wide_abbreviation(code: u8, tag: gimli::DwTag) -> Vec<u8> {
    abbreviation(code, tag, &[(DW_AT_external, DW_FORM_flag_present)].repeat(60_000))
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
    found_in(&[(SectionId::DebugAbbrev, abbreviations), (SectionId::DebugInfo, info)], addresses)
}

fn found_in(sections: &[(SectionId, &[u8])], addresses: &[u64]) -> (Found, bool) {
    let section = |id| sections.iter().find(|(other, _)| *other == id).map_or(&[][..], |(_, bytes)| bytes);
    let sections = DwarfSections::load(|id| Ok::<_, gimli::Error>(section(id))).unwrap();
    let dwarf = sections.borrow(|data| EndianSlice::new(data, LittleEndian));
    let allowance = Allowance::of(&dwarf);
    let parts = Parts { beside: &[], package: None, opened: Opened::default() };
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
    assert_eq!((lengths, exhausted, found.trouble), (vec![1, 2, 1, 0], false, None));
}

/// Damage inside of a unit that is asked for is told, and what stands before it is found; damage elsewhere is not.
#[test]
fn damage_is_told() {
    let whole = [entry(UNIT, 0x1000, 0x100), entry(FUNCTION, 0x1000, 0x80), vec![0, 0]].concat();
    // An entry of a kind that there is not.
    let damaged = [entry(UNIT, 0x2000, 0x100), entry(FUNCTION, 0x2000, 0x80), vec![0, 99]].concat();
    let units = [unit(0, &whole), unit(0, &damaged)].concat();
    for (address, is_told) in [(0x1000, false), (0x2000, true)] {
        let (found, _) = found(&abbreviations(), &units, &[address]);
        assert_eq!((found.frames[0].len(), found.trouble.is_some()), (1, is_told), "{address:#x}");
    }
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

/// Entries of a byte each whose attributes take no bytes, in a unit that is read.
#[test]
fn entries_with_attributes_for_nothing() {
    let table = abbreviations_with(&[wide_abbreviation(OTHER, DW_TAG_variable)]);
    let entries = [entry(UNIT, 0x1000, 0x100), vec![OTHER; 50_000]].concat();
    assert!(found(&table, &unit(0, &entries), &[0x1000]).1);
}

/// The same as the first entries of units, which is all that is read of most.
#[test]
fn units_with_attributes_for_nothing() {
    let table = abbreviations_with(&[wide_abbreviation(OTHER, DW_TAG_compile_unit)]);
    assert!(found(&table, &unit(0, &[OTHER]).repeat(5_000), &[0x1000]).1);
}

/// The same where functions are told to have their names.
#[test]
fn origins_with_attributes_for_nothing() {
    const INSTANCE: u8 = OTHER + 1;
    let attributes = [&RANGE[..], &[(DW_AT_abstract_origin, DW_FORM_ref_addr)]].concat();
    let instance = abbreviation(INSTANCE, DW_TAG_subprogram, &attributes);
    let table = abbreviations_with(&[wide_abbreviation(OTHER, DW_TAG_subprogram), instance]);
    let count = 10_000;
    let origins = unit(0, &[entry(UNIT, 0x9000, 1), vec![OTHER; count]].concat());
    let first = origins.len() - count;
    let instances = (0..count).map(|number| {
        let origin = ((first + number) as u32).to_le_bytes();
        [&entry(INSTANCE, 0x1000, 0x10)[..], &origin, &[0]].concat()
    });
    let instances = unit(0, &[entry(UNIT, 0x1000, 0x100), instances.flatten().collect()].concat());
    assert!(found(&table, &[origins, instances].concat(), &[0x1000]).1);
}

/// A table of one unit with so many abbreviations that it takes gigabytes once it is read is refused.
#[test]
fn a_table_that_is_too_long() {
    let table = abbreviations_with(&[wide_abbreviation(OTHER, DW_TAG_variable).repeat(10)]);
    assert!(found(&table, &unit(0, &entry(UNIT, 0x1000, 0x100)), &[0x1000]).1);
}

/// A line program of DWARF 4 with files, and so many bytes of instructions that do nothing.
fn line_program(files: usize, instructions: usize) -> Vec<u8> {
    // Instructions of one byte, lines from -5 of 14, one operation behind 9 that are standard.
    let numbers = [1, 1, 1, 0xfb, 14, 10, 0, 1, 1, 1, 1, 0, 0, 0, 1];
    let lists = [vec![0], b"a\0\0\0\0".repeat(files), vec![0]].concat();
    let header = [&numbers[..], &lists].concat();
    // DW_LNS_copy is no row of another place: 6 is DW_LNS_negate_stmt.
    let rest = [&(header.len() as u32).to_le_bytes()[..], &header, &vec![6; instructions]].concat();
    [&((2 + rest.len()) as u32).to_le_bytes()[..], &4_u16.to_le_bytes(), &rest].concat()
}

/// Units with the first of all line programs, each with its own addresses.
fn units_with_lines(count: u64, line: &[u8]) -> (Found, bool) {
    let attributes = [&RANGE[..], &[(DW_AT_stmt_list, DW_FORM_sec_offset)]].concat();
    let table = abbreviations_with(&[abbreviation(OTHER, DW_TAG_compile_unit, &attributes)]);
    let addresses: Vec<u64> = (1..=count).map(|number| number << 12).collect();
    let units = addresses.iter().flat_map(|&address| unit(0, &[entry(OTHER, address, 16), vec![0; 4]].concat()));
    let info: Vec<u8> = units.collect();
    let sections = [(SectionId::DebugAbbrev, &table[..]), (SectionId::DebugInfo, &info), (SectionId::DebugLine, line)];
    found_in(&sections, &addresses)
}

/// Thousands of units that share the files of one line program, or one that is long and has no rows.
#[test]
fn units_that_share_a_line_program() {
    assert!(!units_with_lines(100, &line_program(100, 100)).1);
    assert!(units_with_lines(2_000, &line_program(100_000, 0)).1);
    assert!(units_with_lines(2_000, &line_program(0, 500_000)).1);
}

/// More files in one line program than fit into memory are refused.
#[test]
fn a_line_program_with_too_many_files() {
    assert!(units_with_lines(1, &line_program(1_000_000, 0)).1);
}

/// A long list of ranges that holds none, which many functions refer to.
#[test]
fn functions_that_share_a_list_without_ranges() {
    let ranges = abbreviation(OTHER, DW_TAG_subprogram, &[(DW_AT_ranges, DW_FORM_sec_offset)]);
    let table = abbreviations_with(&[ranges]);
    let info = unit(0, &[entry(UNIT, 0x1000, 0x100), [OTHER, 0, 0, 0, 0].repeat(5_000)].concat());
    let base = [u64::MAX.to_le_bytes(), 0x1000_u64.to_le_bytes()].concat();
    let list = [base.repeat(20_000), vec![0; 16]].concat();
    let sections =
        [(SectionId::DebugAbbrev, &table[..]), (SectionId::DebugInfo, &info), (SectionId::DebugRanges, &list)];
    assert!(found_in(&sections, &[0x1000]).1);
}

/// What is found where thousands of entries have their names at the start of one section of texts.
fn with_texts(tag: gimli::DwTag, form: DwForm, texts: &[u8], units: usize, functions: usize) -> (Found, bool) {
    let named = abbreviation(OTHER, tag, &[&RANGE[..], &[(DW_AT_name, form)]].concat());
    let table = abbreviations_with(&[named]);
    let entry_with_name = [&entry(OTHER, 0x1000, 0x100)[..], &[0; 4]].concat();
    let info = match tag {
        DW_TAG_compile_unit => unit(0, &[&entry_with_name[..], &[0]].concat()).repeat(units),
        _ => unit(0, &[entry(UNIT, 0x1000, 0x100), [entry_with_name, vec![0]].concat().repeat(functions)].concat()),
    };
    let section = if form == DW_FORM_line_strp { SectionId::DebugLineStr } else { SectionId::DebugStr };
    let sections = [(SectionId::DebugAbbrev, &table[..]), (SectionId::DebugInfo, &info), (section, texts)];
    found_in(&sections, &[0x1000])
}

/// Units, and functions, that all have one text which is long or has no end.
#[test]
fn entries_that_share_a_long_text() {
    let endless = vec![b'a'; 1 << 20];
    let long = [&endless[..], &[0]].concat();
    for form in [DW_FORM_strp, DW_FORM_line_strp] {
        for texts in [&endless, &long] {
            assert!(with_texts(DW_TAG_compile_unit, form, texts, 5_000, 0).1);
            assert!(with_texts(DW_TAG_subprogram, form, texts, 1, 5_000).1);
        }
        assert!(!with_texts(DW_TAG_compile_unit, form, b"name\0", 5_000, 0).1);
        assert!(!with_texts(DW_TAG_subprogram, form, b"name\0", 1, 5_000).1);
    }
}

/// Thousands of small units that ask for little are read to the last.
#[test]
fn many_small_units() {
    let addresses: Vec<u64> = (1..=5_000).map(|number| number << 12).collect();
    let units = addresses.iter().flat_map(|&address| {
        unit(0, &[entry(UNIT, address, 0x100), entry(FUNCTION, address, 0x100), vec![0, 0]].concat())
    });
    let (found, exhausted) = found(&abbreviations(), &units.collect::<Vec<_>>(), &addresses);
    assert!(!exhausted && found.frames.iter().all(|frames| frames.len() == 1));
}

/// A unit of DWARF 5 of this kind, with the number that the two parts of a split unit share.
fn split_unit(kind: gimli::DwUt, entries: &[u8]) -> Vec<u8> {
    let header = [&5_u16.to_le_bytes()[..], &[kind.0, 8], &0_u32.to_le_bytes(), &7_u64.to_le_bytes()].concat();
    let length = (header.len() + entries.len()) as u32;
    [&length.to_le_bytes()[..], &header, entries].concat()
}

/// An ELF file with these sections.
fn elf(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut names = vec![0];
    let mut contents = Vec::new();
    let mut headers = vec![0; 64];
    let mut add = |name: u32, kind: u32, bytes: &[u8]| {
        let place = [0, 0, 64 + contents.len() as u64, bytes.len() as u64].map(u64::to_le_bytes).concat();
        headers.extend(
            [&name.to_le_bytes()[..], &kind.to_le_bytes(), &place, &[0; 8], &1_u64.to_le_bytes(), &[0; 8]].concat(),
        );
        contents.extend(bytes);
    };
    for (name, bytes) in sections {
        add(names.len() as u32, 1, bytes);
        names.extend([name.as_bytes(), &[0]].concat());
    }
    add(0, 3, &names);
    let count = sections.len() as u16 + 2;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([&1_u16.to_le_bytes()[..], &62_u16.to_le_bytes(), &1_u32.to_le_bytes(), &[0; 16]].concat());
    file.extend((64 + contents.len() as u64).to_le_bytes());
    file.extend([0, 64_u32 << 16, 0, 64].iter().flat_map(|number| number.to_le_bytes()).take(12));
    file.resize(58, 0);
    file.extend([64, count, count - 1].map(u16::to_le_bytes).concat());
    [file, contents, headers].concat()
}

/// What is found of so many skeletons that all have the part in one `.dwo` file, under paths that differ.
fn skeletons(count: u64, part: &[u8]) -> (Found, bool) {
    let folder = tempfile::tempdir().unwrap();
    let info = split_unit(gimli::DW_UT_split_compile, part);
    let file = elf(&[(".debug_abbrev.dwo", &abbreviations()), (".debug_info.dwo", &info)]);
    std::fs::write(folder.path().join("part.dwo"), file).unwrap();
    let attributes = [&RANGE[..], &[(DW_AT_dwo_name, DW_FORM_string)]].concat();
    let table = abbreviations_with(&[abbreviation(OTHER, DW_TAG_skeleton_unit, &attributes)]);
    let addresses: Vec<u64> = (1..=count).map(|number| number << 12).collect();
    let units = addresses.iter().enumerate().flat_map(|(number, &address)| {
        let path = format!("{}/{}part.dwo\0", folder.path().display(), "./".repeat(number % 5));
        split_unit(gimli::DW_UT_skeleton, &[&entry(OTHER, address, 16)[..], path.as_bytes()].concat())
    });
    found(&table, &units.collect::<Vec<_>>(), &addresses)
}

/// Skeletons that all name the same file: what it is worth is granted once.
#[test]
fn skeletons_that_share_a_part() {
    let unit = entry(UNIT, 0, 0);
    let function = [&unit[..], &entry(FUNCTION, 0x1000, 16)].concat();
    let (found, exhausted) = skeletons(3, &function);
    assert_eq!((found.frames[0].len(), exhausted), (1, false), "{found:?}");
    let functions = [unit, [entry(FUNCTION, 0x9000_0000, 1), vec![0]].concat().repeat(10_000)].concat();
    let (found, exhausted) = skeletons(2_000, &functions);
    assert!(exhausted && found.trouble.is_some());
}

/// Debug info that is cut or changed anywhere is no panic; that it is cut is told.
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
        assert_eq!(found(&table, &info[..at], &[0x1000]).0.trouble.is_some(), at > 0, "{at}");
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

/// Where a declaration says that it ends is believed if it is behind it in the unit; the function behind is found, whatever it says.
#[test]
fn a_declaration_that_lies_hides_nothing() {
    let form = [(DW_AT_declaration, DW_FORM_flag_present), (DW_AT_sibling, DW_FORM_ref4)];
    let abbreviations = abbreviations_with(&[abbreviation(OTHER, DW_TAG_subprogram, &form)]);
    // The declaration is at 24, what is inside of it at 29, the function at 44.
    for sibling in [44_u32, 24, 0, 10_000] {
        let declaration = [&[OTHER][..], &sibling.to_le_bytes(), &entry(INLINED, 0x1000, 16), &[0, 0]].concat();
        let entries = [entry(UNIT, 0x1000, 64), declaration, entry(FUNCTION, 0x1000, 32), vec![0, 0]].concat();
        let (found, _) = found(&abbreviations, &unit(0, &entries), &[0x1010]);
        assert_eq!(found.frames[0].len(), 1, "{sibling}");
    }
}
