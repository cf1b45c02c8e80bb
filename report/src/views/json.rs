//! The facts and the functions for scripts. The field names are stable; `docs/json.md` explains them.

use std::collections::BTreeMap;

use profrec_format::{Header, Lost, Pace};
use serde::Serialize;

use crate::accounts::CpuAccount;
use crate::container;
use crate::diff::{self, Diff};
use crate::escape;
use crate::facts::Facts;
use crate::losses::Losses;
use crate::pace::seconds;
use crate::profile::Profile;
use crate::views::recorder::{self, Recorder};

#[derive(Serialize)]
struct Report<'a> {
    recording: Recording<'a>,
    #[serde(rename = "self")]
    recorder: Option<Recorder>,
    stacks: Stacks,
    unnamed: BTreeMap<&'static str, Unnamed>,
    notes: &'a [String],
    processes: Vec<Process<'a>>,
    modules: Vec<Module<'a>>,
    functions: Vec<Function<'a>>,
}

#[derive(Serialize)]
struct Recording<'a> {
    samples: u64,
    ticks: u64,
    expected: Option<u64>,
    lost: BTreeMap<&'static str, u64>,
    lost_events: BTreeMap<&'static str, u64>,
    all_ticks: Option<AllTicks>,
    duration_seconds: f64,
    frequency_hz: f64,
    bytes: u64,
    bytes_read: u64,
    segments: usize,
    segments_read: usize,
    host: &'a str,
    kernel: &'a str,
    arch: &'static str,
    machine: Option<Machine<'a>>,
    gaps: Vec<Gap>,
    pace: Vec<PaceStep>,
    scrubbed: bool,
    closed: bool,
    damage: &'a [String],
    lost_to_damage: LostToDamage,
}

#[derive(Serialize)]
struct Machine<'a> {
    cpu_model: &'a str,
    cpus: u32,
    cpus_online: &'a str,
    cpus_possible: &'a str,
    memory_bytes: u64,
    kernel_build: &'a str,
    clock_source: &'a str,
    booted_seconds: f64,
    suspended_seconds: f64,
}

#[derive(Serialize)]
struct AllTicks {
    total: u64,
    by_clock: Option<u64>,
    missed: BTreeMap<&'static str, u64>,
    outcomes: BTreeMap<&'static str, u64>,
    cpus: Vec<CpuTicks>,
}

#[derive(Serialize)]
struct CpuTicks {
    cpu: u32,
    total: u64,
    outcomes: BTreeMap<&'static str, u64>,
    lost: BTreeMap<&'static str, u64>,
    missed: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct Gap {
    from_seconds: f64,
    to_seconds: f64,
}

#[derive(Serialize)]
struct PaceStep {
    from_seconds: f64,
    weight: u32,
    whole_stack: u32,
    stack_size: u32,
    cost_percent: f64,
    limit_percent: f64,
    reason: &'static str,
}

#[derive(Serialize)]
struct LostToDamage {
    samples: Option<u64>,
    seconds: f64,
}

#[derive(Serialize)]
struct Stacks {
    total: u64,
    complete: u64,
    truncated: u64,
    no_cfi: u64,
    implausible: u64,
    not_recorded: u64,
    exec_or_exit: u64,
    guessed: u64,
}

#[derive(Serialize)]
struct Unnamed {
    locations: u64,
    frames: u64,
    why: &'static str,
}

#[derive(Serialize)]
struct Process<'a> {
    pid: u32,
    comm: &'a str,
    threads: u64,
    samples: u64,
    cgroup: &'a str,
    container: Option<&'a str>,
}

#[derive(Serialize)]
struct Module<'a> {
    name: &'a str,
    path: &'a str,
    build_id: Option<&'a str>,
    samples: u64,
    #[serde(rename = "self")]
    self_samples: u64,
    symbols: &'static str,
    why: &'a str,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    module: &'a str,
    file: Option<&'a str>,
    line: Option<u32>,
    #[serde(rename = "self")]
    self_samples: u64,
    total: u64,
}

/// A profile as JSON; at most `limit` functions (0: all).
pub fn view(profile: &Profile, limit: usize) -> serde_json::Result<String> {
    let functions = profile.by_self();
    let shown = if limit == 0 { functions.len() } else { limit };
    let report = Report {
        recording: recording(&profile.facts),
        recorder: profile
            .facts
            .measurements
            .total()
            .map(|_| Recorder::new(&profile.facts.measurements, recorder::ROWS)),
        stacks: stacks(profile),
        unnamed: unnamed(profile),
        notes: &profile.ledger.notes,
        processes: profile.processes.iter().map(process).collect(),
        modules: profile.modules.iter().map(module).collect(),
        functions: functions.into_iter().take(shown).map(function).collect(),
    };
    print(&report)
}

