//! How much evidence a segment may have. Programs make much less of it than this; but anybody can make a file that has pieces of it which no
//! compiler makes, and more of them than anybody's memory. It must not cost the other files theirs.

use profrec_format::ModuleId;
use rustc_hash::FxHashMap;

use crate::progress;

/// Bytes of the unwind information and names of a segment.
pub(super) const MOST: usize = 32 << 20;
/// Bytes of them that are of one module.
pub(super) const MOST_OF_MODULE: usize = MOST / 4;
/// Bytes of the compressed symbol tables of a segment, beside the others.
pub(super) const MOST_TABLES: usize = 16 << 20;
/// Bytes of one record, about: a reader takes 16 MiB.
pub(super) const RECORD: usize = 1 << 20;
/// What a piece takes besides its own bytes.
pub(super) const PIECE: usize = 64;

/// What the segment has so far.
#[derive(Debug, Default)]
pub(super) struct Amount {
    bytes: usize,
    tables: usize,
    modules: FxHashMap<ModuleId, Share>,
    /// That something was left out was told.
    is_told: bool,
}

/// What a module has of it, and what was found and left out.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    bytes: usize,
    left_out: usize,
}

impl Amount {
    /// Whether nothing more is to be looked for in a module: as much as it may have was found in vain.
    pub(super) fn is_full(&self, module: ModuleId) -> bool {
        self.modules.get(&module).is_some_and(|share| share.left_out >= MOST_OF_MODULE)
    }

    /// Adds a piece, unless it is too much.
    pub(super) fn add(&mut self, module: ModuleId, bytes: usize) -> bool {
        let bytes = bytes + PIECE;
        let share = self.modules.entry(module).or_default();
        let fits = share.bytes + bytes <= MOST_OF_MODULE && self.bytes + bytes <= MOST;
        if fits {
            share.bytes += bytes;
            self.bytes += bytes;
        } else {
            share.left_out += bytes;
            self.tell();
        }
        fits
    }

    /// Adds a compressed symbol table, unless it is too much.
    pub(super) fn add_table(&mut self, bytes: usize) -> bool {
        let fits = self.tables + bytes + PIECE <= MOST_TABLES;
        if fits {
            self.tables += bytes + PIECE;
        } else {
            self.tell();
        }
        fits
    }

    fn tell(&mut self) {
        if !std::mem::replace(&mut self.is_told, true) {
            progress::put(
                "profrec: the files of the recorded programs have more unwind information and names than a recording takes \
                 (32 MB in a minute, 8 MB of one file, and 16 MB of compressed symbol tables): stacks of some will be incomplete where the \
                 report does not have them\n",
            );
        }
    }

    /// The next segment has nothing yet.
    pub(super) fn start_segment(&mut self) {
        (self.bytes, self.tables) = (0, 0);
        self.modules.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A piece that is too much is left out, and no other: of the same module, of another one, or a compressed table.
    #[test]
    fn a_piece_that_is_too_much_leaves_room_for_others() {
        let mut amount = Amount::default();
        assert!(!amount.add(1, MOST_OF_MODULE) && amount.add(1, 1_000) && amount.add(2, 1_000));
        assert!(amount.is_full(1) && !amount.is_full(2));
        assert!(amount.add_table(MOST_TABLES / 2) && !amount.add_table(MOST_TABLES / 2) && amount.add_table(1_000));
        assert!(amount.add(2, MOST_OF_MODULE / 2));
        amount.start_segment();
        assert!(!amount.is_full(1) && amount.add_table(MOST_TABLES - PIECE));
    }

    /// No module takes what others need, and all together no more than a segment may have.
    #[test]
    fn no_module_has_more_than_its_share() {
        let mut amount = Amount::default();
        let all =
            |amount: &mut Amount, module| (0..100).map(|_| usize::from(amount.add(module, 1 << 20))).sum::<usize>();
        let taken: Vec<_> = (0..6).map(|module| all(&mut amount, module)).collect();
        assert_eq!(taken, [7, 7, 7, 7, 3, 0]);
        assert!(amount.add(0, 1_000) && amount.add(5, 1_000));
    }
}
