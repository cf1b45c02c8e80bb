//! From a frame to its caller, by a row of call frame information.

use super::arch::{FrameRegisters, Machine};
use super::expression::{Inputs, NoValue};
use super::memory::{Memory, Word};
use super::row::{CfaRule, Row, Rule};
use crate::stacks::Verdict;

/// Why a step leads to no caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The call frame information marks the end of the stack.
    End,
    /// The frame was put there by hand, where a stack begins; its place is the first instruction of a function, or else in it.
    NewStack {
        /// It is the first instruction.
        first: bool,
    },
    /// The word that should hold the return address was captured and does not point at code.
    NoReturnAddress,
    /// No call frame information covers the address.
    NoCfi,
    /// Memory is needed that the recording does not hold.
    Truncated,
    /// A register is needed that is not known, or what comes out cannot be true.
    Implausible,
}

impl Stop {
    /// The verdict on a walk that ends here.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::End | Self::NewStack { .. } => Verdict::Complete,
            Self::NoCfi => Verdict::NoCfi,
            Self::Truncated => Verdict::Truncated,
            Self::NoReturnAddress => Verdict::NotCode,
            Self::Implausible => Verdict::Implausible,
        }
    }
}

impl From<NoValue> for Stop {
    fn from(reason: NoValue) -> Self {
        match reason {
            NoValue::Missing => Self::Truncated,
            NoValue::Unknown => Self::Implausible,
        }
    }
}

/// A frame's caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Where it goes on.
    pub return_address: u64,
    /// It was interrupted there; else it made a call just before.
    pub interrupted: bool,
    /// Its registers.
    pub registers: FrameRegisters,
}

/// A frame that is to be left.
#[derive(Clone, Copy)]
pub struct Leaving<'a> {
    /// What kind of processor this is.
    pub machine: Machine,
    /// The frame's instruction pointer or return address, as it stands in the process.
    pub instruction_pointer: u64,
    /// The frame's registers.
    pub registers: &'a FrameRegisters,
    /// The stack.
    pub memory: Memory<'a>,
}

/// Below this there is never a stack (the kernel's default `vm.mmap_min_addr` is larger still).
const LOWEST_STACK: u64 = 4096;

