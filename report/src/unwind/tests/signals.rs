//! Signal frames without call frame information: musl's on x86-64, every one on aarch64.

use super::super::fixture::{BASE, Program, stack};
use super::END;
use crate::stacks::Verdict;

/// The vDSO or program that a signal handler returns to, at 0x2000.
fn image(machine: u8, code: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 0x4000];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &[3, 0, machine, 0, 1]);
    put(32, &[64]);
    put(52, &[64, 0, 56, 0, 1, 0, 64]);
    put(64, &[1, 0, 0, 0, 5]);
    put(64 + 32, &0x4000_u64.to_le_bytes());
    put(64 + 40, &0x4000_u64.to_le_bytes());
    put(0x2000, code);
    bytes
}

/// musl's `__restore_rt`: the interrupted instruction is exact, and its registers are those in the kernel's frame.
#[test]
fn a_handler_of_musl() {
    let restore = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];
    let program = Program::new().function(0x1000, &[]).function(0x3000, &END).function(0x3100, &[0x0c, 3, 16]);
    // The handler's return address, then ucontext: rbx, rsp, rip.
    let words =
        [(0x5000, BASE + 0x2000), (0x5008 + 128, 0x5800), (0x5008 + 160, 0x5700), (0x5008 + 168, BASE + 0x3100)];
    let words = [&words[..], &[(0x5808, BASE + 0x3010)]].concat();
    let stack = stack(0x1000, &[(0x5000, 0x6000)], &words);
    let found = program.with_file(image(62, &restore)).walk(&stack);
    assert_eq!(found, (vec![0x1000, 0x2000, 0x3100, 0x300f], vec![false; 4], Verdict::Complete));
}

/// The vDSO's `__kernel_rt_sigreturn` on aarch64, which is left for what was interrupted in a leaf, and that by its link register.
#[test]
fn a_handler_on_aarch64() {
    let code = [0x68, 0x11, 0x80, 0xd2, 0x01, 0, 0, 0xd4];
    let program = Program::of_aarch64().function(0x1000, &[]).function(0x3000, &[]).function(0x3200, &[0x07, 30]);
    let words = [(0x5000 + 552, BASE + 0x3210), (0x5000 + 560, 0x5800), (0x5000 + 568, BASE + 0x3000)];
    let mut stack = stack(0x1000, &[(0x5000, 0x6000)], &words);
    stack.registers.set(30, BASE + 0x2000);
    let found = program.with_file(image(183, &code)).walk(&stack);
    assert_eq!(found, (vec![0x1000, 0x2000, 0x3000, 0x320f], vec![false; 4], Verdict::Complete));
}