fn recording(facts: &Facts) -> Recording<'_> {
    Recording {
        samples: facts.samples,
        ticks: facts.ticks,
        expected: facts.expected(),
        lost: by_name(&facts.lost, Lost::Samples),
        lost_events: by_name(&facts.lost, Lost::Events),
        all_ticks: facts.accounts.are_known().then(|| all_ticks(facts)),
        duration_seconds: facts.seconds(),
        frequency_hz: (facts.frequency() * 1e3).round() / 1e3,
        bytes: facts.bytes,
        bytes_read: facts.coverage.bytes_read,
        segments: facts.coverage.segments,
        segments_read: facts.coverage.segments_read,
        host: &facts.header.host,
        kernel: &facts.header.kernel,
        arch: facts.header.arch.name(),
        machine: (facts.header.machine != profrec_format::Machine::default()).then(|| machine(&facts.header)),
        gaps: facts.gaps().map(gap).collect(),
        pace: facts.pace.steps().iter().map(|pace| pace_step(pace, facts.header.start_monotonic)).collect(),
        scrubbed: facts.header.scrubbed,
        closed: facts.totals.is_some(),
        damage: &facts.damage,
        lost_to_damage: LostToDamage {
            samples: facts.lost_to_damage.samples,
            seconds: facts.lost_to_damage.nanoseconds as f64 / 1e9,
        },
    }
}

fn machine(header: &Header) -> Machine<'_> {
    let machine = &header.machine;
    Machine {
        cpu_model: &machine.cpu_model,
        cpus: header.cpus,
        cpus_online: &machine.cpus_online,
        cpus_possible: &machine.cpus_possible,
        memory_bytes: machine.memory,
        kernel_build: &machine.kernel_build,
        clock_source: &machine.clock_source,
        booted_seconds: machine.boot_realtime as f64 / 1e9,
        suspended_seconds: machine.suspended as f64 / 1e9,
    }
}

/// What was lost of one kind, by the names of the causes.
fn by_name(lost: &Losses, kind: Lost) -> BTreeMap<&'static str, u64> {
    let mut by_name: BTreeMap<_, u64> = BTreeMap::new();
    for (cause, count) in lost.by_cause().filter(|(cause, _)| cause.lost() == kind) {
        let sum = by_name.entry(cause.name()).or_default();
        *sum = sum.saturating_add(count);
    }
    by_name
}

fn all_ticks(facts: &Facts) -> AllTicks {
    let all = facts.accounts.all();
    AllTicks {
        total: all.ticks,
        by_clock: facts.accounts.by_clock,
        missed: by_name(&facts.lost, Lost::Ticks),
        outcomes: outcomes(&all),
        cpus: facts.accounts.cpus.iter().map(|(cpu, account)| cpu_ticks(*cpu, account)).collect(),
    }
}

fn cpu_ticks(cpu: u32, account: &CpuAccount) -> CpuTicks {
    CpuTicks {
        cpu,
        total: account.ticks,
        outcomes: outcomes(account),
        lost: by_name(&account.lost, Lost::Samples),
        missed: by_name(&account.lost, Lost::Ticks),
    }
}

fn outcomes(account: &CpuAccount) -> BTreeMap<&'static str, u64> {
    let mut by_name: BTreeMap<_, u64> = BTreeMap::new();
    for (outcome, count) in &account.outcomes {
        let sum = by_name.entry(outcome.name()).or_default();
        *sum = sum.saturating_add(*count);
    }
    by_name
}

fn gap((from, to): (u64, u64)) -> Gap {
    Gap { from_seconds: from as f64 / 1e9, to_seconds: to as f64 / 1e9 }
}

fn pace_step(pace: &Pace, start: u64) -> PaceStep {
    let percent = |millionths: u32| f64::from(millionths) / 1e4;
    PaceStep {
        from_seconds: seconds(pace.time, start),
        weight: pace.weight,
        whole_stack: pace.whole_stack,
        stack_size: pace.stack_size,
        cost_percent: percent(pace.cost),
        limit_percent: percent(pace.limit),
        reason: pace.reason.name(),
    }
}

fn stacks(profile: &Profile) -> Stacks {
    let verdicts = profile.ledger.verdicts;
    Stacks {
        total: profile.samples,
        complete: verdicts.complete,
        truncated: verdicts.truncated,
        no_cfi: verdicts.no_cfi,
        implausible: verdicts.implausible,
        not_recorded: verdicts.not_recorded,
        exec_or_exit: verdicts.exec_or_exit,
        guessed: verdicts.guessed,
    }
}

fn unnamed(profile: &Profile) -> BTreeMap<&'static str, Unnamed> {
    let unnamed = profile.ledger.unnamed.iter().map(|unnamed| {
        let (locations, frames) = (unnamed.locations, unnamed.frames);
        (unnamed.reason.name(), Unnamed { locations, frames, why: unnamed.reason.explain() })
    });
    unnamed.collect()
}

