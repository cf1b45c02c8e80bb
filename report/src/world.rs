//! The processes of a segment at one instant: what has happened to them so far, and what has yet to happen.

use std::sync::Arc;

use foldhash::HashMap;
use profrec_format::{Process as Definition, Record, Sample, UserState};

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
    /// Path of the cgroup of the process; empty when unknown.
    pub cgroup: &'a Arc<str>,
    /// The kernel is replacing the process's program: the old stack is gone, and what the sample
    /// says of the user side is what the old program left.
    pub between_programs: bool,
}

/// Mappings of all processes together: 256 MiB. What is mapped beyond is outside every module.
const MAPPINGS: usize = 8 << 20;
/// Mappings of one process: the kernel allows 65,530, executable or not, unless it is told otherwise.
const MAPPINGS_OF_PROCESS: usize = 1 << 18;

/// The name of a thread that nobody named.
const UNNAMED: &str = "[unknown]";
/// The kernel's paths of cgroups are no longer; one that is, is none.
const CGROUP: usize = 4096;

/// The processes of a segment at one instant, and what has yet to happen.
pub struct World<'a> {
    numbers: &'a ModuleNumbers,
    /// Latest first.
    future: Vec<(u64, Record)>,
    pub(crate) processes: HashMap<u32, Process>,
    /// By thread id.
    pub(crate) threads: HashMap<u32, Thread>,
    nothing: AddressSpace,
    no_cgroup: Arc<str>,
    /// Mappings of all processes; those that several share count once.
    mappings: usize,
    /// How many mappings may yet be moved or copied.
    allowance: u64,
}

/// A process.
#[derive(Clone, Default)]
pub(crate) struct Process {
    /// Shared with the process that it was forked from, until either changes.
    pub(crate) space: Arc<AddressSpace>,
    pub(crate) parent: u32,
    pub(crate) kernel_thread: bool,
    pub(crate) cgroup: Arc<str>,
    /// It has a new program, which has not been seen running.
    pub(crate) is_new: bool,
    /// Its main thread has ended: its number may be used for another process.
    pub(crate) has_ended: bool,
}

/// A thread.
#[derive(Clone, Default)]
pub(crate) struct Thread {
    pub(crate) pid: u32,
    /// Its name; empty when nobody named it.
    pub(crate) comm: String,
    /// It has ended, and its last samples may still come.
    pub(crate) has_ended: bool,
}

impl<'a> World<'a> {
    /// The world before the first of a segment's records; so many mappings may be moved or copied in it.
    pub fn new(numbers: &'a ModuleNumbers, records: Vec<Record>, allowance: u64) -> Self {
        let timed = records.into_iter().filter_map(|record| Some((record.time()?, record)));
        let mut future: Vec<_> = timed.collect();
        future.sort_by_key(|(time, _)| *time);
        future.reverse();
        let (processes, threads, nothing, no_cgroup) = Default::default();
        Self { numbers, future, processes, threads, nothing, no_cgroup, mappings: 0, allowance }
    }

    /// Goes on to a sample, and shows its process and thread.
    pub fn at(&mut self, sample: &Sample) -> Instant<'_> {
        self.go_on(|time| time <= sample.time);
        let process = self.processes.get_mut(&sample.pid);
        let between_programs = process.is_some_and(|process| process.is_between_programs(sample));
        let process = self.processes.get(&sample.pid);
        let named = |tid| self.threads.get(tid).filter(|thread| !thread.comm.is_empty());
        let thread = named(&sample.tid).or_else(|| named(&sample.pid));
        Instant {
            space: process.map_or(&self.nothing, |process| &process.space),
            comm: thread.map_or(UNNAMED, |thread| &thread.comm),
            kernel_thread: process.is_some_and(|process| process.kernel_thread),
            cgroup: process.map_or(&self.no_cgroup, |process| &process.cgroup),
            between_programs,
        }
    }

    /// Goes on to just before `time`.
    pub fn before(&mut self, time: u64) {
        self.go_on(|earlier| earlier < time);
    }

    fn go_on(&mut self, is_due: impl Fn(u64) -> bool) {
        while let Some((_, record)) = self.future.pop_if(|(time, _)| is_due(*time)) {
            self.apply(record);
        }
    }

    fn name(&mut self, (pid, tid): (u32, u32), comm: String) {
        self.threads.insert(tid, Thread { pid, comm, has_ended: false });
    }

    /// A sample that came late, after its process was forgotten, makes the recorder define it once
    /// more, with nothing in it. So what lives stays as it is, but for its cgroup.
    fn define(&mut self, definition: Definition) {
        let Definition { pid, parent, comm, kernel_thread, cgroup, .. } = definition;
        let cgroup: Arc<str> = if cgroup.len() > CGROUP { "".into() } else { cgroup.into() };
        if let Some(process) = self.processes.get_mut(&pid).filter(|process| !process.has_ended && !cgroup.is_empty()) {
            process.cgroup = cgroup.clone();
        }
        if self.processes.get(&pid).is_none_or(|process| process.has_ended) {
            self.put(pid, Process { parent, kernel_thread, cgroup, ..Process::default() });
            self.name((pid, pid), comm);
        } else if self.threads.get(&pid).is_none_or(|thread| thread.comm.is_empty()) {
            self.name((pid, pid), comm);
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
            Record::Thread(thread) => self.name((thread.pid, thread.tid), thread.comm),
            Record::Fork(fork) => {
                if fork.pid != fork.parent {
                    let copy = self.processes.get(&fork.parent).cloned().unwrap_or_default();
                    self.put(fork.pid, Process { parent: fork.parent, has_ended: false, ..copy });
                }
                let creator = self.threads.get(&fork.parent_tid).filter(|thread| !thread.comm.is_empty());
                if let Some(comm) = creator.map(|thread| thread.comm.clone()) {
                    self.name((fork.pid, fork.tid), comm);
                }
            }
            Record::Exec(exec) => {
                let before = self.processes.get(&exec.pid);
                let (parent, cgroup) =
                    before.map(|process| (process.parent, process.cgroup.clone())).unwrap_or_default();
                self.put(exec.pid, Process { parent, cgroup, is_new: true, ..Process::default() });
                self.name((exec.pid, exec.pid), exec.comm);
            }
            Record::Mapping(mapping) => {
                let Some(&module) = self.numbers.get(&mapping.module) else { return };
                let range = MappedRange { start: mapping.start, end: mapping.end, offset: mapping.offset, module };
                self.map(mapping.pid, range);
            }
            // Samples may still come; so what has ended stays until its number is used again.
            Record::Exit(exit) => {
                if let Some(thread) = self.threads.get_mut(&exit.tid) {
                    thread.has_ended = true;
                }
                if let Some(process) = self.processes.get_mut(&exit.pid).filter(|_| exit.pid == exit.tid) {
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
        match &sample.user {
            UserState::Stack(stack) => {
                self.is_new &= self.space.lookup(stack.ip).is_none() && !sample.kernel_chain.is_empty();
                self.is_new
            }
            UserState::Unwound(stack) => {
                self.is_new &= stack.frames.is_empty();
                false
            }
            UserState::Chain(_) | UserState::None => false,
        }
    }
}
