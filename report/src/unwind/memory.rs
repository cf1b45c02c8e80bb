//! Reading words of a filtered stack.

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

/// The stack of one sample.
#[derive(Clone, Copy)]
pub struct Memory<'a> {
    stack: &'a UserStack,
}

impl<'a> Memory<'a> {
    /// The memory that a sample holds.
    pub fn new(stack: &'a UserStack) -> Self {
        Self { stack }
    }

    /// The word at an address. Between two words there is nothing.
    pub fn word(&self, address: u64) -> Word {
        if !address.is_multiple_of(8) {
            return Word::Missing;
        }
        match self.stack.word(address) {
            None => Word::Missing,
            Some(0) => Word::NoPointer,
            Some(value) => Word::Pointer(value),
        }
    }

    /// Whether two addresses lie in the same captured range.
    pub fn same_range(&self, a: u64, b: u64) -> bool {
        self.stack.ranges.iter().any(|range| {
            let holds = |address| range.start <= address && address <= range.end;
            holds(a) && holds(b)
        })
    }

    /// Whether the stack from an address up to its known top was captured without a gap and holds no
    /// word for which `is_code` is true: no frame can have a caller there.
    pub fn ends_above(&self, address: u64, is_code: impl Fn(u64) -> bool) -> bool {
        let top = self.stack.top;
        if top == 0 || address > top {
            return false;
        }
        let aligned = address & !7;
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
        let memory = Memory::new(&stack);
        assert_eq!(memory.word(0x1010), Word::Pointer(7));
        assert_eq!(memory.word(0x1018), Word::NoPointer);
        assert_eq!(memory.word(0x1100), Word::Missing);
        assert_eq!(memory.word(0x1014), Word::Missing);
    }

    /// The stack ends above an address only if all up to the top was seen and none of it is code.
    #[test]
    fn the_end_of_the_stack() {
        let stack = stack();
        let memory = Memory::new(&stack);
        assert!(memory.ends_above(0x1f18, |_| true), "nothing is left above");
        assert!(memory.ends_above(0x1f00, |value| value != 9), "what is left is not code");
        assert!(!memory.ends_above(0x1f00, |value| value == 9), "a return address is left");
        assert!(!memory.ends_above(0x1018, |_| false), "a gap below the top may hold anything");
        assert!(memory.ends_above(0x2000, |_| true), "the stack pointer is at the top");
        assert!(!memory.ends_above(0x2008, |_| true), "above the top is another place");
    }
}