fn process(process: &crate::profile::Process) -> Process<'_> {
    Process {
        pid: process.pid,
        comm: &process.comm,
        threads: process.threads,
        samples: process.samples,
        cgroup: &process.cgroup,
        container: container::id(&process.cgroup),
    }
}

fn module(module: &crate::profile::Module) -> Module<'_> {
    Module {
        name: &module.name,
        path: &module.path,
        build_id: (!module.build_id.is_empty()).then_some(&module.build_id),
        samples: module.samples,
        self_samples: module.self_samples,
        symbols: module.symbols,
        why: &module.why,
    }
}

fn function(function: &crate::profile::Function) -> Function<'_> {
    Function {
        name: &function.name,
        module: &function.module,
        file: function.file.as_deref(),
        line: function.line,
        self_samples: function.self_samples,
        total: function.total_samples,
    }
}

#[derive(Serialize)]
struct DiffReport<'a> {
    before: Side,
    after: Side,
    functions: Vec<Change<'a>>,
}

#[derive(Serialize)]
struct Side {
    samples: u64,
    duration_seconds: f64,
    frequency_hz: f64,
    cpu_seconds: f64,
}

#[derive(Serialize)]
struct Change<'a> {
    name: &'a str,
    module: &'a str,
    self_before: u64,
    self_after: u64,
    total_before: u64,
    total_after: u64,
    delta: f64,
    total_delta: f64,
    status: &'static str,
}

/// A diff as JSON; at most `limit` functions (0: all).
pub fn diff(diff: &Diff, limit: usize) -> serde_json::Result<String> {
    let shown = if limit == 0 { diff.changes.len() } else { limit };
    let report = DiffReport {
        before: side(&diff.before),
        after: side(&diff.after),
        functions: diff.changes.iter().take(shown).map(|change| self::change(diff, change)).collect(),
    };
    print(&report)
}

fn side(side: &diff::Side) -> Side {
    Side {
        samples: side.samples,
        duration_seconds: side.seconds,
        frequency_hz: (side.frequency * 1e3).round() / 1e3,
        cpu_seconds: side.cpu_seconds,
    }
}

fn change<'a>(diff: &Diff, change: &'a diff::Change) -> Change<'a> {
    Change {
        name: &change.name,
        module: &change.module,
        self_before: change.self_before,
        self_after: change.self_after,
        total_before: change.total_before,
        total_after: change.total_after,
        delta: diff.self_delta(change),
        total_delta: diff.total_delta(change),
        status: change.status().name(),
    }
}

/// Anything as JSON, with no character that is not what it looks like.
pub fn print(report: &impl Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string_pretty(report)? + "\n";
    Ok(escape::json(&text).into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::profile::tests::sample_profile;
    use profrec_format::LossCause;

    /// The names that scripts rely on are there, with the right figures.
    #[test]
    fn fields_are_stable() {
        let json: serde_json::Value = serde_json::from_str(&view(&sample_profile(), 0).unwrap()).unwrap();
        for field in
            ["samples", "expected", "lost", "duration_seconds", "frequency_hz", "bytes", "host", "kernel", "arch"]
        {
            assert!(json["recording"].get(field).is_some(), "{field}");
        }
        for field in ["total", "complete", "truncated", "no_cfi", "implausible", "guessed"] {
            assert!(json["stacks"].get(field).is_some(), "{field}");
        }
        for field in ["name", "build_id", "samples", "symbols", "why"] {
            assert!(json["modules"][0].get(field).is_some(), "{field}");
        }
        for field in ["name", "module", "file", "line", "self", "total"] {
            assert!(json["functions"][0].get(field).is_some(), "{field}");
        }
        assert_eq!(json["functions"][0]["name"], "work");
        assert_eq!(json["functions"][0]["self"], 6);
        assert_eq!(json["processes"][0]["pid"], 7);
    }

    /// The same for a diff.
    #[test]
    fn fields_of_a_diff_are_stable() {
        let compared = Diff::compare(&sample_profile(), &sample_profile());
        let json: serde_json::Value = serde_json::from_str(&diff(&compared, 0).unwrap()).unwrap();
        for field in ["name", "module", "self_before", "self_after", "total_before", "total_after", "delta"] {
            assert!(json["functions"][0].get(field).is_some(), "{field}");
        }
        assert_eq!(json["functions"][0]["delta"], 0.0);
    }

    /// Causes that a later version adds share a name here: their losses are all counted.
    #[test]
    fn unknown_causes_hid_each_other() {
        let mut profile = sample_profile();
        profile.facts.lost.add([(LossCause::Other(6), 1), (LossCause::Other(8), 2)]);
        let json: serde_json::Value = serde_json::from_str(&view(&profile, 0).unwrap()).unwrap();
        assert_eq!(json["recording"]["lost"]["other_samples"], 3);
    }
}
