//! Frames that the kernel makes for signal handlers, where no call frame information tells of them: musl's and Go's on
//! x86-64, every one on aarch64 (Linux has none for its vDSO since 5.8, because none can be right).
//!
//! A handler returns to two instructions that ask the kernel to go on with what was interrupted. They tell what is on the stack:
//!
//! ```text
//!  stack pointer ──► x86-64:  ucontext { 40 bytes, r8 … r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, … }
//!                    aarch64: siginfo (128 bytes), ucontext { 176 bytes, fault address, x0 … x30, sp, pc, … }
//! ```

use profrec_format::Arch;

use super::arch::FrameRegisters;
use super::memory::Word;
use super::step::{Caller, Leaving};

/// `mov $15, %rax` or `mov $15, %eax`; `syscall`.
const X86_64: [&[u8]; 2] = [&[0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05], &[0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05]];
/// `mov x8, #139`; `svc #0`.
const AARCH64: [u8; 8] = [0x68, 0x11, 0x80, 0xd2, 0x01, 0, 0, 0xd4];

/// DWARF numbers of the registers in x86-64's frame, and where the first is.
const X86_64_ORDER: [u16; 17] = [8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6, 3, 1, 0, 2, 7, 16];
const X86_64_REGISTERS: u64 = 40;
/// Where x0 is in aarch64's frame. The stack pointer and the instruction pointer follow x30.
const AARCH64_REGISTERS: u64 = 312;
const AARCH64_STACK_POINTER: u16 = 31;
const AARCH64_INSTRUCTION_POINTER: u16 = 32;

impl Leaving<'_> {
    /// What a signal interrupted, if the frame is that which the kernel made: `code` is what the frame goes on with.
    pub(super) fn by_signal_frame(&self, arch: Arch, code: &[u8]) -> Option<Caller> {
        match arch {
            Arch::X86_64 if X86_64.iter().any(|start| code.starts_with(start)) => {
                self.interrupted_in(X86_64_REGISTERS, X86_64_ORDER.into_iter(), 16)
            }
            Arch::Aarch64 if code.starts_with(&AARCH64) => {
                let order = 0..=AARCH64_STACK_POINTER;
                let order = order.chain([AARCH64_INSTRUCTION_POINTER]);
                self.interrupted_in(AARCH64_REGISTERS, order, AARCH64_INSTRUCTION_POINTER)
            }
            _ => None,
        }
    }

    /// Reads registers that stand one behind the other. Without a stack pointer, the interrupted stack is not in the sample.
    fn interrupted_in(&self, start: u64, order: impl Iterator<Item = u16>, instruction_pointer: u16) -> Option<Caller> {
        let first = self.register(self.machine.stack_pointer)?.checked_add(start)?;
        let mut registers = FrameRegisters::unknown();
        let mut return_address = None;
        for (place, number) in (0..).zip(order) {
            let value = match self.memory.word(first.checked_add(8 * place)?) {
                Word::Pointer(value) => Some(value),
                Word::NoPointer | Word::Missing => None,
            };
            if number == instruction_pointer {
                return_address = value;
            } else {
                registers.set(number, value);
            }
        }
        Some(Caller { return_address: return_address?, interrupted: true, registers })
    }
}
