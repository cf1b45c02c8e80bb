//! The accounts of a recording while it is made: what was lost, and what the recorder measures of itself.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use profrec_format::{Loss, Outcome, Record, StopReason, Totals};

use super::{Stream, now};
use crate::meter::{Health, Reading};
use crate::outcomes::Accounts;
use crate::own_cost::own_cpu_time;
use crate::ring::RingFill;
use crate::sampler::Sampler;

impl<W: Write> Stream<W> {
    /// Counts a loss, and records it.
    pub(super) fn lose(&mut self, loss: Loss) -> Result<()> {
        self.losses.add(&loss);
        self.write(&Record::Loss(loss))
    }

    /// Records what the BPF program has counted as lost since the last time.
    pub(super) fn write_losses(&mut self, sampler: &Sampler) -> Result<()> {
        let (earlier, new) = (std::mem::take(&mut self.recent_losses), self.new_losses(sampler)?);
        earlier.into_iter().chain(new).try_for_each(|loss| self.write(&Record::Loss(loss)))
    }

    /// The same, to be recorded later, together by cause and CPU.
    pub(super) fn gather_losses(&mut self, sampler: &Sampler) -> Result<()> {
        let new = self.new_losses(sampler)?;
        gather(&mut self.recent_losses, new);
        Ok(())
    }

    fn new_losses(&mut self, sampler: &Sampler) -> Result<Vec<Loss>> {
        let accounts = sampler.accounts()?;
        let seconds = if self.losses.is_ring_full(&accounts) { sampler.lost_seconds()? } else { Vec::new() };
        Ok(self.losses.look(&accounts, &seconds, now(), sampler.period()))
    }

    /// Counts as lost what was expected and is not in the output, when nothing more can be written.
    pub(crate) fn lose_what_waits(&mut self, accounts: &Accounts) {
        let _cannot_be_recorded = self.losses.look(accounts, &[], now(), 0);
        let written = self.ticks_by_cpu();
        for (cpu, account) in accounts.by_cpu() {
            self.losses.not_written(cpu, account, written.get(&cpu).copied().unwrap_or(0));
        }
    }

    /// Notes what was found in the ring.
    pub(crate) fn note_ring(&mut self, fill: RingFill) {
        self.meter.look(fill);
    }

    /// Measures the recorder when it is time. Whether it was.
    pub(crate) fn measure(&mut self, sampler: &Sampler) -> Result<bool> {
        let is_due = self.meter.is_due(now());
        if is_due {
            self.measure_now(sampler)?;
        }
        Ok(is_due)
    }

    /// Measures the recorder for the last time, and records it.
    pub(crate) fn measure_last(&mut self, sampler: &Sampler) -> Result<()> {
        self.measure_now(sampler)?;
        for metrics in self.meter.take_all() {
            self.write(&Record::SelfMetrics(metrics))?;
        }
        Ok(())
    }

    fn measure_now(&mut self, sampler: &Sampler) -> Result<()> {
        let rings = &self.side_band;
        let kernel_memory = *self.kernel_memory.get_or_insert_with(|| sampler.kernel_memory() + rings.kernel_memory());
        self.meter.measure(Reading {
            time: now(),
            outcomes: sampler.accounts()?.all(),
            bytes: self.bytes_written(),
            samples: self.samples_in_output(),
            ticks: self.ticks_in_output(),
            lost: self.losses.samples(),
            kernel_memory,
        });
        Ok(())
    }

    /// How well the recorder is.
    pub(crate) fn health(&self) -> Health {
        Health { ways: self.chains.as_ref().map(|_| self.tally.ways()), ..self.meter.health() }
    }

    /// Everything that was counted from the start of the recording to `end`, in the parts so far. Ticks that are still in the
    /// ring are of the next part.
    pub(crate) fn totals(&self, accounts: &Accounts, clock_time: u64, end_monotonic: u64, stop: StopReason) -> Totals {
        let (all, written, weight) = (accounts.all(), self.ticks_by_cpu(), self.ticks_in_output());
        let outcomes = accounts.by_cpu().flat_map(|(cpu, account)| {
            let told = account.outcomes.told(written.get(&cpu).copied().unwrap_or(0));
            told.map(move |(outcome, count)| (cpu, outcome, count))
        });
        let not_sampled = self.tally.not_sampled().map(|(cpu, ticks)| (cpu, Outcome::NotSampled, ticks));
        let (outcomes, lost_by_cpu): (Vec<_>, _) = (outcomes.chain(not_sampled).collect(), self.losses.by_cpu());
        let became = outcomes.iter().filter(|(_, outcome, _)| outcome.is_tick()).map(|&(cpu, _, count)| (cpu, count));
        let lost = lost_by_cpu.iter().filter(|(_, cause, _)| cause.is_samples()).map(|&(cpu, _, count)| (cpu, count));
        let mut ticks: BTreeMap<u32, u64> = BTreeMap::new();
        became.chain(lost).for_each(|(cpu, count)| *ticks.entry(cpu).or_default() += count);
        Totals {
            end_monotonic,
            stop,
            expected: weight + self.losses.samples(),
            samples: self.samples_in_output(),
            weight,
            lost: self.losses.by_cause(),
            recorder_cpu: own_cpu_time().as_nanos() as u64,
            bpf_time: all.nanoseconds,
            bpf_runs: all.captured,
            ticks: ticks.into_iter().collect(),
            outcomes,
            lost_by_cpu,
            clock_time,
        }
    }

    /// The same of the whole recording: what the kernel has counted is what was expected. Here the equations show whether a tick is missing.
    pub(crate) fn whole(&self, accounts: &Accounts, clock_time: u64, stop: StopReason) -> Totals {
        Totals {
            expected: accounts.all().expected(),
            ticks: accounts.by_cpu().map(|(cpu, account)| (cpu, account.outcomes.ticks)).collect(),
            ..self.totals(accounts, clock_time, now(), stop)
        }
    }
}

/// Adds losses to those of the same cause and CPU.
fn gather(losses: &mut Vec<Loss>, new: Vec<Loss>) {
    for loss in new {
        match losses.iter_mut().find(|known| (known.cause, known.cpu) == (loss.cause, loss.cpu)) {
            Some(known) => {
                known.count += loss.count;
                (known.since, known.time) = (known.since.min(loss.since), known.time.max(loss.time));
            }
            None => losses.push(loss),
        }
    }
}

#[cfg(test)]
mod tests {
    use profrec_format::LossCause;

    use super::*;

    /// Losses of one cause and CPU become one, from the first to the last.
    #[test]
    fn losses_are_gathered_by_cause_and_cpu() {
        let loss = |since, time, count, cpu| Loss { since, cpu: Some(cpu), ..Loss::at(time, LossCause::Late, count) };
        let mut losses = Vec::new();
        gather(&mut losses, vec![loss(10, 20, 1, 0), loss(10, 30, 2, 1)]);
        gather(&mut losses, vec![loss(40, 50, 4, 0), Loss { cause: LossCause::CountsFull, ..loss(40, 60, 8, 0) }]);
        let full = Loss { cause: LossCause::CountsFull, ..loss(40, 60, 8, 0) };
        assert_eq!(losses, [loss(10, 50, 5, 0), loss(10, 30, 2, 1), full]);
    }
}
