//! What is guessed where call frame information does not lead on, and what is not.

use profrec_format::{UnwoundFrame, UnwoundStack, Verdict as Recorded};

use super::super::fixture::{BASE, Program, stack};
use super::{END, FRAME_POINTER, THREE_WORDS};
use crate::stacks::Verdict;

/// A leaf without call frame information, called from a function that has some.
fn leaf() -> (Program, profrec_format::UserStack) {
    let stack = stack(0x2010, &[(0x5000, 0x5100)], &[(0x5000, BASE + 0x3010)]);
    (Program::new().function(0x3000, &END), stack)
}

/// A strict walk ends before the first guess, with the verdict that there was no information.
#[test]
fn a_strict_walk_guesses_nothing() {
    let (program, stack) = leaf();
    assert_eq!(program.strictly().walk(&stack), (vec![0x2010], vec![false], Verdict::NoCfi));
}

/// What was guessed when a recording was scrubbed is left out by a strict report, too, and what was complete is not any more.
#[test]
fn a_strict_report_of_a_scrubbed_recording() {
    let frame = |address, guessed| UnwoundFrame { address: BASE + address, guessed };
    let frames = vec![frame(0x2010, false), frame(0x300f, true), frame(0x400f, false)];
    let stack = UnwoundStack { frames, verdict: Recorded::Complete };
    assert_eq!(Program::new().strictly().unwound(&stack), (vec![0x2010], vec![false], Verdict::NoCfi));
    assert_eq!(Program::new().unwound(&stack).2, Verdict::Complete);
}

/// Behind a guessed frame, a return address at the start of a function does not prove that the stack was made by hand.
#[test]
fn behind_a_guess_a_new_stack_is_not_complete() {
    for (first, verdict) in [(0x1010, Verdict::Complete), (0x2010, Verdict::NoCfi)] {
        let program =
            Program::new().function(0x1000, &[]).function(0x3000, &THREE_WORDS).function(0x4000, &THREE_WORDS);
        let words = [(0x5000, BASE + 0x3010), (0x5020, BASE + 0x4000), (0x5040, BASE + 0x4010)];
        let (frames, guessed, found) = program.walk(&stack(first, &[(0x5000, 0x5100)], &words));
        assert_eq!((frames.len(), guessed[1], found), (3, verdict == Verdict::NoCfi, verdict));
    }
}

/// A frame pointer that points below itself is none, also when a gap in the captured stack is between the two.
#[test]
fn a_frame_pointer_never_points_below() {
    for (saved, frames) in [(0x5008, 1), (0x9000_0000, 2)] {
        let words = [(0x8000, saved), (0x8008, BASE + 0x3010)];
        let mut stack = stack(0x2010, &[(0x5000, 0x5100), (0x8000, 0x8100)], &words);
        stack.registers.set(6, 0x8000);
        let program = Program::new().function(0x3000, &END);
        assert_eq!(program.walk(&stack).0.len(), frames, "saved: {saved:x}");
    }
}

/// Where nothing else leads on, the outer frames are searched for. The first is marked, and the verdict stays.
#[test]
fn the_outer_frames_are_searched_for() {
    let program = || Program::new().function(0x1000, &THREE_WORDS).function(0x3000, &END);
    let words = [(0x5018, BASE + 0x1010), (0x5038, BASE + 0x3010)];
    let stack = stack(0x2010, &[(0x5000, 0x5100)], &words);
    let found = (vec![0x2010, 0x100f, 0x300f], vec![false, true, false], Verdict::NoCfi);
    assert_eq!(program().walk(&stack), found);
    assert_eq!(program().strictly().walk(&stack), (vec![0x2010], vec![false], Verdict::NoCfi));
}

/// A return address that is no code does not end a stack silently: the search goes on from there, and the verdict tells of it.
#[test]
fn behind_a_wrong_return_address() {
    let program = Program::new().function(0x1000, &THREE_WORDS).function(0x2000, &[]).function(0x3000, &END);
    let words = [(0x5018, BASE + 0x1010), (0x5038, BASE + 0x3010)];
    let stack = stack(0x2000, &[(0x5000, 0x5100)], &words);
    assert_eq!(program.walk(&stack), (vec![0x2000, 0x100f, 0x300f], vec![false, true, false], Verdict::NotCode));
}

/// An ELF file of one executable segment at address 0 that has these bytes at these addresses.
fn file(code: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 0x4000];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &[3, 0, 62, 0, 1]);
    put(32, &[64]);
    put(52, &[64, 0, 56, 0, 1, 0, 64]);
    put(64, &[1, 0, 0, 0, 5]);
    put(64 + 32, &0x4000_u64.to_le_bytes());
    put(64 + 40, &0x4000_u64.to_le_bytes());
    for (at, code) in code {
        put(*at, code);
    }
    bytes
}

