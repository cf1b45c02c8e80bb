//! Reading words of a filtered stack.

use std::cell::Cell;

use profrec_format::UserStack;

/// What is at an address of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// A word that points at code or stack.
    Pointer(u64),
    /// A word that was captured and points at neither.
    NoPointer,
    /// Nothing that the recording holds.
    Missing,
}

impl Word {
    /// The pointer, if it is one.
    pub fn pointer(self) -> Option<u64> {
        match self {
            Self::Pointer(value) => Some(value),
            Self::NoPointer | Self::Missing => None,
        }
    }
}

/// What was read for a step, which is all that it depends on.
#[derive(Debug)]
pub struct Reads {
    lowest: Cell<u64>,
    registers: Cell<u64>,
}

impl Default for Reads {
    fn default() -> Self {
        Self { lowest: Cell::new(u64::MAX), registers: Cell::new(0) }
    }
}

impl Reads {
    /// Notes a register.
    pub fn register(&self, number: u16) {
        self.registers.set(self.registers.get() | 1_u64.checked_shl(u32::from(number)).unwrap_or_default());
    }

    fn address(&self, address: u64) {
        self.lowest.set(self.lowest.get().min(address & !7));
    }

    /// The lowest address and the registers that were read since the last time that this was asked.
    pub fn take(&self) -> (u64, u64) {
        (self.lowest.replace(u64::MAX), self.registers.take())
    }
}

/// The stack of one sample.
#[derive(Clone, Copy)]
pub struct Memory<'a> {
    stack: &'a UserStack,
    /// What is read is noted here.
    pub reads: &'a Reads,
}

impl<'a> Memory<'a> {
    /// The memory that a sample holds.
    pub fn new(stack: &'a UserStack, reads: &'a Reads) -> Self {
        Self { stack, reads }
    }

    /// The word at an address. Between two words there is nothing.
    pub fn word(&self, address: u64) -> Word {
        if !address.is_multiple_of(8) {
            return Word::Missing;
        }
        self.reads.address(address);
        match self.stack.word(address) {
            None => Word::Missing,
            Some(0) => Word::NoPointer,
            Some(value) => Word::Pointer(value),
        }
    }

    /// Whether two addresses lie in the same captured range.
    pub fn same_range(&self, a: u64, b: u64) -> bool {
        self.reads.address(a.min(b));
        self.stack.ranges.iter().any(|range| {
            let holds = |address| range.start <= address && address <= range.end;
            holds(a) && holds(b)
        })
    }

    /// Whether two addresses lie on the same stack: in one captured range, or anywhere from the captured part that has the stack
    /// pointer to the known top, between which something may be missing.
    pub fn same_stack(&self, a: u64, b: u64) -> bool {
        let bottom = self.stack.ranges.first().map_or(u64::MAX, |range| range.start);
        let (low, high) = (a.min(b), a.max(b));
        self.same_range(a, b) || (bottom <= low && high <= self.stack.top)
    }

    /// Whether the stack from an address up to its known top was captured without a gap and holds no
    /// word for which `is_code` is true: no frame can have a caller there.
    pub fn ends_above(&self, address: u64, is_code: impl Fn(u64) -> bool) -> bool {
        let top = self.stack.top;
        if top == 0 || address > top {
            return false;
        }
        let aligned = address & !7;
        self.reads.address(aligned);
        let captured = self.stack.ranges.iter().any(|range| range.start <= aligned && top <= range.end);
        if !captured && aligned < top {
            return false;
        }
        let words = &self.stack.words;
        let first = words.partition_point(|word| word.address < aligned);
        let above = words.get(first..).unwrap_or_default().iter().take_while(|word| word.address < top);
        !above.into_iter().any(|word| is_code(word.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use profrec_format::{StackRange, StackWord};

    fn stack() -> UserStack {
        UserStack {
            top: 0x2000,
            ranges: vec![StackRange { start: 0x1000, end: 0x1100 }, StackRange { start: 0x1f00, end: 0x2000 }],
            words: vec![StackWord { address: 0x1010, value: 7 }, StackWord { address: 0x1f10, value: 9 }],
            ..UserStack::default()
        }
    }

    /// A word that was kept, one that was dropped, one that was never captured, and half a word.
    #[test]
    fn words_are_told_apart() {
        let stack = stack();
        let reads = Reads::default();
        let memory = Memory::new(&stack, &reads);
        assert_eq!(memory.word(0x1010), Word::Pointer(7));
        assert_eq!(memory.word(0x1018), Word::NoPointer);
        assert_eq!(memory.word(0x1100), Word::Missing);
        assert_eq!(memory.word(0x1014), Word::Missing);
    }

    /// The stack ends above an address only if all up to the top was seen and none of it is code.
    #[test]
    fn the_end_of_the_stack() {
        let stack = stack();
        let reads = Reads::default();
        let memory = Memory::new(&stack, &reads);
        assert!(memory.ends_above(0x1f18, |_| true), "nothing is left above");
        assert!(memory.ends_above(0x1f00, |value| value != 9), "what is left is not code");
        assert!(!memory.ends_above(0x1f00, |value| value == 9), "a return address is left");
        assert!(!memory.ends_above(0x1018, |_| false), "a gap below the top may hold anything");
        assert!(memory.ends_above(0x2000, |_| true), "the stack pointer is at the top");
        assert!(!memory.ends_above(0x2008, |_| true), "above the top is another place");
    }
}
