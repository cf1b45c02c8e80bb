//! The pointer-only filter: of a copied stack, only the words that point at executable memory or
//! into the copied stack itself are kept. They are all that unwinding needs; everything else, which
//! is what the program was working on, is left behind here.
//!
//! Each sample brings a thousand words and more, most of them neither: a word is first held against
//! a map of the regions that have code, and only what lies in one is looked up.

use profrec_format::{StackRange, StackWord, UserStack};

use crate::event::{self, INSTRUCTION_POINTER, STACK_POINTER, Slice, Tick};

/// Addresses are sorted out by regions of this many bytes (a shift).
const REGION: u32 = 21;
/// Regions that are told apart; others share a bit.
const REGIONS: u64 = 4096;

/// The executable ranges of one address space.
#[derive(Clone, Debug, Default)]
pub(crate) struct CodeRanges {
    /// Ascending, not overlapping, not touching.
    ranges: Vec<StackRange>,
    /// One bit for each region, set where there is code; empty when there is none at all.
    regions: Vec<u64>,
}

impl CodeRanges {
    /// From ranges in ascending order; those that touch become one.
    pub(crate) fn new(sorted: impl Iterator<Item = (u64, u64)>) -> Self {
        let mut ranges: Vec<StackRange> = Vec::new();
        for (start, end) in sorted.filter(|(start, end)| start < end) {
            match ranges.last_mut() {
                Some(last) if start <= last.end => last.end = last.end.max(end),
                _ => ranges.push(StackRange { start, end }),
            }
        }
        let mut regions = vec![0; if ranges.is_empty() { 0 } else { REGIONS as usize / 64 }];
        for range in &ranges {
            let (first, last) = (range.start >> REGION, (range.end - 1) >> REGION);
            for region in first..=last.min(first + REGIONS) {
                let bit = region % REGIONS;
                regions[bit as usize / 64] |= 1 << (bit % 64);
            }
        }
        Self { ranges, regions }
    }

    /// False when there is no code near an address; true tells nothing.
    #[inline]
    fn may_hold(&self, address: u64) -> bool {
        let bit = (address >> REGION) % REGIONS;
        self.regions.get(bit as usize / 64).is_some_and(|bits| bits & (1 << (bit % 64)) != 0)
    }

    fn find(&self, address: u64) -> Option<StackRange> {
        let after = self.ranges.partition_point(|range| range.start <= address);
        let range = *self.ranges.get(after.checked_sub(1)?)?;
        contains(range, address).then_some(range)
    }
}

/// One comparison instead of two: below `start` the difference wraps around.
fn contains(range: StackRange, address: u64) -> bool {
    address.wrapping_sub(range.start) < range.end - range.start
}

/// What a word of one stack is held against.
struct Pointers<'a> {
    code: &'a CodeRanges,
    stack: StackRange,
    /// The stack that the thread started on, when it is on another one.
    first_stack: StackRange,
    /// The executable range that was hit last: call chains stay in one module for a while.
    recent: StackRange,
}

impl Pointers<'_> {
    #[inline]
    fn holds(&mut self, value: u64) -> bool {
        if contains(self.stack, value) {
            return true;
        }
        self.code.may_hold(value) && self.is_code(value) || contains(self.first_stack, value)
    }

    fn is_code(&mut self, value: u64) -> bool {
        if contains(self.recent, value) {
            return true;
        }
        match self.code.find(value) {
            Some(range) => {
                self.recent = range;
                true
            }
            None => false,
        }
    }
}

/// Fills `into` with what is kept of a tick's registers and stack; its memory is used again.
pub(crate) fn keep_pointers(tick: &Tick<'_>, code: &CodeRanges, into: &mut UserStack) {
    into.ip = tick.registers[INSTRUCTION_POINTER];
    into.sp = tick.registers[STACK_POINTER];
    into.top = tick.top;
    into.registers = Default::default();
    into.ranges.clear();
    into.words.clear();

    let (mut stack, mut first_stack) = (StackRange { start: into.sp, end: end(&tick.inner) }, StackRange::default());
    if tick.switched {
        first_stack = StackRange { start: tick.outer.start, end: end(&tick.outer) };
    } else {
        stack.end = stack.end.max(tick.top);
    }
    stack.end = stack.end.max(stack.start);
    let mut pointers = Pointers { code, stack, first_stack, recent: StackRange::default() };
    for (number, &value) in tick.registers[..INSTRUCTION_POINTER].iter().enumerate() {
        if number != STACK_POINTER && pointers.holds(value) {
            into.registers.set(number, value);
        }
    }
    // A signal stack may lie above the first one.
    let (low, high) = match tick.outer.start < tick.inner.start && !tick.outer.bytes.is_empty() {
        true => (&tick.outer, &tick.inner),
        false => (&tick.inner, &tick.outer),
    };
    for slice in [low, high] {
        keep_words(slice, &mut pointers, &mut into.words);
        add_range(slice, &mut into.ranges);
    }
}

