//! Whether a recording is whole: every frame, record and sample of it is read, and compared with what the file says of itself.

use std::fmt::Write;

use profrec_format::{DamageKind, Record, Recording, Segment, SegmentSummary};
use rayon::prelude::*;
use serde::Serialize;

use crate::escape;
use crate::facts::Facts;
use crate::ledger::grouped;

/// What came of checking a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing is wrong with it.
    Whole,
    /// Its end is missing: it was not closed, or it was cut off. What there is, is whole.
    Truncated,
    /// Something in it is not what was written.
    Damaged,
}

/// What is in a recording, and what is wrong with it.
#[derive(Debug, Serialize)]
pub struct Check {
    outcome: Outcome,
    closed: bool,
    bytes: u64,
    segments: usize,
    records: u64,
    samples: u64,
    ticks: u64,
    seconds: f64,
    problems: Vec<String>,
    lost_samples: Option<u64>,
    lost_seconds: f64,
}

impl Outcome {
    /// The exit status that tells it to scripts.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Whole => 0,
            Self::Truncated => 3,
            Self::Damaged => 4,
        }
    }
}

impl Check {
    /// Reads all of a recording.
    pub fn of(recording: &Recording<'_>) -> Self {
        let facts = Facts::gather(recording);
        let contents: Vec<Content> = recording.segments().par_iter().map(Content::of).collect();
        let samples = contents.iter().map(|content| content.samples).sum();
        let ticks = contents.iter().map(|content| content.ticks).sum();
        let mut problems: Vec<String> = contents.iter().flat_map(|content| &content.problems).cloned().collect();
        if let Some(index) = recording.index().filter(|_| facts.damage.is_empty()) {
            problems.extend(index.iter().zip(&contents).filter_map(|(summary, content)| content.contradicts(summary)));
        }
        if facts.damage.is_empty() && problems.is_empty() {
            problems.extend(totals_problems(&facts, samples, ticks));
        }
        let truncated = facts.totals.is_none() || !facts.damage.is_empty();
        let only_the_end = recording.damage().iter().all(|damage| damage.kind == DamageKind::Truncated);
        let outcome = match (problems.is_empty() && only_the_end, truncated) {
            (false, _) => Outcome::Damaged,
            (true, true) => Outcome::Truncated,
            (true, false) => Outcome::Whole,
        };
        let undecoded: u64 = contents.iter().map(|content| content.undecoded).sum();
        Self {
            outcome,
            closed: facts.totals.is_some(),
            bytes: facts.bytes,
            segments: contents.len(),
            records: contents.iter().map(|content| content.records).sum(),
            samples,
            ticks,
            seconds: facts.seconds(),
            lost_samples: facts.lost_to_damage.samples.map(|samples| samples.saturating_add(undecoded)),
            lost_seconds: facts.lost_to_damage.nanoseconds as f64 / 1e9,
            problems: facts.damage.into_iter().chain(problems).collect(),
        }
    }

    /// What came of it.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The same in words.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let word = match (self.outcome, self.closed) {
            (Outcome::Whole, _) => "whole",
            (Outcome::Truncated, true) => "truncated",
            (Outcome::Truncated, false) => "not closed",
            (Outcome::Damaged, _) => "damaged",
        };
        let held = if self.outcome == Outcome::Whole { "" } else { " can be read" };
        // Writing to a string cannot fail; so below.
        let _ = writeln!(
            text,
            "{word}: {} samples and {} records in {} segments, {:.1} s, {} bytes{held}",
            grouped(self.samples),
            grouped(self.records),
            grouped(self.segments as u64),
            self.seconds,
            grouped(self.bytes)
        );
        for problem in &self.problems {
            let _ = writeln!(text, "  {}", escape::text(problem));
        }
        match self.lost_samples {
            _ if self.outcome == Outcome::Whole => {}
            Some(samples) => {
                let _ = writeln!(text, "lost: {} samples, {:.1} s", grouped(samples), self.lost_seconds);
            }
            None => {
                let _ = writeln!(
                    text,
                    "lost: what came after the last sample is unknown; before it {:.1} s",
                    self.lost_seconds
                );
            }
        }
        text
    }

    /// The same for scripts.
    pub fn json(&self) -> serde_json::Result<String> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        Ok(escape::json(&text).into_owned())
    }
}

/// What reading a segment to its last sample has found.
#[derive(Default)]
struct Content {
    records: u64,
    samples: u64,
    /// What these stand for.
    ticks: u64,
    /// Samples that its frames promise and that could not be decoded.
    undecoded: u64,
    times: Option<(u64, u64)>,
    /// The processes of the samples, ascending.
    pids: Vec<u32>,
    /// The earliest and the latest time of a loss.
    losses: Option<(u64, u64)>,
    problems: Vec<String>,
}

impl Content {
    fn of(segment: &Segment<'_>) -> Self {
        let mut content = Self::default();
        match segment.records() {
            Ok(records) => {
                content.records = records.len() as u64;
                let times = records.iter().filter_map(|record| match record {
                    Record::Loss(loss) => Some((loss.time, loss.time)),
                    _ => None,
                });
                content.losses = times.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)));
            }
            // Without them, samples mean nothing.
            Err(error) => {
                content.problems.push(error.to_string());
                content.undecoded = segment.sample_count();
                return content;
            }
        }
        let mut samples = segment.samples();
        loop {
            match samples.next() {
                Ok(Some(sample)) => {
                    content.samples += 1;
                    content.ticks += u64::from(sample.weight);
                    let (first, last) = content.times.unwrap_or((sample.time, sample.time));
                    content.times = Some((first.min(sample.time), last.max(sample.time)));
                    if content.pids.last() != Some(&sample.pid) {
                        content.pids.push(sample.pid);
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    content.problems.push(error.to_string());
                    break;
                }
            }
        }
        content.pids.sort_unstable();
        content.pids.dedup();
        content.undecoded = segment.sample_count().saturating_sub(content.samples);
        if content.problems.is_empty() && content.times != segment.sample_times() {
            content.problems.push("its samples were not taken at the times that their frames say".to_owned());
        }
        content
    }

    fn contradicts(&self, summary: &SegmentSummary) -> Option<String> {
        let losses = self.losses.unwrap_or_default();
        // An earlier version did not say when something was lost.
        let losses_agree = summary.last_loss == 0 || losses == (summary.first_loss, summary.last_loss);
        let agrees = self.pids == summary.pids && losses_agree && self.ticks == summary.ticks();
        let agrees = agrees || !self.problems.is_empty();
        (!agrees).then(|| {
            format!("the index has other processes, losses or weights for the segment at byte {}", summary.offset)
        })
    }
}

/// What is wrong with the totals of a recording that is otherwise whole.
fn totals_problems(facts: &Facts, samples: u64, ticks: u64) -> Vec<String> {
    let Some(totals) = &facts.totals else { return Vec::new() };
    let mut problems = Vec::new();
    if totals.samples != samples {
        let (said, found) = (grouped(totals.samples), grouped(samples));
        problems.push(format!("its totals say {said} samples, but it has {found}"));
    }
    if totals.samples == samples && totals.ticks() != ticks {
        let (said, found) = (grouped(totals.ticks()), grouped(ticks));
        problems.push(format!("its totals say that its samples stand for {said} ticks, but they do for {found}"));
    }
    if totals.ticks().checked_add(facts.ticks_lost()) != Some(totals.expected) {
        problems.push("expected samples are not the samples written and lost".to_owned());
    }
    problems
}
