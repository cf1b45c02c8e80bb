//! The outer end of a stack whose middle is missing.
//!
//! A stack that is longer than what may be copied is captured in two slices. A walk that stops in
//! the gap can go on in the outer slice, if a frame is found there to start from:
//!
//! ```text
//!  stack pointer                                                           top
//!  |== inner slice ==|  (never captured)  |== outer slice ==================|
//!   walked frames ──► ?                    ? ──► found again ──► _start
//! ```
//!
//! The same search is the last resort where code has no call frame information and no rule of thumb leads on: then from that frame on,
//! with the verdict that there was none.
//!
//! Any kept word that points at code may be a return address, unless the code is at hand and no call stands before it. It is believed only if call frame
//! information alone leads from it to the end of the stack; and since old calls leave whole chains behind,
//! only frames on which all believable chains agree are taken. So a frame may be missing at
//! the seam, but none is invented. The verdict stays that the stack is truncated.

use foldhash::HashMap;
use profrec_format::{StackWord, UserStack};

use super::arch::FrameRegisters;
use super::memory::{Memory, Reads};
use super::step::{Caller, Stop};
use super::{Cursor, ProcessView, Unwinder};
use crate::evidence::ModuleIndex;

/// Bytes in which chains may start: of the outer slice from its inner end, or of the stack above a frame.
const SEAM: u64 = 4096;

/// Steps that may be taken for each word of the stack, over all chains: a living chain takes at most one.
const STEPS_PER_WORD: usize = 4;

/// A frame of a chain. What it is called depends on when it is seen.
#[derive(Clone, Copy)]
pub(super) struct FoundFrame {
    pub(super) address: u64,
    pub(super) place: Option<(ModuleIndex, u64)>,
    pub(super) guessed: bool,
}

/// A chain of frames, innermost first, and the place of each by its stack pointer.
#[derive(Default)]
struct Chain {
    frames: Vec<FoundFrame>,
    places: HashMap<u64, usize>,
}

/// Frames that were found again, and what they depend on.
#[derive(Default)]
pub(super) struct Found {
    /// Where the search began.
    pub(super) start: u64,
    /// The first is marked as guessed: nobody knows what is between it and the frame before.
    pub(super) frames: Vec<FoundFrame>,
    /// The lowest address that was read.
    lowest: u64,
    /// More steps than this were not needed.
    steps: usize,
}

impl Found {
    /// Whether the same is found in a stack that is the same from the boundary on.
    pub(super) fn holds(&self, start: u64, stack: &UserStack, boundary: u64) -> bool {
        self.start == start && self.lowest >= boundary && self.steps < most_steps(stack)
    }
}

/// Steps that may be taken, over all chains.
fn most_steps(stack: &UserStack) -> usize {
    stack.words.len().saturating_mul(STEPS_PER_WORD)
}

impl Unwinder<'_> {
    /// Where the callers of a walk's last frame may be found again; `None` if nowhere.
    pub(super) fn start_of_search(&self, stop: Stop, outermost: &Cursor, stack: &UserStack) -> Option<u64> {
        match stop {
            // Elsewhere, where a word stands does not tell where the frame that it leads to ends.
            _ if self.strict || !self.machine.call_pushes => None,
            Stop::Truncated => seam(stack),
            Stop::NoCfi | Stop::NoReturnAddress | Stop::Implausible => {
                outermost.registers.get(self.machine.stack_pointer)
            }
            Stop::End | Stop::NewStack { .. } => None,
        }
    }

    /// What all believable chains from there on have in common.
    pub(super) fn search(&mut self, start: u64, stack: &UserStack, process: ProcessView<'_>) -> Found {
        let mut reference: Option<Chain> = None;
        let mut agreed = 0;
        let mut steps = most_steps(stack);
        let reads = Reads::default();
        let memory = Memory::new(stack, &reads);
        for word in words_from(stack, start) {
            let Some(stack_pointer) = word.address.checked_add(8) else { continue };
            let known = reference.as_ref().is_some_and(|chain| chain.places.contains_key(&stack_pointer));
            let first = (!known).then(|| self.frame_after(word, process)).flatten();
            let Some(first) = first else { continue };
            match self.follow(first, (memory, process), reference.as_ref(), &mut steps) {
                Followed::Joined(place) => agreed = agreed.max(place),
                Followed::End(chain) => match &reference {
                    None => reference = Some(chain),
                    Some(other) => agreed = other.frames.len(),
                },
                Followed::Nowhere => {}
            }
        }
        let lowest = reads.take().0.min(start);
        if steps == 0 {
            return Found { start, lowest, steps: usize::MAX, frames: Vec::new() };
        }
        let outer = reference.as_ref().and_then(|chain| chain.frames.get(agreed..)).unwrap_or_default();
        let seam = outer.iter().take(1).map(|frame| FoundFrame { guessed: true, ..*frame });
        let frames = seam.chain(outer.iter().skip(1).copied()).collect();
        Found { start, lowest, steps: most_steps(stack) - steps, frames }
    }

    /// The frame that goes on at the address in this word, if it is code.
    fn frame_after(&self, word: &StackWord, process: ProcessView<'_>) -> Option<Cursor> {
        let nothing = UserStack { sp: word.address.checked_add(8)?, ..UserStack::default() };
        let registers = FrameRegisters::of(&nothing, self.machine);
        let frame =
            self.arrive(Caller { return_address: word.value, interrupted: false, registers }, process, false)?;
        self.is_plausible(&frame).then_some(frame)
    }

    /// Follows call frame information to the end of the stack, or to a frame of another chain.
    fn follow(
        &mut self,
        start: Cursor,
        (memory, process): (Memory<'_>, ProcessView<'_>),
        other: Option<&Chain>,
        steps: &mut usize,
    ) -> Followed {
        let mut chain = Chain::default();
        let mut cursor = start;
        while *steps > 0 {
            *steps -= 1;
            let stack_pointer = cursor.registers.get(self.machine.stack_pointer).unwrap_or_default();
            if let Some(&place) = other.and_then(|other| other.places.get(&stack_pointer)) {
                return Followed::Joined(place);
            }
            chain.places.insert(stack_pointer, chain.frames.len());
            chain.frames.push(FoundFrame { address: cursor.address, place: cursor.place, guessed: false });
            match self.step(&cursor, memory, process) {
                Ok(next) => cursor = next,
                Err(Stop::End) => return Followed::End(chain),
                Err(_) => return Followed::Nowhere,
            }
        }
        Followed::Nowhere
    }
}

/// Where following a chain led.
enum Followed {
    /// To the end of the stack.
    End(Chain),
    /// To the frame at this place of the other chain.
    Joined(usize),
    /// Neither.
    Nowhere,
}

/// The inner end of the outer slice; `None` if the stack was captured in one.
fn seam(stack: &UserStack) -> Option<u64> {
    let [_, .., outer] = stack.ranges[..] else { return None };
    let is_outer = stack.top != 0 && outer.end >= stack.top && outer.start > stack.sp;
    is_outer.then_some(outer.start)
}

/// The words from an address on among which chains may start.
fn words_from(stack: &UserStack, start: u64) -> &[StackWord] {
    let first = stack.words.partition_point(|word| word.address < start);
    let last = stack.words.partition_point(|word| word.address < start.saturating_add(SEAM));
    stack.words.get(first..last).unwrap_or_default()
}
