//! Tables made by hand, one of each layout, and tables of anything.

use proptest::prelude::*;

use super::*;

const TEXT: u64 = 0x40_1000;

/// Two functions: `main.a` at the text's start, 0x20 bytes, line 7 and from the 16th byte on line 8; `main.b` behind it,
/// where line 3 is of something inlined.
fn table(layout: Layout) -> Vec<u8> {
    let (magic, width) = match layout {
        Layout::Go12 => (0xffff_fffb_u32, 8),
        Layout::Go116 => (0xffff_fffa, 8),
        Layout::Go118 => (0xffff_fff0, 4),
        Layout::Go120 => (0xffff_fff1, 4),
    };
    let number = |value: u64| value.to_le_bytes()[..width].to_vec();
    // At 1: values of the file (0), of lines, and of what is inlined.
    let file = [2, 0x20, 0];
    let (lines_a, lines_b, inlined) = ([16, 16, 2, 16, 0], [8, 0x10, 0], [2, 0x10, 0]);
    let values = [&[0][..], &file, &lines_a, &lines_b, &inlined].concat();
    let (at_file, at_a, at_b, at_inlined) = (1_u32, 4_u32, 9_u32, 12_u32);
    let names = b"\0main.a\0main.b\0";
    let files = b"/src/main.go\0";
    let record = |start: u64, name: u32, lines: u32, further: &[u32]| {
        let mut record = number(start);
        let count = further.len() as u32;
        let mut fields = vec![name, 0, 0, 0, at_file, lines, count];
        if layout > Layout::Go12 {
            fields.push(0);
        }
        if layout == Layout::Go120 {
            fields.push(7);
        }
        fields.push(0);
        fields.extend(further);
        record.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
        record
    };
    let base = if width == 4 { 0 } else { TEXT };
    let starts = [base, base + 0x20, base + 0x30];
    let name_at = if layout == Layout::Go12 { 0x1000 } else { 0 };
    let first = record(starts[0], name_at + 1, at_a, &[]);
    let second = record(starts[1], name_at + 8, at_b, &[0, 0, at_inlined]);
    let records = 5 * width + 8;
    // Counted from the functions or, in the oldest layout, from the table's start.
    let before = if layout == Layout::Go12 { 16 } else { 0 };
    let mut functions = Vec::new();
    functions.extend([number(starts[0]), number((before + records) as u64)].concat());
    functions.extend([number(starts[1]), number((before + records + first.len()) as u64)].concat());
    functions.extend(number(starts[2]));
    functions.resize(records, 0);
    functions.extend([first, second].concat());

    let mut data = magic.to_le_bytes().to_vec();
    data.extend([0, 0, 1, 8]);
    data.extend(2_u64.to_le_bytes());
    if layout == Layout::Go12 {
        data.extend(functions);
        data.resize(0x1000, 0);
        data.extend(names);
        return data;
    }
    let parts: [&[u8]; 5] = [names, &[0, 0, 0, 0], files, &values, &functions];
    let words = if layout >= Layout::Go118 { 8 } else { 7 };
    let mut at = 8 + words * 8;
    data.extend(1_u64.to_le_bytes());
    if layout >= Layout::Go118 {
        data.extend(TEXT.to_le_bytes());
    }
    for part in parts {
        data.extend((at as u64).to_le_bytes());
        at += part.len();
    }
    data.extend(parts.concat());
    data
}

fn shown(table: &GoTable<'_>, address: u64) -> Option<String> {
    let frame = table.at(address)?;
    Some(format!("{} {:?}", frame.name?, frame.file.zip(frame.line)))
}

/// Each layout tells functions, and from 1.16 on lines, but not those of what is inlined.
#[test]
fn every_layout_is_read() {
    for layout in [Layout::Go116, Layout::Go118, Layout::Go120] {
        let data = table(layout);
        let table = GoTable::parse(&data, 0).unwrap();
        let at = |offset| shown(&table, TEXT + offset).unwrap_or_default();
        assert_eq!(at(0), "main.a Some((\"/src/main.go\", 7))", "{layout:?}");
        assert_eq!(at(0x1f), "main.a Some((\"/src/main.go\", 8))", "{layout:?}");
        assert_eq!(at(0x20), "main.b None", "{layout:?}");
        assert_eq!([shown(&table, TEXT - 1), shown(&table, TEXT + 0x30)], [None, None]);
    }
}

/// Of the oldest layout, functions are told: the tables behind them have changed their meaning without a sign.
#[test]
fn the_oldest_layout_tells_functions() {
    let data = table(Layout::Go12);
    let table = GoTable::parse(&data, 0).unwrap();
    assert_eq!(shown(&table, TEXT + 0x10).as_deref(), Some("main.a None"));
    assert_eq!(shown(&table, TEXT + 0x2f).as_deref(), Some("main.b None"));
}

/// A header without the place of the code takes the one that is given.
#[test]
fn the_place_of_the_code_may_be_missing() {
    let mut data = table(Layout::Go120);
    data[24..32].fill(0);
    let table = GoTable::parse(&data, 0x7000).unwrap();
    assert_eq!(table.at(0x7000).unwrap().name.as_deref(), Some("main.a"));
}

proptest! {
    /// Whatever is changed or cut off in a table, it ends, without a panic.
    #[test]
    fn any_table_is_no_panic(
        layout in 0..4,
        changes in prop::collection::vec((0..400_usize, any::<u8>()), 0..8),
        length in 0..5000_usize,
        addresses in prop::collection::vec(any::<u64>(), 1..8),
    ) {
        let layouts = [Layout::Go12, Layout::Go116, Layout::Go118, Layout::Go120];
        let mut data = table(layouts[layout as usize]);
        for (at, byte) in changes {
            if let Some(place) = data.get_mut(at) {
                *place = byte;
            }
        }
        data.truncate(length);
        if let Some(table) = GoTable::parse(&data, TEXT) {
            for address in addresses.into_iter().chain(TEXT..TEXT + 0x30) {
                table.at(address);
            }
        }
    }

    /// A number without end is none, and does not overflow.
    #[test]
    fn any_number_is_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
        varint(&mut &bytes[..]);
    }
}

/// Tables of values that never come to an end cost a bounded number of steps together.
#[test]
fn steps_are_bounded() {
    let mut data = table(Layout::Go120);
    let at = 8 + 8 * 8 + 15 + 4 + 13;
    data[at + 4..at + 16].fill(2);
    let table = GoTable::parse(&data, 0).unwrap();
    table.steps.set(3);
    assert_eq!(table.at(TEXT + 0x1f).unwrap().line, None);
    assert_eq!(table.steps.get(), 0);
}
