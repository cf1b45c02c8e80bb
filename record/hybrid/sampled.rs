//! The kernel's maps of the processes that are sampled while others are counted.

use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags, MapHandle};

use super::owed::{Owed, Program};
use crate::counts::Counts;
use crate::skeleton::ProfrecSkel;

/// `MOST_BROKEN` in bpf/hybrid.h.
const MOST: usize = 1024;

/// The processes that are sampled.
pub(crate) struct SampledProcesses {
    broken: MapHandle,
    owed: MapHandle,
    cpus: usize,
    programs: Vec<Program>,
    /// Those that are not sampled any more, of which it is not known what they owe.
    ended: Vec<Program>,
}

impl SampledProcesses {
    /// None yet.
    pub(crate) fn of(skeleton: &ProfrecSkel<'_>) -> libbpf_rs::Result<Self> {
        let broken = MapHandle::try_from(&skeleton.maps.broken)?;
        let owed = MapHandle::try_from(&skeleton.maps.owed)?;
        let (programs, ended) = Default::default();
        Ok(Self { broken, owed, cpus: libbpf_rs::num_possible_cpus()?, programs, ended })
    }

    /// Has a process sampled from now on. False when there are very many of them.
    pub(crate) fn add(&mut self, program: Program) -> Result<bool> {
        if self.programs.contains(&program) {
            return Ok(true);
        }
        self.end(program.pid)?;
        let is_full = self.programs.len() >= MOST || self.programs.len() + self.ended.len() >= 2 * MOST;
        if is_full || self.ended.contains(&program) {
            return Ok(false);
        }
        let nothing = vec![vec![0; Owed::BYTES]; self.cpus];
        self.owed.update_percpu(&program.key(), &nothing, MapFlags::ANY).context("telling whom to sample")?;
        self.broken.update(&program.key(), &[1], MapFlags::ANY).context("telling whom to sample")?;
        self.programs.push(program);
        Ok(true)
    }

    /// Has a process counted from now on, if it was sampled.
    pub(crate) fn end(&mut self, pid: u32) -> Result<()> {
        let Some(place) = self.programs.iter().position(|program| program.pid == pid) else { return Ok(()) };
        let program = self.programs.swap_remove(place);
        self.broken.delete(&program.key()).context("telling whom not to sample")?;
        self.ended.push(program);
        Ok(())
    }

    /// Has all processes counted from now on.
    pub(crate) fn end_all(&mut self) -> Result<()> {
        while let Some(program) = self.programs.last() {
            self.end(program.pid)?;
        }
        Ok(())
    }

    /// Takes what those owe that are not sampled any more, when no program of the kernel can be looking at them.
    pub(crate) fn take_ended(&mut self, counts: &mut Counts) -> Result<()> {
        for program in self.ended.drain(..) {
            let of_cpus = self.owed.lookup_percpu(&program.key(), MapFlags::ANY).context("reading what is owed")?;
            for (cpu, bytes) in (0..).zip(of_cpus.unwrap_or_default()) {
                if let Some(owed) = Owed::parse(&bytes) {
                    counts.add_owed(program, cpu, &owed);
                }
            }
            self.owed.delete(&program.key()).context("clearing what is owed")?;
        }
        Ok(())
    }
}
