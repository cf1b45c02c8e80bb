//! Turns ticks and process events into the stream of records and samples that is the recording.
//!
//! Ticks and process events come through different rings and meet here by their times. Before a tick
//! is used, all process events up to its time have been applied: a tick that is later than the last
//! look at the side band makes us look again. So no sample ever waits.

use std::collections::VecDeque;
use std::io::Write;

use anyhow::{Context, Result};
use profrec_format::{
    Exec, Exit, Fork, Image, Loss, LossCause, Mapping, ModuleId, ModuleKind, Process as ProcessRecord, Record, Sample,
    Thread as ThreadRecord, Totals, UserStack, UserState, Writer,
};

use crate::args::CallGraph;
use crate::event::{self, INSTRUCTION_POINTER, Tick};
use crate::evidence::Evidence;
use crate::filter;
use crate::kernel_symbols::KernelNames;
use crate::modules::{Modules, Place};
use crate::proc_maps;
use crate::processes::{Mapped, Process, Processes, Thread};
use crate::sampler::Sampler;
use crate::seen_code::SeenCode;
use crate::side_band::{FileIdentity, ProcessEvent, SideBand, What};
use crate::vdso;

/// A segment's samples are at most this much older than its first: ticks of different CPUs reach the
/// ring a little out of order.
const DISORDER: u64 = 100_000_000;

/// Ticks of a process that has ended come at most so much later.
const LAST_TICKS: u64 = 2_000_000_000;

/// Which processes are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follow {
    /// All there are.
    Everything,
    /// Those that are known, and their children.
    Children,
    /// Those that are known.
    Nothing,
}

/// The recording while it is made.
pub(crate) struct Stream<W: Write> {
    writer: Writer<W>,
    follow: Follow,
    call_graph: CallGraph,
    side_band: SideBand,
    /// Process events that are later than all ticks used so far, in the order of their times.
    pending: VecDeque<ProcessEvent>,
    /// All process events before this time have been taken from the side band.
    side_band_until: u64,
    processes: Processes,
    modules: Modules,
    evidence: Evidence,
    kernel_names: KernelNames,
    /// Counts segments from 1.
    segment: u64,
    segment_start: u64,
    code: SeenCode,
    sample: Sample,
    losses: Losses,
    ended: Vec<u32>,
}

/// What was lost so far, and how much of it the recording already says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Losses {
    pub(crate) ring_full: u64,
    pub(crate) malformed: u64,
    pub(crate) process_events: u64,
}

