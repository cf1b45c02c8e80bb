//! Turns ticks and process events into the stream of records and samples that is the recording.
//!
//! Ticks and process events come through different rings and meet here by their times. Before a tick
//! is used, all process events up to its time have been applied: a tick that is later than the last
//! look at the side band makes us look again. So no sample ever waits.

mod accounts;
mod cpus;
mod definitions;
mod events;
mod flushing;
mod following;
mod gathering;
mod hybrid;
mod learning;
mod parts;
mod rows;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::collections::VecDeque;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result};
use profrec_format::{Loss, LossCause, Pace, Record, Sample, Totals, UserStack, UserState, Writer};

use crate::args::CallGraph;
use crate::cgroup_ids::CgroupIds;
use crate::chunks::SentChunks;
pub(crate) use crate::clock::now;
use crate::event::{self, Tick};
use crate::evidence::Evidence;
use crate::filter;
use crate::giant_frames::{GiantFrames, LeftOut};
use crate::hybrid::chains::Chains;
use crate::hybrid::tally::Tally;
use crate::kernel_symbols::KernelNames;
use crate::losses::Losses;
use crate::meter::Meter;
use crate::modules::Modules;
use crate::process::Process;
use crate::processes::Processes;
use crate::raw_stacks::RawStacks;
use crate::sampler::Sampler;
use crate::seen_code::SeenCode;
use crate::side_band::{ProcessEvent, SideBand, What};
use following::LostChildren;
use parts::Earlier;
use rows::Rows;

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
    cgroup_ids: CgroupIds,
    modules: Modules,
    evidence: Evidence,
    kernel_names: KernelNames,
    /// Counts segments from 1.
    segment: u64,
    segment_start: u64,
    /// Nothing is sampled: what is written waits for counts.
    only_counts: bool,
    /// The segment holds a flush of counts, and ends with it.
    ends_with_counts: bool,
    /// That flush has waited for its evidence.
    has_waited: bool,
    /// Counts were taken, there were none, and nothing has left for the output since.
    nothing_was_counted: bool,
    /// What was counted before this time has been used.
    counted_until: u64,
    /// When all that was buffered left for the output last.
    flushed: u64,
    /// The segment has processes that are not remembered.
    has_forgotten: bool,
    code: SeenCode,
    /// Ends of counted chains, when processes are sampled for them.
    chains: Option<Chains>,
    tally: Tally,
    /// Processes that have ended or become another program, of which the kernel does not know yet.
    ended_programs: Vec<u32>,
    chunks: SentChunks,
    giant_frames: GiantFrames,
    /// Set when stacks are written as they were, too.
    raw_stacks: Option<RawStacks>,
    /// Processes whose stacks are to be sent again, of which the kernel does not know yet.
    new_layouts: Vec<u32>,
    /// Threads with giant frames, of which the kernel does not know yet.
    new_giants: Vec<(u32, LeftOut)>,
    sample: Sample,
    /// What was counted, on its way into the recording.
    rows: Rows,
    losses: Losses,
    /// Those that wait for counts, together by cause and CPU.
    recent_losses: Vec<Loss>,
    /// The last change of the pace.
    pace: Option<Pace>,
    /// The segment at hand says it.
    is_pace_told: bool,
    meter: Meter,
    /// Bytes that maps and rings take in the kernel, once it was asked.
    kernel_memory: Option<u64>,
    ended: Vec<u32>,
    threads_ended: u64,
    lost_children: LostChildren,
    /// What the parts before hold.
    earlier: Earlier,
    /// Process events were lost, the ends of processes perhaps among them.
    ends_were_lost: bool,
    /// Mappings that are not remembered, of which the recording does not know yet.
    refused_mappings: u64,
    /// That the mappings of a process may not be read was told.
    unreadable_is_told: bool,
}

