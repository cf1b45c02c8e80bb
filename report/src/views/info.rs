//! What the recording is, in words: how it was made, what was lost, how stacks ended, which
//! modules have names.

use std::fmt::Write;

use profrec_format::{CallGraph, Lost, Machine, Outcome, Pace, StopReason};

use crate::escape;
use crate::facts::Facts;
use crate::ledger::grouped;
use crate::pace::{seconds, share};
use crate::profile::Profile;

/// Everything that is known about the recording and its analysis.
pub fn view(profile: &Profile) -> String {
    let mut text = String::new();
    recording(&mut text, &profile.facts);
    accounts(&mut text, &profile.facts);
    stacks(&mut text, profile);
    processes(&mut text, profile);
    modules(&mut text, profile);
    text
}

fn line(text: &mut String, name: &str, value: &str) {
    // Writing to a string cannot fail; so below.
    let _ = writeln!(text, "{name:<14} {}", escape::text(value));
}

fn recording(text: &mut String, facts: &Facts) {
    let header = &facts.header;
    line(text, "host", &header.host);
    line(text, "kernel", &format!("{} {}", header.kernel, header.arch.name()));
    machine(text, &header.machine);
    line(text, "recorder", &header.recorder);
    line(text, "command line", &header.command_line.join(" "));
    // A redacted recording does not tell when it was made.
    if header.start_realtime > header.start_monotonic {
        line(text, "started", &format!("{} UTC", utc(header.start_realtime / 1_000_000_000)));
    }
    line(text, "duration", &format!("{:.3} s, {}", facts.seconds(), stop(facts)));
    line(text, "clock", &format!("{}, {:.0} Hz on each of {} CPUs", header.event, facts.frequency(), header.cpus));
    for (from, to) in facts.gaps() {
        line(text, "gap", &format!("{:.3}..{:.3} s: nothing was recorded", from as f64 / 1e9, to as f64 / 1e9));
    }
    line(text, "user stacks", call_graph(header.call_graph));
    if header.counted_every > 0 {
        let every = header.counted_every as f64 / 1e9;
        line(text, "", &format!("counted in the kernel: a sample is all ticks of a stack in {every} s"));
        if header.is_hybrid() {
            line(
                text,
                "",
                "of processes whose chains break, stacks are copied at a lower rate: such a sample stands for ticks of its process",
            );
            if let Some(ways) = facts.ways {
                let (sampled, counted) = (grouped(ways.sampled), grouped(ways.counted));
                line(text, "", &format!("{sampled} processes were sampled so, {counted} only counted"));
            }
        }
    }
    if header.scrubbed {
        line(text, "", "scrubbed: unwound before, registers and words of stacks are gone");
    }
    if facts.raw_stacks > 0 {
        let stacks = grouped(facts.raw_stacks);
        line(text, "", &format!("{stacks} stacks are also here as they were, with what the programs had in them"));
    }
    line(text, "file", &format!("{} bytes, {}", grouped(facts.bytes), bytes_per_sample(facts)));
    if let Some(part_read) = facts.part_read() {
        line(text, "of the file", &part_read);
    }
    line(text, "samples", &samples(facts));
    for (cause, count) in facts.lost.by_cause().filter(|(_, count)| *count > 0) {
        let name = if cause.lost() == Lost::Ticks { "ticks missed" } else { "lost" };
        line(text, name, &format!("{} ({})", grouped(count), cause.name()));
    }
    if facts.accounts.are_known() {
        line(text, "ticks", &ticks(facts));
    }
    if let Some(totals) = facts.totals.as_ref().filter(|totals| totals.samples > 0 && totals.recorder_cpu > 0) {
        let per_sample = |nanoseconds: u64, runs: u64| nanoseconds as f64 / 1e3 / runs.max(1) as f64;
        let mut cost = format!("{:.2} us of recorder CPU a sample", per_sample(totals.recorder_cpu, totals.samples));
        if totals.bpf_runs > 0 {
            let _ = write!(cost, ", {:.2} us in the kernel", per_sample(totals.bpf_time, totals.bpf_runs));
        }
        line(text, "cost", &cost);
    }
    for pace in facts.pace.steps() {
        line(text, "pace", &self::pace(pace, header.start_monotonic));
    }
    for damage in &facts.damage {
        line(text, "damage", damage);
    }
}

