//! Walks of hand-made stacks, one for each thing that can happen on the way.

mod aarch64;
mod guesses;
mod sharing;
mod signals;

use profrec_format::UserStack;
use proptest::prelude::*;

use super::fixture::{BASE, Program, stack};
use crate::stacks::Verdict;

/// `undefined rip`: what glibc's `_start` and `clone` say.
const END: [u8; 3] = [0x07, 16, 0];
/// `def_cfa_offset 32`: a frame of three words.
const THREE_WORDS: [u8; 2] = [0x0e, 32];
/// `def_cfa rbp + 16; offset rbp at cfa - 16`: a frame with a frame pointer.
const FRAME_POINTER: [u8; 5] = [0x0c, 6, 16, 0x86, 2];

/// A walk through call frame information alone ends at the mark, with return addresses moved into the call.
#[test]
fn a_complete_walk() {
    let program = Program::new().function(0x1000, &[]).function(0x2000, &THREE_WORDS).function(0x3000, &END);
    let stack = stack(0x1000, &[(0x5000, 0x5100)], &[(0x5000, BASE + 0x2010), (0x5020, BASE + 0x3010)]);
    assert_eq!(program.walk(&stack), (vec![0x1000, 0x200f, 0x300f], vec![false; 3], Verdict::Complete));
}

/// A return address that is no call's, because nothing fits between it and the start of its function, is where the stack was
/// made: `makecontext` takes the first instruction, Go the second.
#[test]
fn a_stack_that_was_made_by_hand() {
    for (start, shown) in [(BASE + 0x3000, 0x3000), (BASE + 0x3001, 0x3000)] {
        let program = Program::new().function(0x1000, &[]).function(0x3000, &THREE_WORDS).function(0x4000, &END);
        let words = [(0x5000, start), (0x5020, BASE + 0x4010)];
        let stack = stack(0x1000, &[(0x5000, 0x5100)], &words);
        assert_eq!(program.walk(&stack), (vec![0x1000, shown], vec![false; 2], Verdict::Complete));
    }
    // Behind the shortest call there may be one; so is there behind a function that ends where this one begins.
    for start in [0x3002, 0x2100] {
        let program =
            Program::new().function(0x1000, &[]).function(0x2000, &THREE_WORDS).function(0x2100, &THREE_WORDS);
        let program = program.function(0x3000, &THREE_WORDS).function(0x4000, &END);
        let stack = stack(0x1000, &[(0x5000, 0x5100)], &[(0x5000, BASE + start), (0x5020, BASE + 0x4010)]);
        assert_eq!(program.walk(&stack).0.len(), 3);
    }
}

/// A frame pointer saved on the way leads from a frame of unknown size.
#[test]
fn a_frame_pointer_on_the_way() {
    let program = Program::new().function(0x1000, &FRAME_POINTER).function(0x3000, &END);
    let mut stack = stack(0x1000, &[(0x5000, 0x5100)], &[(0x5048, BASE + 0x3010)]);
    stack.registers.set(6, 0x5040);
    assert_eq!(program.walk(&stack).2, Verdict::Complete);
}

/// At a `ret` the frame pointer has been restored already, although its rule still says where it was saved.
#[test]
fn a_popped_frame_pointer() {
    // offset rbp at cfa - 16; the frame address is at the stack pointer + 8 again.
    let program = Program::new().function(0x1000, &[0x86, 2]).function(0x2000, &FRAME_POINTER).function(0x3000, &END);
    let words = [(0x5000, BASE + 0x2010), (0x5048, BASE + 0x3010)];
    let mut stack = stack(0x1000, &[(0x5000, 0x5100)], &words);
    stack.registers.set(6, 0x5040);
    assert_eq!(program.walk(&stack), (vec![0x1000, 0x200f, 0x300f], vec![false; 3], Verdict::Complete));
}

/// A canonical frame address far beyond the captured part is followed into the second slice.
#[test]
fn a_giant_frame_leads_into_the_outer_slice() {
    // def_cfa_offset 540080, the largest frame of librustc_driver.
    let program = Program::new().function(0x1000, &[0x0e, 0xb0, 0xfb, 0x20]).function(0x3000, &END);
    let slices = [(0x10_0000, 0x10_1000), (0x18_3000, 0x18_4000)];
    let stack = stack(0x1000, &slices, &[(0x10_0000 + 540_080 - 8, BASE + 0x3010)]);
    assert_eq!(program.walk(&stack), (vec![0x1000, 0x300f], vec![false; 2], Verdict::Complete));
}

