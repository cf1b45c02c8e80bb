//! Hand-written assembly with call frame information of every form (fixtures/cfi): at each place the walk finds the frames that
//! gdb has found, none of them guessed, wherever the call frame information stands.

use object::{Object, ObjectSection};
use profrec_format::{Arch, CfiEntry, CfiSection, UnwindSlice};
use profrec_report::evidence::ModuleEvidence;
use profrec_report::stacks::Verdict;

use crate::dump::{Program, fixture, stops, walk};

/// Walks from all places, and holds the frames against gdb's.
fn require_the_frames_of_gdb(program: &Program, module: impl Fn() -> ModuleEvidence) {
    let symbols = fixture("cfi/eh_frame");
    let stops = stops("cfi/frames.stacks", &symbols);
    assert_eq!(stops.len(), 10);
    for stop in stops {
        let walked = walk((program, module()), &symbols, (Arch::X86_64, false), &stop.stack);
        assert_eq!(walked, (stop.frames, Verdict::Complete), "{}", stop.name);
    }
}

/// Expressions, values instead of places, remembered states, signal frames, canonical frame addresses from registers of all kinds, PLT
/// entries, return addresses in registers; in `.eh_frame` without a table and, for one function, in `.debug_frame` beside it.
#[test]
fn every_form_in_two_sections() {
    require_the_frames_of_gdb(&Program(fixture("cfi/eh_frame")), ModuleEvidence::default);
}

/// The same in `.debug_frame` alone, in a compressed one, and in the section that BOLT sets aside.
#[test]
fn every_form_in_other_sections() {
    for variant in ["cfi/debug_frame", "cfi/compressed", "cfi/bolt"] {
        require_the_frames_of_gdb(&Program(fixture(variant)), ModuleEvidence::default);
    }
}

/// The same from the single entries that a recording holds, of one section or of two at once.
#[test]
fn every_form_from_slices() {
    for variant in ["cfi/eh_frame", "cfi/debug_frame"] {
        let file = fixture(variant);
        let file = object::File::parse(&file[..]).unwrap();
        let slices = || {
            let mut module = ModuleEvidence::default();
            for (name, form) in [(".eh_frame", CfiSection::EhFrame), (".debug_frame", CfiSection::DebugFrame)] {
                if let Some(section) = file.section_by_name(name) {
                    module.add_slice(slice(form, section.address(), section.data().unwrap()));
                }
            }
            module
        };
        require_the_frames_of_gdb(&Program(Vec::new()), slices);
    }
}

/// All entries of a section.
fn slice(section: CfiSection, address: u64, bytes: &[u8]) -> UnwindSlice {
    let mut slice = UnwindSlice { section, ..UnwindSlice::default() };
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut at = 0;
    while at + 8 < bytes.len() && number(at) != 0 {
        let end = at + 4 + number(at) as usize;
        let pointer = u64::from(number(at + 4));
        let entry = |cie| CfiEntry { address: address + at as u64, cie, bytes: bytes[at..end].to_vec() };
        match (section, number(at + 4)) {
            (CfiSection::EhFrame, 0) | (CfiSection::DebugFrame, u32::MAX) => {
                slice.cies.push(entry(address + at as u64))
            }
            (CfiSection::EhFrame, _) => slice.fdes.push(entry(address + at as u64 + 4 - pointer)),
            (CfiSection::DebugFrame, _) => slice.fdes.push(entry(address + pointer)),
        }
        at = end;
    }
    slice
}
