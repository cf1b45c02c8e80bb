//! When and why the recorder slowed down, as its records tell: each step once, in the order of time.

use profrec_format::{Pace, PaceReason, Record};

/// Steps that are kept; a recorder makes one in seconds at most.
const STEPS: usize = 100_000;
/// Steps that a note names.
const SHOWN: usize = 4;

/// The steps of a recording, in the order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PaceLog {
    steps: Vec<Pace>,
}

impl PaceLog {
    /// Adds what a segment that starts at `start` says. One that says nothing is of the usual pace.
    pub fn add_segment(&mut self, start: u64, records: &[Record]) {
        let paces =
            || records.iter().filter_map(|record| if let Record::Pace(pace) = record { Some(*pace) } else { None });
        if paces().next().is_none_or(|first| first.reason != PaceReason::GoesOn) && !self.steps.is_empty() {
            self.add(usual(start));
        }
        paces().for_each(|pace| self.add(pace));
    }

    /// Adds a step, unless all goes on as before.
    fn add(&mut self, pace: Pace) {
        let of = |pace: &Pace| (pace.weight, pace.whole_stack, pace.stack_size);
        if self.steps.len() < STEPS && self.steps.last().is_none_or(|last| of(last) != of(&pace)) {
            self.steps.push(pace);
        }
    }

    /// Each step.
    pub fn steps(&self) -> &[Pace] {
        &self.steps
    }

    /// The same in one sentence, of a recording that started at `start`; `None` when the recorder never had to slow down.
    pub fn note(&self, start: u64) -> Option<String> {
        let limit = self.steps.iter().map(|pace| pace.limit).find(|limit| *limit > 0);
        let mut weight = 1;
        let mut changes = Vec::new();
        for pace in &self.steps {
            if pace.weight != weight {
                weight = pace.weight;
                let ticks = if weight == 1 { "tick" } else { "ticks" };
                changes.push(format!("for {weight} {ticks} from {:.1} s on", seconds(pace.time, start)));
            }
        }
        let budget =
            limit.map_or_else(String::new, |limit| format!(" to cost no more than {} of the machine", share(limit)));
        let mut told = Vec::new();
        if !changes.is_empty() {
            let more = changes.len().saturating_sub(SHOWN);
            changes.truncate(SHOWN);
            if more > 0 {
                changes.push(format!("{more} more changes, see --info"));
            }
            told.push(format!("a sample stands {}; figures count ticks", changes.join(", ")));
        }
        let full = self.steps.iter().map(|pace| pace.whole_stack).max().unwrap_or(0);
        if let Some(pace) = self.steps.iter().find(|pace| (1..full).contains(&pace.whole_stack)) {
            let (from, depth) = (seconds(pace.time, start), pace.whole_stack >> 10);
            told.push(format!("stacks deeper than {depth} KiB were not copied whole from {from:.1} s on"));
        }
        (!told.is_empty()).then(|| format!("the recorder slowed down{budget}: {}", told.join("; ")))
    }
}

/// What holds where nothing is said.
fn usual(time: u64) -> Pace {
    Pace { time, weight: 1, whole_stack: 0, stack_size: 0, cost: 0, limit: 0, reason: PaceReason::GoesOn }
}

/// Seconds after the start.
pub fn seconds(time: u64, start: u64) -> f64 {
    time.saturating_sub(start) as f64 / 1e9
}

/// Millionths as a percentage.
pub fn share(millionths: u32) -> String {
    let text = format!("{:.2}", f64::from(millionths) / 1e4);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(seconds: u64, weight: u32, reason: PaceReason) -> Pace {
        let time = 100 + seconds * 1_000_000_000;
        Pace { time, weight, whole_stack: 1 << 19, stack_size: 1 << 16, cost: 23_000, limit: 10_000, reason }
    }

    fn log(segments: &[&[Pace]]) -> PaceLog {
        let mut log = PaceLog::default();
        for (number, paces) in segments.iter().enumerate() {
            let records: Vec<_> = paces.iter().copied().map(Record::Pace).collect();
            log.add_segment(100 + number as u64 * 60_000_000_000, &records);
        }
        log
    }

    /// What a segment only repeats is no step; one that says nothing, as the first of the next part of a merged recording, is
    /// of the usual pace.
    #[test]
    fn each_step_once() {
        let (slow, goes_on) = (pace(12, 4, PaceReason::TooCostly), pace(60, 4, PaceReason::GoesOn));
        let log = log(&[&[slow], &[goes_on, pace(70, 2, PaceReason::Affordable)], &[]]);
        let steps: Vec<_> = log.steps().iter().map(|pace| (seconds(pace.time, 100), pace.weight)).collect();
        assert_eq!(steps, [(12.0, 4), (70.0, 2), (120.0, 1)]);
    }

    /// The note says from when on a sample stands for how much, and why; without steps there is none.
    #[test]
    fn the_note_says_when_and_why() {
        let slow = log(&[&[pace(12, 4, PaceReason::TooCostly), pace(70, 1, PaceReason::Affordable)]]);
        assert_eq!(
            slow.note(100).unwrap_or_default(),
            "the recorder slowed down to cost no more than 1% of the machine: a sample stands for 4 ticks from 12.0 s on, \
             for 1 tick from 70.0 s on; figures count ticks"
        );
        assert_eq!(log(&[&[], &[]]).note(100), None);
    }

    /// A recording with endless steps is told in a few words, and does not fill the memory.
    #[test]
    fn endless_steps() {
        let steps: Vec<_> =
            (0..200_000).map(|number| pace(number, number as u32 % 7 + 1, PaceReason::TooCostly)).collect();
        let log = log(&[&steps]);
        assert_eq!(log.steps().len(), STEPS);
        assert!(log.note(100).is_some_and(|note| note.len() < 300));
    }

    /// Shares have no more digits than they need.
    #[test]
    fn shares_are_short() {
        assert_eq!([share(10_000), share(5_000), share(12_345), share(0)], ["1%", "0.5%", "1.23%", "0%"]);
    }
}
