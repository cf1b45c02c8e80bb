//! Rules of thumb for code without call frame information, or with wrong one: hand-written
//! assembly, code made by JIT compilers, interpreters' builtins.
//!
//! Only when none of them leads on is the stack searched for return addresses (see [`super::rejoin`]).

use super::memory::Word;
use super::step::{Caller, Leaving};

impl Leaving<'_> {
    /// Callers that the rules of thumb suggest, the likeliest first. None has been checked to be code.
    ///
    /// At an interrupted instruction the frame may not have been set up yet, and then (in a leaf, a
    /// PLT entry, at the first instruction) the return address is at the stack pointer. A frame that
    /// made a call has a frame pointer, if there is any at all; else it may be the smallest frame that there is.
    ///
    /// Where calls do not push, what is in the register may be left over from a call that has returned; then it points into the same
    /// function, which has no call frame information: `may_be_leaf` tells that it does not.
    ///
    /// Between the instructions that push and set a frame pointer, and before the one that pops it at the end, the caller's frame
    /// pointer is what the stack pointer points at: `saved_frame_pointer` tells that the code says so.
    pub fn guesses(
        &self,
        interrupted: bool,
        may_be_leaf: bool,
        saved_frame_pointer: bool,
    ) -> impl Iterator<Item = Caller> + use<> {
        let (by_stack, by_frame) = (self.by_stack_pointer(), self.by_frame_pointer());
        let guesses = match interrupted {
            true if saved_frame_pointer => [self.by_saved_frame_pointer(), by_stack, by_frame],
            true if may_be_leaf => [by_stack, by_frame, None],
            true => [by_frame, by_stack, None],
            false => [by_frame, self.by_smallest_frame(), by_stack],
        };
        guesses.into_iter().flatten()
    }

    /// The stack pointer points at the caller's frame pointer, and the return address is behind it.
    fn by_saved_frame_pointer(&self) -> Option<Caller> {
        let current = self.register(self.machine.stack_pointer)?;
        let return_address = self.memory.word(current.checked_add(8)?).pointer()?;
        let mut caller = self.guessed(return_address, Some(current.checked_add(16)?));
        caller.registers.set(self.machine.frame_pointer, self.memory.word(current).pointer());
        Some(caller)
    }

    /// At a call, the stack pointer is a multiple of 16 (System V ABI, 3.2.2), so that a function that saves nothing and only calls
    /// another moves it by 8: CPython's trampolines do nothing else.
    fn by_smallest_frame(&self) -> Option<Caller> {
        const FRAME: u64 = 8;
        let current = self.register(self.machine.stack_pointer)?;
        if !self.machine.call_pushes || !current.is_multiple_of(16) {
            return None;
        }
        let return_address = self.memory.word(current.checked_add(FRAME)?).pointer()?;
        Some(self.guessed(return_address, Some(current.checked_add(FRAME + 8)?)))
    }

    /// The frame pointer points at the caller's frame pointer, and the return address is behind it. A caller without a frame
    /// pointer has anything else in that register, a pointer to code for example, but nothing below on this stack.
    ///
    /// Where calls push, the caller's stack ends behind the return address. Elsewhere, both words may be anywhere in the frame.
    fn by_frame_pointer(&self) -> Option<Caller> {
        let frame = self.register(self.machine.frame_pointer)?;
        let current = self.register(self.machine.stack_pointer);
        let is_below = |current| frame < current;
        if current.map_or(self.machine.call_pushes, is_below) || !frame.is_multiple_of(8) {
            return None;
        }
        let saved = match self.memory.word(frame) {
            Word::Pointer(saved) if saved > frame || !self.memory.same_stack(frame, saved) => Some(saved),
            Word::NoPointer => None,
            Word::Pointer(_) | Word::Missing => return None,
        };
        let return_address = self.memory.word(frame.checked_add(8)?).pointer()?;
        let stack_pointer = if self.machine.call_pushes { Some(frame.checked_add(16)?) } else { None };
        let mut caller = self.guessed(return_address, stack_pointer);
        caller.registers.set(self.machine.frame_pointer, saved);
        Some(caller)
    }

    /// The return address is where the stack pointer points, or in its own register.
    fn by_stack_pointer(&self) -> Option<Caller> {
        let current = self.register(self.machine.stack_pointer)?;
        if !self.machine.call_pushes {
            let return_address = self.register(self.machine.return_address)?;
            return Some(self.guessed(return_address, Some(current)));
        }
        let return_address = self.memory.word(current).pointer()?;
        Some(self.guessed(return_address, Some(current.checked_add(8)?)))
    }

    fn guessed(&self, return_address: u64, stack_pointer: Option<u64>) -> Caller {
        let mut registers = self.registers.in_caller();
        registers.set(self.machine.return_address, None);
        registers.set(self.machine.stack_pointer, stack_pointer);
        let return_address = return_address & self.machine.address_bits;
        Caller { return_address, interrupted: false, registers }
    }
}
