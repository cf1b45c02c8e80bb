//! What `/proc` says of a process that no process event has told of, or that is not known rightly any more because events
//! were lost.

use std::fs;
use std::io::{self, Write};
use std::sync::Arc;

use anyhow::Result;
use profrec_format::{Exit, Loss, LossCause, Record};

use super::{Follow, Stream, now};
use crate::modules::Place;
use crate::process::{MOST_MAPPINGS, Mapped, Process, Thread};
use crate::side_band::{FileIdentity, What};
use crate::{proc_maps, process_cgroup, progress, remedy};

impl<W: Write> Stream<W> {
    /// Learns from `/proc` what a process is like now. One that is known already is as it is now from `time` on. Of one that
    /// has ended, what is known of it stays.
    pub(crate) fn learn(&mut self, pid: u32, time: u64) -> Result<()> {
        let found = self.find(pid);
        let Some(mut found) = found else {
            let process = self.processes.entry(pid);
            process.known = true;
            process.ended.get_or_insert(time);
            return Ok(());
        };
        if let Some(known) = self.processes.get_mut(pid) {
            if found.mappings().is_empty() && !known.mappings().is_empty() {
                // It is about to end, or its mappings may not be read.
                known.known = true;
                return Ok(());
            }
            found.since = known.since;
            if known.defined_in == self.segment {
                // A reader takes the next definition as another process.
                self.write(&Record::Exit(Exit { time, pid, tid: pid }))?;
                found.since = time;
                self.new_layouts.push(pid);
            }
        }
        found.used = time;
        self.processes.insert(pid, found);
        Ok(())
    }

    /// Learns of every process that there is: one that ends before its ticks are seen cannot be asked then.
    pub(crate) fn learn_all(&mut self) -> Result<()> {
        for pid in proc_maps::processes() {
            self.learn_unknown(pid, now())?;
            // Children that are soon gone have their parent's.
            self.find_cgroup(pid, 0);
        }
        Ok(())
    }

    /// Learns of a process that is not known, or not rightly.
    pub(super) fn learn_unknown(&mut self, pid: u32, time: u64) -> Result<()> {
        let known = self.processes.get(pid).is_some_and(|process| process.known);
        if known { Ok(()) } else { self.learn(pid, time) }
    }

    fn find(&mut self, pid: u32) -> Option<Process> {
        let (parent, kernel_thread) = proc_maps::parent_and_kind(pid)?;
        let new_program = |what: &What| matches!(what, What::Comm { pid: of, exec: true, .. } if *of == pid);
        if self.pending.iter().any(|event| new_program(&event.what)) {
            // What `/proc` shows is what comes, not what was there at the time of the tick.
            return Some(Process::found(parent, String::new(), kernel_thread));
        }
        let mut process = Process::found(parent, proc_maps::thread_name(pid, pid), kernel_thread);
        let time = now();
        for tid in proc_maps::threads(pid).unwrap_or_default() {
            let comm = if tid == pid { process.comm.clone() } else { proc_maps::thread_name(pid, tid) };
            process.threads.insert(tid, Thread { comm, since: time, defined_in: 0 });
        }
        let looked = proc_maps::each_executable_mapping(pid, |line| {
            let place = Place { pid, start: line.start, end: line.end, path: &line.path };
            let (major, minor, inode) = (line.major, line.minor, line.inode);
            let identity = FileIdentity::Inode { major, minor, inode, generation: 0 };
            match self.modules.identify(place, identity) {
                Some(module) if process.has_room() => {
                    process.map(Mapped { start: line.start, end: line.end, offset: line.offset, module }, 0);
                }
                None if !self.modules.refuse(&line.path) => {}
                _ => self.refused_mappings += 1,
            }
            true
        });
        match looked {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => self.tell_unreadable(pid),
            // A process that has just ended has no mappings: its samples show addresses without modules.
            Ok(()) | Err(_) => {}
        }
        Some(process)
    }

    /// Says that a process's mappings may not be read; of the whole machine, it is said at the start.
    fn tell_unreadable(&mut self, pid: u32) {
        if !std::mem::replace(&mut self.unreadable_is_told, true) && self.follow != Follow::Everything {
            progress::put(&format!(
                "profrec: what process {pid} has mapped may not be read: its stacks, and perhaps others, will be incomplete\n  what helps: {}\n",
                remedy::become_able()
            ));
        }
    }

