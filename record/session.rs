//! A recording from its first tick to its last: attach, loop, finish.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use profrec_format::StopReason;
use rustix::thread::{CapabilitySet, capabilities};

use crate::args::RecordArgs;
use crate::attach::Clocks;
use crate::counting::{self, Counting};
use crate::cpu_use::{Triggers, Whose};
use crate::evidence::Evidence;
use crate::frugality::Frugality;
use crate::header::header;
use crate::hotplug::Cpus;
use crate::hybrid::sampled::SampledProcesses;
use crate::jit::jvm::JvmAsker;
use crate::kernel;
use crate::online_cpus::OnlineCpus;
use crate::parts::Parts;
use crate::programs::Settings;
use crate::progress::{self, Progress};
use crate::remedy;
use crate::rights::{self, Account};
use crate::ring::BpfRing;
use crate::sampler::Sampler;
use crate::short_lives::ShortLives;
use crate::side_band::SideBand;
use crate::sink::Sink;
use crate::stop::Stop;
use crate::store::Store;
use crate::stream::{Follow, Stream, now};
use crate::summary::Finished;
use crate::target::Target;

/// How long samples may wait in the ring, unless it fills.
const LOOK: Duration = Duration::from_millis(300);
/// The same at the start, from where it grows: the sooner a target is known, the cheaper it is.
const FIRST_LOOK: Duration = Duration::from_millis(40);
/// How long samples may wait in the recorder: what `kill -9` can cost.
const FLUSH: Duration = Duration::from_millis(900);
/// How long the end of a recording may wait for unwind evidence.
const EVIDENCE_PATIENCE: Duration = Duration::from_secs(20);

/// Records `target` into `store`, first into `sink`, until something ends it. Also tells what ends it, for it may be waited for.
pub(crate) fn record(
    args: &RecordArgs,
    target: Target,
    store: Store,
    mut sink: Sink,
    account: Option<Account>,
) -> Result<(Finished, Stop)> {
    let mut stop = Stop::new(Store::watched(&sink)?)?;
    sink.wait_until(stop.end());
    let clocks = Clocks::choose(&target, !args.no_inherit);
    let counting = Counting::of(args);
    let settings = Settings::of(args, &target, &clocks, counting.as_ref())?;
    let (mut sampler, ring) = Sampler::load(settings)?;
    let online = OnlineCpus::open()?;
    let cpus = online.read()?;
    let side_band = SideBand::open(&cpus, counting.is_some())?;
    let header = header(args, cpus.len() as u32)?;
    let start = header.start_monotonic;
    let name = store.path().unwrap_or_else(|| args.output.clone());
    let begun = Parts::begin(store, sink, header);
    let (parts, writer) = begun.with_context(|| format!("writing {}", name.display()))?;
    let evidence = Evidence::start(args.embed(), args.names_run_time_code(), account)?;
    let follow = match &target {
        Target::Machine => Follow::Everything,
        _ if target.has_children(args) => Follow::Children,
        _ => Follow::Nothing,
    };
    let mut stream = Stream::new(writer, side_band, evidence, follow, args.call_graph(), start);
    if args.keep_raw {
        stream.keep_raw();
    }
    match (&counting, args.samples_every()) {
        (Some(_), Some(_)) => stream.judge_chains(),
        (Some(_), None) => stream.only_count(),
        (None, _) => {}
    }
    for pid in target.pids() {
        stream.learn(pid, now())?;
    }
    if counting.is_some() && follow == Follow::Everything {
        stream.learn_all()?;
    }
    let attached = clocks.attach(&target, &mut sampler, &mut stream, &cpus, args.period())?;
    if attached == 0 {
        bail!("the target ended before its clock was attached");
    }
    let frugality = Frugality::new(args, cpus.len() as u32);
    let triggers = Triggers::new(&args.trigger, args.ring.unwrap_or_default(), whose(&target, !args.no_inherit));
    if matches!(target, Target::Machine) && !args.quiet {
        tell_what_cannot_be_read();
    }
    let needed = rights::needed(args, &target, account)?;
    match target {
        Target::Machine => {}
        Target::Processes(pids) => stop.with_processes(&pids)?,
        Target::Threads(threads) => stop.with_threads(threads)?,
        Target::Command(held) => stop.with_child(held.release()?)?,
    }
    let jvm_asker = args.jvm_perfmap.then(JvmAsker::start).transpose()?;
    rights::keep_what_works(needed, account, || sampler.works())?;
    parts.require_place()?;
    stop.after(args.duration);

    let progress = Progress::new(args.quiet);
    let started = Instant::now();
    let short_lives = ShortLives::of(clocks);
    let cpus = Cpus::new(online, cpus, clocks, args.period());
    let looked = start;
    let mut session = Session {
        stop,
        ring,
        stream,
        sampler,
        cpus,
        short_lives,
        parts,
        triggers,
        frugality,
        progress,
        started,
        looked,
        counting,
        part_has_counts: false,
        jvm_asker,
    };
    let ended = session.watch();
    session.sampler.stop();
    session.progress.clear();
    session.cpus.note_gone(&mut session.stream);
    let ended = ended.and_then(|reason| session.complete().map(|()| reason));
    session.finish(ended, start)
}

