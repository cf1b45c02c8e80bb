//! The table of functions and lines of Go's run time, in each of its layouts, with anything in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use profrec_report::symbols::go::GoTable;

fuzz_target!(|bytes: &[u8]| {
    for version in [0xfb_u8, 0xfa, 0xf0, 0xf1] {
        let header = [version, 0xff, 0xff, 0xff, 0, 0, 1, 8];
        let table = [&header[..], bytes].concat();
        for text in [0, 0x40_1000] {
            let Some(table) = GoTable::parse(&table, text) else { continue };
            // Whatever the functions' starts are, some address is in one.
            let known = bytes.chunks(4).filter_map(|word| Some(u64::from(u32::from_le_bytes(*word.first_chunk()?))));
            for address in known.take(64).chain([0, text, text + 1, u64::MAX]) {
                table.at(address);
                table.at(text.wrapping_add(address));
            }
        }
    }
});
