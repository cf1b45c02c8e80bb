//! Replay: every sample of a segment together with its process as it was at that instant.
//!
//! Segments stand alone, so each is replayed by itself.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::HashMap;
use profrec_format::{Error, Process as Definition, Record, Sample, Segment, UserState};

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
    /// The kernel is replacing the process's program: the old stack is gone, and what the sample
    /// says of the user side is what the old program left.
    pub between_programs: bool,
}

/// Samples come from one ring, in which each CPU reserves its place a moment after it took the
/// time: a sample can be late by as many places as there are CPUs. Twice as many as Linux supports
/// on common machines.
const WINDOW: usize = 512;
/// Words of stacks in the window: 128 MiB. Where stacks are so deep, a late sample may miss its place.
const WINDOW_WORDS: usize = 8 << 20;
/// Mappings of all processes together: 256 MiB. What is mapped beyond is outside every module.
const MAPPINGS: usize = 8 << 20;
/// Mappings of one process: the kernel allows 65,530, executable or not, unless it is told otherwise.
const MAPPINGS_OF_PROCESS: usize = 1 << 18;

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
    world.allowance = segment.allowance();
    let mut samples = segment.samples();
    let mut window = VecDeque::with_capacity(WINDOW + 1);
    let mut words = 0;
    let outcome = loop {
        match samples.next() {
            Ok(Some(sample)) => {
                words += words_of(sample);
                put_in_order(&mut window, sample);
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
        while window.len() > WINDOW || words > WINDOW_WORDS {
            let Some(first) = window.pop_front() else { break };
            words -= words_of(&first);
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

fn words_of(sample: &Sample) -> usize {
    match &sample.user {
        UserState::Stack(stack) => stack.words.len(),
        UserState::Chain(_) | UserState::None => 0,
    }
}

/// The processes of a segment at one instant, and what has yet to happen.
struct World<'a> {
    numbers: &'a ModuleNumbers,
    /// Latest first.
    future: Vec<(u64, Record)>,
    processes: HashMap<u32, Process>,
    comms: HashMap<u32, String>,
    nothing: AddressSpace,
    /// Mappings of all processes; those that several share count once.
    mappings: usize,
    /// How many mappings may yet be moved or copied.
    allowance: u64,
}

#[derive(Clone, Default)]
struct Process {
    /// Shared with the process that it was forked from, until either changes.
    space: Arc<AddressSpace>,
    kernel_thread: bool,
    /// It has a new program, which has not been seen running.
    is_new: bool,
    /// Its main thread has ended: its number may be used for another process.
    has_ended: bool,
}

impl<'a> World<'a> {
    fn new(numbers: &'a ModuleNumbers, records: Vec<Record>) -> Self {
        let timed = records.into_iter().filter_map(|record| Some((record.time()?, record)));
        let mut future: Vec<_> = timed.collect();
        future.sort_by_key(|(time, _)| *time);
        future.reverse();
        let (processes, comms, nothing) = Default::default();
        Self { numbers, future, processes, comms, nothing, mappings: 0, allowance: u64::MAX }
    }

    fn show(&mut self, sample: &Sample, visit: &mut impl FnMut(&Sample, Instant<'_>)) {
        while let Some((_, record)) = self.future.pop_if(|(time, _)| *time <= sample.time) {
            self.apply(record);
        }
        let process = self.processes.get_mut(&sample.pid);
        let between_programs = process.is_some_and(|process| process.is_between_programs(sample));
        let process = self.processes.get(&sample.pid);
        let comm = self.comms.get(&sample.tid).or_else(|| self.comms.get(&sample.pid)).filter(|comm| !comm.is_empty());
        let instant = Instant {
            space: process.map_or(&self.nothing, |process| &process.space),
            comm: comm.map_or(UNNAMED, String::as_str),
            kernel_thread: process.is_some_and(|process| process.kernel_thread),
            between_programs,
        };
        visit(sample, instant);
    }

    /// A sample that came late, after its process was forgotten, makes the recorder define it once
    /// more, with nothing in it. So what lives stays as it is.
    fn define(&mut self, definition: Definition) {
        let Definition { pid, comm, kernel_thread, .. } = definition;
        if self.processes.get(&pid).is_none_or(|process| process.has_ended) {
            self.put(pid, Process { kernel_thread, ..Process::default() });
            self.comms.insert(pid, comm);
        } else if !comm.is_empty() {
            self.comms.entry(pid).or_insert(comm);
        }
    }

    /// Puts a process in the place of another that had its number.
    fn put(&mut self, pid: u32, process: Process) {
        let before = self.processes.insert(pid, process);
        if let Some(space) = before.and_then(|before| Arc::into_inner(before.space)) {
            self.mappings -= space.mappings().len();
        }
    }

    /// Adds a mapping, unless there are more than there can be.
    fn map(&mut self, pid: u32, range: MappedRange) {
        let space = &mut self.processes.entry(pid).or_default().space;
        let count = space.mappings().len();
        let copied = if Arc::strong_count(space) > 1 { count } else { 0 };
        let cost = (copied + space.moved_by(range) + 1) as u64;
        if count >= MAPPINGS_OF_PROCESS || self.mappings + copied >= MAPPINGS || cost > self.allowance {
            return;
        }
        self.allowance -= cost;
        let space = Arc::make_mut(space);
        space.insert(range);
        self.mappings = self.mappings + copied + space.mappings().len() - count;
    }

    fn apply(&mut self, record: Record) {
        match record {
            Record::Process(process) => self.define(process),
            Record::Thread(thread) => {
                self.comms.insert(thread.tid, thread.comm);
            }
            Record::Fork(fork) => {
                if fork.pid != fork.parent {
                    let copy = self.processes.get(&fork.parent).cloned().unwrap_or_default();
                    self.put(fork.pid, copy);
                }
                if let Some(comm) = self.comms.get(&fork.parent_tid).cloned() {
                    self.comms.insert(fork.tid, comm);
                }
            }
            Record::Exec(exec) => {
                self.put(exec.pid, Process { is_new: true, ..Process::default() });
                self.comms.insert(exec.pid, exec.comm);
            }
            Record::Mapping(mapping) => {
                let Some(&module) = self.numbers.get(&mapping.module) else { return };
                let range = MappedRange { start: mapping.start, end: mapping.end, offset: mapping.offset, module };
                self.map(mapping.pid, range);
            }
            Record::Exit(exit) if exit.pid == exit.tid => {
                // Its samples may still come; so it stays until its number is used again.
                if let Some(process) = self.processes.get_mut(&exit.pid) {
                    process.has_ended = true;
                }
            }
            _ => {}
        }
    }
}

impl Process {
    /// After an exec, samples in the kernel show the old program's registers until the new one starts.
    fn is_between_programs(&mut self, sample: &Sample) -> bool {
        let UserState::Stack(stack) = &sample.user else { return false };
        self.is_new &= self.space.lookup(stack.ip).is_none() && !sample.kernel_chain.is_empty();
        self.is_new
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use profrec_format::{Exec, Exit, Fork, Header, Mapping, Process, Recording, Thread, Totals, UserStack, Writer};

    enum Item {
        Record(Record),
        Sample(u64, u32, u32),
    }
    use Item::{Record as R, Sample as S};

    fn recording(items: Vec<Item>) -> Vec<u8> {
        let mut writer = Writer::create(Vec::new(), &Header::default()).unwrap();
        for item in items {
            match item {
                R(record) => writer.record(&record).unwrap(),
                S(time, pid, tid) => {
                    writer.sample(&Sample { time, pid, tid, ..Sample::default() }).unwrap();
                }
            }
        }
        writer.finish(&Totals::default()).unwrap()
    }

    /// Time, name of the thread, and the module at address 0x1500 (0 for none), for each sample.
    fn seen(items: Vec<Item>) -> Vec<(u64, String, u32)> {
        let bytes = recording(items);
        let recording = Recording::open(&bytes).unwrap();
        let numbers = (1..10).map(|id| (id, id)).collect();
        let mut seen = Vec::new();
        replay(&recording.segments()[0], &numbers, |sample, instant| {
            let module = instant.space.lookup(0x1500).map_or(0, |(module, _)| module);
            seen.push((sample.time, instant.comm.to_owned(), module));
        })
        .unwrap();
        seen
    }

    fn process(time: u64, pid: u32, comm: &str) -> Item {
        R(Record::Process(Process { time, pid, comm: comm.into(), ..Process::default() }))
    }

    fn mapping(time: u64, pid: u32, module: u32) -> Item {
        R(Record::Mapping(Mapping { time, pid, start: 0x1000, end: 0x2000, offset: 0, module }))
    }

    fn expected(seen: &[(u64, &str, u32)]) -> Vec<(u64, String, u32)> {
        seen.iter().map(|&(time, comm, module)| (time, comm.to_owned(), module)).collect()
    }

    /// A sample sees what happened before it and at its instant, whatever the order in the file.
    #[test]
    fn samples_see_their_instant() {
        let items =
            vec![process(10, 5, "a"), S(30, 5, 5), S(19, 5, 5), S(20, 5, 5), mapping(30, 5, 2), mapping(20, 5, 1)];
        assert_eq!(seen(items), expected(&[(19, "a", 0), (20, "a", 1), (30, "a", 2)]));
    }

    /// A forked process starts with its parent's mappings and name, and then goes its own way.
    #[test]
    fn fork_copies() {
        let fork = Record::Fork(Fork { time: 30, pid: 6, tid: 6, parent: 5, parent_tid: 5 });
        let items = vec![
            process(10, 5, "a"),
            mapping(20, 5, 1),
            R(fork),
            mapping(40, 6, 2),
            S(35, 6, 6),
            S(45, 6, 6),
            S(46, 5, 5),
        ];
        assert_eq!(seen(items), expected(&[(35, "a", 1), (45, "a", 2), (46, "a", 1)]));
    }

    /// A new program has a new name and none of the old mappings.
    #[test]
    fn exec_clears() {
        let exec = Record::Exec(Exec { time: 30, pid: 5, comm: "b".into() });
        let items = vec![process(10, 5, "a"), mapping(20, 5, 1), R(exec), S(25, 5, 5), S(30, 5, 5)];
        assert_eq!(seen(items), expected(&[(25, "a", 1), (30, "b", 0)]));
    }

    /// A second definition of a living process changes nothing; one that follows its end is another process.
    #[test]
    fn processes_are_defined_once() {
        let exit = R(Record::Exit(Exit { time: 40, pid: 5, tid: 5 }));
        let items = vec![
            process(10, 5, "a"),
            mapping(10, 5, 1),
            process(10, 5, ""),
            S(20, 5, 5),
            exit,
            process(50, 5, "b"),
            S(60, 5, 5),
        ];
        assert_eq!(seen(items), expected(&[(20, "a", 1), (60, "b", 0)]));
    }

    /// Between two programs the kernel shows the registers of the old one; that ends when the new one runs.
    #[test]
    fn between_programs() {
        let sample = |time, ip, kernel_chain: &[u64]| Sample {
            time,
            pid: 5,
            tid: 5,
            kernel_chain: kernel_chain.to_vec(),
            user: UserState::Stack(UserStack { ip, ..UserStack::default() }),
            ..Sample::default()
        };
        let mut writer = Writer::create(Vec::new(), &Header::default()).unwrap();
        let exec = Exec { time: 20, pid: 5, comm: "b".into() };
        let mapping = Mapping { time: 30, pid: 5, start: 0x1000, end: 0x2000, offset: 0, module: 1 };
        writer.record(&Record::Exec(exec)).unwrap();
        writer.record(&Record::Mapping(mapping)).unwrap();
        let samples =
            [(10, 0x9000, &[1][..]), (25, 0x9000, &[1]), (35, 0x9000, &[1]), (40, 0x1500, &[]), (50, 0x9000, &[1])];
        for (time, ip, chain) in samples {
            writer.sample(&sample(time, ip, chain)).unwrap();
        }
        let bytes = writer.finish(&Totals::default()).unwrap();
        let recording = Recording::open(&bytes).unwrap();
        let numbers = [(1, 1)].into_iter().collect();
        let mut seen = Vec::new();
        replay(&recording.segments()[0], &numbers, |_, instant| seen.push(instant.between_programs)).unwrap();
        assert_eq!(seen, [false, true, true, false, false]);
    }

    /// A thread has its own name, else that of its process, else none.
    #[test]
    fn names_of_threads() {
        let thread = Record::Thread(Thread { time: 20, pid: 5, tid: 7, comm: "worker".into() });
        let items = vec![process(10, 5, "a"), R(thread), S(30, 5, 7), S(31, 5, 8), S(32, 9, 9)];
        assert_eq!(seen(items), expected(&[(30, "worker", 0), (31, "a", 0), (32, "[unknown]", 0)]));
    }

    /// More samples than the window holds all come out, in the order of time.
    #[test]
    fn a_long_segment_comes_out_whole() {
        let times = (0..2_000u64).map(|number| number ^ 3);
        let seen = seen(times.map(|time| S(time, 1, 1)).collect());
        assert!(seen.iter().map(|(time, ..)| *time).eq(0..2_000));
    }
}
