//! The recording as a whole, whatever is shown of it.

use std::collections::BTreeMap;

use profrec_format::{Header, Lost, Pace};
use serde::Serialize;

use crate::accounts::CpuAccount;
use crate::facts::Facts;
use crate::losses::Losses;
use crate::pace::seconds;

#[derive(Serialize)]
pub(super) struct Recording<'a> {
    samples: u64,
    ticks: u64,
    expected: Option<u64>,
    lost: BTreeMap<&'static str, u64>,
    lost_events: BTreeMap<&'static str, u64>,
    missed: BTreeMap<&'static str, u64>,
    all_ticks: Option<AllTicks>,
    duration_seconds: f64,
    frequency_hz: f64,
    counted_every_seconds: Option<f64>,
    ways: Option<Ways>,
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
    raw_stacks: u64,
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
struct Ways {
    sampled: u64,
    counted: u64,
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

/// What `recording` says.
pub(super) fn recording(facts: &Facts) -> Recording<'_> {
    Recording {
        samples: facts.samples,
        ticks: facts.ticks,
        expected: facts.expected(),
        lost: by_name(&facts.lost, Lost::Samples),
        lost_events: by_name(&facts.lost, Lost::Events),
        missed: by_name(&facts.lost, Lost::Ticks),
        all_ticks: facts.accounts.are_known().then(|| all_ticks(facts)),
        duration_seconds: facts.seconds(),
        frequency_hz: (facts.frequency() * 1e3).round() / 1e3,
        counted_every_seconds: (facts.header.counted_every > 0).then_some(facts.header.counted_every as f64 / 1e9),
        ways: facts.ways.map(|ways| Ways { sampled: ways.sampled, counted: ways.counted }),
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
        raw_stacks: facts.raw_stacks,
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