/// A step of the recorder that keeps within its budget.
fn pace(pace: &Pace, start: u64) -> String {
    let ticks = if pace.weight == 1 { "tick" } else { "ticks" };
    let mut text = format!("from {:.1} s on a sample stands for {} {ticks}", seconds(pace.time, start), pace.weight);
    if pace.whole_stack > 0 {
        let (whole, ends) = (pace.whole_stack >> 10, pace.stack_size >> 10);
        let _ = write!(text, "; stacks whole up to {whole} KiB, else {ends} KiB of each end");
    }
    if pace.cost > 0 {
        let _ = write!(text, "; recording had cost {} of the machine, of {}", share(pace.cost), share(pace.limit));
    }
    text
}

/// What became of the ticks of all CPUs, and how many there should have been.
fn ticks(facts: &Facts) -> String {
    let all = facts.accounts.all();
    let (idle, others) = (all.of(Outcome::Idle), all.of(Outcome::Filtered));
    let of_target = grouped(facts.expected().unwrap_or_default());
    let mut text = format!(
        "{} = {of_target} of the target + {} idle + {} of other processes",
        grouped(all.ticks),
        grouped(idle),
        grouped(others)
    );
    if let Some(by_clock) = facts.accounts.by_clock {
        let _ = write!(text, "; {} by the time that the clocks ran", grouped(by_clock));
    }
    text
}

/// What is told of the machine, if anything is.
fn machine(text: &mut String, machine: &Machine) {
    if *machine == Machine::default() {
        return;
    }
    line(text, "", &machine.kernel_build);
    line(text, "processor", &machine.cpu_model);
    let memory = format!("{:.1} GiB of memory", machine.memory as f64 / f64::from(1 << 30));
    line(text, "", &format!("CPUs {} of {} online, {memory}", machine.cpus_online, machine.cpus_possible));
    let mut booted =
        format!("{} UTC, clock source {}", utc(machine.boot_realtime / 1_000_000_000), machine.clock_source);
    if machine.suspended > 0 {
        let _ = write!(booted, ", suspended for {:.0} s since", machine.suspended as f64 / 1e9);
    }
    line(text, "booted", &booted);
}

/// The ticks of each CPU, and what was remarkable about samples.
fn accounts(text: &mut String, facts: &Facts) {
    if !facts.accounts.are_known() {
        return;
    }
    let _ = writeln!(
        text,
        "\nticks by CPU\n{:>6}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}",
        "CPU", "ticks", "written", "lost", "idle", "others", "missed"
    );
    for (cpu, account) in &facts.accounts.cpus {
        let missed = account.lost.by_cause().filter(|(cause, _)| cause.lost() == Lost::Ticks).map(|(_, count)| count);
        let of = |outcome| account.of(outcome);
        let figures = [
            account.ticks,
            of(Outcome::Written),
            account.lost.samples(),
            of(Outcome::Idle),
            of(Outcome::Filtered),
            missed.fold(0, u64::saturating_add),
        ];
        let figures: String = figures.iter().map(|figure| format!("{:>12}", grouped(*figure))).collect();
        let _ = writeln!(text, "{cpu:>6}{figures}");
    }
    let all = facts.accounts.all();
    let remarks = [
        (Outcome::NoUserSide, "samples without a user side (kernel threads, or in an exec or exit)"),
        (Outcome::StackCollided, "counted stacks without addresses: others had their places (--stack-entries)"),
        (Outcome::StacksFull, "counted stacks without addresses: there was no room (--stack-entries)"),
        (Outcome::NotSampled, "counted ticks of processes whose chains break: too many others were sampled"),
        (Outcome::StackCut, "samples with a stack of which only the two ends were copied"),
        (Outcome::StackSwitched, "samples on another stack than the thread's first"),
        (Outcome::PagesUnreadable, "pages of stacks that could not be read, and count as empty"),
    ];
    for (outcome, what) in remarks.into_iter().filter(|(outcome, _)| all.of(*outcome) > 0) {
        let _ = writeln!(text, "{:>12} {what}", grouped(all.of(outcome)));
    }
}

fn samples(facts: &Facts) -> String {
    match facts.expected() {
        Some(expected) => {
            let (ticks, lost) = (grouped(facts.ticks), grouped(facts.ticks_lost()));
            let written = match facts.is_weighted() {
                true => format!("{} written for {ticks} ticks", grouped(facts.samples)),
                false => format!("{ticks} written"),
            };
            format!("{written} + {lost} lost, of {} expected", grouped(expected))
        }
        None => format!("{} found; expected unknown: the recording was not closed", grouped(facts.samples)),
    }
}

