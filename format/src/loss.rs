//! Why evidence is missing. Loss is data: it is counted where it happens, stored when it happens
//! and shown under every view.

use serde::{Deserialize, Serialize};

use crate::variants::numbered;

/// The cause of a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "u32", into = "u32")]
#[non_exhaustive]
pub enum LossCause {
    /// Samples: the ring between kernel and recorder was full.
    RingFull,
    /// Samples: the record from the kernel did not have the expected form.
    Malformed,
    /// Process events: the kernel's own ring of process events was full.
    ProcessEvents,
    /// Samples: the output refused them.
    NotWritten,
    /// Samples: they were in a part of a recording that could not be read when it was shown or rewritten.
    Unreadable,
    /// A cause that this version does not know: samples if its number is even, other things if it is odd.
    Other(u32),
}

numbered!(LossCause { 0 RingFull, 1 Malformed, 2 ProcessEvents, 3 NotWritten, 4 Unreadable });

impl LossCause {
    /// Every known cause, in a fixed order.
    pub const ALL: [Self; 5] =
        [Self::RingFull, Self::Malformed, Self::ProcessEvents, Self::NotWritten, Self::Unreadable];

    /// A stable name, used in JSON and on the terminal.
    pub fn name(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::Malformed => "malformed",
            Self::ProcessEvents => "process_events",
            Self::NotWritten => "not_written",
            Self::Unreadable => "unreadable",
            Self::Other(number) if number % 2 == 0 => "other_samples",
            Self::Other(_) => "other_events",
        }
    }

    /// Whether what was lost are samples: these are part of `expected = written + lost`.
    pub fn is_samples(self) -> bool {
        match self {
            Self::RingFull | Self::Malformed | Self::NotWritten | Self::Unreadable => true,
            Self::ProcessEvents => false,
            Self::Other(number) => number % 2 == 0,
        }
    }
}
