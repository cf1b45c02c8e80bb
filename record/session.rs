//! A recording from its first tick to its last: attach, loop, finish.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use profrec_format::{Arch, CallGraph as HeaderCallGraph, Header, StopReason, Totals, Writer};

use crate::args::{CallGraph, RecordArgs};
use crate::attach::{self, Clocks};
use crate::evidence::Evidence;
use crate::narrowing::Narrowing;
use crate::output::Output;
use crate::own_cost::own_cpu_time;
use crate::progress::Progress;
use crate::rights::{self, Account};
use crate::ring::BpfRing;
use crate::sampler::{Sampler, Settings};
use crate::side_band::SideBand;
use crate::stop::Stop;
use crate::stream::{Follow, Stream, now};
use crate::subcommand;
use crate::summary::Finished;
use crate::target::Target;

/// How long samples may wait in the ring, unless it fills.
const LOOK: Duration = Duration::from_millis(300);
/// The same at the start, from where it grows: the sooner a target is known, the cheaper it is.
const FIRST_LOOK: Duration = Duration::from_millis(40);
/// How long samples may wait in the recorder: what `kill -9` can cost.
const FLUSH: Duration = Duration::from_millis(600);
/// How long the end of a recording may wait for unwind evidence.
const EVIDENCE_PATIENCE: Duration = Duration::from_secs(20);

/// Records `target` into `output` until something ends it. Also tells what ends it, for it may be waited for.
pub(crate) fn record(
    args: &RecordArgs,
    target: Target,
    output: Output,
    account: Option<Account>,
) -> Result<(Finished, Stop)> {
    let mut stop = Stop::new(output.as_fd().try_clone_to_owned().context("watching the output")?)?;
    let clocks = Clocks::choose(&target, !args.no_inherit)?;
    let settings = Settings {
        call_graph: args.call_graph,
        whole_stack: args.whole_stack,
        stack_size: args.stack_size,
        ring_size: args.ring_size,
        only_targets: clocks.needs_filter(),
        targets_are_threads: matches!(target, Target::Threads(_)),
        follow_children: target.has_children(args),
        narrowing: Narrowing::from_args(args)?,
    };
    let (mut sampler, mut ring) = Sampler::load(settings)?;
    let cpus = attach::online_cpus()?;
    let side_band = SideBand::open(&cpus)?;
    let header = header(args, cpus.len() as u32)?;
    let start = header.start_monotonic;
    let writer = Writer::create(output, &header).with_context(|| format!("writing {}", args.output.display()))?;
    let evidence = Evidence::start(args.embed, account)?;
    let follow = match &target {
        Target::Machine => Follow::Everything,
        _ if target.has_children(args) => Follow::Children,
        _ => Follow::Nothing,
    };
    let mut stream = Stream::new(writer, side_band, evidence, follow, args.call_graph);
    for pid in target.pids() {
        stream.learn(pid);
    }
    let attached = clocks.attach(&target, &mut sampler, &mut stream, &cpus, args.period())?;
    if attached == 0 {
        bail!("the target ended before its clock was attached");
    }
    let needed = rights::needed(args, &target);
    match target {
        Target::Machine => {}
        Target::Processes(pids) => stop.with_processes(&pids)?,
        Target::Threads(threads) => stop.with_threads(threads)?,
        Target::Command(held) => stop.with_child(held.release()?)?,
    }
    rights::keep_what_works(needed, account, || sampler.works())?;
    stop.after(args.duration);

    let progress = Progress::new(args.quiet);
    let ended = watch(&mut stop, &mut ring, &mut stream, &mut sampler, &progress);
    sampler.stop();
    progress.clear();
    let ended = ended.and_then(|reason| complete(&mut ring, &mut stream, &mut sampler).map(|()| reason));
    Ok((finish(stream, &sampler, ended, start)?, stop))
}

