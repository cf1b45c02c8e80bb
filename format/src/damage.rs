//! Where a recording is not whole, and what that costs.

use std::fmt;

/// A place where a recording is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What is wrong there.
    pub kind: DamageKind,
    /// The first byte that is not that of an undamaged frame.
    pub start: usize,
    /// One past the last such byte.
    pub end: usize,
    /// Samples behind it that are whole but cannot be decoded without what is missing.
    pub samples: u64,
    /// The time of the last sample before it, or the recording's start.
    pub since: u64,
    /// The time of the last of `samples`; 0 when there are none.
    pub(crate) reached: u64,
    /// The time of the next sample that can be used, or the recording's end; `None` when nobody knows.
    pub until: Option<u64>,
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamageKind {
    /// The file ends inside a frame.
    Truncated,
    /// The bytes are not those of a frame.
    Damaged,
    /// Frames were taken out: their numbers have a gap here.
    FramesMissing,
    /// The index does not agree with the segments.
    WrongIndex,
}

/// What all damage of a recording has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LostToDamage {
    /// Samples that were written and are not there; `None` when the recording was not closed, and nobody knows.
    pub samples: Option<u64>,
    /// Samples that are there and cannot be decoded.
    pub at_least: u64,
    /// The time in which they were, in nanoseconds, as far as it is known.
    pub nanoseconds: u64,
}

impl Damage {
    /// How long the time is that it has cost; `None` when nobody knows.
    pub fn nanoseconds(&self) -> Option<u64> {
        match self.kind {
            DamageKind::WrongIndex => Some(0),
            _ => Some(self.until?.saturating_sub(self.since)),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, start, end, .. } = self;
        match kind {
            DamageKind::Truncated => write!(out, "truncated at byte {start}"),
            DamageKind::Damaged => write!(out, "damaged from byte {start} to {end}"),
            DamageKind::FramesMissing => write!(out, "damaged at byte {start}: frames are missing before it"),
            DamageKind::WrongIndex => write!(out, "damaged: its index does not agree with its segments"),
        }
    }
}
