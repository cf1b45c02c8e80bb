//! Walks on aarch64, where a call leaves the return address in a register.

use proptest::prelude::*;

use super::super::fixture::{BASE, Program, stack};
use crate::stacks::Verdict;

/// `undefined x30`.
const END: [u8; 2] = [0x07, 30];
/// `def_cfa_offset 32; offset x29 at cfa - 32; offset x30 at cfa - 24`: what GCC makes of `stp x29, x30, [sp, -32]!`.
const FRAME: [u8; 6] = [0x0e, 32, 0x9d, 4, 0x9e, 3];
/// `negate_ra_state`: the return address is signed from here on.
const SIGNED: u8 = 0x2d;
/// A signature in the bits above 48.
const SIGNATURE: u64 = 0x007b << 48;

/// A leaf's return address is in the link register, that of others on the stack; the link register of a caller is not known.
#[test]
fn the_link_register() {
    let program = Program::of_aarch64().function(0x1000, &[]).function(0x2000, &FRAME).function(0x3000, &END);
    let mut stack = stack(0x1000, &[(0x5000, 0x5100)], &[(0x5000, 0x5020), (0x5008, BASE + 0x3010)]);
    stack.registers.set(30, BASE + 0x2010);
    assert_eq!(program.walk(&stack), (vec![0x1000, 0x200f, 0x300f], vec![false; 3], Verdict::Complete));
}

/// A caller that says that its return address is still in the link register has none: that was overwritten by the call.
#[test]
fn the_link_register_of_a_caller_is_not_known() {
    let program = Program::of_aarch64().function(0x1000, &[]).function(0x2000, &[]);
    let mut stack = stack(0x1000, &[(0x5000, 0x5100)], &[]);
    stack.registers.set(30, BASE + 0x2010);
    let (frames, _, verdict) = program.walk(&stack);
    assert_eq!((frames, verdict), (vec![0x1000, 0x200f], Verdict::Implausible));
}

/// A function that signs its return address together with its own address (`negate_ra_state_with_pc`) is walked like any other.
#[test]
fn signed_with_the_address() {
    const WITH_PC: u8 = 0x2c;
    let rules = [&[WITH_PC][..], &FRAME].concat();
    let program = Program::of_aarch64().function(0x1000, &[WITH_PC]).function(0x2000, &rules).function(0x3000, &END);
    let top = 1_u64 << 48;
    let words = [(top - 0x100, top - 0xe0), (top - 0xf8, SIGNATURE | (BASE + 0x3010))];
    let mut stack = stack(0x1000, &[(top - 0x100, top)], &words);
    stack.registers.set(30, SIGNATURE | (BASE + 0x2010));
    assert_eq!(program.walk(&stack), (vec![0x1000, 0x200f, 0x300f], vec![false; 3], Verdict::Complete));
}

/// That instruction is one of aarch64 alone, and is not looked for in an entry that no compiler makes: each row would copy it.
#[test]
fn where_signing_with_the_address_is_not_read() {
    const WITH_PC: u8 = 0x2c;
    let frames = |program: Program, rules: &[u8]| {
        let mut stack = stack(0x1000, &[(0x5000, 0x5100)], &[(0x5000, BASE + 0x2010)]);
        stack.registers.set(30, BASE + 0x2010);
        program.function(0x1000, rules).function(0x2000, &END).walk(&stack)
    };
    let long = [&[WITH_PC][..], &[0; 1 << 16]].concat();
    assert_eq!(frames(Program::of_aarch64(), &[0; 1 << 16]).1, [false; 2]);
    assert_eq!(frames(Program::of_aarch64(), &long).1, [false, true]);
    assert_eq!(frames(Program::new(), &[0]).1, [false; 2]);
    assert_eq!(frames(Program::new(), &[WITH_PC]), frames(Program::new(), &[0x3f]));
}

/// Signed return addresses are told from their signatures, in registers and on the stack, whatever the size of addresses is:
/// the stack is at the top of what the kernel gives to a process.
#[test]
fn signed_return_addresses() {
    for (bits, signature) in [(48, SIGNATURE), (48, 0x7f << 48), (52, 0x5 << 52), (39, 0xab_cd << 39)] {
        let rules = [&[SIGNED][..], &FRAME].concat();
        let program = Program::of_aarch64().function(0x1000, &[SIGNED]).function(0x2000, &rules).function(0x3000, &END);
        let top = 1_u64 << bits;
        let words = [(top - 0x100, top - 0xe0), (top - 0xf8, signature | (BASE + 0x3010))];
        let mut stack = stack(0x1000, &[(top - 0x100, top)], &words);
        stack.registers.set(30, signature | (BASE + 0x2010));
        let found = program.walk(&stack);
        assert_eq!(found, (vec![0x1000, 0x200f, 0x300f], vec![false; 3], Verdict::Complete), "{bits} bits");
    }
}

/// Without call frame information the frame pointer leads on, from frame to frame, and then into code that has some: its canonical
/// frame address is where its frame record says, because nothing else tells its stack pointer.
#[test]
fn frame_records() {
    let program = Program::of_aarch64().function(0x1000, &FRAME).function(0x3000, &END);
    let words = [
        (0x5010, 0x5040),
        (0x5018, BASE + 0x2110),
        (0x5040, 0x5080),
        (0x5048, BASE + 0x1010),
        (0x5080, 0x50c0),
        (0x5088, BASE + 0x3010),
    ];
    let mut stack = stack(0x2010, &[(0x5000, 0x5100)], &words);
    stack.registers.set(29, 0x5010);
    let guessed = vec![false, true, true, false];
    assert_eq!(program.walk(&stack), (vec![0x2010, 0x210f, 0x100f, 0x300f], guessed, Verdict::Complete));
}

/// In code without call frame information, a link register that points at code that has some is the caller's; one that does not
/// may be left over from a call that has returned, and the frame record is asked first.
#[test]
fn a_leaf_without_information() {
    for (link, expected) in [(0x1010, vec![0x2010, 0x100f, 0x300f]), (0x2050, vec![0x2010, 0x300f])] {
        let program = Program::of_aarch64().function(0x1000, &FRAME).function(0x3000, &END);
        let words = [(0x5000, 0x5020), (0x5008, BASE + 0x3010)];
        let mut stack = stack(0x2010, &[(0x5000, 0x5100)], &words);
        stack.registers.set(29, 0x5000);
        stack.registers.set(30, BASE + link);
        assert_eq!(program.walk(&stack).0, expected);
    }
}

proptest! {
    /// Whatever call frame information, registers and stack a file of aarch64 holds: the walk ends.
    #[test]
    fn any_walk_ends(
        first in proptest::collection::vec(any::<u8>(), 0..64),
        second in proptest::collection::vec(any::<u8>(), 0..64),
        mut stack in super::any_stack(),
        link in super::any_word(),
    ) {
        stack.registers.set(30, link);
        let program = Program::of_aarch64().function(0x1000, &first).function(0x1100, &second).function(0x2000, &FRAME);
        let (frames, _, _) = program.walk(&stack);
        prop_assert!(!frames.is_empty() && frames.len() <= 5 * stack.words.len() + 16);
    }
}
