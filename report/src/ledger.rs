//! What is missing, by cause: the block under every view. It is one line when all is well.

use std::collections::BTreeMap;
use std::fmt::Write;

use profrec_format::{LossCause, Lost, StopReason};

use crate::escape;
use crate::facts::Facts;
use crate::refine::LeftOut;
use crate::stacks::{Stacks, Verdicts};
use crate::symbols::{Names, Reason};

/// Losses, verdicts and missing names of a profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Samples that are shown, each as often as it stands for a tick.
    pub shown: u64,
    /// Samples that are not, for what is in their stacks.
    pub left_out: LeftOut,
    /// The same of all samples in the recording.
    pub recorded: u64,
    /// Samples in the recording, where they stand for more than a tick.
    pub taken: Option<u64>,
    /// Ticks that hit the target, when the recording was closed.
    pub expected: Option<u64>,
    /// Of which other ticks they are, in words; empty when there are none.
    pub others: String,
    /// What was lost, by cause; only causes that lost something. Ticks that never came are in `others`.
    pub lost: Vec<(LossCause, u64)>,
    /// How the walks of the samples' stacks ended.
    pub verdicts: Verdicts,
    /// Locations without a name, by reason.
    pub unnamed: Vec<Unnamed>,
    /// What is wrong with the file.
    pub notes: Vec<String>,
    /// How much of the file was read, when it was not all of it.
    pub part_read: Option<String>,
}

/// Locations that have no name for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unnamed {
    /// The reason.
    pub reason: Reason,
    /// Distinct locations.
    pub locations: u64,
    /// Frames of all samples at them.
    pub frames: u64,
}

const NO_USER_STACKS: &str = "no user stacks were recorded";

impl Ledger {
    /// Draws up the balance.
    pub fn build(facts: &Facts, stacks: &Stacks, names: &Names, location_samples: &[u64]) -> Self {
        Self {
            shown: stacks.samples,
            left_out: LeftOut::default(),
            recorded: facts.ticks,
            taken: facts.is_weighted().then_some(facts.samples),
            expected: facts.expected(),
            others: facts.accounts.others(&facts.lost, grouped),
            lost: facts.lost.by_cause().filter(|(cause, count)| *count > 0 && cause.lost() != Lost::Ticks).collect(),
            verdicts: stacks.verdicts(),
            unnamed: unnamed(names, location_samples),
            notes: notes(facts),
            part_read: facts.part_read(),
        }
    }