/// Writes what comes until something ends the recording, and says what.
fn watch(
    stop: &mut Stop,
    ring: &mut BpfRing,
    stream: &mut Stream<Output>,
    sampler: &mut Sampler,
    progress: &Progress,
) -> Result<StopReason> {
    let started = Instant::now();
    let mut flushed = started;
    loop {
        let look = LOOK.min(FIRST_LOOK.max(started.elapsed() / 2));
        stop.wait(ring.as_fd(), look.min(FLUSH.saturating_sub(flushed.elapsed())))?;
        stream.turn_segment(sampler)?;
        drain(ring, stream)?;
        stream.exchange_evidence()?;
        stream.instruct(sampler)?;
        if flushed.elapsed() >= FLUSH {
            flushed = Instant::now();
            stream.flush(sampler)?;
            sampler.renew_cgroups()?;
            progress.show(stream, started.elapsed());
        }
        if let Some(reason) = stop.reason() {
            return Ok(reason);
        }
    }
}

/// Uses all ticks that are in the ring.
fn drain(ring: &mut BpfRing, stream: &mut Stream<Output>) -> Result<()> {
    // Ticks that come later than this look are later than this time.
    let looked = now().saturating_sub(5_000_000);
    let mut result = Ok(());
    ring.drain(|bytes| {
        if result.is_ok() {
            result = stream.tick(bytes);
        }
    });
    result?;
    stream.catch_up(looked)
}

/// Writes what has waited, when no more ticks come.
fn complete(ring: &mut BpfRing, stream: &mut Stream<Output>, sampler: &mut Sampler) -> Result<()> {
    drain(ring, stream)?;
    stream.catch_up(now())?;
    stream.flush(sampler)?;
    stream.complete_evidence(Instant::now() + EVIDENCE_PATIENCE)?;
    stream.flush(sampler)
}

/// Closes the recording, also when the output has refused a part of it.
fn finish(mut stream: Stream<Output>, sampler: &Sampler, ended: Result<StopReason>, start: u64) -> Result<Finished> {
    let outcomes = sampler.outcomes()?;
    let (stop, refusal) = match ended {
        Ok(reason) => (reason, None),
        Err(error) if matches!(error.downcast_ref(), Some(profrec_format::Error::Io(_))) => {
            stream.lose_what_waits(&outcomes);
            (StopReason::WriteFailed, Some(error))
        }
        Err(error) => return Err(error),
    };
    let totals = Totals {
        end_monotonic: now(),
        stop,
        expected: outcomes.captured(),
        samples: stream.writer().samples_in_output(),
        lost: stream.losses().by_cause(),
        recorder_cpu: own_cpu_time().as_nanos() as u64,
        bpf_time: outcomes.nanoseconds,
        bpf_runs: outcomes.captured(),
    };
    let unknown_chunks = stream.unknown_chunks();
    let (bytes, last) = (stream.writer().bytes_written(), stream.writer().last_time_in_output());
    let end = if refusal.is_some() { last } else { totals.end_monotonic };
    let closed = stream.close(&totals);
    let lasted = Duration::from_nanos(end.saturating_sub(start));
    let (closed, refusal) = (closed.is_ok(), refusal.or(closed.err()));
    Ok(Finished { totals, outcomes, unknown_chunks, bytes, lasted, closed, refusal })
}

fn header(args: &RecordArgs, cpus: u32) -> Result<Header> {
    let (host, kernel) = subcommand::machine();
    let real = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    Ok(Header {
        recorder: subcommand::version(),
        arch: Arch::X86_64,
        host,
        kernel,
        page_size: rustix::param::page_size() as u32,
        cpus,
        command_line: subcommand::command_line(args.command.len().saturating_sub(1)),
        event: "cpu-clock".to_owned(),
        period: args.period(),
        call_graph: match args.call_graph {
            CallGraph::Dwarf => HeaderCallGraph::Dwarf,
            CallGraph::Fp => HeaderCallGraph::FramePointer,
            CallGraph::None => HeaderCallGraph::None,
        },
        stack_size: args.stack_size,
        start_monotonic: now(),
        start_realtime: real.tv_sec as u64 * 1_000_000_000 + real.tv_nsec as u64,
        ..Header::default()
    })
}
