//! What the unwinder knows about a processor: register numbers, and how a call works.

use profrec_format::{Arch, MAX_REGISTERS, UserStack};

use super::row::Row;

/// The few facts in which architectures differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// DWARF number of the stack pointer.
    pub stack_pointer: u16,
    /// DWARF number of the frame pointer.
    pub frame_pointer: u16,
    /// DWARF number under which CFI states the return address.
    pub return_address: u16,
    /// Whether a call pushes the return address, as on x86-64; else it is in a register.
    pub call_pushes: bool,
    /// Bytes of the shortest call. A return address that is less behind the start of its function is of no call: it was put there by hand, as
    /// `makecontext` and Go put one at the start of a new stack.
    pub shortest_call: u64,
    /// The bits of a code address; the others may be a pointer's signature, if there are any.
    pub address_bits: u64,
}

impl Machine {
    const X86_64: Self = Self {
        stack_pointer: 7,
        frame_pointer: 6,
        return_address: 16,
        call_pushes: true,
        shortest_call: 2,
        address_bits: u64::MAX,
    };

    /// User addresses have at most 52 bits, on most kernels 48 or 39: see [`Machine::reaching`].
    const AARCH64: Self = Self {
        stack_pointer: 31,
        frame_pointer: 29,
        return_address: 30,
        call_pushes: false,
        shortest_call: 4,
        address_bits: (1 << 52) - 1,
    };

    /// Whether a frame that is inside of a call at `address`, which `row` is for, was put there by hand.
    pub fn starts_a_stack(self, row: &Row, address: u64) -> bool {
        let return_address = address.wrapping_add(1);
        !row.signal_frame && return_address.wrapping_sub(row.start) < self.shortest_call
    }

    /// The same in a process whose stack or code ends at an address. Kernels put stacks at the top of what they
    /// give to processes, and signatures are in the bits above that.
    pub fn reaching(self, end: u64) -> Self {
        if self.address_bits == u64::MAX {
            return self;
        }
        const FEWEST: u32 = 39;
        let bits = (u64::BITS - end.saturating_sub(1).leading_zeros()).max(FEWEST);
        Self { address_bits: Self::of(Arch::Aarch64).address_bits & (u64::MAX >> (u64::BITS - bits)), ..self }
    }

    /// The facts about an architecture.
    pub fn of(arch: Arch) -> Self {
        match arch {
            Arch::Aarch64 => Self::AARCH64,
            _ => Self::X86_64,
        }
    }
}

/// How many registers can be told apart: the general ones, the stack pointer, and x86-64's return address.
const REGISTERS: usize = MAX_REGISTERS + 1;

/// The registers of a frame, as far as they are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRegisters {
    known: u64,
    /// Those that are not what they were in the frame before.
    changed: u64,
    values: [u64; REGISTERS],
}

impl FrameRegisters {
    /// The registers of the innermost frame.
    pub fn of(stack: &UserStack, machine: Machine) -> Self {
        let mut registers = Self::unknown();
        for (number, value) in stack.registers.iter() {
            registers.set(number as u16, Some(value));
        }
        registers.set(machine.stack_pointer, Some(stack.sp));
        registers
    }

    /// Registers of which nothing is known.
    pub fn unknown() -> Self {
        Self { known: 0, changed: u64::MAX, values: [0; REGISTERS] }
    }

    /// The same registers in the frame's caller, as long as nothing else is known of them.
    pub fn in_caller(&self) -> Self {
        Self { changed: 0, ..*self }
    }

    /// One bit for each register that is not what it was in the frame before.
    pub fn changed(&self) -> u64 {
        self.changed
    }

    /// Whether the registers of a mask are the same in both.
    pub fn agree(&self, other: &Self, mask: u64) -> bool {
        let known = self.known & mask;
        known == other.known & mask
            && self
                .values
                .iter()
                .zip(&other.values)
                .enumerate()
                .all(|(number, (a, b))| known >> number & 1 == 0 || a == b)
    }

    /// The value of a register, if it is known.
    pub fn get(&self, number: u16) -> Option<u64> {
        let known = usize::from(number) < REGISTERS && self.known & (1 << number) != 0;
        known.then(|| self.values[usize::from(number)])
    }

    /// Sets a register, or marks it as unknown. A number out of range is ignored: CFI also has
    /// rules for vector registers.
    pub fn set(&mut self, number: u16, value: Option<u64>) {
        let Some(slot) = self.values.get_mut(usize::from(number)) else { return };
        self.changed |= 1 << number;
        match value {
            Some(value) => {
                *slot = value;
                self.known |= 1 << number;
            }
            None => self.known &= !(1 << number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stack pointer of a sample is a register like any other; what was not kept is unknown.
    #[test]
    fn registers_of_a_sample() {
        let mut stack = UserStack { sp: 0x7000, ..UserStack::default() };
        stack.registers.set(6, 0x7100);
        let registers = FrameRegisters::of(&stack, Machine::of(Arch::X86_64));
        assert_eq!(registers.get(7), Some(0x7000));
        assert_eq!(registers.get(6), Some(0x7100));
        assert_eq!(registers.get(3), None);
    }

    /// A register number of a damaged or foreign row neither panics nor is found again.
    #[test]
    fn foreign_register_numbers_are_unknown() {
        let mut registers = FrameRegisters::of(&UserStack::default(), Machine::of(Arch::X86_64));
        registers.set(u16::MAX, Some(1));
        assert_eq!(registers.get(u16::MAX), None);
        registers.set(7, None);
        assert_eq!(registers.get(7), None);
    }
}
