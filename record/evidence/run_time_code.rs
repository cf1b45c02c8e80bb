//! The session's side of [`crate::jit`]: which processes are known to make code at run time, and what is asked about them.

use std::fs::File;

use profrec_format::{ModuleId, Record};
use rustc_hash::FxHashSet;

use super::{Evidence, Request};
use crate::jit::jvm::JvmAsker;
use crate::jit::{JitTarget, Request as JitRequest, is_jitdump};

/// Processes of which is told why their code has no names.
const MAX_UNNAMED: usize = 10;

/// What the session knows.
#[derive(Debug, Default)]
pub(super) struct RunTimeCode {
    /// Names are not to be embedded.
    is_off: bool,
    /// The processes that run code that they have made.
    pids: FxHashSet<u32>,
    /// There are files to be looked at.
    is_in_use: bool,
    /// A look that was asked for has not been answered.
    looking: bool,
    /// A search for all that the segment has shown was asked for.
    is_complete: bool,
    unnamed: Vec<(u32, String)>,
}

impl RunTimeCode {
    pub(super) fn new(is_wanted: bool) -> Self {
        Self { is_off: !is_wanted, ..Self::default() }
    }

    pub(super) fn start_segment(&mut self) {
        self.is_complete = false;
    }

    /// Notes what came of a request.
    pub(super) fn receive(&mut self, records: &[Record], looked: bool) {
        self.looking &= !looked;
        for record in records {
            if let Record::PerfMap(map) = record
                && !map.trouble.is_empty()
                && self.unnamed.len() < MAX_UNNAMED
                && !self.unnamed.iter().any(|(pid, why)| (*pid, why) == (map.pid, &map.trouble))
            {
                self.unnamed.push((map.pid, map.trouble.clone()));
            }
        }
    }
}

impl Evidence {
    /// Samples have shown such code, by process and address. A process that is new is looked at while it lives.
    pub(crate) fn run_time_code(&mut self, addresses: Vec<(u32, u64)>) {
        if self.run_time_code.is_off || addresses.is_empty() {
            return;
        }
        // The segment may be about to end, and was searched for the addresses before.
        self.run_time_code.is_complete = false;
        addresses.iter().for_each(|(pid, _)| self.know(*pid));
        let _has_room = self.ask(Request::Jit(JitRequest::Code(addresses)));
    }

    fn know(&mut self, pid: u32) {
        self.run_time_code.is_in_use = true;
        if self.run_time_code.pids.insert(pid) && !self.ask(Request::Jit(JitRequest::Process(JitTarget::open(pid)))) {
            // The next time.
            self.run_time_code.pids.remove(&pid);
        }
    }

    /// The file of a module that a process maps, as for [`Evidence::module`]. No other evidence is in a jitdump.
    pub(crate) fn file(&mut self, id: ModuleId, (pid, path): (u32, &str), file: Option<File>) -> bool {
        match file {
            Some(file) if !self.run_time_code.is_off && is_jitdump(path) => {
                self.know(pid);
                self.ask(Request::Jit(JitRequest::Jitdump(pid, file)))
            }
            file => self.module(id, file),
        }
    }

    /// A process has ended, or has become another program.
    pub(crate) fn process_ended(&mut self, pid: u32) {
        if self.run_time_code.pids.remove(&pid) {
            let _always = self.ask(Request::Jit(JitRequest::Ended(pid)));
        }
    }

    /// Time has passed: files may have grown.
    pub(crate) fn look_at_run_time_code(&mut self) {
        if self.run_time_code.is_in_use && !self.run_time_code.looking {
            self.run_time_code.looking = true;
            let _always = self.ask(Request::Jit(JitRequest::Look));
        }
    }

    /// The segment is about to end: what it has shown so far is to be named, if it can be.
    pub(crate) fn complete_run_time_code(&mut self) {
        if !std::mem::replace(&mut self.run_time_code.is_complete, true) {
            self.search_run_time_code();
        }
    }

    /// What can be named is to be named.
    pub(crate) fn search_run_time_code(&mut self) {
        if self.run_time_code.is_in_use {
            // Looks search, too.
            let _refused = self.ask(Request::Jit(JitRequest::Search));
        }
    }

    /// Has the JVMs among the processes write their perf maps.
    pub(crate) fn ask_jvms(&mut self, asker: JvmAsker) {
        let mut pids: Vec<u32> = self.run_time_code.pids.iter().copied().collect();
        pids.sort_unstable();
        for (pid, trouble) in asker.ask(&pids) {
            if !trouble.is_empty() {
                let _refused = self.ask(Request::Jit(JitRequest::Trouble(pid, trouble)));
            }
        }
    }

    /// Processes whose code has no names, and why.
    pub(crate) fn take_unnamed(&mut self) -> Vec<(u32, String)> {
        std::mem::take(&mut self.run_time_code.unnamed)
    }
}
