//! What became of the ticks of the clock.

use serde::{Deserialize, Serialize};

use crate::variants::numbered;

/// What became of a tick, or what was remarkable about a sample. Ticks that were lost are told by their [`LossCause`].
///
/// [`LossCause`]: crate::LossCause
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "u32", into = "u32")]
#[non_exhaustive]
pub enum Outcome {
    /// A tick: its sample is in the recording.
    Written,
    /// A tick: the CPU was idle.
    Idle,
    /// A tick: it hit another process than those asked for.
    Filtered,
    /// Of samples: without a user side, of a kernel thread or in the middle of an exec or an exit.
    NoUserSide,
    /// Of samples: the stack was deeper than what is copied whole, and only its two ends were.
    StackCut,
    /// Pages of stacks in samples that could not be read: never touched, or swapped out.
    PagesUnreadable,
    /// Of samples: the thread was on another stack than the one it started on.
    StackSwitched,
    /// Stacks of ticks that were counted in the kernel, which have no addresses: another stack had their place.
    StackCollided,
    /// Stacks of ticks that were counted in the kernel, which have no addresses: there was no room for more stacks.
    StacksFull,
    /// Ticks that were counted in the kernel though their stacks should have been copied: those of very many other processes were.
    NotSampled,
    /// What this version does not know: a tick if its number is even, a remark if it is odd.
    Other(u32),
}

numbered!(Outcome {
    0 Written,
    2 Idle,
    4 Filtered,
    1 NoUserSide,
    3 StackCut,
    5 PagesUnreadable,
    7 StackSwitched,
    9 StackCollided,
    11 StacksFull,
    13 NotSampled,
});

impl Outcome {
    /// A stable name, used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Idle => "idle",
            Self::Filtered => "filtered",
            Self::NoUserSide => "no_user_side",
            Self::StackCut => "stack_cut",
            Self::PagesUnreadable => "pages_unreadable",
            Self::StackSwitched => "stack_switched",
            Self::StackCollided => "stack_collided",
            Self::StacksFull => "stacks_full",
            Self::NotSampled => "not_sampled",
            Self::Other(number) if number % 2 == 0 => "other_ticks",
            Self::Other(_) => "other_remarks",
        }
    }

    /// Whether it is what became of a tick: all of these and all lost samples are all ticks.
    pub fn is_tick(self) -> bool {
        u32::from(self) % 2 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The equation of ticks closes with outcomes that a reader has never heard of: their numbers say whether they are ticks.
    #[test]
    fn numbers_tell_ticks_from_remarks() {
        let ticks = [Outcome::Written, Outcome::Idle, Outcome::Filtered, Outcome::Other(90)];
        let remarks = [Outcome::NoUserSide, Outcome::StackCut, Outcome::PagesUnreadable, Outcome::StackSwitched];
        assert!(ticks.into_iter().all(Outcome::is_tick));
        assert!(!remarks.into_iter().chain([Outcome::Other(91)]).any(Outcome::is_tick));
    }
}
