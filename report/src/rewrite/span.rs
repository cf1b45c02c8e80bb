//! The time of a part of a recording.

use crate::args::TimeRange;

/// From a time to another, in nanoseconds of CLOCK_MONOTONIC; by default all of it.
#[derive(Clone, Copy, Default)]
pub(super) struct Span {
    /// Its first; 0 when the part begins with the recording.
    pub(super) from: u64,
    /// The first that is not in it.
    pub(super) to: Option<u64>,
}

impl Span {
    /// The same of a recording that starts at `start`.
    pub(super) fn of(range: TimeRange, start: u64) -> Self {
        let from = range.from().filter(|from| *from > 0).map_or(0, |from| start.saturating_add(from));
        Self { from, to: range.to().map(|to| start.saturating_add(to)) }
    }

    /// Whether a time is in it.
    pub(super) fn holds(self, time: u64) -> bool {
        self.from <= time && self.is_before_end(time)
    }

    pub(super) fn is_before_end(self, time: u64) -> bool {
        self.to.is_none_or(|to| time < to)
    }

    /// Whether it has some of what was from `first` to `last`.
    pub(super) fn meets(self, first: u64, last: u64) -> bool {
        self.from <= last && self.is_before_end(first)
    }
}
