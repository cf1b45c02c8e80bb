//! Why evidence is missing. Loss is data: it is counted where it happens, stored when it happens
//! and shown under every view.

use serde::{Deserialize, Serialize};

/// The cause of a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LossCause {
    /// Samples: the ring between kernel and recorder was full.
    RingFull,
    /// Samples: the record from the kernel did not have the expected form.
    Malformed,
    /// Process events: the kernel's own ring of process events was full.
    ProcessEvents,
}

impl LossCause {
    /// Every cause, in a fixed order.
    pub const ALL: [Self; 3] = [Self::RingFull, Self::Malformed, Self::ProcessEvents];

    /// A stable name, used in JSON and on the terminal.
    pub fn name(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::Malformed => "malformed",
            Self::ProcessEvents => "process_events",
        }
    }

    /// Whether what was lost are samples: these are part of `expected = written + lost`.
    pub fn is_samples(self) -> bool {
        !matches!(self, Self::ProcessEvents)
    }
}