impl Leaving<'_> {
    /// Follows a row.
    pub fn by_row(&self, row: &Row) -> Result<Caller, Stop> {
        if row.return_address == Rule::Undefined {
            return Err(Stop::End);
        }
        if self.machine.call_pushes && self.register(self.machine.stack_pointer).is_none() {
            return Err(Stop::Truncated);
        }
        let cfa = match self.cfa(row) {
            Err(NoValue::Unknown) if row.signal_frame => return self.interrupted_elsewhere(row),
            cfa => cfa?,
        };
        let registers = self.restored(row, cfa);
        if !row.signal_frame && !self.is_outward(row, &registers) {
            return Err(Stop::Implausible);
        }
        let return_address = self.value(&row.return_address, cfa).map_err(|reason| match reason {
            NoValue::Unknown if matches!(row.return_address, Rule::Saved(_)) => Stop::NoReturnAddress,
            reason => reason.into(),
        })?;
        let return_address = return_address & self.machine.address_bits;
        Ok(Caller { return_address, interrupted: row.signal_frame, registers })
    }

    /// A signal handler on a stack of its own (sigaltstack): the interrupted stack is not in the sample, so
    /// its pointers were not kept, but the place of the interruption was.
    fn interrupted_elsewhere(&self, row: &Row) -> Result<Caller, Stop> {
        let Rule::SavedAt(expression) = &row.return_address else { return Err(Stop::Implausible) };
        let return_address = self.word(self.inputs().evaluate(expression, Some(0))?)?;
        Ok(Caller { return_address, interrupted: true, registers: FrameRegisters::unknown() })
    }

    /// The registers in the caller.
    fn restored(&self, row: &Row, cfa: u64) -> FrameRegisters {
        let mut registers = self.registers.in_caller();
        registers.set(self.machine.return_address, None);
        registers.set(self.machine.stack_pointer, Some(cfa));
        for (number, rule) in row.registers.iter() {
            match self.value(rule, cfa) {
                Ok(value) => registers.set(*number, Some(value)),
                Err(NoValue::Missing) if self.was_popped(rule, cfa) => {}
                // A register that cannot be restored matters only if it is needed: that is seen then.
                Err(_) => registers.set(*number, None),
            }
        }
        registers
    }

    /// Whether a register was saved at a place that is now below the stack pointer, where nothing is
    /// captured. GCC keeps such rules up to the `ret`, when the register has its old value again.
    fn was_popped(&self, rule: &Rule, cfa: u64) -> bool {
        let (Rule::Saved(offset), Some(current)) = (rule, self.register(self.machine.stack_pointer)) else {
            return false;
        };
        cfa.wrapping_add_signed(*offset) < current
    }

    /// The stack grows towards its callers, unless the frame switched to another stack. Where the return
    /// address is not on the stack (leaves on aarch64, glibc's `vfork`), the frame may be empty.
    fn is_outward(&self, row: &Row, caller: &FrameRegisters) -> bool {
        let number = self.machine.stack_pointer;
        let current = self.register(number).or_else(|| self.register(self.machine.frame_pointer));
        let (Some(current), Some(next)) = (current, caller.get(number)) else { return false };
        let may_be_empty = matches!(row.return_address, Rule::Register(_));
        next > current || (next == current && may_be_empty) || !self.memory.same_range(current, next)
    }

    fn cfa(&self, row: &Row) -> Result<u64, NoValue> {
        let cfa = match &row.cfa {
            CfaRule::Register(number, offset) => match self.register(*number) {
                Some(base) => base.wrapping_add_signed(*offset),
                None => self.cfa_by_frame_record(row).ok_or(NoValue::Unknown)?,
            },
            CfaRule::Expression(expression) => self.inputs().evaluate(expression, None)?,
        };
        if cfa.is_multiple_of(8) && cfa >= LOWEST_STACK { Ok(cfa) } else { Err(NoValue::Unknown) }
    }

    /// Where calls do not push, a frame that was found by a frame pointer has no known stack pointer. But its frame pointer points to
    /// where it saved its caller's, and the row says how far that is from the canonical frame address.
    fn cfa_by_frame_record(&self, row: &Row) -> Option<u64> {
        let fp = self.machine.frame_pointer;
        let (_, rule) = row.registers.iter().find(|(number, _)| *number == fp)?;
        match rule {
            Rule::Saved(offset) if !self.machine.call_pushes => Some(self.register(fp)?.wrapping_sub(*offset as u64)),
            _ => None,
        }
    }

    /// The value of one of the frame's registers.
    pub(super) fn register(&self, number: u16) -> Option<u64> {
        self.memory.reads.register(number);
        self.registers.get(number)
    }

    fn value(&self, rule: &Rule, cfa: u64) -> Result<u64, NoValue> {
        match rule {
            Rule::Same | Rule::Undefined => Err(NoValue::Unknown),
            Rule::Saved(offset) => self.word(cfa.wrapping_add_signed(*offset)),
            Rule::Offset(offset) => Ok(cfa.wrapping_add_signed(*offset)),
            Rule::Register(number) => self.register(*number).ok_or(NoValue::Unknown),
            Rule::SavedAt(expression) => self.word(self.inputs().evaluate(expression, Some(cfa))?),
            Rule::Expression(expression) => self.inputs().evaluate(expression, Some(cfa)),
            Rule::Constant(value) => Ok(*value),
        }
    }

    fn inputs(&self) -> Inputs<'_> {
        let instruction_pointer = (self.machine.return_address, self.instruction_pointer);
        Inputs { registers: self.registers, instruction_pointer, memory: self.memory }
    }

    fn word(&self, address: u64) -> Result<u64, NoValue> {
        match self.memory.word(address) {
            Word::Pointer(value) => Ok(value),
            Word::NoPointer => Err(NoValue::Unknown),
            Word::Missing => Err(NoValue::Missing),
        }
    }
}
