//! Tries what a recording does: loads the programs, attaches a clock, waits for a tick and for news of processes.

use std::env;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::check::Check;
use crate::args::CallGraph;
use crate::narrowing::Narrowing;
use crate::online_cpus::OnlineCpus;
use crate::perf_event::Scope;
use crate::programs::Settings;
use crate::rights;
use crate::ring::BpfRing;
use crate::sampler::Sampler;
use crate::side_band::{FileIdentity, SideBand, What};

/// A tick each millisecond of the doctor's own CPU time.
const PERIOD: u64 = 1_000_000;
/// On a machine that is very busy a tick may take that long.
const PATIENCE: Duration = Duration::from_secs(3);

/// All trials, until one fails that others stand on.
pub(super) fn checks() -> Vec<Check> {
    let started = Instant::now();
    let (mut sampler, ring) = match load() {
        Ok(loaded) => loaded,
        Err(error) => return vec![Check::error("BPF programs", &error), process_events()],
    };
    let loaded = format!("loaded in {} ms", started.elapsed().as_millis());
    let ticks = ticks(&mut sampler, ring);
    vec![
        Check::ok("BPF programs", loaded),
        clocks(&mut sampler),
        ticks,
        process_events(),
        after_the_start(&mut sampler),
    ]
}

fn load() -> Result<(Sampler, BpfRing)> {
    let (mut sampler, ring) = Sampler::load(Settings {
        call_graph: CallGraph::Dwarf,
        whole_stack: 512 << 10,
        stack_size: 64 << 10,
        ring_size: 1 << 20,
        period: PERIOD,
        inherited_clocks: true,
        // With the program that follows children.
        only_targets: true,
        targets_are_threads: false,
        follow_children: true,
        narrowing: Narrowing::default(),
        counting: None,
        sample_every: None,
    })?;
    sampler.follow_children()?;
    Ok((sampler, ring))
}

/// A clock on a CPU, as `-a` and a command take, beside that of a thread.
fn clocks(sampler: &mut Sampler) -> Check {
    const NAME: &str = "clock of a CPU";
    let attached = OnlineCpus::open().and_then(|online| online.read()).and_then(|cpus| {
        let first = *cpus.first().context("no CPU is online")?;
        sampler.attach(Scope::Cpu(first), PERIOD, None)
    });
    sampler.stop();
    match attached {
        Ok(_) => Check::ok(NAME, "ticks"),
        Err(error) => Check::error(NAME, &error),
    }
}

/// Works until the first tick of its own thread has come through the ring.
fn ticks(sampler: &mut Sampler, mut ring: BpfRing) -> Check {
    const NAME: &str = "clock of a thread";
    let mut wait = || -> Result<Duration> {
        sampler.add_target(std::process::id())?;
        let started = Instant::now();
        if !sampler.attach(Scope::OneThread(std::process::id()), PERIOD, None)? {
            bail!("the clock's thread is not there: is /proc of another process namespace?");
        }
        while started.elapsed() < PATIENCE {
            let mut came = false;
            ring.drain(|_| came = true);
            if came {
                return Ok(started.elapsed());
            }
        }
        bail!("no tick came in {} s: {:?}", PATIENCE.as_secs(), sampler.accounts()?.all())
    };
    let result = wait();
    sampler.stop();
    match result {
        Ok(after) => Check::ok(NAME, format!("the first sample came after {:.1} ms", after.as_secs_f64() * 1e3)),
        Err(error) => Check::error(NAME, &error),
    }
}

/// Starts a process, and looks whether the kernel tells of its code with build-ids.
fn process_events() -> Check {
    const NAME: &str = "process events";
    let news = || -> Result<(usize, bool)> {
        let mut side_band = SideBand::open(&OnlineCpus::open()?.read()?, false)?;
        let mut itself = Command::new(env::current_exe().context("finding the own program")?);
        itself.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        itself.status().context("starting the own program")?;
        let mut events = Vec::new();
        side_band.drain(&mut events);
        let build_ids = events.iter().any(
            |event| matches!(&event.what, What::Mapping { file: FileIdentity::BuildId(id), .. } if !id.is_empty()),
        );
        Ok((events.len(), build_ids))
    };
    match news() {
        Ok((0, _)) => {
            Check::fail(NAME, "the kernel did not tell of a process that was started", "run profrec on the host")
        }
        Ok((_, true)) => Check::ok(NAME, "come, with build-ids"),
        Ok((_, false)) => Check::note(
            NAME,
            "come without build-ids, so that a replaced program may be taken for the one that ran",
            "Linux 5.12 or newer tells build-ids",
        ),
        Err(error) => Check::error(NAME, &error),
    }
}

/// Whether the recorder can do without rights once it is attached.
fn after_the_start(sampler: &mut Sampler) -> Check {
    const NAME: &str = "after the start";
    match rights::works_without(|| sampler.works()) {
        Ok(true) => Check::ok(NAME, "BPF needs no rights any more: they are given up"),
        Ok(false) => Check::note(
            NAME,
            "CAP_BPF and CAP_PERFMON are kept while recording: this kernel asks for them each time",
            "Linux 5.19 or newer does not",
        ),
        Err(error) => Check::error(NAME, &error),
    }
}
