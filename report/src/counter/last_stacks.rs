//! The stacks that a few threads were counted with last: neighbouring samples of a thread share their outer frames, which need not be
//! looked up again.

use crate::paths::PathId;
use crate::stacks::Location;
use crate::unwind::WalkedFrame;

/// Threads whose numbers leave the same remainder have one place.
const PLACES: usize = 64;
/// Longer stacks are not remembered.
const FRAMES: usize = 1 << 14;

/// A frame, and the path that ends with it.
#[derive(Clone, Copy)]
pub(super) struct CountedFrame {
    pub(super) location: Location,
    pub(super) guessed: bool,
    pub(super) end: PathId,
}

/// The last stacks, outermost frames first.
#[derive(Default)]
pub(super) struct LastStacks(Vec<Vec<CountedFrame>>);

impl LastStacks {
    /// The outermost frames of the last stack that are those of a new one, whose innermost frame comes first.
    pub(super) fn take(&mut self, tid: u32, frames: &[WalkedFrame]) -> Vec<CountedFrame> {
        self.0.resize_with(PLACES, Vec::new);
        let mut last = std::mem::take(&mut self.0[tid as usize % PLACES]);
        let pairs = last.iter().zip(frames.iter().rev());
        let is_same = |(known, new): &(&CountedFrame, &WalkedFrame)| {
            (known.location, known.guessed) == (new.location, new.guessed)
        };
        let same = pairs.take_while(is_same).count();
        last.truncate(same);
        last
    }

    /// Remembers a stack.
    pub(super) fn keep(&mut self, tid: u32, stack: Vec<CountedFrame>) {
        if stack.len() <= FRAMES {
            self.0[tid as usize % PLACES] = stack;
        }
    }

    /// How many frames there is memory for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.0.iter().map(Vec::capacity).sum()
    }
}