    /// Asks for the cgroup of a process, unless it has been asked since `time`, and for 0 unless ever; true when it is not the one that was
    /// known, perhaps its parent's. A process that is gone keeps its parent's.
    pub(super) fn find_cgroup(&mut self, pid: u32, time: u64) -> bool {
        let Some(process) = self.processes.get_mut(pid).filter(|process| process.cgroup_asked <= time) else {
            return false;
        };
        process.cgroup_asked = now();
        let path = process_cgroup::path(pid).filter(|path| **path != *process.cgroup);
        let Some(path) = path else { return false };
        process.cgroup = Arc::from(path);
        // It may have moved there later than the ticks that are to come.
        process.cgroup_id = 0;
        true
    }

    /// A tick was in the control group with this id. True when that is not the one that was known. One that moves to a group whose path
    /// nobody knows (it is the root, or was gone) is asked.
    pub(super) fn follow_to_cgroup(&mut self, pid: u32, id: u64) -> bool {
        let Some(process) = self.processes.get_mut(pid).filter(|process| process.cgroup_id != id) else {
            return false;
        };
        let was_told = std::mem::replace(&mut process.cgroup_id, id) != 0;
        if id == 0 {
            // A sample, which does not tell.
            return false;
        }
        let Some(path) = self.cgroup_ids.path(id) else { return was_told && self.find_cgroup(pid, u64::MAX) };
        let is_new = *path != *process.cgroup;
        process.cgroup = path;
        is_new
    }

    /// A process that has children may have moved since it was asked, and they are perhaps gone before they can be.
    pub(super) fn find_cgroup_of_parent(&mut self, pid: u32, time: u64) -> Result<()> {
        let process = self.processes.get(pid);
        if process.is_some_and(|process| process.cgroup_id != 0) {
            // Ticks tell.
            return Ok(());
        }
        let has_first_thread = process.is_some_and(|process| process.threads.contains_key(&pid));
        // What it said since is newer than all events that are here.
        if self.find_cgroup(pid, self.side_band_until) && self.is_defined(pid) {
            if let Some(process) = self.processes.get_mut(pid).filter(|_| !has_first_thread) {
                // A reader would take it for another process: its next tick defines all of it.
                (process.defined_in, process.since) = (0, process.since.max(time));
                return Ok(());
            }
            let record = self.processes.get(pid).map(|process| Record::Process(process.definition(pid, time)));
            return record.map_or(Ok(()), |record| self.write(&record));
        }
        Ok(())
    }

    /// Process events were lost: nothing that is known is certain any more.
    pub(super) fn doubt_everything(&mut self) {
        for pid in self.processes.pids() {
            if let Some(process) = self.processes.get_mut(pid).filter(|process| process.ended.is_none()) {
                process.known = false;
            }
        }
        self.ends_were_lost = true;
    }

    /// Finds the processes whose ends were lost.
    pub(super) fn find_ended(&mut self) {
        if !std::mem::take(&mut self.ends_were_lost) {
            return;
        }
        let time = self.side_band_until;
        for pid in self.processes.pids() {
            let ended = !fs::exists(format!("/proc/{pid}")).unwrap_or(true);
            if let Some(process) = self.processes.get_mut(pid).filter(|process| ended && process.ended.is_none()) {
                process.ended = Some(time);
                self.ended.push(pid);
                self.evidence.process_ended(pid);
                self.program_ended(pid);
            }
        }
    }

    /// A mapping that is not remembered, for there are too many, or too many modules: it counts as a lost process event. Now and
    /// then `/proc` is asked which of the others are still there.
    pub(super) fn refuse_mapping(&mut self, pid: u32) {
        self.refused_mappings += 1;
        if let Some(process) = self.processes.get_mut(pid) {
            process.refused += 1;
            if process.refused > MOST_MAPPINGS / 4 {
                (process.refused, process.known) = (0, false);
            }
        }
    }

    /// Writes how many mappings were refused since the last time.
    pub(super) fn tell_refused(&mut self) -> Result<()> {
        let count = std::mem::take(&mut self.refused_mappings);
        if count == 0 {
            return Ok(());
        }
        self.lose(Loss::at(now(), LossCause::ProcessEvents, count))
    }

    /// Forgets processes that have ended, and those that are too many.
    pub(super) fn forget_processes(&mut self, ended_before: u64) -> Result<()> {
        for (pid, process) in self.processes.forget(ended_before) {
            if process.defined_in == self.segment {
                self.has_forgotten = true;
                // It will be defined anew when it is needed.
                self.write(&Record::Exit(Exit { time: self.side_band_until, pid, tid: pid }))?;
            }
        }
        Ok(())
    }
}
