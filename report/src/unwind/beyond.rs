//! What follows a frame out of which call frame information does not lead: nothing, or a guess.

use super::calls;
use super::memory::Memory;
use super::step::Stop;
use super::{Cursor, ProcessView, Unwinder};

impl Unwinder<'_> {
    /// The frame after one that call frame information does not lead out of, or why there is none.
    pub(super) fn beyond(
        &mut self,
        cursor: &Cursor,
        stop: Stop,
        memory: Memory<'_>,
        process: ProcessView<'_>,
    ) -> Result<Cursor, Stop> {
        if matches!(stop, Stop::End | Stop::NewStack { .. } | Stop::Truncated) {
            return Err(stop);
        }
        if stop != Stop::Implausible && self.is_outermost(cursor, memory, process) {
            return Err(Stop::End);
        }
        if self.strict {
            return Err(stop);
        }
        let may_be_leaf = self.machine.call_pushes || self.links_to_known_code(cursor, process);
        let saved_frame_pointer = cursor.interrupted && self.has_saved_frame_pointer(cursor);
        let leaving = cursor.leaving(self.machine, memory);
        let guesses = leaving.guesses(cursor.interrupted, may_be_leaf, saved_frame_pointer);
        for caller in guesses {
            if let Some(guess) = self.arrive(caller, process, true)
                && self.is_plausible(&guess)
                && self.leads_on(&guess, memory, process)
            {
                return Ok(guess);
            }
        }
        Err(stop)
    }

    /// Whether the code at an interrupted instruction tells that the stack pointer points at the caller's frame pointer.
    fn has_saved_frame_pointer(&self, cursor: &Cursor) -> bool {
        let Some((module, address)) = cursor.place else { return false };
        let is_at = |address, code: &[u8]| self.modules.code_at(module, address).is_some_and(|it| it.starts_with(code));
        self.machine.call_pushes
            && calls::is_frame_pointer_saved(|distance, code| is_at(address.wrapping_sub(distance), code))
    }

    /// Whether the return address in its register is in code with call frame information.
    fn links_to_known_code(&mut self, cursor: &Cursor, process: ProcessView<'_>) -> bool {
        let link = cursor.registers.get(self.machine.return_address).map(|link| link & self.machine.address_bits);
        let place = link.and_then(|link| self.place(link.checked_sub(1)?, process));
        place.is_some_and(|(module, address)| self.rows.row(self.modules, module, address, true).is_some())
    }

    /// Whether there cannot be a caller, because nothing from the stack pointer to the known top of
    /// the stack points at code.
    fn is_outermost(&self, cursor: &Cursor, memory: Memory<'_>, process: ProcessView<'_>) -> bool {
        let is_code = |value: u64| {
            let address = (value & self.machine.address_bits).checked_sub(1);
            address.is_some_and(|address| process.space.lookup(address).is_some())
        };
        let leaving = cursor.leaving(self.machine, memory);
        if !self.machine.call_pushes && leaving.register(self.machine.return_address).is_some_and(is_code) {
            return false;
        }
        let stack_pointer = leaving.register(self.machine.stack_pointer);
        stack_pointer.is_some_and(|stack_pointer| memory.ends_above(stack_pointer, is_code))
    }

    /// Whether a guessed frame makes sense: its own call frame information, if there is any, must
    /// lead to code, to the end of the stack or to memory that is not there.
    fn leads_on(&mut self, guess: &Cursor, memory: Memory<'_>, process: ProcessView<'_>) -> bool {
        let leads_nowhere = |stop| matches!(stop, Stop::NoReturnAddress | Stop::Implausible);
        !self.is_before_function(guess) && !self.step(guess, memory, process).is_err_and(leads_nowhere)
    }

    /// Whether a function begins where a guessed frame would go on, and nothing known ends there: what was taken for a return
    /// address is a pointer to that function.
    fn is_before_function(&mut self, guess: &Cursor) -> bool {
        let Some((module, address)) = guess.place else { return false };
        let mut is_known = |address| self.rows.row(self.modules, module, address, false).is_some();
        !is_known(address) && is_known(address.wrapping_add(1))
    }

    /// Whether a call may have left this return address: one stands before it, or the code is not at hand.
    pub(super) fn is_plausible(&self, guess: &Cursor) -> bool {
        let Some((module, address)) = guess.place else { return false };
        self.modules.is_after_call(module, address.wrapping_add(1), self.arch).unwrap_or(true)
    }
}
