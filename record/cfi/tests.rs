//! Call frame information of this test's own executable, of any bytes, and under a table that is damaged.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;

use super::*;
use crate::pages::Pages;

/// Any bytes in place of the sections give CFI or none: entries that overlap, refer to each other, or never end.
#[test]
fn any_sections_are_gone_through() {
    let property = |(bytes, form, address): (Vec<u8>, bool, u64)| {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &bytes).unwrap();
        let mut pages = Pages::default();
        let mut paged = PagedFile { pages: &mut pages, id: 0, file: &file };
        let section = if form { CfiSection::EhFrame } else { CfiSection::DebugFrame };
        let place = Place { section, offset: 0, size: u64::MAX, address };
        let rows = place.index(&mut paged);
        assert!(rows.len() <= bytes.len() / 8);
        let (mut plain, mut cies) = (Plain { place, index: Some(rows) }, RecentCies::default());
        for address in [0, address, address.wrapping_add(8), u64::MAX] {
            if let Some(found) = plain.find(address, &mut cies, &mut paged).unwrap_or_default() {
                assert!(found.start <= address && address < found.end);
            }
        }
    };
    let byte = proptest::prop_oneof![0_u8..24, proptest::arbitrary::any::<u8>()];
    let bytes = proptest::collection::vec(byte, 0..200);
    let strategy = (bytes, proptest::arbitrary::any::<bool>(), proptest::arbitrary::any::<u64>());
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    runner
        .run(&strategy, |input| {
            property(input);
            Ok(())
        })
        .unwrap();
}

/// In this test's own executable, the table and a walk through the whole section give the same
/// answer for the functions of the section.
#[test]
fn the_table_and_the_section_agree() {
    let file = File::open("/proc/self/exe").unwrap();
    let elf = Elf::open(&file).unwrap();
    let mut pages = Pages::default();
    let mut paged = PagedFile { pages: &mut pages, id: 0, file: &file };
    let mut with_table = Cfi::open(&elf, &mut paged);
    assert!(with_table.table.is_some());
    let (_, section) = elf.sections(&file).unwrap().into_iter().find(|(name, _)| name == ".eh_frame").unwrap();
    let place =
        Place { section: CfiSection::EhFrame, offset: section.offset, size: section.size, address: section.address };
    let mut plain = Plain { place, index: Some(place.index(&mut paged)) };
    let mut cies = RecentCies::default();
    let rows = plain.index.clone().unwrap();
    assert!(rows.len() > 100);
    for row in rows.iter().step_by(rows.len() / 50) {
        let address = row.start + u64::from(row.length) / 2;
        let by_table = with_table.find(address, &elf, &mut paged).unwrap();
        let by_walk = plain.find(address, &mut cies, &mut paged).unwrap().unwrap();
        assert_eq!((by_table.start, by_table.end), (by_walk.start, by_walk.end));
        assert_eq!(by_table.fde, by_walk.fde);
        assert_eq!(by_table.cie.entry, by_walk.cie.entry);
    }
    // What it does not have is no damage.
    let ends = rows.iter().map(|row| row.start + u64::from(row.length));
    for address in ends.step_by(7).chain([0, u64::MAX]) {
        with_table.find(address, &elf, &mut paged);
    }
    assert!(with_table.table.is_some());
}

/// Addresses in functions of the executable, with the entries that a walk through the section finds.
fn answers(elf: &Elf, paged: &mut PagedFile<'_>) -> Vec<(u64, CfiEntry)> {
    let mut sections = Plain::of(&IN_TABLE, elf, paged);
    let plain = sections.first_mut().unwrap();
    let rows = plain.place.index(paged);
    let wanted = rows.iter().step_by(rows.len() / 50).map(|row| row.start + u64::from(row.length) / 2);
    let wanted: Vec<u64> = wanted.collect();
    let mut cies = RecentCies::default();
    wanted.into_iter().filter_map(|address| Some((address, plain.find(address, &mut cies, paged).ok()??.fde))).collect()
}

/// A table with a wrong count, without order, with pointers to nowhere or to other entries: every entry that is recorded is the right one,
/// and none is missed.
#[test]
fn a_damaged_table_is_given_up() {
    type Damage = fn(&mut [u8]);
    const HEAD: usize = 12;
    let damages: [(&str, Damage); 8] = [
        ("another version", |table| table[0] = 9),
        ("more pairs than there are", |table| table[8..12].copy_from_slice(&u32::MAX.to_le_bytes())),
        ("fewer pairs than there are", |table| {
            let pairs = u32::from_le_bytes(*table[8..].first_chunk().unwrap());
            table[8..12].copy_from_slice(&(pairs / 3).to_le_bytes());
        }),
        ("no pairs", |table| table[8..12].fill(0)),
        ("the other way round", |table| {
            let pairs: Vec<[u8; 8]> = table[HEAD..].as_chunks().0.iter().rev().copied().collect();
            table[HEAD..].iter_mut().zip(pairs.as_flattened()).for_each(|(byte, other)| *byte = *other);
        }),
        ("entries outside of the file", |table| {
            table[HEAD..].chunks_exact_mut(8).for_each(|pair| pair[4..].copy_from_slice(&i32::MAX.to_le_bytes()));
        }),
        ("the entries of others", |table| {
            let second = *table[HEAD + 12..].first_chunk::<4>().unwrap();
            table[HEAD..].chunks_exact_mut(8).for_each(|pair| pair[4..].copy_from_slice(&second));
        }),
        ("any bytes", |table| {
            (0_usize..)
                .map(|place| place.wrapping_mul(0x9e37_79b9) as u8)
                .zip(&mut table[HEAD..])
                .for_each(|(any, byte)| *byte = any)
        }),
    ];
    let original = std::fs::read("/proc/self/exe").unwrap();
    for (what, damage) in damages {
        let mut bytes = original.clone();
        let own = File::open("/proc/self/exe").unwrap();
        let elf = Elf::open(&own).unwrap();
        let segment = elf.segments.iter().find(|segment| segment.kind == EH_FRAME_HEADER).unwrap();
        let start = segment.offset as usize;
        damage(&mut bytes[start..start + segment.file_size as usize]);
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &bytes).unwrap();
        let elf = Elf::open(&file).unwrap();
        let mut pages = Pages::default();
        let mut paged = PagedFile { pages: &mut pages, id: 0, file: &file };
        let wanted = answers(&elf, &mut paged);
        assert!(wanted.len() > 40);
        let mut cfi = Cfi::open(&elf, &mut paged);
        for (address, fde) in wanted {
            let found = cfi.find(address, &elf, &mut paged);
            assert_eq!(found.map(|found| found.fde), Some(fde), "{what}: {address:#x}");
        }
        assert!(cfi.table.is_none(), "{what}");
    }
}
