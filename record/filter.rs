//! The pointer-only filter: of a copied stack, only the words that point at executable memory or
//! into the copied stack itself are kept. They are all that unwinding needs; everything else, which
//! is what the program was working on, is left behind here.
//!
//! Each sample brings a thousand words and more, most of them neither: words are first held against the stack's bounds
//! and those of a few clusters of executable memory, many at a time (see `scan`), and only what lies inside a cluster is looked up.

use profrec_format::{StackRange, StackWord, UserStack};

use crate::chunks::{CHUNK, SentChunks};
use crate::code_ranges::{CodeRanges, contains};
use crate::event::{INSTRUCTION_POINTER, STACK_POINTER, Slice, Tick, words};
use crate::scan::{self, BLOCK, Block};

fn is_empty(range: &StackRange) -> bool {
    range.start >= range.end
}

/// What the words of one stack are held against.
struct Pointers<'a> {
    code: &'a CodeRanges,
    stack: StackRange,
    /// The stack that the thread started on, when it is on another one.
    first_stack: StackRange,
}

impl Pointers<'_> {
    /// Whether a register is kept. A pointer into a stack counts only when it points at a word: what a frame is found by does,
    /// strings do not.
    fn holds(&self, value: u64) -> bool {
        let on_stack = contains(self.stack, value) || contains(self.first_stack, value);
        (on_stack && value.is_multiple_of(8)) || self.code.contains(value)
    }

    /// Which words of a block at `address` are kept, a bit for each. A pointer into its own stack counts only when it points
    /// above itself, as saved frame pointers and stack pointers do: so what is kept of a chunk does not depend on the stack
    /// pointer.
    #[inline]
    fn held(&self, block: &Block, address: u64) -> u64 {
        let seen = scan::look(block, address, self.stack, &self.code.clusters);
        let mut on_stack = seen.in_stack;
        if !is_empty(&self.first_stack) {
            on_stack |= scan::look(block, address, self.first_stack, &[]).in_stack;
        }
        let mut held = on_stack & seen.aligned;
        let mut left = seen.in_clusters & !held;
        while left != 0 {
            let at = left.trailing_zeros();
            left &= left - 1;
            held |= u64::from(self.code.contains(word(block, at))) << at;
        }
        held & !(seen.in_stack & !seen.upward)
    }
}

fn word(block: &Block, at: u32) -> u64 {
    u64::from_le_bytes(block[at as usize % BLOCK])
}

/// Fills `into` with what is kept of a tick's registers and stack; its memory is used again. `sent` has the chunks of the
/// stack that the tick does not bring, and keeps those that it does.
pub(crate) fn keep_pointers(tick: &Tick<'_>, code: &CodeRanges, sent: &mut SentChunks, into: &mut UserStack) {
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
    let pointers = Pointers { code, stack, first_stack };
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
        keep_words(slice, &pointers, &mut into.words);
        add_range(slice.start, end(slice), &mut into.ranges);
    }
    let mut sent = sent.of(tick.tid);
    for (place, changed) in tick.chunks.iter(tick.top.saturating_sub(tick.inner.start)) {
        let start = tick.top.wrapping_sub((u64::from(place) + 1) * CHUNK);
        if let Some(bytes) = changed {
            let before = into.words.len();
            keep_words(&Slice { start, bytes }, &pointers, &mut into.words);
            sent.put(place, &into.words[before..]);
        } else if let Some(words) = sent.get(place) {
            into.words.extend_from_slice(words);
        } else {
            continue;
        }
        add_range(start, start.wrapping_add(CHUNK), &mut into.ranges);
    }
}

/// The call chain that the kernel found by frame pointers, up to the first word that is not code. Where a program uses the
/// register for something else, the kernel takes for return addresses what is none: it may be anything.
pub(crate) fn call_chain(tick: &Tick<'_>, code: Option<&CodeRanges>) -> Vec<u64> {
    let is_code = |address: &u64| code.is_some_and(|code| code.contains(*address));
    let callers = words(tick.user_chain).skip(1);
    let mut chain = Vec::with_capacity(1 + callers.len());
    chain.push(tick.registers[INSTRUCTION_POINTER]);
    chain.extend(callers.take_while(is_code));
    chain
}

