//! Samples among counts: the processes whose counted chains do not end in start code are sampled, and what their samples and
//! all counts tell goes into the recording in the order of its time.

use std::io::Write;

use anyhow::Result;
use profrec_format::UserState;
use rustc_hash::FxHashMap;

use super::Stream;
use crate::counts::Counts;
use crate::event::{self, Tick};
use crate::hybrid::chains::Chains;
use crate::hybrid::owed::Program;
use crate::ring::BpfRing;
use crate::sampler::Sampler;
use crate::side_band::What;

impl<W: Write> Stream<W> {
    /// Has processes sampled whose counted chains do not end in start code.
    pub(crate) fn judge_chains(&mut self) {
        self.chains = Some(Chains::default());
    }

    /// What was counted in the kernel, with the samples of the same time that wait in the ring.
    pub(crate) fn counts(&mut self, counts: &mut Counts, ring: &mut BpfRing) -> Result<()> {
        let until = counts.until;
        self.cgroup_ids.look_again();
        // The unwind information of samples is said again in each segment: among counts, one is as long as without.
        self.ends_with_counts |= self.chains.is_none() && !counts.is_empty();
        self.nothing_was_counted = counts.is_empty();
        self.counted_until = until;
        let unsettled = self.begin_rows(counts);
        let is_settled = |pid| unsettled.as_ref().is_some_and(|unsettled| !unsettled.contains(&pid));
        let mut counted = counts.ticks(is_settled).peekable();
        while let Some(tick) = counted.next_if(|tick| is_settled(tick.pid)) {
            self.use_settled(&tick)?;
        }
        /// A quarter of the samples that a reader brings into order.
        const NEIGHBOURS: u32 = 128;
        let (mut result, mut neighbours) = (Ok(()), 0);
        ring.drain_while(|bytes| {
            let time = event::time_in(bytes);
            if time > until || result.is_err() {
                return false;
            }
            while let Some(tick) = counted.next_if(|tick| result.is_ok() && tick.time <= time) {
                result = self.use_counted(&tick);
            }
            if result.is_ok() {
                result = self.tick(bytes);
            }
            neighbours += 1;
            if result.is_ok() && neighbours % NEIGHBOURS == 0 {
                result = self.go_on_with_rows(time);
            }
            true
        });
        result?;
        counted.try_for_each(|tick| self.use_counted(&tick))?;
        self.end_rows()
    }

    /// Notes where the chain of a counted tick ends, which is the sample at hand.
    pub(super) fn note_chain(&mut self, tick: &Tick<'_>) {
        let (Some(chains), UserState::Chain(chain)) = (&mut self.chains, &self.sample.user) else { return };
        let Some(process) = self.processes.get(tick.pid) else { return };
        let Some(last) = chain.last() else { return };
        // As if the innermost frame had made a call, too.
        let returns_to = if chain.len() > 1 { *last } else { last.wrapping_add(1) };
        let place = process.find(returns_to.wrapping_sub(1)).map(|mapped| {
            let offset = (returns_to - mapped.start).wrapping_add(mapped.offset);
            (mapped.module, offset)
        });
        chains.add(Program { pid: tick.pid, exec: tick.exec }, place, tick.weight.into());
    }

    /// A process has ended, or become another program.
    pub(super) fn program_ended(&mut self, pid: u32) {
        if let Some(chains) = &mut self.chains {
            chains.forget(pid);
            self.tally.forget(pid);
            self.ended_programs.push(pid);
        }
    }

    /// Tells the kernel whom to sample from now on.
    pub(crate) fn choose_whom_to_sample(&mut self, sampler: &mut Sampler) -> Result<()> {
        let (Some(chains), Some(sampled)) = (&mut self.chains, sampler.sampled()) else { return Ok(()) };
        let new = chains.take_new();
        if !new.is_empty() && !self.evidence.ask_for_start_code(new.clone()) {
            chains.ask_again(&new);
        }
        self.evidence.start_code().for_each(|(place, is_start_code)| chains.learn(place, is_start_code));
        for pid in self.ended_programs.drain(..) {
            sampled.end(pid)?;
        }
        for (program, is_broken) in chains.take_judged() {
            self.tally.judged(program, is_broken && !sampled.add(program)?);
        }
        Ok(())
    }

    /// Has those not sampled any more that have ended or become another program by now: what they owe is theirs.
    pub(crate) fn end_sampling_of_ended(&mut self, sampler: &mut Sampler) -> Result<()> {
        let Some(sampled) = sampler.sampled() else { return Ok(()) };
        let mut exits: FxHashMap<u32, usize> = FxHashMap::default();
        for event in &self.pending {
            match event.what {
                What::Exit { pid, tid } => {
                    let of_process = exits.entry(pid).or_default();
                    *of_process += 1;
                    let known = self.processes.get(pid).map_or(0, |process| process.threads.len());
                    if pid == tid || *of_process >= known {
                        sampled.end(pid)?;
                    }
                }
                What::Comm { pid, exec: true, .. } => sampled.end(pid)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Notes whether a process is sampled or counted.
    pub(super) fn note_way(&mut self, pid: u32) {
        let is_stack = matches!(self.sample.user, UserState::Stack(_));
        if self.chains.is_some()
            && let Some(process) = self.processes.get_mut(pid)
        {
            self.tally.add(&mut process.had, is_stack);
        }
    }
}

/// What may be code of what a sample says of the user side: the addresses of a chain, and whatever was kept of a stack.
pub(super) fn code_of(user: &UserState) -> impl Iterator<Item = u64> {
    let (chain, stack) = match user {
        UserState::Chain(chain) => (&chain[..], None),
        UserState::Stack(stack) => (&[][..], Some(stack)),
        _ => (&[][..], None),
    };
    let of_stack = stack.into_iter().flat_map(|stack| {
        let registers = stack.registers.iter().map(|(_, value)| value);
        [stack.ip].into_iter().chain(registers).chain(stack.words.iter().map(|word| word.value))
    });
    chain.iter().copied().chain(of_stack)
}
