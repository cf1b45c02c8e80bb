//! When what is buffered leaves for the output, and what is done beside: the recorder forgets who has ended, in itself and in the
//! kernel.

use std::io::Write;

use anyhow::{Context, Result};
use profrec_format::{Pace, PaceReason, Record};

use super::{Stream, now};
use crate::sampler::Sampler;

/// Ticks of a process that has ended come at most so much later.
pub(super) const LAST_TICKS: u64 = 2_000_000_000;
/// What is buffered waits no longer for counts: a little more than the minute that is usual between two flushes of them.
const PATIENCE: u64 = 70_000_000_000;

impl<W: Write> Stream<W> {
    /// Writes what was lost, the names and the evidence that became necessary, and lets all that is
    /// buffered leave for the file.
    pub(crate) fn flush(&mut self, sampler: &mut Sampler) -> Result<()> {
        if let Some(pace) = self.pace.filter(|_| !self.is_pace_told) {
            self.is_pace_told = true;
            self.write(&Record::Pace(Pace { time: now(), reason: PaceReason::GoesOn, ..pace }))?;
        }
        self.write_losses(sampler)?;
        for metrics in self.meter.take_measured() {
            self.write(&Record::SelfMetrics(metrics))?;
        }
        self.forget_ended(|pid| sampler.remove_target(pid))?;
        self.follow_lost_children(sampler)?;
        self.tell_refused()?;
        if let Some(symbols) = self.kernel_names.take(|addresses| sampler.name_kernel_addresses(addresses))? {
            self.write(&Record::KernelSymbols(symbols))?;
        }
        self.exchange_evidence()?;
        self.let_leave()
    }

    /// Lets all that is buffered leave for the file.
    pub(super) fn let_leave(&mut self) -> Result<()> {
        self.writer.flush().context("writing the recording")?;
        (self.flushed, self.nothing_was_counted) = (now(), false);
        self.meter.flushed(self.flushed);
        Ok(())
    }

    /// Has what is written wait for counts: each flush of them is then said in one piece, with its evidence.
    pub(crate) fn only_count(&mut self) {
        self.only_counts = true;
    }

    /// Flushes, but what waits for counts. Nothing but losses and measurements comes between flushes of counts, and those would be many small
    /// pieces.
    pub(crate) fn flush_in_time(&mut self, sampler: &mut Sampler) -> Result<()> {
        if !self.waits_for_counts(now())? {
            return self.flush(sampler);
        }
        self.gather_losses(sampler)?;
        self.forget_ended(|pid| sampler.remove_target(pid))?;
        self.follow_lost_children(sampler)
    }

    /// Whether counts are to come, or evidence for them, for which they wait once.
    pub(super) fn waits_for_counts(&mut self, time: u64) -> Result<bool> {
        if !self.only_counts || !self.ends_with_counts {
            let cannot_wait = self.nothing_was_counted || time.saturating_sub(self.flushed) >= PATIENCE;
            return Ok(self.only_counts && !cannot_wait);
        }
        let has_waited = std::mem::replace(&mut self.has_waited, true);
        Ok(!has_waited && !self.has_all_evidence()?)
    }

    /// Forgets the processes that have ended when no tick of theirs can come any more, here and, by `remove_target`, in the kernel.
    pub(super) fn forget_ended(&mut self, mut remove_target: impl FnMut(u32)) -> Result<()> {
        self.find_ended();
        for pid in std::mem::take(&mut self.ended) {
            // Its number may have been given to another, which the kernel has added.
            if self.processes.get(pid).is_some_and(|process| process.ended.is_none()) {
                continue;
            }
            remove_target(pid);
        }
        // The last ticks of who ends may be counted only after that, and are used with the next flush of counts.
        let used_until = if self.only_counts { self.counted_until } else { self.side_band_until };
        self.forget_processes(used_until.saturating_sub(LAST_TICKS))
    }

    /// Begins a new segment when this one is full and its evidence complete, or when it would soon be more than a reader takes.
    pub(crate) fn turn_segment(&mut self, sampler: &mut Sampler) -> Result<()> {
        if !self.writer.segment_is_full() && !self.ends_with_counts {
            return Ok(());
        }
        if !self.has_all_evidence()? && !self.writer.segment_is_overfull() {
            return Ok(());
        }
        self.flush(sampler)?;
        self.writer.start_segment().context("starting a segment")?;
        self.define_all_again();
        Ok(())
    }
}