/// Looks at a slice in pieces that are copied first: the ring's memory was written by another CPU, and
/// a copy has many of its cache lines under way at once, where a look at each word waits for one
/// after the other.
fn keep_words(slice: &Slice<'_>, pointers: &mut Pointers<'_>, words: &mut Vec<StackWord>) {
    const PIECE: usize = 8192;
    let mut copy = [0; PIECE];
    let mut address = slice.start;
    for piece in slice.bytes.chunks(PIECE) {
        let copy = &mut copy[..piece.len()];
        copy.copy_from_slice(piece);
        for value in event::words(copy) {
            if pointers.holds(value) {
                words.push(StackWord { address, value });
            }
            address += 8;
        }
    }
}

/// Adds what a slice captured; a slice that starts where the one before ends continues it.
fn add_range(slice: &Slice<'_>, ranges: &mut Vec<StackRange>) {
    let end = end(slice);
    if end <= slice.start {
        return;
    }
    match ranges.last_mut() {
        Some(last) if last.end == slice.start => last.end = end,
        _ => ranges.push(StackRange { start: slice.start, end }),
    }
}

fn end(slice: &Slice<'_>) -> u64 {
    slice.start.saturating_add(slice.bytes.len() as u64 & !7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::REGISTERS;

    fn code() -> CodeRanges {
        CodeRanges::new([(0x1000, 0x2000), (0x2000, 0x3000), (0x9000, 0xa000)].into_iter())
    }

    fn tick<'a>(inner: &'a [u8], outer: &'a [u8]) -> Tick<'a> {
        let mut registers = [0; REGISTERS];
        registers[STACK_POINTER] = 0x7000;
        registers[INSTRUCTION_POINTER] = 0x1234;
        registers[0] = 0x4242; // neither code nor stack
        registers[6] = 0x7008; // stack
        registers[3] = 0x9fff; // code
        Tick {
            time: 0,
            pid: 1,
            tid: 1,
            cpu: 0,
            registers,
            top: 0x7800,
            inner: Slice { start: 0x7000, bytes: inner },
            outer: Slice { start: 0x7800 - outer.len() as u64, bytes: outer },
            switched: false,
            kernel_chain: &[],
            user_chain: &[],
        }
    }

    fn bytes(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Only words and registers that point at code or at the stack survive, at their addresses.
    #[test]
    fn only_pointers_survive() {
        let inner = bytes(&[0x2fff, 0x3000, 0x5345_4352_4554, 0x77ff, 0x7800, 0x6fff, 0x8fff, 0x9000, u64::MAX]);
        let mut stack = UserStack::default();
        keep_pointers(&tick(&inner, &[]), &code(), &mut stack);
        let kept: Vec<_> = stack.words.iter().map(|word| (word.address, word.value)).collect();
        assert_eq!(kept, [(0x7000, 0x2fff), (0x7018, 0x77ff), (0x7038, 0x9000)]);
        let registers: Vec<_> = stack.registers.iter().collect();
        assert_eq!(registers, [(3, 0x9fff), (6, 0x7008)]);
        assert_eq!((stack.ip, stack.sp, stack.top), (0x1234, 0x7000, 0x7800));
    }

    /// Two slices with a gap stay two ranges; two that touch become one.
    #[test]
    fn ranges_join_where_slices_touch() {
        let mut stack = UserStack::default();
        keep_pointers(&tick(&[0; 16], &[0; 16]), &code(), &mut stack);
        let gap = [StackRange { start: 0x7000, end: 0x7010 }, StackRange { start: 0x77f0, end: 0x7800 }];
        assert_eq!(stack.ranges, gap);
        assert!(stack.is_cut());
        keep_pointers(&tick(&[0; 0x400], &[0; 0x400]), &code(), &mut stack);
        assert_eq!(stack.ranges, [StackRange { start: 0x7000, end: 0x7800 }]);
        assert!(!stack.is_cut());
    }

    /// On a signal stack, pointers to both stacks are kept and pointers between them are not, whichever
    /// stack is above.
    #[test]
    fn two_stacks_are_told_apart() {
        let (inner, outer) = (bytes(&[0x7008, 0x6808, 0x6fff]), bytes(&[0, 0x6808]));
        let mut tick = tick(&inner, &outer);
        tick.switched = true;
        tick.outer.start = 0x6800;
        let mut stack = UserStack::default();
        keep_pointers(&tick, &code(), &mut stack);
        let kept: Vec<_> = stack.words.iter().map(|word| (word.address, word.value)).collect();
        assert_eq!(kept, [(0x6808, 0x6808), (0x7000, 0x7008), (0x7008, 0x6808)]);
        assert_eq!(stack.ranges.len(), 2);
        assert!(stack.is_cut());
    }

    /// A process without executable mappings keeps stack pointers and nothing else.
    #[test]
    fn no_code_is_no_trouble() {
        let inner = bytes(&[0, 0x1500, 0x7100]);
        let mut stack = UserStack::default();
        keep_pointers(&tick(&inner, &[]), &CodeRanges::default(), &mut stack);
        assert_eq!(stack.words.len(), 1);
    }
}
