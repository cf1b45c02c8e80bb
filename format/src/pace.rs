//! How the recorder keeps within its budget of CPU time: what it does less of, from when on, and why.

use serde::{Deserialize, Serialize};

use crate::variants::numbered;

/// How samples are taken from `time` on. A segment without such a record is of the usual pace: samples that stand for one tick
/// each, and whole stacks as the recorder was told.
///
/// It tells people what happened; what a sample stands for, it says itself ([`Sample::weight`](crate::Sample::weight)): clocks
/// of processes that were there before can go on faster for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub time: u64,
    /// Ticks of the header's period that a sample stands for.
    pub weight: u32,
    /// Stacks up to this depth are copied whole, in bytes.
    pub whole_stack: u32,
    /// Bytes copied from each end of a stack that is deeper.
    pub stack_size: u32,
    /// What recording had cost before, in millionths of the CPU time of all CPUs; 0 when it was not measured.
    pub cost: u32,
    /// What it may cost, in millionths of the CPU time of all CPUs; 0 when nobody said.
    pub limit: u32,
    /// Why.
    pub reason: PaceReason,
}

/// Why a pace is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "u32", into = "u32")]
#[non_exhaustive]
pub enum PaceReason {
    /// It goes on as it was before this segment.
    GoesOn,
    /// Recording cost more than it may.
    TooCostly,
    /// More is affordable again.
    Affordable,
    /// A reason that this version does not know.
    Other(u32),
}

numbered!(PaceReason { 0 GoesOn, 1 TooCostly, 2 Affordable });

impl PaceReason {
    /// A stable name, used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::GoesOn => "goes_on",
            Self::TooCostly => "too_costly",
            Self::Affordable => "affordable",
            Self::Other(_) => "other",
        }
    }
}
