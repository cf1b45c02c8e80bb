//! A recording from its first tick to its last: attach, loop, finish.

use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use profrec_format::{Arch, CallGraph as HeaderCallGraph, Header, StopReason, Totals, Writer};

use crate::args::{CallGraph, RecordArgs};
use crate::attach::{self, Clocks};
use crate::evidence::Evidence;
use crate::own_cost::own_cpu_time;
use crate::progress::Progress;
use crate::sampler::{Sampler, Settings};
use crate::side_band::SideBand;
use crate::stop::Stop;
use crate::stream::{Follow, Stream, now};
use crate::subcommand;
use crate::summary::Finished;
use crate::target::Target;

/// How long samples may wait in the ring, unless it fills.
const LOOK: Duration = Duration::from_millis(300);
/// How long samples may wait in the recorder: what `kill -9` can cost.
const FLUSH: Duration = Duration::from_millis(600);
/// How long the end of a recording may wait for unwind evidence.
const EVIDENCE_PATIENCE: Duration = Duration::from_secs(20);

/// Records `target` into `output` until something ends it.
pub(crate) fn record(args: &RecordArgs, target: Target, output: Box<dyn Write>) -> Result<Finished> {
    let mut stop = Stop::new()?;
    let clocks = Clocks::choose(&target, !args.no_inherit)?;
    let settings = Settings {
        call_graph: args.call_graph,
        whole_stack: args.whole_stack,
        stack_size: args.stack_size,
        ring_size: args.ring_size,
        only_targets: clocks.needs_filter(),
        follow_children: !args.no_inherit,
    };
    let (mut sampler, mut ring) = Sampler::load(&settings)?;
    if args.bpf_stats {
        sampler.measure()?;
    }
    let cpus = attach::online_cpus()?;
    let side_band = SideBand::open(&cpus)?;
    let header = header(args, cpus.len() as u32)?;
    let (start, started) = (header.start_monotonic, Instant::now());
    let writer = Writer::create(output, &header).context("writing the recording's header")?;
    let evidence = Evidence::start(args.embed)?;
    let follow = match &target {
        Target::Machine => Follow::Everything,
        _ if args.no_inherit => Follow::Nothing,
        _ => Follow::Children,
    };
    let mut stream = Stream::new(writer, side_band, evidence, follow, args.call_graph);
    for pid in target.pids() {
        stream.learn(pid);
    }
    let attached = clocks.attach(&target, &mut sampler, &mut stream, &cpus, args.period())?;
    if attached == 0 {
        bail!("the recorded process ended before its clock was attached");
    }
    match target {
        Target::Machine => {}
        Target::Processes(pids) => stop.with_processes(&pids)?,
        Target::Command(held) => stop.with_child(held.release()?)?,
    }
    stop.after(args.duration);

    let progress = Progress::new(args.quiet);
    let mut flushed = Instant::now();
    let reason = loop {
        stop.wait(ring.as_fd(), LOOK)?;
        stream.turn_segment(&mut sampler)?;
        drain(&mut ring, &mut stream)?;
        stream.instruct(&sampler)?;
        if flushed.elapsed() >= FLUSH {
            flushed = Instant::now();
            stream.flush(&mut sampler)?;
            progress.show(&stream, started.elapsed());
        }
        if let Some(reason) = stop.reason() {
            break reason;
        }
    };
    sampler.stop();
    drain(&mut ring, &mut stream)?;
    progress.clear();
    finish(stream, sampler, (reason, start), stop)
}

/// Uses all ticks that are in the ring.
fn drain(ring: &mut crate::ring::BpfRing, stream: &mut Stream<Box<dyn Write>>) -> Result<()> {
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

fn finish(
    mut stream: Stream<Box<dyn Write>>,
    mut sampler: Sampler,
    (stop_reason, start): (StopReason, u64),
    mut stop: Stop,
) -> Result<Finished> {
    let end = now();
    stream.catch_up(end)?;
    stream.flush(&mut sampler)?;
    stream.complete_evidence(Instant::now() + EVIDENCE_PATIENCE)?;
    stream.flush(&mut sampler)?;
    let outcomes = sampler.outcomes()?;
    let (bpf_time, bpf_runs) = sampler.run_time()?;
    let totals = Totals {
        end_monotonic: end,
        stop: stop_reason,
        expected: outcomes.sent + outcomes.ring_full,
        samples: stream.writer().samples_written(),
        lost: stream.losses().by_cause(),
        recorder_cpu: own_cpu_time().as_nanos() as u64,
        bpf_time,
        bpf_runs,
    };
    let unknown_chunks = stream.unknown_chunks();
    let bytes = stream.close(&totals)?;
    let command_status = stop.command_status()?;
    let lasted = Duration::from_nanos(end.saturating_sub(start));
    Ok(Finished { totals, outcomes, unknown_chunks, bytes, lasted, command_status })
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
        command_line: subcommand::command_line(),
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
    })
}