/// Memory that is not there ends the walk, and no rule of thumb is tried.
#[test]
fn missing_memory_is_truncation() {
    let program = Program::new().function(0x1000, &[0x0e, 0x80, 0x10]);
    let stack = stack(0x1000, &[(0x5000, 0x5100)], &[(0x5000, BASE + 0x3010)]);
    assert_eq!(program.walk(&stack), (vec![0x1000], vec![false], Verdict::Truncated));
}

/// A stack with a gap, three living frames and the start behind it, and these words of old calls.
fn behind_a_gap(old: &[(u64, u64)]) -> (Vec<u64>, Vec<bool>, Verdict) {
    let living = [(0x6008, BASE + 0x1010), (0x6028, BASE + 0x1020), (0x6048, BASE + 0x2020), (0x6068, BASE + 0x3030)];
    let mut words = [&living[..], old].concat();
    words.sort_unstable();
    let program = Program::new().function(0x1000, &THREE_WORDS).function(0x2000, &THREE_WORDS);
    let program = program.function(0x3000, &END).function(0x4000, &[]);
    program.walk(&stack(0x1000, &[(0x5000, 0x5010), (0x6000, 0x6100)], &words))
}

/// With the middle of a stack missing, its outer end is found again, and the seam is marked.
#[test]
fn the_outer_end_of_a_truncated_stack() {
    let guessed = vec![false, true, false, false, false];
    assert_eq!(behind_a_gap(&[]), (vec![0x1000, 0x100f, 0x101f, 0x201f, 0x302f], guessed, Verdict::Truncated));
}

/// What old calls left at the seam leads to the end of the stack as well. Only what both have in common is taken.
#[test]
fn old_calls_at_the_seam() {
    let old = [(0x6010, BASE + 0x4010), (0x6018, BASE + 0x4020), (0x6020, BASE + 0x4030)];
    let guessed = vec![false, true, false, false];
    assert_eq!(behind_a_gap(&old), (vec![0x1000, 0x101f, 0x201f, 0x302f], guessed, Verdict::Truncated));
}

/// The caller of a signal frame was interrupted: its address is exact, even at a function's first byte.
#[test]
fn a_signal_frame_keeps_the_address() {
    // rip at rsp + 0x20, rsp at rsp + 0x30, as offsets from the stack pointer.
    let trampoline = [0x0f, 2, 0x77, 0, 0x10, 16, 2, 0x77, 0x20, 0x10, 7, 2, 0x77, 0x30];
    let program = Program::new().trampoline(0x1000, &trampoline).function(0x2000, &[]).function(0x3000, &END);
    let words = [(0x5020, BASE + 0x2000), (0x5030, 0x5080), (0x5080, BASE + 0x3010)];
    let stack = stack(0x1001, &[(0x5000, 0x5100)], &words);
    assert_eq!(program.walk(&stack), (vec![0x1001, 0x2000, 0x300f], vec![false; 3], Verdict::Complete));
}

/// A handler on a stack of its own: what it interrupted is told, and that the rest is not there.
#[test]
fn a_signal_on_another_stack() {
    // cfa = *(rsp + 0x30), rip at rsp + 0x20.
    let trampoline = [0x0f, 3, 0x77, 0x30, 0x06, 0x10, 16, 2, 0x77, 0x20];
    let program = Program::new().trampoline(0x1000, &trampoline).function(0x2000, &[]);
    let stack = stack(0x1001, &[(0x5000, 0x5100)], &[(0x5020, BASE + 0x2008)]);
    assert_eq!(program.walk(&stack), (vec![0x1001, 0x2008], vec![false; 2], Verdict::Truncated));
}

/// A return address that is no code is not the end: the frame pointer leads on, and the frame is marked.
#[test]
fn a_wrong_rule_is_followed_by_a_guess() {
    let program = Program::new().function(0x1000, &[]).function(0x2000, &END);
    let mut stack = stack(0x1000, &[(0x5000, 0x5100)], &[(0x5048, BASE + 0x2010)]);
    stack.registers.set(6, 0x5040);
    assert_eq!(program.walk(&stack), (vec![0x1000, 0x200f], vec![false, true], Verdict::Complete));
}