impl Losses {
    /// By cause, those that happened.
    pub(crate) fn by_cause(&self) -> Vec<(LossCause, u64)> {
        let all = [
            (LossCause::RingFull, self.ring_full),
            (LossCause::Malformed, self.malformed),
            (LossCause::ProcessEvents, self.process_events),
        ];
        all.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    /// Lost samples.
    pub(crate) fn samples(&self) -> u64 {
        self.ring_full + self.malformed
    }
}

/// Nanoseconds of CLOCK_MONOTONIC.
pub(crate) fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl<W: Write> Stream<W> {
    /// Starts with nothing known.
    pub(crate) fn new(
        writer: Writer<W>,
        side_band: SideBand,
        evidence: Evidence,
        follow: Follow,
        call_graph: CallGraph,
    ) -> Self {
        Self {
            writer,
            follow,
            call_graph,
            side_band,
            pending: VecDeque::new(),
            side_band_until: 0,
            processes: Processes::default(),
            modules: Modules::default(),
            evidence,
            kernel_names: KernelNames::default(),
            segment: 1,
            segment_start: 0,
            code: SeenCode::default(),
            sample: Sample::default(),
            losses: Losses::default(),
            ended: Vec::new(),
        }
    }

    /// Learns from `/proc` what a process is like now.
    pub(crate) fn learn(&mut self, pid: u32) {
        let time = now();
        let (parent, kernel_thread) = proc_maps::parent_and_kind(pid).unwrap_or_default();
        let mut process = Process::found(parent, proc_maps::thread_name(pid, pid), kernel_thread);
        for tid in proc_maps::threads(pid).unwrap_or_default() {
            let comm = if tid == pid { process.comm.clone() } else { proc_maps::thread_name(pid, tid) };
            process.threads.insert(tid, Thread { comm, since: time, defined_in: 0 });
        }
        // A process that has just ended has no mappings: its samples show addresses without modules.
        for line in proc_maps::executable_mappings(pid).unwrap_or_default() {
            let place = Place { pid, start: line.start, end: line.end, path: &line.path };
            let identity = FileIdentity::Inode { major: line.major, minor: line.minor, inode: line.inode };
            if let Some(module) = self.modules.identify(place, identity) {
                process.map(Mapped { start: line.start, end: line.end, offset: line.offset, module }, 0);
            }
        }
        if let Some(known) = self.processes.get(pid) {
            process.since = known.since;
            process.defined_in = 0;
        }
        self.processes.insert(pid, process);
    }

    /// Who created a thread and when, if the side band has told of it.
    pub(crate) fn creation(&mut self, tid: u32) -> Option<(u32, u64)> {
        self.look_at_side_band();
        self.pending.iter().find_map(|event| match event.what {
            What::Fork { tid: new, parent_tid, .. } if new == tid => Some((parent_tid, event.time)),
            _ => None,
        })
    }

    /// One event from the ring of ticks.
    pub(crate) fn tick(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(tick) = Tick::parse(bytes) else {
            self.losses.malformed += 1;
            return Ok(());
        };
        if tick.time > self.side_band_until {
            self.look_at_side_band();
        }
        self.apply_until(tick.time)?;
        self.define_process(&tick)?;
        self.fill_sample(&tick);
        let new = self.writer.sample(&self.sample).context("writing a sample")?;
        self.kernel_names.want(new.kernel);
        if let Some(process) = self.processes.get(tick.pid) {
            self.code.note(process, new.code);
        }
        Ok(())
    }

    fn fill_sample(&mut self, tick: &Tick<'_>) {
        let sample = &mut self.sample;
        (sample.time, sample.pid, sample.tid, sample.cpu) = (tick.time, tick.pid, tick.tid, tick.cpu);
        sample.kernel_chain.clear();
        sample.kernel_chain.extend(event::words(tick.kernel_chain));
        if !tick.has_user_side() {
            sample.user = UserState::None;
            return;
        }
        if self.call_graph == CallGraph::Dwarf {
            if !matches!(sample.user, UserState::Stack(_)) {
                sample.user = UserState::Stack(UserStack::default());
            }
            if let (UserState::Stack(stack), Some(process)) = (&mut sample.user, self.processes.get_mut(tick.pid)) {
                filter::keep_pointers(tick, process.code(), stack);
            }
            return;
        }
        let mut chain: Vec<u64> = event::words(tick.user_chain).collect();
        if chain.is_empty() {
            chain.push(tick.registers[INSTRUCTION_POINTER]);
        }
        sample.user = UserState::Chain(chain);
    }

    /// Applies process events up to `time`, when no tick will come that is earlier.
    pub(crate) fn catch_up(&mut self, time: u64) -> Result<()> {
        self.look_at_side_band();
        self.apply_until(time)
    }

    fn look_at_side_band(&mut self) {
        self.side_band_until = now();
        let mut events = Vec::new();
        self.side_band.drain(&mut events);
        let late = match (self.pending.back(), events.first()) {
            (Some(last), Some(first)) => first.time < last.time,
            _ => false,
        };
        self.pending.extend(events);
        if late {
            self.pending.make_contiguous().sort_by_key(|event| event.time);
        }
    }

    fn apply_until(&mut self, time: u64) -> Result<()> {
        while self.pending.front().is_some_and(|event| event.time <= time) {
            if let Some(event) = self.pending.pop_front() {
                self.apply(event)?;
            }
        }
        Ok(())
    }

    fn apply(&mut self, event: ProcessEvent) -> Result<()> {
        let time = event.time;
        match event.what {
            What::Mapping { pid, start, end, offset, path, file } => {
                let Some(process) = self.processes.get_mut(pid) else {
                    return Ok(());
                };
                let place = Place { pid, start, end, path: &path };
                let Some(module) = self.modules.identify(place, file) else {
                    return Ok(());
                };
                let mapped = Mapped { start, end, offset, module };
                if process.map(mapped, time) && process.defined_in == self.segment {
                    self.write_mapping(pid, mapped, time)?;
                }
            }
            What::Comm { pid, tid, comm, exec: true } => self.exec(pid, tid, comm, time)?,
            What::Comm { pid, tid, comm, exec: false } => {
                if let Some(process) = self.processes.get_mut(pid) {
                    if pid == tid {
                        process.comm.clone_from(&comm);
                    }
                    // Its next sample tells.
                    process.threads.insert(tid, Thread { comm, since: time, defined_in: 0 });
                }
            }
            What::Fork { pid, tid, parent, parent_tid } => self.fork((pid, tid), (parent, parent_tid), time)?,
            What::Exit { pid, tid } => {
                let defined = self.is_defined(pid);
                if self.processes.exit(pid, tid, time) {
                    if defined {
                        self.write(&Record::Exit(Exit { time, pid, tid }))?;
                    }
                    if self.processes.has_ended(pid) {
                        self.ended.push(pid);
                    }
                }
            }
            What::Lost { count } => {
                self.losses.process_events += count;
                self.write(&Record::Loss(Loss { time, cause: LossCause::ProcessEvents, count }))?;
            }
        }
        Ok(())
    }

    fn exec(&mut self, pid: u32, tid: u32, comm: String, time: u64) -> Result<()> {
        let defined = self.is_defined(pid);
        if self.follow == Follow::Everything || self.processes.get(pid).is_some() {
            let segment = self.segment;
            let process = self.processes.entry(pid);
            process.exec(pid, comm.clone(), time);
            if defined && let Some(thread) = process.threads.get_mut(&tid) {
                thread.defined_in = segment;
            }
        }
        if defined {
            self.write(&Record::Exec(Exec { time, pid, comm: comm.clone() }))?;
            self.write(&Record::Thread(ThreadRecord { time, pid, tid, comm }))?;
        }
        Ok(())
    }

    fn fork(&mut self, child: (u32, u32), creator: (u32, u32), time: u64) -> Result<()> {
        let (pid, parent) = (child.0, creator.0);
        if pid != parent && self.follow == Follow::Nothing {
            return Ok(());
        }
        let defined = self.is_defined(parent);
        if !self.processes.fork(child, creator, time) {
            if pid != parent && self.follow == Follow::Everything {
                let thread = Thread { comm: String::new(), since: time, defined_in: 0 };
                let process = self.processes.entry(pid);
                (process.parent, process.since) = (parent, time);
                process.threads.insert(child.1, thread);
            }
            return Ok(());
        }
        if defined {
            if let Some(process) = self.processes.get_mut(pid) {
                process.defined_in = self.segment;
            }
            let fork = Fork { time, pid, tid: child.1, parent, parent_tid: creator.1 };
            self.write(&Record::Fork(fork))?;
        }
        Ok(())
    }

    fn is_defined(&self, pid: u32) -> bool {
        self.processes.get(pid).is_some_and(|process| process.defined_in == self.segment)
    }

    /// Makes the segment say all that a tick's sample refers to.
    fn define_process(&mut self, tick: &Tick<'_>) -> Result<()> {
        if self.segment_start == 0 {
            self.segment_start = tick.time;
        }
        if !self.processes.get(tick.pid).is_some_and(|process| process.known) {
            self.learn(tick.pid);
        }
        let (segment, earliest) = (self.segment, self.segment_start.saturating_sub(DISORDER));
        let Some(process) = self.processes.get_mut(tick.pid) else {
            return Ok(());
        };
        let time = process.since.max(earliest).min(tick.time);
        let mut mappings = Vec::new();
        let mut records = Vec::new();
        if process.defined_in != segment {
            process.defined_in = segment;
            mappings.extend_from_slice(process.mappings());
            records.push(Record::Process(ProcessRecord {
                time,
                pid: tick.pid,
                parent: process.parent,
                comm: process.comm.clone(),
                kernel_thread: process.kernel_thread,
            }));
        }
        let comm = &process.comm;
        let thread = process.threads.entry(tick.tid).or_insert_with(|| {
            let name = proc_maps::thread_name(tick.pid, tick.tid);
            Thread { comm: if name.is_empty() { comm.clone() } else { name }, since: 0, defined_in: 0 }
        });
        let thread_record = (thread.defined_in != segment).then(|| {
            thread.defined_in = segment;
            let time = thread.since.max(time).min(tick.time);
            Record::Thread(ThreadRecord { time, pid: tick.pid, tid: tick.tid, comm: thread.comm.clone() })
        });
        for record in &records {
            self.write(record)?;
        }
        for mapped in mappings {
            self.write_mapping(tick.pid, mapped, time)?;
        }
        thread_record.map_or(Ok(()), |record| self.write(&record))
    }

    fn write_mapping(&mut self, pid: u32, mapped: Mapped, time: u64) -> Result<()> {
        let Mapped { start, end, offset, module } = mapped;
        self.define_module(module, (pid, start, end))?;
        self.write(&Record::Mapping(Mapping { time, pid, start, end, offset, module }))
    }

    fn define_module(&mut self, id: ModuleId, place: (u32, u64, u64)) -> Result<()> {
        let Some(module) = self.modules.define(id, self.segment).cloned() else {
            return Ok(());
        };
        match module.kind {
            ModuleKind::File => {
                let file = self.modules.open(id, place);
                self.evidence.module(id, file);
            }
            ModuleKind::Vdso => self.write(&Record::Image(Image { module: id, bytes: vdso::image()? }))?,
            ModuleKind::Anonymous => {}
        }
        self.write(&Record::Module(module))
    }

    fn write(&mut self, record: &Record) -> Result<()> {
        self.writer.record(record).context("writing a record")
    }

    /// Writes what was lost, the names and the evidence that became necessary, and lets all that is
    /// buffered leave for the file.
    pub(crate) fn flush(&mut self, sampler: &mut Sampler) -> Result<()> {
        let ring_full = sampler.outcomes()?.ring_full;
        let count = ring_full.saturating_sub(self.losses.ring_full);
        if count > 0 {
            self.losses.ring_full = ring_full;
            self.write(&Record::Loss(Loss { time: now(), cause: LossCause::RingFull, count }))?;
        }
        for pid in std::mem::take(&mut self.ended) {
            sampler.remove_target(pid);
        }
        self.processes.forget_ended(self.side_band_until.saturating_sub(LAST_TICKS));
        if let Some(symbols) = self.kernel_names.take(|addresses| sampler.name_kernel_addresses(addresses))? {
            self.write(&Record::KernelSymbols(symbols))?;
        }
        self.ask_for_evidence();
        self.write_evidence()?;
        self.writer.flush().context("writing the recording")
    }

    /// Passes on the code addresses that are new to the segment.
    fn ask_for_evidence(&mut self) {
        if self.code.has_new() {
            self.evidence.code(self.code.take());
        }
    }

    fn write_evidence(&mut self) -> Result<()> {
        for record in self.evidence.collect() {
            self.write(&record)?;
        }
        Ok(())
    }

    /// Begins a new segment when this one is full and its evidence complete.
    pub(crate) fn turn_segment(&mut self, sampler: &mut Sampler) -> Result<()> {
        if !self.writer.segment_is_full() {
            return Ok(());
        }
        self.write_evidence()?;
        if !self.evidence.is_idle() || self.code.has_new() {
            return Ok(());
        }
        self.flush(sampler)?;
        self.writer.start_segment().context("starting a segment")?;
        self.segment += 1;
        self.segment_start = 0;
        self.code.start_segment();
        self.kernel_names.start_segment();
        self.evidence.start_segment();
        Ok(())
    }

    /// Waits for the evidence that is missing, at most until `deadline`, and writes it.
    pub(crate) fn complete_evidence(&mut self, deadline: std::time::Instant) -> Result<()> {
        self.ask_for_evidence();
        for record in self.evidence.finish(deadline) {
            self.write(&record)?;
        }
        Ok(())
    }

    /// What was lost so far.
    pub(crate) fn losses(&self) -> Losses {
        self.losses
    }

    /// The writer, for counts, and to close the recording.
    pub(crate) fn writer(&self) -> &Writer<W> {
        &self.writer
    }

    /// Closes the recording; gives the bytes written before its last two frames.
    pub(crate) fn close(self, totals: &Totals) -> Result<u64> {
        let bytes = self.writer.bytes_written();
        self.writer.finish(totals).context("closing the recording")?;
        Ok(bytes)
    }
}
