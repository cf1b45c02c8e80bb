//! Frames that are larger than any copy of a stack. librustc_driver has a function with a frame of 540 KB: above and
//! below it there are 50 and 20 KB of stack that matter, and what lies between is read for nothing at every tick. Once a thread has
//! shown such a frame, the kernel is told where it is, and leaves it out as long as it is there.
//!
//! ```text
//!  stack pointer      slot                                     caller        top
//!   |  inner frames    |R|   the frame, `size` bytes    |saved  |R|  outer frames |
//! ```
//!
//! `slot` holds an address in the function: it is what it called last that returns there.

use profrec_format::{ModuleId, UserStack};
use rustc_hash::FxHashMap;

use crate::process::Process;

/// Smaller frames are not worth it.
pub(crate) const GIANT: u64 = 64 << 10;
/// Functions that are remembered: programs have a few. Each is looked for in each stack that is not copied whole. When there are more, those that
/// are still running come again with the next segment's evidence.
const MOST: usize = 256;
/// Registers are saved within so many bytes below the address of the caller.
const SAVED: u64 = 256;

/// A function with a giant frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GiantFunction {
    pub(crate) module: ModuleId,
    /// Offset in the module of its first byte.
    pub(crate) offset: u64,
    /// Bytes of code.
    pub(crate) length: u64,
    /// Distance from the stack pointer to the CFA, in the middle of the function.
    pub(crate) size: u64,
    /// How much it grows where arguments are pushed.
    pub(crate) pushed: u64,
}

/// A part of a thread's stack that need not be copied, as long as `slot` holds a return address to the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// Where the address is that returns into the function.
    pub(crate) slot: u64,
    /// Where the function's code starts.
    pub(crate) code: u64,
    /// Bytes of code.
    pub(crate) length: u64,
    /// Where the stack matters again.
    pub(crate) outer_start: u64,
}

/// The functions with giant frames that the recording has met.
#[derive(Debug, Default)]
pub(crate) struct GiantFrames {
    functions: FxHashMap<(ModuleId, u64), GiantFunction>,
}

impl GiantFrames {
    /// Adds a function. Where there are very many, all others are forgotten: most are perhaps of programs that have ended.
    pub(crate) fn learn(&mut self, function: GiantFunction) {
        let place = (function.module, function.offset);
        if self.functions.len() >= MOST && !self.functions.contains_key(&place) {
            self.functions.clear();
        }
        self.functions.insert(place, function);
    }

    /// What can be left out of a stack that was captured at both ends.
    pub(crate) fn find(&self, process: &Process, stack: &UserStack) -> Option<LeftOut> {
        let [inner, outer] = stack.ranges[..] else {
            return None;
        };
        let functions = self.in_process(process);
        if functions.is_empty() {
            return None;
        }
        let inner_words = stack.words.iter().take_while(|word| word.address < inner.end);
        inner_words.filter(|word| word.address >= inner.start).find_map(|word| {
            let (code, function) = functions.iter().find(|(code, function)| returns_to(*code, function, word.value))?;
            // What looks like a call out of the function counts only if the function was called from code.
            let caller = word.address.checked_add(function.size).filter(|caller| outer.start <= *caller)?;
            let callers = caller..=caller.checked_add(function.pushed)?;
            let after = stack.words.partition_point(|word| word.address < caller);
            let mut callers = stack.words[after..].iter().take_while(|word| callers.contains(&word.address));
            callers.find(|word| process.find(word.value).is_some())?;
            let outer_start = caller.saturating_sub(SAVED).max(outer.start);
            Some(LeftOut { slot: word.address, code: *code, length: function.length, outer_start })
        })
    }

    /// The functions with their addresses in a process.
    fn in_process(&self, process: &Process) -> Vec<(u64, GiantFunction)> {
        let places = self.functions.values().flat_map(|function| {
            let mappings = process.mappings().iter().filter(|mapped| mapped.module == function.module);
            mappings.filter_map(|mapped| {
                let distance = function.offset.checked_sub(mapped.offset)?;
                let code = mapped.start.checked_add(distance).filter(|code| *code < mapped.end)?;
                Some((code, *function))
            })
        });
        places.collect()
    }
}

/// Whether a return address is one into a function: it stands after a call.
fn returns_to(code: u64, function: &GiantFunction, address: u64) -> bool {
    address.wrapping_sub(code).wrapping_sub(1) < function.length
}

#[cfg(test)]
mod tests {
    use profrec_format::{StackRange, StackWord};

    use super::*;
    use crate::process::Mapped;

    const TOP: u64 = 0x10_0000;

    fn stack(words: &[(u64, u64)]) -> UserStack {
        let range = |start, end| StackRange { start, end };
        UserStack {
            ranges: vec![range(0x1000, 0x3000), range(TOP - 0x2000, TOP)],
            words: words.iter().map(|&(address, value)| StackWord { address, value }).collect(),
            ..UserStack::default()
        }
    }

    /// A giant frame is found by a return into its function, when a caller stands behind it; else nothing is left out.
    #[test]
    fn a_giant_frame_is_found_by_what_it_called() {
        let mut process = Process::default();
        process.map(Mapped { start: 0x40_0000, end: 0x50_0000, offset: 0x1000, module: 3 }, 1);
        let (size, pushed) = (TOP - 0x1030 - 0x2000, 0x30);
        let mut frames = GiantFrames::default();
        let called = stack(&[(0x1800, 0x40_0123), (0x2000, 0x40_0150), (TOP - 0x1000, 0x41_0000)]);
        assert_eq!(frames.find(&process, &called), None);
        frames.learn(GiantFunction { module: 3, offset: 0x1100, length: 0x50, size, pushed });
        let outer_start = TOP - 0x1030 - SAVED;
        let found = LeftOut { slot: 0x2000, code: 0x40_0100, length: 0x50, outer_start };
        assert_eq!(frames.find(&process, &called), Some(found));
        // Called from what is not code; an address before the first call of the function; a stack without a gap.
        assert_eq!(frames.find(&process, &stack(&[(0x2000, 0x40_0150), (TOP - 0x1000, TOP - 8)])), None);
        assert_eq!(frames.find(&process, &stack(&[(0x2000, 0x40_0100), (TOP - 0x1000, 0x41_0000)])), None);
        let whole = UserStack { ranges: vec![StackRange { start: 0x1000, end: TOP }], ..called };
        assert_eq!(frames.find(&process, &whole), None);
    }

    /// A program that is made of such functions does not make each of its samples costly.
    #[test]
    fn functions_are_bounded() {
        let mut frames = GiantFrames::default();
        for offset in 0..100_000 {
            frames.learn(GiantFunction { module: 3, offset, length: 1, size: GIANT, pushed: 0 });
            assert!((1..=MOST).contains(&frames.functions.len()));
        }
    }

    /// However many functions have come before, one that comes is known; those that come again make nobody forget.
    #[test]
    fn functions_of_ended_programs_make_room() {
        let function = |offset| GiantFunction { module: 3, offset, length: 1, size: GIANT, pushed: 0 };
        let mut frames = GiantFrames::default();
        let most = MOST as u64;
        (0..most).chain(0..most).for_each(|offset| frames.learn(function(offset)));
        assert_eq!(frames.functions.len(), MOST);
        frames.learn(function(most));
        (0..8).for_each(|offset| frames.learn(function(offset)));
        assert_eq!(frames.functions.get(&(3, most)), Some(&function(most)));
        assert_eq!(frames.functions.len(), 9);
    }
}