/// A recording that runs.
struct Session {
    stop: Stop,
    ring: BpfRing,
    stream: Stream<Sink>,
    sampler: Sampler,
    cpus: Cpus,
    /// When threads inherit clocks.
    short_lives: Option<ShortLives>,
    parts: Parts,
    triggers: Triggers,
    frugality: Frugality,
    progress: Progress,
    started: Instant,
    /// Ticks of before this time have been used.
    looked: u64,
    /// When ticks are counted in the kernel.
    counting: Option<Counting>,
    /// The part at hand is to end, and has what was counted until that was known.
    part_has_counts: bool,
    /// Asks JVMs for names at the end.
    jvm_asker: Option<JvmAsker>,
}

impl Session {
    /// Writes what comes until something ends the recording, and says what.
    fn watch(&mut self) -> Result<StopReason> {
        let (mut flushed, mut measured) = (self.started, self.started);
        let is_rarely_measured = self.counting.is_some() && !self.progress.is_visible();
        let measurement = if is_rarely_measured { counting::MEASUREMENT } else { Duration::ZERO };
        loop {
            let (look, flush) = match &self.counting {
                Some(_) if self.parts.are_due(&self.stream) => (FIRST_LOOK, counting::LOOK),
                // Samples among counts wait in the ring until it is half full, which nobody tells.
                Some(counting) if self.sampler.sampled().is_some() => (LOOK.min(counting.left()), counting::LOOK),
                Some(counting) => (counting.left(), counting::LOOK),
                None => (LOOK.min(FIRST_LOOK.max(self.started.elapsed() / 2)), FLUSH),
            };
            let files = [self.stream.process_events(), self.ring.as_fd()];
            let files = if self.counting.is_some() { &files[..1] } else { &files[..] };
            self.stop.wait(files, look.min(flush.saturating_sub(flushed.elapsed())))?;
            self.look()?;
            if flushed.elapsed() >= flush {
                flushed = Instant::now();
                self.flush()?;
            }
            if measured.elapsed() >= measurement && self.stream.measure(&self.sampler)? {
                measured = Instant::now();
                let (health, bytes) = (self.stream.health(), self.stream.bytes_written());
                self.progress.show(&health, bytes, self.started.elapsed(), self.frugality.weight());
            }
            if self.parts.are_full(&self.stream) {
                return Ok(StopReason::SizeReached);
            }
            if let Some(reason) = self.stop.reason() {
                return Ok(reason);
            }
        }
    }

    /// What is done whenever the ring is looked at.
    fn look(&mut self) -> Result<()> {
        self.count_into_part()?;
        self.parts.tend(&mut self.stream, &mut self.sampler, self.looked)?;
        self.stream.turn_segment(&mut self.sampler)?;
        match &self.counting {
            Some(counting)
                if counting.left().is_zero() || self.stream.has_many_events() || self.ring_is_half_full() =>
            {
                self.take_counts()?;
            }
            Some(counting) => {
                self.stream.note_ring(counting.fill());
                self.stream.take_process_events();
            }
            None => self.drain()?,
        }
        if let Some(short_lives) = &mut self.short_lives
            && let Some(said) = short_lives.look(&mut self.cpus, &mut self.sampler, &mut self.stream)?
        {
            self.progress.say(&said);
        }
        self.stream.exchange_evidence()?;
        self.stream.choose_whom_to_sample(&mut self.sampler)?;
        // Now that all ticks of before have been used.
        if self.stop.take_request() {
            self.parts.ask("SIGUSR1");
        }
        self.stream.instruct(&self.sampler)
    }

    /// What is done whenever what was collected leaves for the output: somewhat more often than once a second.
    fn flush(&mut self) -> Result<()> {
        self.cpus.follow(&mut self.sampler, &mut self.stream)?;
        self.stream.flush_in_time(&mut self.sampler)?;
        self.sampler.renew_cgroups()?;
        if let Some(slower) = self.frugality.look(&mut self.sampler, &mut self.stream)? {
            self.progress.say(&slower);
        }
        if let Some(why) = self.triggers.look() {
            self.parts.ask(&why);
        }
        Ok(())
    }