fn keep_words(slice: &Slice<'_>, pointers: &Pointers<'_>, words: &mut Vec<StackWord>) {
    let (blocks, rest) = slice.bytes.as_chunks::<8>().0.as_chunks::<BLOCK>();
    let mut address = slice.start;
    for block in blocks {
        keep_words_of_block(block, address, pointers, words);
        address = address.wrapping_add(8 * BLOCK as u64);
    }
    if !rest.is_empty() {
        let mut last: Block = [[0; 8]; BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        keep_words_of_block(&last, address, pointers, words);
    }
}

#[inline]
fn keep_words_of_block(block: &Block, address: u64, pointers: &Pointers<'_>, words: &mut Vec<StackWord>) {
    scan::expect(block);
    let mut held = pointers.held(block, address);
    while held != 0 {
        let at = held.trailing_zeros();
        held &= held - 1;
        let address = address.wrapping_add(8 * u64::from(at));
        words.push(StackWord { address, value: word(block, at) });
    }
}

/// Adds what was captured; what starts where the range before ends continues it.
fn add_range(start: u64, end: u64, ranges: &mut Vec<StackRange>) {
    if end <= start {
        return;
    }
    match ranges.last_mut() {
        Some(last) if last.end == start => last.end = end,
        _ => ranges.push(StackRange { start, end }),
    }
}

fn end(slice: &Slice<'_>) -> u64 {
    slice.start.saturating_add(slice.bytes.len() as u64 & !7)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{self, REGISTERS};

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
            cgroup: 0,
            comm: &[],
            weight: 1,
            registers,
            top: 0x7800,
            inner: Slice { start: 0x7000, bytes: inner },
            outer: Slice { start: 0x7800 - outer.len() as u64, bytes: outer },
            chunks: Default::default(),
            stack_is_lost: false,
            exec: 0,
            switched: false,
            frame_left_out: false,
            kernel_chain: &[],
            user_chain: &[],
        }
    }

    /// What is kept of a tick's words, and all of it.
    fn filtered(tick: &Tick<'_>) -> (Vec<(u64, u64)>, UserStack) {
        let mut stack = UserStack::default();
        keep_pointers(tick, &code(), &mut SentChunks::default(), &mut stack);
        (stack.words.iter().map(|word| (word.address, word.value)).collect(), stack)
    }

    fn bytes(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Only words and registers that point at code or at the stack survive, at their addresses.
    #[test]
    fn only_pointers_survive() {
        let inner = bytes(&[0x2fff, 0x3000, 0x5345_4352_4554, 0x77f8, 0x7800, 0x6fff, 0x8fff, 0x9000, u64::MAX]);
        let kept = filtered(&tick(&inner, &[]));
        assert_eq!(kept.0, [(0x7000, 0x2fff), (0x7018, 0x77f8), (0x7038, 0x9000)]);
        let stack = kept.1;
        let registers: Vec<_> = stack.registers.iter().collect();
        assert_eq!(registers, [(3, 0x9fff), (6, 0x7008)]);
        assert_eq!((stack.ip, stack.sp, stack.top), (0x1234, 0x7000, 0x7800));
    }

    /// A pointer into the stack that points at itself or below is none of a saved register.
    #[test]
    fn pointers_down_the_stack_are_not_kept() {
        let kept = filtered(&tick(&bytes(&[0x7000, 0x7010, 0x7008, 0x7010]), &[])).0;
        assert_eq!(kept, [(0x7008, 0x7010)]);
    }

    /// Neither is one that points into the middle of a word.
    #[test]
    fn pointers_into_words_are_not_kept() {
        let kept = filtered(&tick(&bytes(&[0x7011, 0x7014, 0x7018, 0x1001]), &[])).0;
        assert_eq!(kept, [(0x7010, 0x7018), (0x7018, 0x1001)]);
    }

    /// Two slices with a gap stay two ranges; two that touch become one.
    #[test]
    fn ranges_join_where_slices_touch() {
        let stack = filtered(&tick(&[0; 16], &[0; 16])).1;
        let gap = [StackRange { start: 0x7000, end: 0x7010 }, StackRange { start: 0x77f0, end: 0x7800 }];
        assert_eq!(stack.ranges, gap);
        assert!(stack.is_cut());
        let stack = filtered(&tick(&[0; 0x400], &[0; 0x400])).1;
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
        let (kept, stack) = filtered(&tick);
        assert_eq!(kept, [(0x6808, 0x6808), (0x7000, 0x7008), (0x7008, 0x6808)]);
        assert_eq!(stack.ranges.len(), 2);
        assert!(stack.is_cut());
    }

    /// A call chain ends at the first word that is not code, also when its process is not known.
    #[test]
    fn a_call_chain_is_code() {
        let chain = bytes(&[0x1234, 0x1fff, 0x9000, 0x5345_4352_4554, 0x1000]);
        let tick = Tick { user_chain: &chain, ..tick(&[], &[]) };
        assert_eq!(call_chain(&tick, Some(&code())), [0x1234, 0x1fff, 0x9000]);
        assert_eq!(call_chain(&tick, None), [0x1234]);
        assert_eq!(call_chain(&Tick { user_chain: &[], ..tick }, Some(&code())), [0x1234]);
    }

    /// A process without executable mappings keeps stack pointers and nothing else.
    #[test]
    fn no_code_is_no_trouble() {
        let inner = bytes(&[0, 0x1500, 0x7100]);
        let mut stack = UserStack::default();
        keep_pointers(&tick(&inner, &[]), &CodeRanges::default(), &mut SentChunks::default(), &mut stack);
        assert_eq!(stack.words.len(), 1);
    }

    /// A stack of which only the changed chunks come is the stack that comes whole.
    #[test]
    fn unchanged_chunks_are_as_they_were_sent() {
        const PLACES: u64 = 4;
        let chunk = |value: u64| bytes(&[0, value]).into_iter().chain([0; CHUNK as usize - 16]).collect::<Vec<u8>>();
        let top = 0x7010 + PLACES * CHUNK;
        let at = |place: u64| top - (place + 1) * CHUNK + 8;
        let mut sent = SentChunks::default();
        let mut stack = UserStack::default();
        let mut look = |which, changed: &[u8], ends| {
            let mut tick = tick(&[0; 16], &[]);
            (tick.top, tick.chunks) = (top, event::Chunks::new(ends, which, changed));
            keep_pointers(&tick, &code(), &mut sent, &mut stack);
            let kept: Vec<_> = stack.words.iter().map(|word| (word.address, word.value)).collect();
            (kept, stack.ranges.clone())
        };
        let whole = [StackRange { start: 0x7000, end: top }];
        let all = [chunk(0x1003), chunk(top - 8), chunk(7), chunk(0x1000)].concat();
        let kept = [(at(3), 0x1003), (at(2), top - 8), (at(0), 0x1000)];
        assert_eq!(look(0b1111, &all, (4, 0)), (kept.to_vec(), whole.to_vec()));
        let kept = [(at(3), 0x1003), (at(2), 0x1222), (at(0), 0x1000)];
        assert_eq!(look(0b0010, &chunk(0x1222), (4, 0)), (kept.to_vec(), whole.to_vec()));
        assert_eq!(look(0, &[], (4, 0)), (kept.to_vec(), whole.to_vec()));
        // Of a deeper stack, only its ends are captured.
        let ends = [StackRange { start: 0x7000, end: at(3) - 8 + CHUNK }, StackRange { start: at(0) - 8, end: top }];
        assert_eq!(look(0, &[], (1, 1)), (vec![kept[0], kept[2]], ends.to_vec()));
        // Captured whole again, what was left out is as it was sent, or comes.
        assert_eq!(look(0, &[], (4, 0)), (kept.to_vec(), whole.to_vec()));
        let changed = [kept[0], (at(2), 0x1333), kept[2]];
        assert_eq!(look(0b0010, &chunk(0x1333), (4, 0)), (changed.to_vec(), whole.to_vec()));
    }

    proptest! {
        /// A block is looked at as each of its words by itself would be, wherever stacks and code lie: also in each other.
        #[test]
        fn a_block_is_looked_at_word_by_word(
            [stack, first_stack, code, more_code] in [(); 4].map(|()| (0u64..0x40, 0u64..0x20)),
            place in 0u64..0x40,
            values in proptest::collection::vec(prop_oneof![0u64..0x6_0000, Just(u64::MAX)], BLOCK),
        ) {
            let range = |(start, pages): (u64, u64)| StackRange { start: start << 12, end: (start + pages) << 12 };
            let code = [range(code), range(more_code)];
            let pages = (0..0x60u64).filter(|page| code.iter().any(|range| contains(*range, page << 12)));
            let ranges = CodeRanges::new(pages.map(|page| (page << 12, (page + 1) << 12)));
            let (stack, first_stack) = (range(stack), range(first_stack));
            let pointers = Pointers { code: &ranges, stack, first_stack };
            let block: Block = std::array::from_fn(|at| values[at].to_le_bytes());
            let held = pointers.held(&block, place << 12);
            for (at, value) in values.iter().enumerate() {
                let is_down = contains(stack, *value) && *value <= (place << 12) + 8 * at as u64;
                let on_stack = (contains(stack, *value) || contains(first_stack, *value)) && value % 8 == 0;
                let is_code = code.iter().any(|range| contains(*range, *value));
                prop_assert_eq!(held >> at & 1 != 0, !is_down && (on_stack || is_code), "{:x}", value);
                prop_assert_eq!(pointers.holds(*value), on_stack || is_code);
            }
        }
    }
}