impl<W: Write> Stream<W> {
    /// Starts with nothing known.
    pub(crate) fn new(
        writer: Writer<W>,
        side_band: SideBand,
        evidence: Evidence,
        follow: Follow,
        call_graph: CallGraph,
        start: u64,
    ) -> Self {
        Self {
            writer,
            follow,
            call_graph,
            side_band,
            pending: VecDeque::new(),
            side_band_until: 0,
            processes: Processes::default(),
            cgroup_ids: CgroupIds::default(),
            modules: Modules::default(),
            evidence,
            kernel_names: KernelNames::default(),
            segment: 1,
            segment_start: 0,
            only_counts: false,
            ends_with_counts: false,
            has_waited: false,
            nothing_was_counted: false,
            counted_until: 0,
            flushed: start,
            has_forgotten: false,
            code: SeenCode::default(),
            chains: None,
            tally: Tally::default(),
            ended_programs: Vec::new(),
            chunks: SentChunks::default(),
            giant_frames: GiantFrames::default(),
            raw_stacks: None,
            new_layouts: Vec::new(),
            new_giants: Vec::new(),
            sample: Sample::default(),
            rows: Rows::default(),
            losses: Losses::default(),
            recent_losses: Vec::new(),
            pace: None,
            is_pace_told: true,
            meter: Meter::new(start),
            kernel_memory: None,
            ended: Vec::new(),
            threads_ended: 0,
            lost_children: LostChildren::default(),
            earlier: Earlier::default(),
            ends_were_lost: false,
            refused_mappings: 0,
            unreadable_is_told: false,
        }
    }

    /// Has each stack written as it was, beside its sample.
    pub(crate) fn keep_raw(&mut self) {
        self.raw_stacks = Some(RawStacks::default());
    }

