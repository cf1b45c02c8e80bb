//! The last words of a recording: how much there is, what is missing, and what to do with it.

use std::time::Duration;

use anyhow::Error;
use profrec_format::{LossCause, Lost, Outcome, StopReason, Totals};

use crate::hybrid::tally::Ways;
use crate::meter::Health;
use crate::outcomes::Outcomes;
use crate::own_cost;
use crate::store::Kept;

/// What a finished recording holds, for the summary.
pub(crate) struct Finished {
    pub(crate) totals: Totals,
    pub(crate) outcomes: Outcomes,
    pub(crate) health: Health,
    /// Unchanged pieces of stacks that were not known any more.
    pub(crate) unknown_chunks: u64,
    /// Processes whose code has no names, and why.
    pub(crate) unnamed: Vec<(u32, String)>,
    pub(crate) bytes: u64,
    pub(crate) lasted: Duration,
    /// Whether its end could be written.
    pub(crate) closed: bool,
    /// Why the output took no more.
    pub(crate) refusal: Option<Error>,
    /// What there is of it.
    pub(crate) kept: Kept,
    /// What was done to keep within the budget, in words.
    pub(crate) slowed: Option<String>,
    /// What clocks of threads did not see, in words.
    pub(crate) unseen: Option<String>,
}

/// The summary as it is printed.
pub(crate) fn text(finished: &Finished) -> String {
    let Totals { expected, samples, lost, recorder_cpu, bpf_time, bpf_runs, .. } = &finished.totals;
    let ticks = finished.totals.ticks();
    let mut lines = vec![format!(
        "Recorded {samples} samples in {:.1} s: {} ({} a sample)",
        finished.lasted.as_secs_f64(),
        size(finished.bytes),
        size(finished.bytes.checked_div(*samples).unwrap_or(0)),
    )];
    let lost_samples: Vec<String> = lost
        .iter()
        .filter(|(cause, _)| cause.is_samples())
        .map(|(cause, count)| format!(" + {count} lost ({})", cause.name()))
        .collect();
    let lost_samples = if lost_samples.is_empty() { " + 0 lost".to_owned() } else { lost_samples.concat() };
    let written = if ticks == *samples { "written".to_owned() } else { format!("ticks by {samples} samples") };
    lines.push(format!("  expected {expected} = {ticks} {written}{lost_samples}"));
    lines.extend(clock(&finished.outcomes, lost));
    lines.extend(finished.slowed.iter().chain(&finished.unseen).map(|words| format!("  {words}")));
    for (cause, count) in lost.iter().filter(|(cause, _)| cause.lost() == Lost::Events) {
        lines.push(format!("  {count} process events lost ({}): some modules may be unknown", cause.name()));
    }
    lines.extend(counts(&finished.outcomes));
    lines.extend(ways(&finished.totals, &finished.health));
    if lost.iter().any(|(cause, _)| cause.is_samples() && *cause != LossCause::CountsFull) {
        lines.push("  less is lost with a larger --ring-size or a lower rate (-F)".to_owned());
    }
    if lost.iter().any(|(cause, _)| *cause == LossCause::Throttled) {
        lines.push(
            "  the kernel throttled the clock: a lower rate (-F), or sudo sysctl kernel.perf_event_max_sample_rate=100000"
                .to_owned(),
        );
    }
    if finished.totals.stop == StopReason::SizeReached {
        lines.push("  --max-size was reached: what came later was not recorded".to_owned());
    }
    let outcomes = &finished.outcomes;
    if outcomes.stacks_cut > 0 {
        lines.push(format!(
            "  {} stacks were deeper than --whole-stack: only both ends of --stack-size were kept",
            outcomes.stacks_cut
        ));
    }
    if outcomes.unreadable_pages > 0 {
        lines.push(format!(
            "  {} pages of stacks were not in memory (never written, or swapped out): they count as empty",
            outcomes.unreadable_pages
        ));
    }
    if finished.unknown_chunks > 0 {
        lines.push(format!("  {} pieces of stacks are missing: their stacks are truncated", finished.unknown_chunks));
    }
    for (pid, why) in &finished.unnamed {
        lines.push(format!("  process {pid}: {}", why.escape_debug()));
    }
    let (health, nanoseconds) = (&finished.health, finished.lasted.as_nanos() as u64);
    let cpus = own_cost::online_cpus();
    let (of_one, of_all) = Health { cpu: *recorder_cpu, ..*health }.cpu_percent(nanoseconds, cpus);
    let mut cost =
        format!("  own CPU {:.0} ms ({of_one:.2} % of one CPU, {of_all:.2} % of {cpus})", *recorder_cpu as f64 / 1e6);
    if *samples > 0 {
        cost.push_str(&format!(", {:.1} us a sample", *recorder_cpu as f64 / 1e3 / *samples as f64));
    }
    if let Some(each) = bpf_time.checked_div(*bpf_runs).filter(|each| *each > 0) {
        cost.push_str(&format!("; in the kernel {:.1} us a tick", each as f64 / 1e3));
    }
    lines.push(cost);
    let kernel = format!("{} in the kernel, at most {} % full", size(health.kernel_memory), health.fullest);
    lines.push(match expected {
        0 => format!("  {kernel}"),
        _ => format!(
            "  {} of the target's ticks are samples; {} from tick to file (median/99 %/longest); {kernel}",
            health.success(),
            health.delay(2)
        ),
    });
    if *samples == 0 {
        lines.push("No sample: the target did not use the CPU, or ran for less than the interval".to_owned());
        if outcomes.filtered > 0 {
            lines.push(format!(
                "  {} ticks hit others, or idle CPUs: are the target's number and names right?",
                outcomes.filtered
            ));
        }
    }
    lines.extend(finished.kept.lines.iter().cloned());
    lines.join("\n")
}

