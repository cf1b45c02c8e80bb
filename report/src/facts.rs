//! What a recording says about itself: how it was made, how long it is, what was lost.

use std::collections::BTreeMap;

use profrec_format::{Coverage, Damage, Header, LossCause, LostToDamage, Recording, Totals};

use crate::accounts::Accounts;
use crate::collect::Collected;
use crate::losses::{Losses, noticed, ticks_of};
use crate::measurements::Measurements;
use crate::pace::PaceLog;

/// The recording as a whole, whatever is shown of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// How it was made.
    pub header: Header,
    /// What it holds in all; `None` when it was not closed.
    pub totals: Option<Totals>,
    /// Length of the file.
    pub bytes: u64,
    /// Samples in the file, without those that turned out to be unreadable.
    pub samples: u64,
    /// Ticks of the clock that these stand for: as many, unless the recorder had to slow down.
    pub ticks: u64,
    /// When and why it had to.
    pub pace: PaceLog,
    /// Ticks and process events lost, by cause; every cause is listed.
    pub lost: Losses,
    /// What became of the ticks of its clock.
    pub accounts: Accounts,
    /// Stacks that are in it as they were in memory, too.
    pub raw_stacks: u64,
    /// How many processes were recorded in which way; `None` when all were in one, or nobody knows any more.
    pub ways: Option<Ways>,
    /// CPUs of which it has other samples than it says.
    pub miscounted: Vec<u32>,
    /// What the recorder measured of itself, when that was asked for.
    pub measurements: Measurements,
    /// Nanoseconds from the start to the end.
    pub duration: u64,
    /// Where it is not whole, in words.
    pub damage: Vec<String>,
    /// What that has cost.
    pub lost_to_damage: LostToDamage,
    /// How much of it was read.
    pub coverage: Coverage,
}

/// How many processes were recorded in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ways {
    /// With copies of stacks, at least later.
    pub sampled: u64,
    /// Without any.
    pub counted: u64,
}

impl Facts {
    /// Gathers the facts of a recording. Without totals they are counted.
    pub fn gather(recording: &Recording<'_>) -> Self {
        let header = recording.header().clone();
        let totals = recording.totals().cloned();
        let mut lost = Losses::default();
        lost.add(LossCause::ALL.map(|cause| (cause, 0)));
        match &totals {
            Some(totals) => lost.add(totals.lost.iter().copied()),
            // A segment that cannot be read counts none; whoever replays it notes that it is damaged.
            None => recording.segments().iter().for_each(|segment| {
                lost.add(noticed(&segment.records().unwrap_or_default()));
            }),
        }
        Self {
            bytes: recording.file_length() as u64,
            samples: totals.as_ref().map_or_else(|| recording.samples_found(), |totals| totals.samples),
            ticks: totals.as_ref().map_or_else(|| recording.samples_found(), Totals::ticks),
            pace: PaceLog::default(),
            lost,
            accounts: totals.as_ref().map(|totals| Accounts::of(totals, header.period)).unwrap_or_default(),
            raw_stacks: 0,
            ways: None,
            miscounted: Vec::new(),
            measurements: Measurements::default(),
            duration: end(recording).saturating_sub(header.start_monotonic),
            damage: recording.damage().iter().map(damage_text).collect(),
            lost_to_damage: recording.lost_to_damage(),
            coverage: recording.coverage(),
            header,
            totals,
        }
    }

    /// Learns what reading the samples has shown: what they stand for, when no totals say it, and which of them are lost because they could not
    /// be read, and why.
    pub fn learn(&mut self, collected: &Collected) {
        let samples = collected.unreadable;
        let ticks = match &self.totals {
            // All of it is there: what the others do not stand for, these do.
            Some(totals) if samples > 0 && self.coverage.is_whole() && self.damage.is_empty() => {
                totals.ticks().saturating_sub(collected.ticks_read)
            }
            totals => ticks_of(samples, totals.as_ref()),
        };
        match self.totals {
            Some(_) => self.ticks = self.ticks.saturating_sub(ticks),
            None => self.ticks = collected.ticks_read,
        }
        let sampled = collected.has_stack.values().filter(|has_stack| **has_stack).count();
        let ways = Ways { sampled: sampled as u64, counted: (collected.has_stack.len() - sampled) as u64 };
        self.ways = (self.header.is_hybrid() && !self.header.scrubbed).then_some(ways);
        self.samples = self.samples.saturating_sub(samples);
        self.lost.add([(LossCause::Unreadable, ticks)]);
        self.damage.extend(collected.errors.iter().map(|error| format!("not readable in part: {error}")));
    }