    /// Uses all ticks that are in the ring.
    fn drain(&mut self) -> Result<()> {
        self.looked = now();
        self.stream.note_ring(self.ring.fill());
        let mut result = Ok(());
        self.ring.drain(|bytes| {
            if result.is_ok() {
                result = self.stream.tick(bytes);
            }
        });
        result?;
        // Ticks that come later than this look are later than this time.
        self.stream.catch_up(self.looked.saturating_sub(5_000_000))
    }

    /// Takes what was counted until now, once, into a part that is to end.
    fn count_into_part(&mut self) -> Result<()> {
        let is_due = self.counting.is_some() && self.parts.are_due(&self.stream);
        if is_due && !self.part_has_counts {
            self.take_counts()?;
        }
        self.part_has_counts = is_due;
        Ok(())
    }

    /// Whether samples that wait among counts should not wait longer.
    fn ring_is_half_full(&self) -> bool {
        let fill = self.ring.fill();
        fill.bytes >= fill.size / 2
    }

    /// Uses what was counted since the last time.
    fn take_counts(&mut self) -> Result<()> {
        self.looked = now();
        self.stream.take_process_events();
        self.stream.end_sampling_of_ended(&mut self.sampler)?;
        let mut counts = self.sampler.take_counts()?;
        if let Some(counting) = &mut self.counting {
            counting.taken(&counts);
            self.stream.note_ring(counting.fill());
        }
        if self.sampler.sampled().is_some() {
            self.stream.note_ring(self.ring.fill());
        }
        self.stream.counts(&mut counts, &mut self.ring)?;
        self.stream.catch_up(self.looked)
    }

    /// Writes what has waited, when no more ticks come.
    fn complete(&mut self) -> Result<()> {
        if self.counting.is_some() {
            self.sampler.sampled().map_or(Ok(()), SampledProcesses::end_all)?;
            self.take_counts()?;
        } else {
            self.drain()?;
        }
        self.stream.catch_up(now())?;
        self.stream.flush(&mut self.sampler)?;
        if let Some(asker) = self.jvm_asker.take() {
            self.stream.ask_jvms(asker);
        }
        self.stream.complete_evidence(Instant::now() + EVIDENCE_PATIENCE)?;
        self.stream.measure_last(&self.sampler)?;
        self.stream.flush(&mut self.sampler)
    }

    /// Closes the recording, also when the output has refused a part of it.
    fn finish(self, ended: Result<StopReason>, start: u64) -> Result<(Finished, Stop)> {
        let Self { stop, mut stream, sampler, parts, frugality, short_lives, .. } = self;
        let accounts = sampler.accounts()?;
        let (reason, refusal) = match ended {
            Ok(reason) => (reason, None),
            Err(error) => {
                let reason = match error.downcast_ref() {
                    Some(profrec_format::Error::Io(_)) => StopReason::WriteFailed,
                    Some(profrec_format::Error::LimitReached { .. }) => StopReason::SizeReached,
                    _ => return Err(error),
                };
                stream.lose_what_waits(&accounts);
                (reason, Some(error).filter(|_| reason == StopReason::WriteFailed))
            }
        };
        let unseen = short_lives.map_or(Ok(None), |short_lives| short_lives.last_words(&sampler, &stream))?;
        let (unknown_chunks, unnamed) = (stream.unknown_chunks(), stream.take_unnamed());
        let (bytes, last) = (stream.bytes_written(), stream.writer().last_time_in_output());
        let (outcomes, health) = (accounts.all(), stream.health());
        let (totals, kept, error) = parts.close(stream, (&accounts, sampler.clock_time()), reason);
        let end = if refusal.is_some() { last } else { totals.end_monotonic };
        let lasted = Duration::from_nanos(end.saturating_sub(start));
        let (closed, refusal) = (error.is_none(), refusal.or(error));
        let slowed = frugality.slowed();
        let finished = Finished {
            totals,
            outcomes,
            health,
            unknown_chunks,
            unnamed,
            bytes,
            lasted,
            closed,
            refusal,
            kept,
            slowed,
            unseen,
        };
        Ok((finished, stop))
    }
}

/// Says at the start what will be missing for rights that are.
fn tell_what_cannot_be_read() {
    let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    if let Some(why) = rights::cannot_read_others(held, kernel::version()) {
        progress::put(&format!("profrec: without CAP_SYS_PTRACE, {why}\n  what helps: {}\n", remedy::become_able()));
    }
}

/// Whose CPU time triggers look at.
fn whose(target: &Target, children: bool) -> Whose {
    match target {
        Target::Machine => Whose::Machine,
        target => Whose::Processes(target.pids(), children),
    }
}
