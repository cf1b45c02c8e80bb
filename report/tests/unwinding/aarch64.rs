//! A program for aarch64, whose registers and stack a debugger has read (fixtures/aarch64): the walk on whatever machine this
//! is gives the frames that its source says.

use profrec_format::Arch;
use profrec_report::evidence::ModuleEvidence;
use profrec_report::stacks::Verdict;

use crate::dump::{Program, Stop, fixture, stops, walk};

fn program() -> (Program, Vec<Stop>) {
    let program = Program(fixture("aarch64/frames"));
    let stops = stops("aarch64/frames.stacks", &program.0);
    (program, stops)
}

fn walked(program: &Program, stop: &Stop, strict: bool) -> (String, Verdict) {
    walk((program, ModuleEvidence::default()), &program.0, (Arch::Aarch64, strict), &stop.stack)
}

/// Leaves, frames of variable size, signed return addresses, frames without a frame pointer, and assembly without call frame information:
/// all frames at all places, to the start of the program.
#[test]
fn frames_of_every_kind() {
    let (program, stops) = program();
    let outer = "hand_written caller? signing_caller _start";
    let inner = "no_record from_assembly";
    let expected = [
        ("stop_leaf", format!("leaf variable signs {inner} {outer}")),
        ("stop_variable", format!("variable signs {inner} {outer}")),
        ("stop_signs", format!("signs {inner} {outer}")),
        ("stop_record", outer.to_owned()),
    ];
    assert_eq!(stops.len(), expected.len());
    for (stop, (name, frames)) in stops.iter().zip(expected) {
        assert_eq!(stop.name, name);
        assert_eq!(walked(&program, stop, false), (frames, Verdict::Complete), "{name}");
    }
}

/// Without guesses, the stack ends in the assembly.
#[test]
fn strictly() {
    let (program, stops) = program();
    let expected = "leaf variable signs no_record from_assembly hand_written";
    assert_eq!(walked(&program, &stops[0], true), (expected.to_owned(), Verdict::NoCfi));
}

/// The fixture is worth its name: a return address on its stack is signed, above the 48 bits of its addresses and below the 52
/// that addresses can have.
#[test]
fn return_addresses_are_signed() {
    let (_, stops) = program();
    let mut words = stops.iter().flat_map(|stop| &stop.stack.words);
    assert!(words.any(|word| word.value >> 48 & 0xf != 0));
}
