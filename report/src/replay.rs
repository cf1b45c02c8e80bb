//! Replay: every sample of a segment together with its process as it was at that instant.
//!
//! Segments stand alone, so each is replayed by itself.

use std::collections::VecDeque;

use profrec_format::{Error, Record, Sample, Segment};
use rustc_hash::FxHashMap;

use crate::address_space::{AddressSpace, MappedRange};
use crate::evidence::ModuleNumbers;

/// A sample's process and thread at its instant.
#[derive(Clone, Copy)]
pub struct Instant<'a> {
    /// The executable mappings of the process.
    pub space: &'a AddressSpace,
    /// The thread's name.
    pub comm: &'a str,
    /// It is a thread of the kernel.
    pub kernel_thread: bool,
}

/// Samples come from one ring, in which each CPU reserves its place a moment after it took the
/// time: a sample can be late by as many places as there are CPUs. Twice as many as Linux supports
/// on common machines.
const WINDOW: usize = 512;

/// The name of a thread that nobody named.
const UNNAMED: &str = "[unknown]";

/// Replays a segment: `visit` sees each sample in the order of time.
///
/// # Errors
/// Where a segment is damaged, reading ends; all samples before the damage have been visited.
pub fn replay(
    segment: &Segment<'_>,
    numbers: &ModuleNumbers,
    mut visit: impl FnMut(&Sample, Instant<'_>),
) -> Result<(), Error> {
    let mut world = World::new(numbers, segment.records()?);
    let mut samples = segment.samples();
    let mut window = VecDeque::with_capacity(WINDOW + 1);
    let outcome = loop {
        match samples.next() {
            Ok(Some(sample)) => put_in_order(&mut window, sample),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
        if window.len() > WINDOW
            && let Some(first) = window.pop_front()
        {
            world.show(&first, &mut visit);
        }
    };
    window.iter().for_each(|sample| world.show(sample, &mut visit));
    outcome
}

/// Inserts a sample by its time; nearly always its place is the last.
fn put_in_order(window: &mut VecDeque<Sample>, sample: &Sample) {
    let place = window.iter().rposition(|earlier| earlier.time <= sample.time).map_or(0, |index| index + 1);
    window.insert(place, sample.clone());
}

/// The processes of a segment at one instant, and what has yet to happen.
struct World<'a> {
    numbers: &'a ModuleNumbers,
    /// Latest first.
    future: Vec<(u64, Record)>,
    processes: FxHashMap<u32, Process>,
    comms: FxHashMap<u32, String>,
    nothing: AddressSpace,
}

#[derive(Clone, Default)]
struct Process {
    space: AddressSpace,
    kernel_thread: bool,
}

impl<'a> World<'a> {
    fn new(numbers: &'a ModuleNumbers, records: Vec<Record>) -> Self {
        let timed = records.into_iter().filter_map(|record| Some((record.time()?, record)));
        let mut future: Vec<_> = timed.collect();
        future.sort_by_key(|(time, _)| *time);
        future.reverse();
        let (processes, comms, nothing) = Default::default();
        Self { numbers, future, processes, comms, nothing }
    }

    fn show(&mut self, sample: &Sample, visit: &mut impl FnMut(&Sample, Instant<'_>)) {
        while let Some((_, record)) = self.future.pop_if(|(time, _)| *time <= sample.time) {
            self.apply(record);
        }
        let process = self.processes.get(&sample.pid);
        let comm = self.comms.get(&sample.tid).or_else(|| self.comms.get(&sample.pid));
        let instant = Instant {
            space: process.map_or(&self.nothing, |process| &process.space),
            comm: comm.map_or(UNNAMED, String::as_str),
            kernel_thread: process.is_some_and(|process| process.kernel_thread),
        };
        visit(sample, instant);
    }

    fn apply(&mut self, record: Record) {
        match record {
            Record::Process(process) => {
                let state = Process { space: AddressSpace::default(), kernel_thread: process.kernel_thread };
                self.processes.insert(process.pid, state);
                self.comms.insert(process.pid, process.comm);
            }
            Record::Thread(thread) => {
                self.comms.insert(thread.tid, thread.comm);
            }
            Record::Fork(fork) => {
                if fork.pid != fork.parent {
                    let copy = self.processes.get(&fork.parent).cloned().unwrap_or_default();
                    self.processes.insert(fork.pid, copy);
                }
                if let Some(comm) = self.comms.get(&fork.parent_tid).cloned() {
                    self.comms.insert(fork.tid, comm);
                }
            }
            Record::Exec(exec) => {
                self.processes.entry(exec.pid).or_default().space.clear();
                self.comms.insert(exec.pid, exec.comm);
            }
            Record::Mapping(mapping) => {
                let Some(&module) = self.numbers.get(&mapping.module) else { return };
                let range = MappedRange { start: mapping.start, end: mapping.end, offset: mapping.offset, module };
                self.processes.entry(mapping.pid).or_default().space.insert(range);
            }
            // An ended process may still have late samples; its number is defined anew when used again.
            _ => {}
        }
    }
}
