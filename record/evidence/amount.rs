//! How much evidence a segment may have. Programs make much less of it than this; but anybody can make a file that has pieces of it which no
//! compiler makes, and more of them than anybody's memory.

use crate::progress;

/// Bytes of the evidence of a segment.
pub(super) const MOST: usize = 32 << 20;
/// Bytes of one record, about: a reader takes 16 MiB.
pub(super) const RECORD: usize = 1 << 20;
/// What a piece takes besides its own bytes.
pub(super) const PIECE: usize = 64;

/// What the segment has so far.
#[derive(Debug, Default)]
pub(super) struct Amount {
    bytes: usize,
    /// Something was left out: so is all that comes.
    is_full: bool,
    /// That was told.
    is_told: bool,
}

impl Amount {
    /// Whether nothing more is to be looked for.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Adds a piece, unless it is too much.
    pub(super) fn add(&mut self, bytes: usize) -> bool {
        self.is_full |= self.bytes + bytes + PIECE > MOST;
        if self.is_full && !std::mem::replace(&mut self.is_told, true) {
            progress::put(
                "profrec: the files of the recorded programs have more unwind information and names than a recording takes \
                 (32 MB in a minute): stacks of some will be incomplete where the report does not have them\n",
            );
        }
        self.bytes += if self.is_full { 0 } else { bytes + PIECE };
        !self.is_full
    }

    /// The next segment has nothing yet.
    pub(super) fn start_segment(&mut self) {
        (self.bytes, self.is_full) = (0, false);
    }
}
