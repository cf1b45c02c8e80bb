//! Counted rows on their way into the recording: those of a flush are gathered, and written so that like stands beside like.
//!
//! When in a flush a row was first counted says nothing of when its other ticks were, and would take more space than its stack. So
//! all rows have the time of the first one, or of what was last recorded of their process: they are replayed with
//! their process as it was.

use std::cmp::Ordering;
use std::io::Write;

use anyhow::{Context, Result};
use profrec_format::{Record, Sample, UserState};
use rustc_hash::{FxHashMap, FxHashSet};

use super::Stream;
use crate::args::CallGraph;
use crate::counts::Counts;
use crate::event::Tick;
use crate::hybrid::owed::Program;
use crate::side_band::What;

/// Rows are written when they are so many, or have room for so many addresses: a megabyte or two.
const MOST_ROWS: usize = 8 << 10;
const MOST_ADDRESSES: usize = 128 << 10;

/// What rows show asks for nothing by itself: they have no address space but this one, which is none of a sample's.
const COUNTED: u32 = 0;

/// The rows that wait.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: Vec<Row>,
    /// How many addresses they have room for.
    addresses: usize,
    /// While rows are gathered: the time of the first one, and of the last record of each process since.
    start: Option<u64>,
    recorded: FxHashMap<u32, u64>,
}

#[derive(Debug, PartialEq, Eq)]
struct Row {
    time: u64,
    pid: u32,
    tid: u32,
    cpu: u32,
    weight: u32,
    /// Innermost first.
    kernel: Vec<u64>,
    user: Option<Vec<u64>>,
}

impl Rows {
    /// Notes when a process has changed for the reader.
    pub(super) fn note(&mut self, record: &Record) {
        let (Some(_), Some(time)) = (self.start, record.time()) else { return };
        let pid = match record {
            Record::Process(process) => process.pid,
            Record::Thread(thread) => thread.pid,
            Record::Fork(fork) => fork.pid,
            Record::Exec(exec) => exec.pid,
            Record::Exit(exit) => exit.pid,
            Record::Mapping(mapping) => mapping.pid,
            _ => return,
        };
        let last = self.recorded.entry(pid).or_default();
        *last = time.max(*last);
    }

    /// Adds a row, which comes after what was noted so far, and takes its stack from the sample.
    fn add(&mut self, sample: &mut Sample) {
        let start = self.start.unwrap_or(sample.time);
        let recorded = self.recorded.get(&sample.pid).copied().unwrap_or_default();
        let user = match std::mem::take(&mut sample.user) {
            UserState::Chain(addresses) => Some(addresses),
            _ => None,
        };
        let kernel = std::mem::take(&mut sample.kernel_chain);
        self.addresses += kernel.capacity() + user.as_ref().map_or(0, Vec::capacity);
        self.rows.push(Row {
            time: start.max(recorded).min(sample.time),
            pid: sample.pid,
            tid: sample.tid,
            cpu: sample.cpu,
            weight: sample.weight,
            kernel,
            user,
        });
    }

    fn are_many(&self) -> bool {
        self.rows.len() >= MOST_ROWS || self.addresses >= MOST_ADDRESSES
    }

    /// The rows, in the order in which they take least space.
    fn take(&mut self) -> Vec<Row> {
        self.addresses = 0;
        let mut rows = std::mem::take(&mut self.rows);
        rows.sort_unstable_by(Row::order);
        rows
    }
}

impl Row {
    /// By time, of which there are few; then by stacks from the outside in: neighbours share their callers, and new addresses ascend.
    fn order(&self, other: &Self) -> Ordering {
        let by_user = match (&self.user, &other.user) {
            (Some(one), Some(other)) => one.iter().rev().cmp(other.iter().rev()),
            (one, other) => one.is_some().cmp(&other.is_some()),
        };
        let key = |row: &Self| (row.pid, row.tid, row.cpu);
        (self.time.cmp(&other.time))
            .then(by_user)
            .then_with(|| self.kernel.iter().rev().cmp(other.kernel.iter().rev()))
            .then_with(|| key(self).cmp(&key(other)))
    }
}

impl<W: Write> Stream<W> {
    /// The rows of these counts are to follow. Gives the processes that change meanwhile: ticks of all others need not wait for
    /// process events, and those of one process define it in one piece. `None` when any process may change.
    pub(super) fn begin_rows(&mut self, counts: &Counts) -> Option<FxHashSet<u32>> {
        let first = counts.first()?;
        self.rows.start = Some(first);
        if self.segment_start == 0 {
            self.segment_start = first;
        }
        self.look_at_side_band();
        let mut unsettled = FxHashSet::default();
        for event in &self.pending {
            match &event.what {
                What::Mapping { pid, .. } | What::Comm { pid, .. } | What::Exit { pid, .. } => {
                    unsettled.insert(*pid);
                }
                // A child has what its parent has just then.
                What::Fork { pid, parent, .. } => unsettled.extend([*pid, *parent]),
                What::Lost { .. } => return None,
                What::Cgroup { .. } | What::Throttled { .. } => {}
            }
        }
        if self.chains.is_some() {
            // Samples among counts come in the order of all ticks.
            return None;
        }
        self.unsettle(counts, &mut unsettled);
        Some(unsettled)
    }