/// Without any way on, a wrong return address is told as such. Code further up shows that this is not the end.
#[test]
fn a_wrong_return_address_is_told() {
    let program = Program::new().function(0x1000, &[]);
    let stack = stack(0x1000, &[(0x5000, 0x5100)], &[(0x5080, BASE + 0x2010)]);
    assert_eq!(program.walk(&stack), (vec![0x1000], vec![false], Verdict::NotCode));
}

/// An unknown register that the rule needs is no reason to believe that the stack ends.
#[test]
fn an_unknown_register_is_implausible() {
    let program = Program::new().function(0x1000, &FRAME_POINTER);
    assert_eq!(program.walk(&stack(0x1000, &[(0x5000, 0x5100)], &[])).2, Verdict::Implausible);
}

/// Code without call frame information and with nothing above it is start code, such as ld.so's `_start`.
#[test]
fn start_code_at_the_top_of_the_stack() {
    let program = Program::new().function(0x1000, &[]);
    let stack = stack(0x1000, &[(0x50f8, 0x5100)], &[(0x50f8, BASE + 0x2010)]);
    assert_eq!(program.walk(&stack), (vec![0x1000, 0x200f], vec![false; 2], Verdict::Complete));
}

/// The same with the top unknown, or with memory missing below it, says only that there is no information.
#[test]
fn code_without_information_is_not_the_end() {
    let mut unknown_top = stack(0x2010, &[(0x5000, 0x5100)], &[]);
    unknown_top.top = 0;
    let mut cut = stack(0x2010, &[(0x5000, 0x5100)], &[]);
    cut.top = 0x9000;
    for stack in [unknown_top, cut] {
        assert_eq!(Program::new().walk(&stack), (vec![0x2010], vec![false], Verdict::NoCfi));
    }
}

/// In a leaf without call frame information the return address is at the stack pointer.
#[test]
fn a_leaf_without_information() {
    let program = Program::new().function(0x3000, &END);
    let stack = stack(0x2010, &[(0x5000, 0x5100)], &[(0x5000, BASE + 0x3010)]);
    assert_eq!(program.walk(&stack), (vec![0x2010, 0x300f], vec![false, true], Verdict::Complete));
}

/// A guess whose own call frame information leads nowhere is not made.
#[test]
fn a_guess_must_make_sense() {
    let program = Program::new().function(0x3000, &[]);
    let stack = stack(0x2010, &[(0x5000, 0x5100)], &[(0x5000, BASE + 0x3010), (0x5080, BASE + 0x3010)]);
    assert_eq!(program.walk(&stack), (vec![0x2010], vec![false], Verdict::NoCfi));
}

/// A pointer to the beginning of a function is no return address, unless another function ends there; a frame pointer whose
/// caller had such a pointer in its register leads on.
#[test]
fn a_pointer_to_a_function_was_a_frame() {
    let program = Program::new().function(0x3000, &[]).function(0x4000, &END);
    let sp = BASE << 8;
    let mut stack = stack(0x2010, &[(sp, sp + 0x100)], &[(sp, BASE + 0x3000), (sp + 8, BASE + 0x4010)]);
    (stack.sp, stack.top) = (sp, sp + 0x100);
    stack.registers.set(6, sp);
    assert_eq!(program.walk(&stack), (vec![0x2010, 0x400f], vec![false, true], Verdict::Complete));
}

/// CPython's trampolines: a frame of eight bytes that nobody wrote to, or that has an old pointer to code.
#[test]
fn the_smallest_frame_that_makes_a_call() {
    for left_over in [0, BASE + 0x2200] {
        let program = Program::new().function(0x1000, &[]).function(0x3000, &END);
        let mut words = vec![(0x5008, BASE + 0x2106), (0x5010, left_over), (0x5018, BASE + 0x3010)];
        words.retain(|(_, value)| *value != 0);
        let mut stack = stack(0x1010, &[(0x5008, 0x5100)], &words);
        stack.sp = 0x5008;
        assert_eq!(program.walk(&stack), (vec![0x1010, 0x2105, 0x300f], vec![false, false, true], Verdict::Complete));
    }
}

