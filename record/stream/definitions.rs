//! Makes each segment say all that its samples refer to: processes, threads, mappings and modules, when the first
//! sample needs them.

use std::io::Write;

use anyhow::Result;
use profrec_format::{Exec as ExecRecord, Image, Mapping, ModuleId, ModuleKind, Record, Thread as ThreadRecord};

use super::Stream;
use super::hybrid::code_of;
use crate::args::CallGraph;
use crate::event::Tick;
use crate::process::{Mapped, Thread};
use crate::vdso;

/// A segment's samples are at most this much older than its first: ticks of different CPUs reach the
/// ring a little out of order.
const DISORDER: u64 = 100_000_000;

impl<W: Write> Stream<W> {
    /// Makes the segment say all that a tick's sample refers to.
    pub(super) fn define_process(&mut self, tick: &Tick<'_>) -> Result<()> {
        if self.segment_start == 0 {
            self.segment_start = tick.time;
        }
        self.learn_unknown(tick.pid, tick.time)?;
        let moved = self.find_cgroup(tick.pid, 0);
        let moved_just_now = self.follow_to_cgroup(tick.pid, tick.cgroup);
        let (segment, earliest) = (self.segment, self.segment_start.saturating_sub(DISORDER));
        let tells_all = self.tells_all_mappings();
        let Some(process) = self.processes.get_mut(tick.pid) else {
            return Ok(());
        };
        process.used = tick.time;
        if process.comm.is_empty() {
            // It was there before, and is gone, or about to be another program.
            process.comm = tick.comm();
        }
        let time = process.since.max(earliest).min(tick.time);
        let mut mappings = Vec::new();
        let mut records = Vec::new();
        let was_defined = process.defined_in == segment;
        // What was before was elsewhere.
        let time = if was_defined && moved_just_now { tick.time } else { time };
        // A reader takes the definition of a process whose first thread has ended for another process.
        let is_defined = was_defined && (process.threads.contains_key(&tick.pid) || !moved && !moved_just_now);
        if !is_defined || moved || moved_just_now {
            records.push(Record::Process(process.definition(tick.pid, time)));
        }
        if !is_defined {
            process.defined(segment, time);
            // What others run is likely to be run by this one: told together, mappings take least space.
            let modules = &self.modules;
            let is_likely = |id| modules.is_defined(id, segment) || modules.is_jitdump(id);
            let all = process.mappings().iter().copied();
            mappings.extend(all.filter(|mapped| tells_all || is_likely(mapped.module)));
            if !tells_all {
                mappings.iter().for_each(|mapped| _ = process.tell(*mapped));
            }
            // Until a new program is seen running, registers are those that the old one left.
            let exec = || Record::Exec(ExecRecord { time, pid: tick.pid, comm: process.comm.clone() });
            records.extend(process.is_new.then(exec));
        }
        process.is_new &= tick.is_in_kernel() && process.find(tick.instruction_pointer()).is_none();
        let unknown = || Thread { comm: tick.comm(), since: 0, defined_in: 0 };
        let thread = process.threads.entry(tick.tid).or_insert_with(unknown);
        let is_told = thread.defined_in == segment;
        thread.defined_in = segment;
        // The process's definition names its first thread, if a reader does not know the process already.
        let is_first = tick.tid == tick.pid && thread.comm == process.comm;
        let is_named = is_first && !was_defined && !self.has_forgotten;
        let thread_record = (!is_told && !is_named).then(|| {
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

    /// Whether each process comes with all its code. Where samples are few of many processes, as they are when ticks are counted, the
    /// mappings that they lead through are enough.
    pub(super) fn tells_all_mappings(&self) -> bool {
        self.call_graph == CallGraph::Dwarf && self.chains.is_none()
    }

    /// Makes the segment say which mappings the sample leads through: those of its chain, or all that a walk of its stack may come to.
    pub(super) fn define_mappings(&mut self, pid: u32) -> Result<()> {
        if self.tells_all_mappings() {
            return Ok(());
        }
        let Some(process) = self.processes.get_mut(pid) else {
            return Ok(());
        };
        let time = process.defined_at();
        let (mut new, mut recent) = (Vec::new(), 0..0);
        for address in code_of(&self.sample.user) {
            if recent.contains(&address) {
                continue;
            }
            // A call may be the last instruction of a mapping: it returns to the first of the next one.
            for address in [address, address.wrapping_sub(1)] {
                let Some(mapped) = process.find(address).copied() else { continue };
                recent = mapped.start + 1..mapped.end;
                new.extend(process.tell(mapped).then_some(mapped));
            }
        }
        new.into_iter().try_for_each(|mapped| self.write_mapping(pid, mapped, time))
    }

    pub(super) fn write_mapping(&mut self, pid: u32, mapped: Mapped, time: u64) -> Result<()> {
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
                let is_new = file.is_some();
                if !self.evidence.file(id, (place.0, &module.path), file) && is_new {
                    self.modules.open_again(id);
                }
            }
            ModuleKind::Vdso if self.tells_all_mappings() => {
                self.write(&Record::Image(Image { module: id, bytes: vdso::image()? }))?;
            }
            // Its CFI and names are given as those of files, where they are asked for; without memory for that, it has none.
            ModuleKind::Vdso => vdso::file().into_iter().for_each(|file| self.evidence.named_module(id, file)),
            ModuleKind::Anonymous => {}
        }
        self.write(&Record::Module(module))
    }
}
