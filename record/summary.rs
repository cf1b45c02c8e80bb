//! The last words of a recording: how much there is, what is missing, and what to do with it.

use std::time::Duration;

use anyhow::Error;
use profrec_format::{StopReason, Totals};

use crate::sampler::Outcomes;
use crate::store::Kept;

/// What a finished recording holds, for the summary.
pub(crate) struct Finished {
    pub(crate) totals: Totals,
    pub(crate) outcomes: Outcomes,
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
    lines.extend(finished.slowed.iter().map(|slowed| format!("  {slowed}")));
    for (cause, count) in lost.iter().filter(|(cause, _)| !cause.is_samples()) {
        lines.push(format!("  {count} process events lost ({}): some modules may be unknown", cause.name()));
    }
    if lost.iter().any(|(cause, _)| cause.is_samples()) {
        lines.push("  less is lost with a larger --ring-size or a lower rate (-F)".to_owned());
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
    let mut cost = format!("  own CPU {:.0} ms", *recorder_cpu as f64 / 1e6);
    if *samples > 0 {
        cost.push_str(&format!(", {:.1} us a sample", *recorder_cpu as f64 / 1e3 / *samples as f64));
    }
    if let Some(each) = bpf_time.checked_div(*bpf_runs).filter(|each| *each > 0) {
        cost.push_str(&format!("; in the kernel {:.1} us a tick", each as f64 / 1e3));
    }
    lines.push(cost);
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

/// A number of bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{:.1} KB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use profrec_format::LossCause;

    use super::*;
    use crate::sampler::Outcomes;

    fn finished(lost: Vec<(LossCause, u64)>) -> Finished {
        Finished {
            totals: Totals { expected: 110, samples: 100, lost, recorder_cpu: 1_000_000, ..Totals::default() },
            outcomes: Outcomes::default(),
            unknown_chunks: 0,
            unnamed: vec![(7, "refused\n".to_owned())],
            bytes: 12_345,
            lasted: Duration::from_secs(2),
            closed: true,
            refusal: None,
            kept: Kept { path: "a.prof".into(), lines: vec!["Next: profrec report a.prof".to_owned()], failed: false },
            slowed: None,
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

    /// A recording that has ended for its size says so.
    #[test]
    fn a_limit_is_told() {
        let mut finished = finished(Vec::new());
        assert!(!text(&finished).contains("--max-size"));
        finished.totals.stop = StopReason::SizeReached;
        assert!(text(&finished).contains("--max-size was reached"));
    }
}