    /// The block in words, in whole lines: a single one when nothing is missing.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut parts = vec![self.samples_text()];
        parts.extend(self.left_out_text());
        if self.shown > 0 {
            parts.extend([self.stacks_text(), self.names_text()]);
        }
        let well = self.left_out.is_empty()
            && self.lost.is_empty()
            && self.unnamed.is_empty()
            && self.verdicts.complete == self.shown;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", parts.join(if well { "; " } else { "\n" }));
        if let Some(part_read) = &self.part_read {
            let _ = writeln!(text, "{part_read}");
        }
        for note in &self.notes {
            let _ = writeln!(text, "note: {}", escape::text(note));
        }
        text
    }

    /// The same in one short line, for a picture.
    pub fn brief(&self) -> String {
        let locations: u64 = self.unnamed.iter().map(|unnamed| unnamed.locations).sum();
        let complete = self.complete_text();
        let lost = self.lost_text();
        let weighted = self.taken.map(|taken| format!("{} samples stand for them; ", grouped(taken)));
        let weighted = weighted.unwrap_or_default();
        format!("{weighted}{lost}; {complete}; {} locations without a name", grouped(locations))
    }

    fn samples_text(&self) -> String {
        let (shown, recorded) = (grouped(self.shown), grouped(self.recorded));
        let samples = match self.taken.map(grouped) {
            None if shown == recorded => format!("{shown} samples"),
            None => format!("{shown} of {recorded} samples shown"),
            Some(taken) if shown == recorded => format!("{taken} samples for {shown} ticks"),
            Some(taken) => format!("{shown} of {recorded} ticks shown, for which {taken} samples stand"),
        };
        let expected = self.expected.map_or_else(|| "an unknown number".to_owned(), grouped);
        format!("{samples}, {expected} expected{}, {}", self.others, self.lost_text())
    }

    /// What was left out for its stacks, by option; nothing when no such option was given.
    pub fn left_out_text(&self) -> Option<String> {
        let counted = if self.taken.is_some() { "ticks" } else { "samples" };
        let by_option: Vec<_> =
            self.left_out.by_option().map(|(option, count)| format!("{} by --{option}", grouped(count))).collect();
        let (out, all) = (self.left_out.samples(), self.left_out.samples() + self.shown);
        let share = if out == 0 { "0.0%".to_owned() } else { percent(out, all) };
        let text = || format!("left out: {share} of {} {counted}: {}", grouped(all), by_option.join(", "));
        (!by_option.is_empty()).then(text)
    }

    fn lost_text(&self) -> String {
        let lost = self.lost.iter().map(|(cause, count)| match cause.is_samples() {
            true => format!("{} samples ({})", grouped(*count), cause.name()),
            false => format!("{} {}", grouped(*count), cause.name().replace('_', " ")),
        });
        match lost.collect::<Vec<_>>().as_slice() {
            [] => "none lost".to_owned(),
            lost => format!("lost {}", lost.join(", ")),
        }
    }

    /// How many of the stacks that there are reach start code.
    fn complete_text(&self) -> String {
        let Verdicts { complete, exec_or_exit, .. } = self.verdicts;
        let stacks = self.shown - exec_or_exit.min(self.shown);
        if self.has_no_user_stacks() {
            return NO_USER_STACKS.to_owned();
        }
        match complete == stacks {
            true => "all stacks complete".to_owned(),
            false => format!("{} of stacks complete", percent(complete, stacks)),
        }
    }

    fn has_no_user_stacks(&self) -> bool {
        self.shown > 0 && self.verdicts.not_recorded + self.verdicts.exec_or_exit == self.shown
    }

    fn stacks_text(&self) -> String {
        let verdicts = &self.verdicts;
        if self.has_no_user_stacks() {
            return NO_USER_STACKS.to_owned();
        }
        let mut text = self.complete_text();
        let incomplete = [
            (verdicts.truncated, "truncated"),
            (verdicts.no_cfi, "without unwind information"),
            (verdicts.not_code, "with a return address that is no code"),
            (verdicts.implausible - verdicts.not_code, "implausible"),
            (verdicts.not_recorded, "not recorded"),
            (verdicts.guessed, "with guessed frames"),
        ];
        let parts = incomplete.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<String> = parts.map(|(count, what)| format!("{} {what}", grouped(*count))).collect();
        if !parts.is_empty() {
            let _ = write!(text, " ({})", parts.join(", "));
        }
        match verdicts.exec_or_exit {
            0 => {}
            1 => text.push_str(", 1 sample in an exec or exit has none"),
            count => {
                let _ = write!(text, ", {} samples in an exec or exit have none", grouped(count));
            }
        }
        text
    }

    fn names_text(&self) -> String {
        let locations: u64 = self.unnamed.iter().map(|unnamed| unnamed.locations).sum();
        if locations == 0 {
            return "every location named".to_owned();
        }
        let reasons = self.unnamed.iter();
        let reasons = reasons.map(|unnamed| format!("{} {}", grouped(unnamed.locations), unnamed.reason.explain()));
        let noun = if locations == 1 { "location" } else { "locations" };
        format!("{} {noun} without a name: {}", grouped(locations), reasons.collect::<Vec<_>>().join(", "))
    }
}

fn unnamed(names: &Names, location_samples: &[u64]) -> Vec<Unnamed> {
    let mut reasons: BTreeMap<Reason, (u64, u64)> = BTreeMap::new();
    for (reason, &samples) in names.unnamed.iter().zip(location_samples) {
        if let Some(reason) = reason.as_ref().filter(|_| samples > 0) {
            let (locations, frames) = reasons.entry(*reason).or_default();
            *locations += 1;
            *frames += samples;
        }
    }
    reasons.into_iter().map(|(reason, (locations, frames))| Unnamed { reason, locations, frames }).collect()
}

fn notes(facts: &Facts) -> Vec<String> {
    let mut notes = Vec::new();
    match &facts.totals {
        None => {
            let recovered = format!("{:.1} s, {} samples recovered", facts.seconds(), grouped(facts.samples));
            notes.push(format!("the recording was not closed, its end may be missing: {recovered}"));
        }
        Some(totals) if facts.ticks.checked_add(facts.ticks_lost()) != Some(totals.expected) => {
            notes.push("expected samples are not the samples written and lost: the recorder miscounted".to_owned());
        }
        Some(totals) if totals.stop == StopReason::NotClosed => {
            notes.push("the recording that this one was made of was not closed, its end may be missing".to_owned())
        }
        Some(_) => {}
    }
    notes.extend(facts.pace.note(facts.header.start_monotonic));
    notes.extend(wrong_cpus(facts));
    notes.extend(gaps(facts));
    notes.extend(facts.damage.iter().map(|damage| format!("the recording is {damage}")));
    notes.extend(lost_to_damage(facts).map(|samples| format!("{samples} lost to damage")));
    notes
}

/// CPUs whose account does not close, or is not of the samples that are there, in words.
fn wrong_cpus(facts: &Facts) -> Option<String> {
    const SHOWN: usize = 5;
    let mut cpus = facts.accounts.wrong();
    cpus.extend(&facts.miscounted);
    cpus.sort_unstable();
    cpus.dedup();
    let shown: Vec<_> = cpus.iter().take(SHOWN).map(u32::to_string).collect();
    let more = if cpus.len() > SHOWN { format!(" and {} more", cpus.len() - SHOWN) } else { String::new() };
    let text =
        || format!("ticks of CPU {}{more} are not what became of them: the recorder miscounted", shown.join(", "));
    (!cpus.is_empty()).then(text)
}

