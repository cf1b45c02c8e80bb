//! What is read of a recording that is rewritten, and what could not be.

use anyhow::Result;
use profrec_format::{Damage, LossCause, Record, Recording, Segment, StopReason, Totals};

use super::output::Output;
use super::span::Span;
use crate::ledger::grouped;
use crate::losses::{Losses, ticks_of};

/// What has been carried over so far.
#[derive(Default)]
pub(super) struct Tally {
    /// What was lost, by cause.
    lost: Losses,
    /// Ticks that samples stand for that could not be read, of the recordings before this.
    unreadable: u64,
    /// Samples of this one that could not be read.
    samples: u64,
    /// The totals of the recording that is read.
    whole: Option<Totals>,
    /// Why, in words.
    pub(super) notes: Vec<String>,
}

/// What was written.
pub(super) struct Written {
    pub(super) samples: u64,
    /// From the start to the end.
    pub(super) nanoseconds: u64,
    /// How much was read for it, when it was not all.
    pub(super) part_read: Option<String>,
    /// What could not be carried over, in words.
    pub(super) notes: Vec<String>,
}

impl Written {
    /// The same in one line.
    pub(super) fn text(&self) -> String {
        let text = format!("{} samples, {:.1} s", grouped(self.samples), self.nanoseconds as f64 / 1e9);
        self.part_read.iter().fold(text, |text, part_read| format!("{text}; {part_read}"))
    }
}

/// What ended it.
pub(super) fn stop(recording: &Recording<'_>) -> StopReason {
    recording.totals().map_or(StopReason::NotClosed, |totals| totals.stop)
}

impl Tally {
    /// The records of a segment; none when they cannot be read, and then its samples of this time mean nothing.
    pub(super) fn records(&mut self, segment: &Segment<'_>, span: Span) -> Option<Vec<Record>> {
        match segment.records() {
            Ok(records) => Some(records),
            Err(error) => {
                self.unreadable(segment.samples_behind(0, |first, last| span.meets(first, last)), &error.to_string());
                None
            }
        }
    }

    /// Copies the samples of a segment that are of this time. Of those that cannot be read, the time is known by frames.
    pub(super) fn copy(&mut self, segment: &Segment<'_>, span: Span, output: &mut Output) -> Result<()> {
        let mut samples = segment.samples();
        let mut read = 0;
        loop {
            match samples.next() {
                Ok(Some(sample)) => {
                    read += 1;
                    if span.holds(sample.time) {
                        output.sample(sample)?;
                    }
                }
                Ok(None) => return Ok(()),
                Err(error) => {
                    let lost = segment.samples_behind(read, |first, last| span.meets(first, last));
                    self.unreadable(lost, &error.to_string());
                    return Ok(());
                }
            }
        }
    }

    /// Notes samples that are there and cannot be used.
    pub(super) fn unreadable(&mut self, samples: u64, why: &str) {
        self.lose_samples(samples);
        self.notes.push(format!("{} samples are left out: {why}", grouped(samples)));
    }

    fn lose_samples(&mut self, samples: u64) {
        self.samples = self.samples.saturating_add(samples);
    }

    /// Ends with a recording of which all was to be carried over: what the `carried` ticks are not, was lost with samples
    /// that could not be read.
    pub(super) fn end_whole(&mut self, carried: u64) {
        match &self.whole {
            Some(whole) if self.samples > 0 => {
                self.unreadable = self.unreadable.saturating_add(whole.ticks().saturating_sub(carried));
                self.samples = 0;
            }
            _ => self.end_part(),
        }
    }

    /// The same where only a part was: the samples that are missing stand for as much as the others.
    fn end_part(&mut self) {
        let ticks = ticks_of(std::mem::take(&mut self.samples), self.whole.as_ref());
        self.unreadable = self.unreadable.saturating_add(ticks);
    }

    /// Adds losses.
    pub(super) fn lose(&mut self, losses: impl IntoIterator<Item = (LossCause, u64)>) {
        self.lost.add(losses);
    }

    /// Begins to read a recording. Notes what its damage has cost, as far as it `concerns` what is carried over: where that is not all of
    /// it, the samples that are known to have been there.
    pub(super) fn begin(&mut self, recording: &Recording<'_>, concerns: impl Fn(&Damage) -> bool) {
        self.end_part();
        self.whole = recording.totals().cloned();
        let damage: Vec<_> = recording.damage().iter().filter(|damage| concerns(damage)).collect();
        self.notes.extend(damage.iter().map(|damage| format!("the recording is {damage}")));
        let at_least: u64 = damage.iter().map(|damage| damage.samples).sum();
        let all = (damage.len() == recording.damage().len()).then(|| recording.lost_to_damage().samples);
        let samples = if damage.is_empty() { 0 } else { all.flatten().unwrap_or(0).max(at_least) };
        self.lose_samples(samples);
    }

    /// The totals of what was written, and of all that was lost. What is not known of it is zero.
    pub(super) fn totals(&mut self, output: &Output, end_monotonic: u64, stop: StopReason) -> Totals {
        self.end_part();
        if self.unreadable > 0 {
            let unreadable = std::mem::take(&mut self.unreadable);
            self.lose([(LossCause::Unreadable, unreadable)]);
        }
        let (samples, weight) = (output.samples(), output.ticks());
        let (expected, lost) = (weight.saturating_add(self.lost.samples()), self.lost.by_cause().collect());
        Totals { end_monotonic, stop, expected, samples, lost, weight, ..Totals::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a recorder that slowed down, the samples that cannot be read stand for what the others do not, where all of it was
    /// to be carried over, and for as much as the others of a part.
    #[test]
    fn unreadable_samples_of_a_slowed_recording() {
        let whole = Some(Totals { samples: 10, weight: 60, ..Totals::default() });
        let of = |end: fn(&mut Tally)| {
            let mut tally = Tally { samples: 5, whole: whole.clone(), ..Tally::default() };
            end(&mut tally);
            (tally.unreadable, tally.samples)
        };
        assert_eq!(of(|tally| tally.end_whole(20)), (40, 0));
        assert_eq!(of(Tally::end_part), (30, 0));
    }

    /// A recording that was read to its end lost nothing, whatever it says it had.
    #[test]
    fn nothing_unreadable() {
        let mut tally =
            Tally { whole: Some(Totals { samples: 10, weight: 60, ..Totals::default() }), ..Tally::default() };
        tally.end_whole(20);
        assert_eq!(tally.unreadable, 0);
    }
}