/// What had no room in the maps of counts, with what helps.
fn counts(outcomes: &Outcomes) -> impl Iterator<Item = String> + use<> {
    let Outcomes { counts_full, stacks_collided, stacks_full, .. } = *outcomes;
    let stacks = format!(
        "  {} stacks without addresses ({stacks_collided} of others' places, {stacks_full} without room): less with more \
         --stack-entries, or a shorter --flush",
        stacks_collided + stacks_full
    );
    let counts =
        format!("  {counts_full} ticks without room for counts: less with more --count-entries, or a shorter --flush");
    let stacks = (stacks_collided + stacks_full > 0).then_some(stacks);
    stacks.into_iter().chain((counts_full > 0).then_some(counts))
}

/// How many processes were sampled while others were counted, and what should have been.
fn ways(totals: &Totals, health: &Health) -> Option<String> {
    let Ways { all, sampled } = health.ways?;
    let mut text = format!("  {sampled} of {all} processes sampled, for their chains break; the others counted");
    let remarks = totals.outcomes.iter().filter(|(_, outcome, _)| *outcome == Outcome::NotSampled);
    let ticks: u64 = remarks.map(|(_, _, ticks)| ticks).sum();
    if ticks > 0 {
        text.push_str(&format!(", with {ticks} ticks of broken chains: so many processes cannot be sampled at a time"));
    }
    Some(text)
}

/// What became of the ticks that did not hit the target, and which ones did not come, where there is something to say.
fn clock(outcomes: &Outcomes, lost: &[(LossCause, u64)]) -> Option<String> {
    let others = [(outcomes.idle, "idle"), (outcomes.filtered, "of other processes")];
    let parts = others.iter().filter(|(count, _)| *count > 0);
    let mut text: String = parts.map(|(count, what)| format!(" + {count} {what}")).collect();
    let missed = lost.iter().filter(|(cause, _)| cause.lost() == Lost::Ticks);
    let missed: Vec<_> = missed.map(|(cause, count)| format!("{count} more did not come ({})", cause.name())).collect();
    if text.is_empty() && missed.is_empty() {
        return None;
    }
    if !missed.is_empty() {
        text.push_str(&format!("; {}", missed.join(", ")));
    }
    Some(format!("  ticks {} = {} of the target{text}", outcomes.ticks, outcomes.expected()))
}

/// A number of bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..1_000_000 => format!("{:.1} KB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn finished(lost: Vec<(LossCause, u64)>) -> Finished {
        Finished {
            totals: Totals { expected: 110, samples: 100, lost, recorder_cpu: 1_000_000, ..Totals::default() },
            outcomes: Outcomes::default(),
            health: Health::default(),
            unknown_chunks: 0,
            unnamed: vec![(7, "refused\n".to_owned())],
            bytes: 12_345,
            lasted: Duration::from_secs(2),
            closed: true,
            refusal: None,
            kept: Kept { path: "a.prof".into(), lines: vec!["Next: profrec report a.prof".to_owned()], failed: false },
            slowed: None,
            unseen: None,
        }
    }

    /// The equation closes, losses are named with what helps, and the next command is given.
    #[test]
    fn the_equation_closes() {
        let text = text(&finished(vec![(LossCause::RingFull, 10)]));
        assert!(text.contains("expected 110 = 100 written + 10 lost (ring_full)"), "{text}");
        assert!(text.contains("--ring-size") && text.contains(r"process 7: refused\n"), "{text}");
        assert!(text.ends_with("Next: profrec report a.prof"));
    }

    /// What hit others than the target and what did not come is told apart from what was lost, and where there is neither, nothing is.
    #[test]
    fn ticks_of_others() {
        let outcomes = Outcomes { ticks: 150, sent: 90, ring_full: 10, idle: 20, filtered: 30, ..Outcomes::default() };
        let lost = vec![(LossCause::RingFull, 10), (LossCause::Late, 3)];
        let finished = Finished { outcomes, ..finished(lost) };
        let text = text(&finished);
        let line = "ticks 150 = 100 of the target + 20 idle + 30 of other processes; 3 more did not come (late)";
        assert!(text.contains(line) && !text.contains("process events"), "{text}");
        assert_eq!(clock(&Outcomes { ticks: 9, sent: 9, ..Outcomes::default() }, &[]), None);
    }

    /// It is told how many processes are sampled among those that are counted, and when more should have been.
    #[test]
    fn the_two_ways_are_told() {
        let ways = Some(Ways { all: 1_500, sampled: 1_024 });
        let mut finished = Finished { health: Health { ways, ..Health::default() }, ..finished(Vec::new()) };
        assert!(
            text(&finished).contains("  1024 of 1500 processes sampled, for their chains break; the others counted\n")
        );
        finished.totals.outcomes =
            vec![(0, Outcome::NotSampled, 3), (1, Outcome::NotSampled, 4), (1, Outcome::Idle, 9)];
        assert!(text(&finished).contains("counted, with 7 ticks of broken chains"));
    }

    /// A recording that has ended for its size says so.
    #[test]
    fn a_limit_is_told() {
        let mut finished = finished(Vec::new());
        assert!(!text(&finished).contains("--max-size"));
        finished.totals.stop = StopReason::SizeReached;
        assert!(text(&finished).contains("--max-size was reached"));
    }
}
