//! The pointer-only filter: of a copied stack, only the words that point at executable memory or
//! into the copied stack itself are kept. They are all that unwinding needs; everything else, which
//! is what the program was working on, is left behind here.
//!
//! Each sample brings a thousand words and more, most of them neither: words are first held against
//! the bounds of a few clusters of executable memory, many at a time (see `scan`), and only what lies
//! inside is looked up.

use profrec_format::{StackRange, StackWord, UserStack};

use crate::event::{INSTRUCTION_POINTER, STACK_POINTER, Slice, Tick};
use crate::scan::{BLOCK, Block, inside_any};

/// Ranges with a smaller gap between them are in one cluster.
const CLUSTER_GAP: u64 = 16 << 20;
/// No more clusters than this, whatever lies between them: each costs a comparison for each word.
const MAX_CLUSTERS: usize = 6;

/// The executable ranges of one address space.
#[derive(Clone, Debug, Default)]
pub(crate) struct CodeRanges {
    /// Ascending, not overlapping, not touching.
    ranges: Vec<StackRange>,
    /// Bounds of neighbours among the ranges: the program, its libraries, code made at run time.
    /// Heaps, whose addresses fill stacks, lie between them.
    clusters: Vec<StackRange>,
}

impl CodeRanges {
    /// From ranges in ascending order; those that touch become one.
    pub(crate) fn new(sorted: impl Iterator<Item = (u64, u64)>) -> Self {
        let sorted = sorted.map(|(start, end)| StackRange { start, end });
        let ranges = joined(sorted, 0);
        let mut clusters = joined(ranges.iter().copied(), CLUSTER_GAP);
        while clusters.len() > MAX_CLUSTERS {
            let smallest = clusters.windows(2).map(|pair| pair[1].start - pair[0].end).min();
            clusters = joined(clusters.into_iter(), smallest.unwrap_or(u64::MAX));
        }
        Self { ranges, clusters }
    }

    fn find(&self, address: u64) -> Option<StackRange> {
        let after = self.ranges.partition_point(|range| range.start <= address);
        let range = *self.ranges.get(after.checked_sub(1)?)?;
        contains(range, address).then_some(range)
    }
}

/// Ascending ranges, where those with a gap of at most `gap` have become one.
fn joined(sorted: impl Iterator<Item = StackRange>, gap: u64) -> Vec<StackRange> {
    let mut joined: Vec<StackRange> = Vec::new();
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.start.saturating_sub(last.end) <= gap => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// One comparison instead of two: below `start` the difference wraps around.
fn contains(range: StackRange, address: u64) -> bool {
    address.wrapping_sub(range.start) < range.end - range.start
}

fn is_empty(range: &StackRange) -> bool {
    range.start >= range.end
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
    fn holds(&mut self, value: u64) -> bool {
        if contains(self.stack, value) || contains(self.recent, value) || contains(self.first_stack, value) {
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
    let mut interesting = [StackRange::default(); MAX_CLUSTERS + 2];
    let ranges = code.clusters.iter().copied().chain([stack, first_stack].into_iter().filter(|range| !is_empty(range)));
    let count = interesting.iter_mut().zip(ranges).map(|(place, range)| *place = range).count();
    for slice in [low, high] {
        keep_words(slice, &mut pointers, &interesting[..count], &mut into.words);
        add_range(slice, &mut into.ranges);
    }
}

fn keep_words(slice: &Slice<'_>, pointers: &mut Pointers<'_>, interesting: &[StackRange], words: &mut Vec<StackWord>) {
    let (blocks, rest) = slice.bytes.as_chunks::<8>().0.as_chunks::<BLOCK>();
    let mut last: Block = [[0; 8]; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    let mut address = slice.start;
    for block in blocks.iter().chain([&last]) {
        let mut candidates = inside_any(block, interesting);
        while candidates != 0 {
            let at = candidates.trailing_zeros() as usize;
            candidates &= candidates - 1;
            let value = u64::from_le_bytes(block[at]);
            if pointers.holds(value) {
                words.push(StackWord { address: address.wrapping_add(8 * at as u64), value });
            }
        }
        address = address.wrapping_add(8 * BLOCK as u64);
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