/// When nothing was recorded, in words.
fn gaps(facts: &Facts) -> Option<String> {
    const SHOWN: usize = 3;
    let gaps: Vec<_> = facts.gaps().map(|(from, to)| (from as f64 / 1e9, to as f64 / 1e9)).collect();
    let seconds: f64 = gaps.iter().map(|(from, to)| to - from).sum();
    let mut times: Vec<_> = gaps.iter().take(SHOWN).map(|(from, to)| format!("{from:.1}..{to:.1}")).collect();
    if gaps.len() > SHOWN {
        times.push(format!("{} more", gaps.len() - SHOWN));
    }
    let text = || format!("between its parts, nothing was recorded for {seconds:.1} s: {}", times.join(", "));
    (!gaps.is_empty()).then(text)
}

/// How many samples damage has cost, in words.
fn lost_to_damage(facts: &Facts) -> Option<String> {
    if facts.damage.is_empty() {
        return None;
    }
    let lost = facts.lost_to_damage;
    match lost.samples {
        // What is wrong has its own count already.
        Some(0) if facts.lost.of(LossCause::Unreadable) > 0 => None,
        Some(samples) => Some(format!("{} samples", grouped(samples))),
        None if lost.at_least > 0 => Some(format!("at least {} samples", grouped(lost.at_least))),
        None => None,
    }
}

/// A number with its digits in groups of three.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share in percent that says 100 % and 0 % only when it is exactly that.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 || part == whole {
        return "100%".to_owned();
    }
    let share = part as f64 * 100.0 / whole as f64;
    format!("{:.1}%", if part > 0 { share.clamp(0.1, 99.9) } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Ledger {
        let verdicts = Verdicts { complete: 12_345, ..Verdicts::default() };
        Ledger { shown: 12_345, recorded: 12_345, expected: Some(12_345), verdicts, ..Ledger::default() }
    }

    /// One line when all is well.
    #[test]
    fn all_well_is_one_line() {
        assert_eq!(
            good().text(),
            "12,345 samples, 12,345 expected, none lost; all stacks complete; every location named\n"
        );
    }

    /// Every kind of trouble is named with its number.
    #[test]
    fn trouble_is_named() {
        let unnamed = Unnamed { reason: Reason::NotCovered, locations: 2, frames: 9 };
        let ledger = Ledger {
            shown: 1_000,
            expected: None,
            lost: vec![(LossCause::RingFull, 3), (LossCause::ProcessEvents, 7)],
            verdicts: Verdicts { complete: 999, truncated: 1, guessed: 4, ..Verdicts::default() },
            unnamed: vec![unnamed],
            notes: vec!["the recording was not closed".to_owned()],
            ..good()
        };
        assert_eq!(
            ledger.text(),
            "1,000 of 12,345 samples shown, an unknown number expected, \
             lost 3 samples (ring_full), 7 process events\n\
             99.9% of stacks complete (1 truncated, 4 with guessed frames)\n\
             2 locations without a name: 2 no symbol covers the address\n\
             note: the recording was not closed\n"
        );
    }

    /// A sample in an exec or exit has no stack that could be incomplete, in the block and in the line for a picture.
    #[test]
    fn block_and_line_say_the_same_of_stacks() {
        let verdicts = Verdicts { complete: 12_300, exec_or_exit: 45, ..Verdicts::default() };
        let ledger = Ledger { verdicts, ..good() };
        assert!(ledger.text().contains("all stacks complete, 45 samples in an exec or exit have none"));
        assert_eq!(ledger.brief(), "none lost; all stacks complete; 0 locations without a name");
    }

    /// Where samples stand for more than a tick, it is said what is counted.
    #[test]
    fn samples_and_ticks_are_told_apart() {
        let weighted = Ledger { taken: Some(5_000), ..good() };
        let text = weighted.text();
        assert!(text.starts_with("5,000 samples for 12,345 ticks, 12,345 expected, none lost; all stacks"), "{text}");
        let text = Ledger { shown: 1_000, ..weighted }.text();
        assert!(
            text.starts_with("1,000 of 12,345 ticks shown, for which 5,000 samples stand, 12,345 expected"),
            "{text}"
        );
    }

    /// A note that quotes the recording can neither steer the terminal nor forge a line.
    #[test]
    fn notes_are_escaped() {
        let text = Ledger { notes: vec!["process 3: x\n\u{1b}[31mnote: all is fine".to_owned()], ..good() }.text();
        assert_eq!((text.lines().count(), text.contains('\u{1b}')), (2, false), "{text}");
    }

    /// 99.99 % is not all.
    #[test]
    fn percentages_do_not_round_up_to_all() {
        assert_eq!(percent(99_999, 100_000), "99.9%");
        assert_eq!(percent(1, 100_000), "0.1%");
        assert_eq!(percent(0, 10), "0.0%");
    }
}
