//! What neighbouring samples of a thread have in common is walked once.
//!
//! From one sample of a thread to the next, the outer frames rarely change. A walk that comes to a frame of the walk before goes on as
//! that did, as long as everything is the same that the rest of it has read:
//!
//! ```text
//!  stack pointer                     boundary                            top
//!  |=== words that may differ ========|=== words of both samples =========|
//!   walked frames ──► a known frame ──► frames of the walk before
//!                     same address, same registers as far as they are read from here on,
//!                     and nothing below the boundary is read from here on
//! ```
//!
//! So it changes no frame and no verdict. What is remembered is bounded; when it is too much, it is forgotten.

use foldhash::HashMap;
use profrec_format::{StackRange, StackWord, UserStack};

use super::rejoin::Found;
use super::step::Stop;
use super::{Cursor, ProcessView, WalkedFrame};

/// Frames and words that are remembered of all threads: together 64 MiB.
const FRAMES: usize = 96 << 10;
const WORDS: usize = 1 << 21;

/// A frame of a walk, and what the rest of the walk depends on from there.
pub(super) struct Step {
    pub cursor: Cursor,
    pub frame: WalkedFrame,
    /// What the frame is called depends on when it was seen.
    pub is_run_time_code: bool,
    /// The lowest address that was read from here on.
    pub lowest: u64,
    /// One bit for each of the frame's registers that was read from here on.
    pub needs: u64,
}

/// The last walk of a thread.
pub(super) struct LastWalk {
    /// Outermost frame first.
    pub steps: Vec<Step>,
    /// Why the walk ended.
    pub stop: Stop,
    version: (u32, u64),
    /// By descending address.
    words: Vec<StackWord>,
    ranges: Vec<StackRange>,
    top: u64,
    /// From here up, the new sample's stack is as the one that was walked.
    pub boundary: u64,
    /// What was found again behind the walk's end.
    pub found: Option<Found>,
    /// Steps before this one may yet be met.
    next: usize,
}

/// The last walk of each thread.
#[derive(Default)]
pub(super) struct LastWalks {
    threads: HashMap<u32, LastWalk>,
    frames: usize,
    words: usize,
}

impl LastWalks {
    /// The last walk of the thread, ready to be compared with a new sample's.
    pub(super) fn take(&mut self, stack: &UserStack, process: ProcessView<'_>) -> LastWalk {
        let version = (process.pid, process.space.version());
        let known = self.threads.remove(&process.thread);
        let mut walk = known.unwrap_or_else(|| LastWalk::none(version));
        self.frames -= walk.frames();
        self.words -= walk.words.len();
        if walk.version != version || walk.top != stack.top {
            walk = LastWalk::none(version);
        }
        walk.go_on_to(stack);
        walk
    }

    /// Keeps a walk for the thread's next sample.
    pub(super) fn keep(&mut self, thread: u32, walk: LastWalk) {
        if self.frames + walk.frames() > FRAMES || self.words + walk.words.len() > WORDS {
            *self = Self::default();
        }
        if walk.frames() <= FRAMES && walk.words.len() <= WORDS {
            self.frames += walk.frames();
            self.words += walk.words.len();
            self.threads.insert(thread, walk);
        }
    }
}

impl LastWalk {
    fn none(version: (u32, u64)) -> Self {
        let (steps, words, ranges) = Default::default();
        Self { steps, stop: Stop::End, version, words, ranges, top: 0, boundary: 0, found: None, next: 0 }
    }

    fn frames(&self) -> usize {
        self.steps.len() + self.found.as_ref().map_or(0, |found| found.frames.len())
    }

    /// Replaces the stack by that of a new sample, and finds out how much of it is the same.
    fn go_on_to(&mut self, stack: &UserStack) {
        let pairs = self.words.iter().zip(stack.words.iter().rev());
        let same = pairs.take_while(|(old, new)| old == new).count();
        let differing = [self.words.get(same), stack.words.iter().rev().nth(same)];
        let words = differing.into_iter().flatten().map(|word| word.address.saturating_add(8)).max();
        self.boundary = words.unwrap_or_default().max(first_difference(&self.ranges, &stack.ranges));
        self.words.truncate(same);
        self.words.extend(stack.words.iter().rev().skip(same));
        self.ranges.clone_from(&stack.ranges);
        self.top = stack.top;
        self.next = self.steps.len();
    }

    /// How many frames the walk from here on has, if it is known: the outermost of [`LastWalk::steps`].
    pub(super) fn rest(&mut self, cursor: &Cursor, stack_pointer: u16) -> Option<usize> {
        let place = |cursor: &Cursor| cursor.registers.get(stack_pointer);
        let current = place(cursor)?;
        while let Some(step) = self.next.checked_sub(1).and_then(|last| self.steps.get(last)) {
            if place(&step.cursor).is_some_and(|known| known > current) {
                break;
            }
            let is_same = step.lowest >= self.boundary
                && step.cursor.is_at(cursor)
                && step.cursor.registers.agree(&cursor.registers, step.needs);
            if is_same {
                return Some(self.next);
            }
            self.next -= 1;
        }
        None
    }

    /// Adds what was walked before the frames that are known, innermost frame first.
    pub(super) fn add(&mut self, inner: impl DoubleEndedIterator<Item = Step>) {
        for mut step in inner.rev() {
            if let Some(next) = self.steps.last() {
                step.lowest = step.lowest.min(next.lowest);
                step.needs |= next.needs & !next.cursor.registers.changed();
            }
            self.steps.push(step);
        }
    }
}

/// The address from which on both lists have the same ranges.
fn first_difference(old: &[StackRange], new: &[StackRange]) -> u64 {
    let (mut old, mut new) = (old.iter().rev(), new.iter().rev());
    loop {
        match (old.next(), new.next()) {
            (None, None) => return 0,
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) if a.end == b.end => return a.start.max(b.start),
            (Some(a), Some(b)) => return a.end.max(b.end),
            (Some(only), None) | (None, Some(only)) => return only.end,
        }
    }
}