    /// Whether samples stand for more than one tick.
    pub fn is_weighted(&self) -> bool {
        self.ticks != self.samples
    }

    /// Compares the samples of each CPU with what the recording says, when all of it was read.
    pub fn compare_samples(&mut self, by_cpu: &BTreeMap<u32, u64>) {
        let is_all = self.coverage.is_whole() && self.damage.is_empty() && self.lost.of(LossCause::Unreadable) == 0;
        if is_all && self.accounts.are_known() {
            self.miscounted = self.accounts.differing(by_cpu);
        }
    }

    /// Ticks that hit the target, when the recorder got to say so.
    pub fn expected(&self) -> Option<u64> {
        self.totals.as_ref().map(|totals| totals.expected)
    }

    /// Ticks that were lost.
    pub fn ticks_lost(&self) -> u64 {
        self.lost.samples()
    }

    /// How much of the file was read for what is shown, when it was not all of it.
    pub fn part_read(&self) -> Option<String> {
        part_read(self.coverage)
    }

    /// The times in which nothing was recorded, in nanoseconds from the start.
    pub fn gaps(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let elapsed = |time: u64| time.saturating_sub(self.header.start_monotonic);
        self.header.gaps.iter().map(move |&(from, to)| (elapsed(from), elapsed(to)))
    }

    /// Ticks of the clock in a second of CPU time.
    pub fn frequency(&self) -> f64 {
        if self.header.period == 0 { 0.0 } else { 1e9 / self.header.period as f64 }
    }

    /// Length in seconds.
    pub fn seconds(&self) -> f64 {
        self.duration as f64 / 1e9
    }

    /// CPU time in seconds that this many ticks are.
    pub fn cpu_seconds(&self, ticks: u64) -> f64 {
        ticks as f64 * self.header.period as f64 / 1e9
    }
}

/// When a recording ended: when it was closed, else when its last sample or event was.
pub fn end(recording: &Recording<'_>) -> u64 {
    let last = || recording.segments().iter().map(|segment| segment.last_time()).max().unwrap_or_default();
    let end = recording.totals().map_or_else(last, |totals| totals.end_monotonic);
    end.max(recording.header().start_monotonic)
}

/// How much of a file was read, when it was not all of it.
pub fn part_read(coverage: Coverage) -> Option<String> {
    let Coverage { segments_read, segments, bytes_read, bytes } = coverage;
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    let text =
        || format!("read {segments_read} of {segments} segments, {} of {}", megabytes(bytes_read), megabytes(bytes));
    (!coverage.is_whole()).then(text)
}

/// Where damage is, and the time that it costs.
fn damage_text(damage: &Damage) -> String {
    match damage.nanoseconds().filter(|nanoseconds| *nanoseconds > 0) {
        Some(nanoseconds) => format!("{damage}, where {:.1} s are lost", nanoseconds as f64 / 1e9),
        None => damage.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples that cannot be read stand for the ticks that the others do not, and not for as many each as they.
    #[test]
    fn unreadable_samples_had_the_mean_weight() {
        let totals = Totals { samples: 10, weight: 60, expected: 60, ..Totals::default() };
        let whole = Facts { samples: 10, ticks: 60, totals: Some(totals), ..Facts::default() };
        let collected = Collected { unreadable: 5, ticks_read: 20, ..Collected::default() };
        let learned = |mut facts: Facts| {
            facts.learn(&collected);
            (facts.ticks, facts.lost.of(LossCause::Unreadable))
        };
        assert_eq!(learned(whole.clone()), (20, 40));
        assert_eq!(learned(Facts { damage: vec!["damaged".to_owned()], ..whole }), (30, 30));
    }

    /// Of a recording that was scrubbed, nobody knows any more which processes were sampled.
    #[test]
    fn the_ways_of_processes() {
        let has_stack = BTreeMap::from([(1, true), (2, false), (3, false)]);
        let collected = Collected { has_stack, ..Collected::default() };
        let ways = |scrubbed, counted_every| {
            let header = Header { counted_every, scrubbed, ..Header::default() };
            let mut facts = Facts { header, ..Facts::default() };
            facts.learn(&collected);
            facts.ways
        };
        assert_eq!(ways(false, 1), Some(Ways { sampled: 1, counted: 2 }));
        assert_eq!([ways(true, 1), ways(false, 0)], [None, None]);
    }
}
