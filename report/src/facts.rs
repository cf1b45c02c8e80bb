//! What a recording says about itself: how it was made, how long it is, what was lost.

use profrec_format::{Header, LossCause, Record, Recording, Totals};

/// The recording as a whole, whatever is shown of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// How it was made.
    pub header: Header,
    /// What it holds in all; `None` when it was not closed.
    pub totals: Option<Totals>,
    /// Length of the file.
    pub bytes: u64,
    /// Samples in the file.
    pub samples: u64,
    /// Samples and process events lost, by cause; every cause is listed.
    pub lost: Vec<(LossCause, u64)>,
    /// Nanoseconds from the start to the end.
    pub duration: u64,
    /// Where it is not whole, in words.
    pub damage: Vec<String>,
}

impl Facts {
    /// Gathers the facts of a recording. Without totals they are counted.
    pub fn gather(recording: &Recording<'_>) -> Self {
        let header = recording.header().clone();
        let totals = recording.totals().cloned();
        let counted = recording.segments().iter().map(|segment| segment.sample_count()).sum();
        let last = recording.segments().iter().map(|segment| segment.last_time()).max().unwrap_or_default();
        let end = totals.as_ref().map_or(last, |totals| totals.end_monotonic);
        let known = match &totals {
            Some(totals) => totals.lost.clone(),
            None => noticed_losses(recording),
        };
        let lost = |cause| known.iter().filter(|(known, _)| *known == cause).map(|(_, count)| count).sum();
        Self {
            bytes: recording.file_length() as u64,
            samples: totals.as_ref().map_or(counted, |totals| totals.samples),
            lost: LossCause::ALL.iter().map(|&cause| (cause, lost(cause))).collect(),
            duration: end.saturating_sub(header.start_monotonic),
            damage: recording.damage().iter().map(ToString::to_string).collect(),
            header,
            totals,
        }
    }

    /// Ticks that hit the target, when the recorder got to say so.
    pub fn expected(&self) -> Option<u64> {
        self.totals.as_ref().map(|totals| totals.expected)
    }

    /// Samples that were lost.
    pub fn samples_lost(&self) -> u64 {
        self.lost.iter().filter(|(cause, _)| cause.is_samples()).map(|(_, count)| count).sum()
    }

    /// Ticks of the clock in a second of CPU time.
    pub fn frequency(&self) -> f64 {
        if self.header.period == 0 { 0.0 } else { 1e9 / self.header.period as f64 }
    }

    /// Length in seconds.
    pub fn seconds(&self) -> f64 {
        self.duration as f64 / 1e9
    }

    /// CPU time in seconds that this many samples stand for.
    pub fn cpu_seconds(&self, samples: u64) -> f64 {
        samples as f64 * self.header.period as f64 / 1e9
    }
}

/// The losses that were noticed while recording: all there is to count when there are no totals.
/// A segment that cannot be read counts none; whoever replays it notes that it is damaged.
fn noticed_losses(recording: &Recording<'_>) -> Vec<(LossCause, u64)> {
    let records = recording.segments().iter().flat_map(|segment| segment.records().unwrap_or_default());
    let losses = records.filter_map(|record| match record {
        Record::Loss(loss) => Some((loss.cause, loss.count)),
        _ => None,
    });
    losses.collect()
}