/// An instruction pointer outside of all code, after a call through a bad pointer: the caller is guessed.
#[test]
fn a_jump_into_nowhere() {
    let program = Program::new().function(0x3000, &END);
    let mut stack = stack(0, &[(0x5000, 0x5100)], &[(0x5000, BASE + 0x3010)]);
    stack.ip = 0x10;
    assert_eq!(program.walk(&stack), (vec![0x10, 0x300f], vec![false, true], Verdict::Complete));
}

/// glibc's `vfork` takes its return address from the stack into a register: its frame is empty.
#[test]
fn a_return_address_in_a_register() {
    // def_cfa_offset 0; rip in rdi.
    let program = Program::new().function(0x1000, &[0x0e, 0, 0x09, 16, 5]).function(0x3000, &END);
    let mut stack = stack(0x1000, &[(0x5000, 0x5100)], &[]);
    stack.registers.set(5, BASE + 0x3010);
    assert_eq!(program.walk(&stack), (vec![0x1000, 0x300f], vec![false; 2], Verdict::Complete));
}

/// A frame that claims to lie below itself stops the walk.
#[test]
fn a_stack_must_grow() {
    // def_cfa_sf rsp - 8
    let program = Program::new().function(0x1000, &[0x12, 7, 1]);
    let mut stack = stack(0x1000, &[(0x5000, 0x5100)], &[(0x5008, BASE + 0x1010), (0x5080, BASE + 0x1010)]);
    stack.sp = 0x5018;
    assert_eq!(program.walk(&stack).2, Verdict::Implausible);
}

/// Two stacks that lead into each other do not keep the walk going for ever.
#[test]
fn a_circle_ends() {
    let program = Program::new().function(0x1000, &FRAME_POINTER);
    let words = [(0x5000, 0x6000), (0x5008, BASE + 0x1010), (0x6000, 0x5000), (0x6008, BASE + 0x1010)];
    let mut stack = stack(0x1000, &[(0x5000, 0x5010), (0x6000, 0x6010)], &words);
    stack.registers.set(6, 0x5000);
    let (frames, _, verdict) = program.walk(&stack);
    assert_eq!(verdict, Verdict::Implausible);
    assert!(frames.len() <= 20);
}

prop_compose! {
    fn any_stack()(
        ip in 0u64..0x8000,
        sp in 0x4ff0u64..0x5010,
        top in 0x4f00u64..0x5300,
        registers in proptest::collection::vec((0usize..33, any_word()), 0..8),
        ranges in proptest::collection::btree_set(0x4f0u64..0x530, 0..6),
        words in proptest::collection::btree_map(0x9e0u64..0xa60, any_word(), 0..64),
    ) -> UserStack {
        let bounds: Vec<u64> = ranges.into_iter().map(|bound| bound * 16).collect();
        let ranges: Vec<_> = bounds.chunks_exact(2).map(|bounds| (bounds[0], bounds[1])).collect();
        let words: Vec<_> = words.into_iter().map(|(place, value)| (place * 8, value)).collect();
        let mut stack = stack(ip, &ranges, &words);
        (stack.sp, stack.top) = (sp, top);
        registers.into_iter().for_each(|(number, value)| stack.registers.set(number, value));
        stack
    }
}

/// Pointers at code, at the stack, and at the ends of the address space.
fn any_word() -> impl Strategy<Value = u64> {
    prop_oneof![BASE..BASE + 0x8000, (0x9e0u64..0xa60).prop_map(|place| place * 8), any::<u64>(), Just(u64::MAX)]
}

proptest! {
    /// Whatever call frame information and stack a file holds: the walk ends, and has at least one frame.
    #[test]
    fn any_walk_ends(
        first in proptest::collection::vec(any::<u8>(), 0..64),
        second in proptest::collection::vec(any::<u8>(), 0..64),
        stack in any_stack(),
    ) {
        let program = Program::new().function(0x1000, &first).trampoline(0x1100, &second).function(0x2000, &[]);
        let (frames, _, _) = program.walk(&stack);
        prop_assert!(!frames.is_empty() && frames.len() <= 5 * stack.words.len() + 16);
    }
}
