//! Names of code that processes make at run time. Only the process knows them, and it tells them in two ways: in
//! `/tmp/perf-PID.map`, lines of text without times, and in jitdumps, records with times.
//!
//! ```text
//!  samples ─► addresses ─┐
//!  /proc/PID ─► target ──┼─► search ─► Record::PerfMap, of what covers the addresses
//!  the files grow ───────┘   (now and then; at the end of a process, a segment and the recording)
//! ```
//!
//! A file is not read as it grows. Its size is noted at each look, so that each of its lines has the time at which it was first
//! seen; and it is searched for the addresses that samples have shown. So what is kept of it is small, however large it is.

mod growth;
mod jitdump;
pub(crate) mod jvm;
mod perf_map;
pub(crate) mod private_maps;
mod process;
mod source;
mod target;
mod wanted;

use std::collections::BTreeMap;
use std::fs::File;

use profrec_format::{PerfMap, Record};

use crate::stream::now;
use private_maps::PrivateMap;
use process::JitProcess;
pub(crate) use target::{JitTarget, reopen};

/// Processes that are watched at once: each takes some file descriptors.
const MAX_PROCESSES: usize = 128;
/// Addresses that are remembered of all processes: 8 MiB.
const ADDRESSES: usize = 1 << 20;
/// Searches take at most one part in so many of the time.
const PACE: u64 = 50;
/// And there is no more than one in this time.
const PAUSE: u64 = 1_000_000_000;
/// The last samples of a process come at most so much later than its end.
const LAST_SAMPLES: u64 = 2_000_000_000;

/// Whether a file that is mapped at this path is a jitdump, by its name: `jit-PID.dump`.
pub(crate) fn is_jitdump(path: &str) -> bool {
    let name = path.rsplit('/').next().and_then(|name| name.strip_prefix("jit-")?.strip_suffix(".dump"));
    name.is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
}

/// What the thread that gathers evidence is asked.
#[derive(Debug)]
pub(crate) enum Request {
    /// A process runs code that it has made.
    Process(JitTarget),
    /// Samples have shown such code: process and address.
    Code(Vec<(u32, u64)>),
    /// A process has mapped a jitdump.
    Jitdump(u32, File),
    /// A perf map was opened that only its owner may read.
    Map(u32, File, (u64, u64)),
    /// What keeps names of a process from being known.
    Trouble(u32, String),
    /// A process has ended, or has become another program.
    Ended(u32),
    /// Time has passed.
    Look,
    /// A segment or the recording ends.
    Search,
}

/// The processes that make code at run time.
#[derive(Debug, Default)]
pub(crate) struct Jit {
    processes: BTreeMap<u32, JitProcess>,
    next_search: u64,
}

impl Jit {
    /// What comes of a request.
    pub(crate) fn answer(&mut self, request: Request) -> Vec<Record> {
        match request {
            Request::Process(target) => return self.add(target),
            Request::Code(mut addresses) => {
                addresses.sort_unstable();
                addresses.chunk_by(|one, other| one.0 == other.0).for_each(|group| self.want(group));
            }
            Request::Jitdump(pid, file) => {
                self.processes.entry(pid).and_modify(|process| process.add_jitdump(file));
            }
            Request::Map(pid, file, place) => {
                let process = self.processes.get_mut(&pid);
                return process.map(|process| process.add_private_map(file, place, now())).unwrap_or_default();
            }
            Request::Trouble(pid, trouble) => {
                self.processes.entry(pid).and_modify(|process| process.complain(trouble));
            }
            Request::Ended(pid) => {
                self.processes.entry(pid).and_modify(|process| process.ended = Some(now()));
            }
            Request::Look => return self.look(now()),
            Request::Search => return self.search(now()),
        }
        Vec::new()
    }

    /// A process with the number of one that has ended takes its place.
    fn add(&mut self, target: JitTarget) -> Vec<Record> {
        let (pid, now) = (target.pid, now());
        let before = self.processes.remove(&pid);
        let records = before.map(|mut before| before.finish(now)).unwrap_or_default();
        if self.processes.len() >= MAX_PROCESSES {
            let trouble =
                format!("more than {MAX_PROCESSES} processes make code at run time: of this one no names are read");
            return vec![Record::PerfMap(PerfMap { pid, symbols: Vec::new(), trouble })];
        }
        let mut process = JitProcess::new(target);
        let found = process.look(now);
        self.processes.insert(pid, process);
        [records, found].concat()
    }

    fn want(&mut self, addresses: &[(u32, u64)]) {
        let all: usize = self.processes.values().map(|process| process.wanted.len()).sum();
        let process = addresses.first().and_then(|(pid, _)| self.processes.get_mut(pid));
        if let Some(process) = process {
            match all + addresses.len() <= ADDRESSES {
                true => process.want(addresses.iter().map(|(_, address)| *address)),
                false => process.wanted.is_full = true,
            }
        }
    }

    /// Looks at all files, and searches them when it is time.
    fn look(&mut self, now: u64) -> Vec<Record> {
        let mut records: Vec<_> = self.processes.values_mut().flat_map(|process| process.look(now)).collect();
        if now >= self.next_search {
            records.extend(self.search(now));
        }
        let is_over = |process: &JitProcess| process.ended.is_some_and(|ended| ended + LAST_SAMPLES < now);
        let over: Vec<u32> =
            self.processes.iter().filter(|(_, process)| is_over(process)).map(|(pid, _)| *pid).collect();
        for pid in over {
            records.extend(self.processes.remove(&pid).map(|mut process| process.finish(now)).unwrap_or_default());
        }
        records
    }

    fn search(&mut self, started: u64) -> Vec<Record> {
        let mut records = Vec::new();
        for process in self.processes.values_mut() {
            records.extend(process.look(started));
            if process.has_news() {
                records.extend(process.search(started));
            }
        }
        let now = now();
        self.next_search = now + PAUSE.max(PACE * now.saturating_sub(started));
        records
    }

    /// Perf maps that others are to open.
    pub(crate) fn take_private_maps(&mut self) -> Vec<PrivateMap> {
        self.processes.values_mut().filter_map(JitProcess::take_private_map).collect()
    }

    /// From here on everything is to be given again.
    pub(crate) fn start_segment(&mut self) {
        self.processes.values_mut().for_each(JitProcess::start_segment);
    }
}

impl JitProcess {
    /// The last look and search.
    fn finish(&mut self, now: u64) -> Vec<Record> {
        let records = self.look(now);
        [records, self.search(now)].concat()
    }
}
