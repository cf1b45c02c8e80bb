//! What a recording lacks, by cause.

use profrec_format::LossCause;

/// What was lost so far, and how much of it the recording already says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Losses {
    pub(crate) ring_full: u64,
    pub(crate) malformed: u64,
    pub(crate) process_events: u64,
    pub(crate) not_written: u64,
}

impl Losses {
    /// By cause, those that happened.
    pub(crate) fn by_cause(&self) -> Vec<(LossCause, u64)> {
        let all = [
            (LossCause::RingFull, self.ring_full),
            (LossCause::Malformed, self.malformed),
            (LossCause::ProcessEvents, self.process_events),
            (LossCause::NotWritten, self.not_written),
        ];
        all.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    /// Lost samples.
    pub(crate) fn samples(&self) -> u64 {
        self.ring_full + self.malformed + self.not_written
    }
}