/// A thread in the kernel, in a system call that ends a function, is in that function though nothing of it follows; behind anything
/// else that ends one, it is not.
#[test]
fn a_system_call_ends_a_function() {
    let stack = stack(0x1100, &[(0x5000, 0x5100)], &[(0x5000, BASE + 0x3010), (0x5080, BASE + 0x1010)]);
    let walk = |code: &[u8]| {
        let program = Program::new().function(0x1000, &[]).function(0x3000, &END);
        program.strictly().with_file(file(&[(0x10fe, code), (0x300b, &[0xe8])])).walk(&stack)
    };
    assert_eq!(walk(&[0x0f, 0x05]), (vec![0x1100, 0x300f], vec![false; 2], Verdict::Complete));
    assert_eq!(walk(&[0x0f, 0x0b]), (vec![0x1100], vec![false], Verdict::NoCfi));
}

/// Where the code is at hand, only what stands behind a call is taken for a return address.
#[test]
fn a_return_address_stands_behind_a_call() {
    let words = [(0x5008, BASE + 0x1020), (0x5018, BASE + 0x1010), (0x5038, BASE + 0x3010)];
    let stack = stack(0x2010, &[(0x5000, 0x5100)], &words);
    let program = || Program::new().function(0x1000, &THREE_WORDS).function(0x3000, &END);
    let call: &[u8] = &[0xe8, 0, 0, 0, 0];
    let (frames, ..) = program().with_file(file(&[(0x100b, call), (0x300b, call)])).walk(&stack);
    assert_eq!(frames, [0x2010, 0x100f, 0x300f]);
    let (frames, ..) = program().with_file(file(&[])).walk(&stack);
    assert_eq!(frames, [0x2010], "no call, no frame");
}

/// The same for what a frame pointer leads to.
#[test]
fn a_guess_stands_behind_a_call() {
    let mut stack = stack(0x2010, &[(0x5000, 0x5100)], &[(0x5048, BASE + 0x3010)]);
    stack.registers.set(6, 0x5040);
    for (code, frames) in [(&[0xff, 0xd0][..], 2), (&[0x90, 0x90], 1)] {
        let program = Program::new().function(0x3000, &END).with_file(file(&[(0x300e, code)]));
        assert_eq!(program.walk(&stack).0.len(), frames);
    }
}

/// Without call frame information, between `push %rbp` and `mov %rsp,%rbp` and before the `pop %rbp` at the end the frame pointer is
/// the caller's, and what it leads to is the caller's caller: the code tells that, and the caller is not missed.
#[test]
fn a_frame_pointer_that_is_not_set_yet() {
    let words = [(0x5000, 0x5040), (0x5008, BASE + 0x2110), (0x5040, 0x5080), (0x5048, BASE + 0x3010)];
    let mut stack = stack(0x2010, &[(0x5000, 0x5100)], &words);
    stack.registers.set(6, 0x5040);
    let call: &[u8] = &[0xe8, 0, 0, 0, 0];
    let walk = |code: (usize, &[u8])| {
        let program = Program::new().function(0x3000, &END);
        program.with_file(file(&[code, (0x210b, call), (0x300b, call)])).walk(&stack).0
    };
    assert_eq!(walk((0x200f, &[0x55, 0x48, 0x89, 0xe5])), [0x2010, 0x210f, 0x300f]);
    assert_eq!(walk((0x2010, &[0x5d, 0xc3])), [0x2010, 0x210f, 0x300f]);
    assert_eq!(walk((0x2010, &[0x90])), [0x2010, 0x300f], "anywhere else, the frame pointer is the function's own");
}

/// The root of a coroutine, whose first frame was put there by hand, is the function that it is at the first byte of, not the one
/// before: also in a chain that the kernel found.
#[test]
fn the_root_of_a_chain_of_a_coroutine() {
    let program = Program::new().function(0x1000, &FRAME_POINTER).function(0x3000, &FRAME_POINTER);
    assert_eq!(program.chain(&[0x1010, 0x3000]), (vec![0x1010, 0x3000], vec![false; 2], Verdict::Complete));
    let program = Program::new().function(0x1000, &FRAME_POINTER).function(0x3000, &FRAME_POINTER);
    assert_eq!(program.chain(&[0x1010, 0x3010]), (vec![0x1010, 0x300f], vec![false; 2], Verdict::Implausible));
}
