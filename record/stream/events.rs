//! Process events on their way into the recording: each changes what is known of a process, and is written down
//! if the segment has that process.

use std::io::Write;

use anyhow::Result;
use profrec_format::{Exec, Exit, Fork, Loss, LossCause, Record, Thread as ThreadRecord};

use super::{Follow, Stream, now};
use crate::modules::Place;
use crate::process::{Mapped, Thread};
use crate::side_band::{ProcessEvent, What};

impl<W: Write> Stream<W> {
    pub(super) fn look_at_side_band(&mut self) {
        self.side_band_until = now();
        let mut events = Vec::new();
        self.side_band.drain(&mut events);
        for event in &events {
            // Known at once, for ticks in it may be used before its time: no other group ever has its number.
            if let What::Cgroup { id, path } = &event.what {
                self.cgroup_ids.learn(*id, path);
            }
        }
        let late = match (self.pending.back(), events.first()) {
            (Some(last), Some(first)) => first.time < last.time,
            _ => false,
        };
        self.pending.extend(events);
        if late {
            self.pending.make_contiguous().sort_by_key(|event| event.time);
        }
    }

    pub(super) fn apply_until(&mut self, time: u64) -> Result<()> {
        while self.pending.front().is_some_and(|event| event.time <= time) {
            if let Some(event) = self.pending.pop_front() {
                self.apply(event)?;
            }
        }
        Ok(())
    }

    fn apply(&mut self, event: ProcessEvent) -> Result<()> {
        let (time, tells_all) = (event.time, self.tells_all_mappings());
        match event.what {
            What::Mapping { pid, start, end, offset, path, file } => {
                let Some(process) = self.processes.get_mut(pid) else {
                    return Ok(());
                };
                let place = Place { pid, start, end, path: &path };
                let Some(module) = self.modules.identify(place, file) else {
                    if self.modules.refuse(&path) {
                        self.refuse_mapping(pid);
                    }
                    return Ok(());
                };
                let mapped = Mapped { start, end, offset, module };
                if !process.has_room() {
                    self.refuse_mapping(pid);
                } else if process.map(mapped, time) {
                    self.new_layouts.push(pid);
                    if process.defined_in == self.segment {
                        if !tells_all {
                            process.tell(mapped);
                        }
                        self.write_mapping(pid, mapped, time)?;
                    }
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
                    self.threads_ended += 1;
                    self.chunks.forget(tid);
                    if defined && self.tells_of(pid, tid) {
                        self.write(&Record::Exit(Exit { time, pid, tid }))?;
                    }
                    if self.processes.has_ended(pid) {
                        self.ended.push(pid);
                        self.evidence.process_ended(pid);
                        self.program_ended(pid);
                    }
                }
            }
            What::Cgroup { .. } => {}
            What::Lost { count, cpu, since } => {
                self.doubt_everything();
                self.threads_ended += count;
                self.lose(Loss { since, cpu: Some(cpu), ..Loss::at(time, LossCause::ProcessEvents, count) })?;
            }
            What::Throttled { cpu } => self.losses.throttle(cpu),
        }
        Ok(())
    }

    /// Whether the recording has beginning and end of a thread. Where ticks are few, those of others than a process' first say nothing: each
    /// is named when it has a tick.
    fn tells_of(&self, pid: u32, tid: u32) -> bool {
        pid == tid || !self.only_counts
    }

    fn exec(&mut self, pid: u32, tid: u32, comm: String, time: u64) -> Result<()> {
        let defined = self.is_defined(pid);
        self.evidence.process_ended(pid);
        self.program_ended(pid);
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
        if pid != parent && (self.follow == Follow::Everything || self.processes.get(parent).is_some()) {
            // A child that is soon gone has what its parent has.
            self.learn_unknown(parent, time)?;
            self.find_cgroup_of_parent(parent, time)?;
        }
        let defined = self.is_defined(parent);
        if !self.processes.fork(child, creator, time) {
            return Ok(());
        }
        if pid != parent {
            self.part_code_made_at_run_time(pid);
        }
        if defined && self.tells_of(pid, child.1) {
            if let Some(process) = self.processes.get_mut(pid) {
                process.defined_in = self.segment;
            }
            let fork = Fork { time, pid, tid: child.1, parent, parent_tid: creator.1 };
            self.write(&Record::Fork(fork))?;
        }
        Ok(())
    }

    /// What a child shows of code that was made at run time is to be noted though its parent has shown it: only the child itself tells what
    /// it has there.
    fn part_code_made_at_run_time(&mut self, child: u32) {
        let Some(process) = self.processes.get_mut(child) else { return };
        if process.mappings().iter().any(|mapped| self.modules.is_run_time_code(mapped.module)) {
            process.renew_layout();
        }
    }
}