    /// Adds the processes that change for the reader by their ticks alone: those that move between control groups, and those that
    /// `/proc` is yet to be asked about.
    fn unsettle(&self, counts: &Counts, unsettled: &mut FxHashSet<u32>) {
        let mut groups: FxHashMap<u32, u64> = FxHashMap::default();
        for (pid, group) in counts.groups() {
            let process = self.processes.get(pid);
            // A definition in this segment says where the process is; one that is to come says where it was first.
            let told = process.filter(|process| process.defined_in == self.segment && process.cgroup_id != 0);
            let first = groups.entry(pid).or_insert_with(|| told.map_or(group, |process| process.cgroup_id));
            if *first != group || process.is_none_or(|process| !process.known) {
                unsettled.insert(pid);
            }
        }
    }

    /// A tick that was counted, and stands for others.
    pub(super) fn use_counted(&mut self, tick: &Tick<'_>) -> Result<()> {
        self.apply_before(tick)?;
        self.use_settled(tick)
    }

    /// The same, of a process that no event that waits is about.
    pub(super) fn use_settled(&mut self, tick: &Tick<'_>) -> Result<()> {
        self.make_sample(tick, CallGraph::Fp)?;
        let code = match &self.sample.user {
            UserState::Chain(addresses) => addresses.as_slice(),
            _ => &[],
        };
        self.kernel_names.want(&self.sample.kernel_chain);
        if let Some(process) = self.processes.get(tick.pid) {
            match self.chains {
                None => self.code.note((tick.pid, process), code, &self.modules),
                Some(_) => self.code.note_without_file((tick.pid, process), code, &self.modules),
            }
        }
        self.note_chain(tick);
        self.tally.counted(Program { pid: tick.pid, exec: tick.exec }, tick.cpu, tick.weight);
        self.rows.add(&mut self.sample);
        if self.rows.are_many() { self.write_rows() } else { Ok(()) }
    }

    /// Writes the rows that wait before too many samples stand between them and what happened in their time: a reader brings only neighbours into
    /// the order of their times.
    pub(super) fn go_on_with_rows(&mut self, time: u64) -> Result<()> {
        self.rows.start = self.rows.start.max(Some(time));
        self.write_rows()
    }

    /// Writes all rows that wait.
    pub(super) fn write_rows(&mut self) -> Result<()> {
        for Row { time, pid, tid, cpu, weight, kernel, user } in self.rows.take() {
            let user = user.map_or(UserState::None, UserState::Chain);
            let sample = Sample { time, pid, tid, cpu, weight, kernel_chain: kernel, user };
            self.writer.sample_in_space(&sample, COUNTED).context("writing a sample")?;
        }
        Ok(())
    }

    /// Writes them, and gathers no more.
    pub(super) fn end_rows(&mut self) -> Result<()> {
        self.rows.start = None;
        self.rows.recorded.clear();
        self.write_rows()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use profrec_format::{Exec, Loss, LossCause};

    use super::*;

    fn sample(time: u64, pid: u32, user: &[u64], kernel: &[u64]) -> Sample {
        let (user, kernel_chain) = (UserState::Chain(user.to_vec()), kernel.to_vec());
        Sample { time, pid, tid: pid, user, kernel_chain, weight: 1, ..Sample::default() }
    }

    /// Rows have the time of the first one; those of a process that has changed come when it had.
    #[test]
    fn rows_come_when_their_process_changed() {
        let mut rows = Rows { start: Some(100), ..Rows::default() };
        rows.add(&mut sample(100, 1, &[5], &[]));
        rows.add(&mut sample(150, 2, &[5], &[]));
        rows.note(&Record::Exec(Exec { time: 200, pid: 2, comm: String::new() }));
        rows.note(&Record::Loss(Loss::at(300, LossCause::RingFull, 1)));
        rows.add(&mut sample(250, 2, &[5], &[]));
        rows.add(&mut sample(350, 1, &[5], &[]));
        let times: Vec<_> = rows.take().into_iter().map(|row| (row.time, row.pid)).collect();
        assert_eq!(times, [(100, 1), (100, 1), (100, 2), (200, 2)]);
        assert_eq!((rows.addresses, rows.rows.len()), (0, 0));
    }

    /// Stacks with the same callers are neighbours, and what they called ascends.
    #[test]
    fn stacks_with_the_same_callers_are_neighbours() {
        let mut rows = Rows { start: Some(1), ..Rows::default() };
        for (user, kernel) in [(&[9, 1][..], &[][..]), (&[1, 2], &[]), (&[3, 1], &[8]), (&[3, 1], &[])] {
            rows.add(&mut sample(1, 7, user, kernel));
        }
        let rows = rows.take();
        let stacks: Vec<_> = rows.iter().map(|row| (row.user.as_deref().unwrap(), &row.kernel[..])).collect();
        assert_eq!(stacks, [(&[3, 1][..], &[][..]), (&[3, 1], &[8]), (&[9, 1], &[]), (&[1, 2], &[])]);
    }

    /// Rows do not wait without end: a flush of very many is written in several pieces.
    #[test]
    fn many_rows_do_not_wait() {
        let mut rows = Rows { start: Some(1), ..Rows::default() };
        let deep = vec![3; 1 << 10];
        let count = (0..).find(|_| {
            rows.add(&mut sample(1, 7, &deep, &[]));
            rows.are_many()
        });
        assert_eq!(count, Some(MOST_ADDRESSES / deep.len() - 1));
    }
}
