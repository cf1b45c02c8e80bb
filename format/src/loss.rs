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
    /// Samples: the CPU had no memory to capture them in.
    NoScratch,
    /// Samples: ticks were counted in the kernel, and there was no room for more counts.
    CountsFull,
    /// Ticks: the kernel stopped the clock, which ticked more often than the machine allows.
    Throttled,
    /// Ticks: the CPU was not there for the clock: given to another virtual machine, or kept from interrupts.
    Late,
    /// Ticks: the CPU was taken offline.
    Offline,
    /// A cause that this version does not know: samples if its number is even, other things if it is odd.
    Other(u32),
}

numbered!(LossCause {
    0 RingFull,
    1 Malformed,
    2 ProcessEvents,
    3 NotWritten,
    4 Unreadable,
    110 NoScratch,
    112 CountsFull,
    111 Throttled,
    113 Late,
    115 Offline,
});

/// What it is that was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Ticks that hit the target, of which there is no sample: part of *expected = written + lost*.
    Samples,
    /// Ticks that the clock did not give. Nobody knows what they would have hit.
    Ticks,
    /// Something else.
    Events,
}

impl LossCause {
    /// Every known cause, in a fixed order.
    pub const ALL: [Self; 10] = [
        Self::RingFull,
        Self::Malformed,
        Self::ProcessEvents,
        Self::NotWritten,
        Self::Unreadable,
        Self::NoScratch,
        Self::CountsFull,
        Self::Throttled,
        Self::Late,
        Self::Offline,
    ];

    /// A stable name, used in JSON and on the terminal.
    pub fn name(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::Malformed => "malformed",
            Self::ProcessEvents => "process_events",
            Self::NotWritten => "not_written",
            Self::Unreadable => "unreadable",
            Self::NoScratch => "no_scratch",
            Self::CountsFull => "counts_full",
            Self::Throttled => "throttled",
            Self::Late => "late",
            Self::Offline => "offline",
            Self::Other(number) if number % 2 == 0 => "other_samples",
            Self::Other(_) => "other_events",
        }
    }

    /// What was lost.
    pub fn lost(self) -> Lost {
        match self {
            Self::RingFull
            | Self::Malformed
            | Self::NotWritten
            | Self::Unreadable
            | Self::NoScratch
            | Self::CountsFull => Lost::Samples,
            Self::Throttled | Self::Late | Self::Offline => Lost::Ticks,
            Self::ProcessEvents => Lost::Events,
            Self::Other(number) if number % 2 == 0 => Lost::Samples,
            Self::Other(_) => Lost::Events,
        }
    }

    /// Whether what was lost are samples: these are part of `expected = written + lost`.
    pub fn is_samples(self) -> bool {
        self.lost() == Lost::Samples
    }
}