    /// Becomes readable when process events fill their rings.
    pub(crate) fn process_events(&self) -> BorrowedFd<'_> {
        self.side_band.as_fd()
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
            let count = u64::from(event::weight_in(bytes));
            return self.lose(Loss { cpu: Tick::cpu(bytes), ..Loss::at(now(), LossCause::Malformed, count) });
        };
        self.use_tick(&tick, self.call_graph)
    }

    /// Takes process events from their rings, to be used when the ticks of their time come.
    pub(crate) fn take_process_events(&mut self) {
        self.look_at_side_band();
    }

    /// Whether so many process events wait for ticks that they should not wait longer.
    pub(crate) fn has_many_events(&self) -> bool {
        const MANY: usize = 16 << 10;
        const BYTES: usize = 4 << 20;
        let bytes = |event: &ProcessEvent| match &event.what {
            What::Mapping { path, .. } | What::Cgroup { path, .. } => path.len(),
            _ => 0,
        };
        self.pending.len() >= MANY || self.pending.iter().map(bytes).sum::<usize>() >= BYTES
    }

    fn use_tick(&mut self, tick: &Tick<'_>, call_graph: CallGraph) -> Result<()> {
        self.apply_before(tick)?;
        self.make_sample(tick, call_graph)?;
        self.write_raw(tick)?;
        // Counted rows have even numbers: what they have shown without asking for evidence is new when a sample shows it.
        let space = self.processes.get(tick.pid).map_or(0, Process::layout_number) << 1 | 1;
        let new = self.writer.sample_in_space(&self.sample, space as u32).context("writing a sample")?;
        self.kernel_names.want(new.kernel);
        if let Some(process) = self.processes.get(tick.pid) {
            self.code.note((tick.pid, process), new.code, &self.modules);
        }
        Ok(())
    }

    /// Applies all process events that come before a tick.
    fn apply_before(&mut self, tick: &Tick<'_>) -> Result<()> {
        if tick.time > self.side_band_until {
            self.look_at_side_band();
        }
        self.apply_until(tick.time)
    }

    /// Makes the sample of a tick, and the segment say all that it refers to.
    fn make_sample(&mut self, tick: &Tick<'_>, call_graph: CallGraph) -> Result<()> {
        self.define_process(tick)?;
        self.fill_sample(tick, call_graph);
        self.define_mappings(tick.pid)?;
        self.note_way(tick.pid);
        self.meter.sample(tick.time);
        Ok(())
    }

    fn write_raw(&mut self, tick: &Tick<'_>) -> Result<()> {
        match &mut self.raw_stacks {
            Some(stacks) if matches!(self.sample.user, UserState::Stack(_)) => {
                let stack = stacks.stack(tick);
                self.write(&Record::RawStack(stack))
            }
            _ => Ok(()),
        }
    }

    fn fill_sample(&mut self, tick: &Tick<'_>, call_graph: CallGraph) {
        let sample = &mut self.sample;
        (sample.time, sample.pid, sample.tid, sample.cpu) = (tick.time, tick.pid, tick.tid, tick.cpu);
        sample.weight = tick.weight;
        sample.kernel_chain.clear();
        sample.kernel_chain.extend(event::words(tick.kernel_chain));
        if tick.stack_is_lost {
            sample.user = UserState::Chain(Vec::new());
            return;
        }
        if !tick.has_user_side() {
            sample.user = UserState::None;
            return;
        }
        if call_graph == CallGraph::Dwarf {
            if !matches!(sample.user, UserState::Stack(_)) {
                sample.user = UserState::Stack(UserStack::default());
            }
            if let (UserState::Stack(stack), Some(process)) = (&mut sample.user, self.processes.get_mut(tick.pid)) {
                let unknown_before = self.chunks.unknown();
                filter::keep_pointers(tick, process.code(), &mut self.chunks, stack);
                if self.chunks.unknown() > unknown_before {
                    process.renew_layout();
                    self.new_layouts.push(tick.pid);
                }
                if !tick.frame_left_out && !tick.switched {
                    self.new_giants.extend(self.giant_frames.find(process, stack).map(|frame| (tick.tid, frame)));
                }
            }
            return;
        }
        let process = self.processes.get_mut(tick.pid);
        if process.as_ref().is_some_and(|process| process.is_new) {
            // The chain is that of the program before, which is not mapped any more.
            sample.user = UserState::None;
            return;
        }
        let code = process.map(Process::code);
        sample.user = UserState::Chain(filter::call_chain(tick, code));
    }

    /// Applies process events up to `time`, when no tick will come that is earlier.
    pub(crate) fn catch_up(&mut self, time: u64) -> Result<()> {
        self.look_at_side_band();
        self.apply_until(time)
    }

    /// Tells the kernel what the ticks so far have taught: whose stacks are to be sent again because there is new code, and
    /// what need not be copied.
    pub(crate) fn instruct(&mut self, sampler: &Sampler) -> Result<()> {
        self.new_giants.dedup();
        for (tid, frame) in self.new_giants.drain(..) {
            sampler.leave_out(tid, frame)?;
        }
        self.new_layouts.dedup();
        for pid in self.new_layouts.drain(..) {
            if let Some(process) = self.processes.get(pid) {
                sampler.change_layout(pid, process.layout_number())?;
            }
        }
        Ok(())
    }

    fn is_defined(&self, pid: u32) -> bool {
        self.processes.get(pid).is_some_and(|process| process.defined_in == self.segment)
    }

    fn write(&mut self, record: &Record) -> Result<()> {
        self.rows.note(record);
        self.writer.record(record).context("writing a record")
    }

    /// Notes that samples are taken at another pace from now on.
    pub(crate) fn change_pace(&mut self, pace: Pace) -> Result<()> {
        self.pace = Some(pace);
        self.write(&Record::Pace(pace))
    }

    /// Unchanged pieces of stacks that were not known any more.
    pub(crate) fn unknown_chunks(&self) -> u64 {
        self.chunks.unknown()
    }

    /// The writer of the part at hand.
    pub(crate) fn writer(&self) -> &Writer<W> {
        &self.writer
    }

    /// Closes the part at hand.
    pub(crate) fn close(self, totals: &Totals) -> Result<W> {
        self.writer.finish(totals).context("closing the recording")
    }
}
