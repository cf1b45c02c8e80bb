//! DWARF expressions in call frame information: PLT entries, realigned stacks, signal frames.

use gimli::{EndianSlice, Evaluation, EvaluationResult, Expression, LittleEndian, Value};

use super::arch::FrameRegisters;
use super::cfi::ENCODING;
use super::memory::{Memory, Word};

/// Operations that one expression may take: a loop in it must end, and a stack has many frames. The longest in use
/// (the linkers' for PLT entries) take eight.
const MAX_OPERATIONS: u32 = 64;

/// Why an expression has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoValue {
    /// It reads memory that the recording does not hold.
    Missing,
    /// It needs a register or a word that is no pointer, or is not valid.
    Unknown,
}

/// What an expression can ask for.
pub struct Inputs<'a> {
    /// The registers of the frame.
    pub registers: &'a FrameRegisters,
    /// The frame's instruction pointer, and the number under which expressions ask for it.
    pub instruction_pointer: (u16, u64),
    /// The stack.
    pub memory: Memory<'a>,
}

impl Inputs<'_> {
    /// Evaluates an expression, with `initial` on its stack if there is one.
    pub fn evaluate(&self, bytes: &[u8], initial: Option<u64>) -> Result<u64, NoValue> {
        let expression = Expression(EndianSlice::new(bytes, LittleEndian));
        let mut evaluation = expression.evaluation(ENCODING);
        evaluation.set_max_iterations(MAX_OPERATIONS);
        if let Some(initial) = initial {
            evaluation.set_initial_value(initial);
        }
        self.run(&mut evaluation)
    }

    fn run(&self, evaluation: &mut Evaluation<EndianSlice<'_, LittleEndian>>) -> Result<u64, NoValue> {
        let mut state = evaluation.evaluate();
        // Every turn is one operation of the expression, which are limited.
        loop {
            state = match state.map_err(invalid)? {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresRegister { register, .. } => {
                    evaluation.resume_with_register(Value::Generic(self.register(register.0)?))
                }
                EvaluationResult::RequiresMemory { address, size: 8, space: None, .. } => {
                    evaluation.resume_with_memory(Value::Generic(self.word(address)?))
                }
                _ => return Err(NoValue::Unknown),
            };
        }
        let value = evaluation.value_result().ok_or(NoValue::Unknown)?;
        value.to_u64(u64::MAX).map_err(invalid)
    }

    fn register(&self, number: u16) -> Result<u64, NoValue> {
        let (pointer, value) = self.instruction_pointer;
        if number == pointer {
            return Ok(value);
        }
        self.memory.reads.register(number);
        self.registers.get(number).ok_or(NoValue::Unknown)
    }

    fn word(&self, address: u64) -> Result<u64, NoValue> {
        match self.memory.word(address) {
            Word::Pointer(value) => Ok(value),
            Word::NoPointer => Err(NoValue::Unknown),
            Word::Missing => Err(NoValue::Missing),
        }
    }
}

/// An invalid expression is one that says nothing.
fn invalid(_: gimli::Error) -> NoValue {
    NoValue::Unknown
}

#[cfg(test)]
mod tests {
    use super::super::arch::Machine;
    use super::super::memory::Reads;
    use super::*;
    use profrec_format::{Arch, StackRange, StackWord, UserStack};

    fn stack() -> UserStack {
        UserStack {
            sp: 0x1000,
            ranges: vec![StackRange { start: 0x1000, end: 0x1100 }],
            words: vec![StackWord { address: 0x1008, value: 0x1040 }],
            ..UserStack::default()
        }
    }

    fn evaluate(bytes: &[u8], ip: u64, initial: Option<u64>) -> Result<u64, NoValue> {
        let stack = stack();
        let registers = FrameRegisters::of(&stack, Machine::of(Arch::X86_64));
        let reads = Reads::default();
        let memory = Memory::new(&stack, &reads);
        Inputs { registers: &registers, instruction_pointer: (16, ip), memory }.evaluate(bytes, initial)
    }

    /// The linker's expression for PLT entries: `rsp + 8 + ((rip & 15) >= 11) * 8`.
    #[test]
    fn plt_entries() {
        let plt = [0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22];
        assert_eq!(evaluate(&plt, 0x4010, None), Ok(0x1008));
        assert_eq!(evaluate(&plt, 0x401b, None), Ok(0x1010));
    }

    /// A value read from the stack: `*(rsp + 8)`; words that are gone or no pointer have no value.
    #[test]
    fn reading_the_stack() {
        assert_eq!(evaluate(&[0x77, 8, 0x06], 0, None), Ok(0x1040));
        assert_eq!(evaluate(&[0x77, 16, 0x06], 0, None), Err(NoValue::Unknown));
        assert_eq!(evaluate(&[0x77, 0x80, 2, 0x06], 0, None), Err(NoValue::Missing));
    }

    /// The canonical frame address is on the stack of a register's expression.
    #[test]
    fn initial_value() {
        assert_eq!(evaluate(&[0x23, 8], 0, Some(0x2000)), Ok(0x2008));
    }

    /// A loop ends, an unknown register and nonsense have no value.
    #[test]
    fn hostile_expressions() {
        assert_eq!(evaluate(&[0x2f, 0xfd, 0xff], 0, None), Err(NoValue::Unknown));
        assert_eq!(evaluate(&[0x73, 0], 0, None), Err(NoValue::Unknown));
        assert_eq!(evaluate(&[0xff], 0, None), Err(NoValue::Unknown));
        assert_eq!(evaluate(&[], 0, None), Err(NoValue::Unknown));
    }
}