fn stop(facts: &Facts) -> &'static str {
    match facts.totals.as_ref().map(|totals| totals.stop) {
        None => "not closed",
        Some(StopReason::Interrupted) => "ended by a signal",
        Some(StopReason::Duration) => "ended after the time asked for",
        Some(StopReason::TargetEnded) => "ended with its target",
        Some(StopReason::WriteFailed) => "ended because nothing more could be written",
        Some(StopReason::NotClosed) => "made of a recording that was not closed",
        Some(StopReason::Cut) => "cut off there",
        Some(StopReason::SizeReached) => "ended when it had the size asked for",
        Some(_) => "ended for a reason that this version does not know",
    }
}

fn call_graph(call_graph: CallGraph) -> &'static str {
    match call_graph {
        CallGraph::Dwarf => "unwound offline with call frame information",
        CallGraph::FramePointer => "frame pointers, walked by the kernel",
        CallGraph::None => "not recorded",
        _ => "of a kind that this version does not know",
    }
}

fn bytes_per_sample(facts: &Facts) -> String {
    match facts.samples {
        0 => "no samples".to_owned(),
        samples => format!("{:.1} a sample", facts.bytes as f64 / samples as f64),
    }
}

fn stacks(text: &mut String, profile: &Profile) {
    let verdicts = &profile.ledger.verdicts;
    let _ = writeln!(text, "\nstacks (of {} samples)", grouped(profile.samples));
    let all = [
        ("complete", verdicts.complete),
        ("truncated", verdicts.truncated),
        ("no unwind information", verdicts.no_cfi),
        ("implausible", verdicts.implausible),
        ("not recorded", verdicts.not_recorded),
        ("in an exec or exit, without a user stack", verdicts.exec_or_exit),
        ("with guessed frames", verdicts.guessed),
    ];
    for (what, count) in all {
        let _ = writeln!(text, "{:>12} {:>6.2}%  {what}", grouped(count), profile.percent(count));
    }
    for unnamed in &profile.ledger.unnamed {
        let (locations, frames) = (grouped(unnamed.locations), grouped(unnamed.frames));
        let _ =
            writeln!(text, "{locations:>12} locations ({frames} frames) without a name: {}", unnamed.reason.explain());
    }
}

/// A cgroup as it stands behind a process; the root says nothing.
fn group(cgroup: &str) -> String {
    if matches!(cgroup, "" | "/") { String::new() } else { format!("  {}", escape::text(cgroup)) }
}

fn processes(text: &mut String, profile: &Profile) {
    let _ = writeln!(
        text,
        "\nprocesses (samples; complete: of the stacks with a user side, how many end in the code that a thread starts in)"
    );
    for process in &profile.processes {
        let threads = if process.threads == 1 { "thread" } else { "threads" };
        let _ = writeln!(
            text,
            "{:>12} {:>6.2}%  {:>7}  {} ({} {threads}{}){}",
            grouped(process.samples),
            profile.percent(process.samples),
            process.pid,
            escape::text(&process.comm),
            process.threads,
            process.complete_percent().map(|percent| format!(", {percent:.1}% complete")).unwrap_or_default(),
            group(&process.cgroup)
        );
    }
}

fn modules(text: &mut String, profile: &Profile) {
    let _ = writeln!(text, "\nmodules (samples in which they appear; --why tells which files were tried for names)");
    for module in &profile.modules {
        let name = if module.path.is_empty() { &module.name } else { &module.path };
        let build_id = if module.build_id.is_empty() { "no build-id" } else { &module.build_id };
        let _ = writeln!(
            text,
            "{:>12} {:>6.2}%  {}\n{:>23}{build_id}\n{:>23}{}: {}",
            grouped(module.samples),
            profile.percent(module.samples),
            escape::text(name),
            "",
            "",
            module.symbols,
            escape::text(&module.why)
        );
    }
}

/// Seconds since 1970 as a date (days to civil date, after Howard Hinnant).
fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3_600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::tests::sample_profile;

    /// Dates are right at the epoch, on a leap day and today.
    #[test]
    fn dates_are_right() {
        assert_eq!(utc(0), "1970-01-01 00:00:00");
        assert_eq!(utc(1_709_210_096), "2024-02-29 12:34:56");
        assert_eq!(utc(1_795_401_120), "2026-11-23 02:32:00");
    }

    /// What the recording lacks is said, not left out.
    #[test]
    fn an_unclosed_recording_says_so() {
        let text = view(&sample_profile());
        assert!(text.contains("expected unknown: the recording was not closed"));
        assert!(text.contains("           9  90.00%  complete"));
        assert!(text.contains("/opt/prog"));
        assert!(text.contains("prog (1 thread, 90.0% complete)"), "{text}");
    }
}
