//! The parts of a recording: when one ends and the next begins, and what each holds in all.
//!
//! ```text
//!   ticks ─► part 1 │ part 2 │ part 3 ...      no tick in two of them, none in neither
//!            header │ header │ header          each defines again all that its samples refer to
//!            totals │ totals │                 differences of what was counted from the start
//! ```

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use profrec_format::{Header, LossCause, Outcome, StopReason, Totals, Writer};

use crate::outcomes::Accounts;
use crate::sampler::Sampler;
use crate::sink::Sink;
use crate::store::{Kept, Store};
use crate::stream::{Stream, now};

/// How long a part that should end may wait for the evidence that its samples need.
const PATIENCE: Duration = Duration::from_secs(5);

const BEGINNING: &str = "beginning the next part";

/// The part at hand, and what was before it.
pub(crate) struct Parts {
    store: Store,
    header: Header,
    begun: Instant,
    /// Since when it should end.
    due: Option<Instant>,
    /// What had been counted when it began.
    before: Totals,
}

impl Parts {
    /// Begins with the first part.
    pub(crate) fn begin(store: Store, sink: Sink, header: Header) -> Result<(Self, Writer<Sink>)> {
        let mut writer = Writer::create(sink, &header)?;
        if let Some(bytes) = store.limit() {
            writer.limit_to(bytes);
        }
        let parts = Self { store, header, begun: Instant::now(), due: None, before: Totals::default() };
        Ok((parts, writer))
    }

    /// Whether other parts can be begun with the rights that there are now.
    pub(crate) fn require_place(&self) -> Result<()> {
        self.store.require_place()
    }

    /// What was recorded is asked for now, for this reason.
    pub(crate) fn ask(&mut self, why: &str) {
        if self.store.ask(why) {
            self.due.get_or_insert_with(Instant::now);
        }
    }

    /// Whether the recording has become as large as it may.
    pub(crate) fn are_full(&self, stream: &Stream<Sink>) -> bool {
        self.store.full_at().is_some_and(|bytes| stream.writer().bytes_written() >= bytes)
    }

    /// Whether the part should end.
    pub(crate) fn are_due(&self, stream: &Stream<Sink>) -> bool {
        let (end, bytes) = (self.store.part_end(), stream.writer().bytes_written());
        let is_old = end.time.is_some_and(|time| self.begun.elapsed() >= time);
        self.due.is_some() || is_old || end.bytes.is_some_and(|most| bytes >= most)
    }

    /// Ends the part when it is time and its evidence is complete, and begins the next. Ticks of before `looked` have been used.
    pub(crate) fn tend(&mut self, stream: &mut Stream<Sink>, sampler: &mut Sampler, looked: u64) -> Result<()> {
        self.store.tend(false);
        if !self.are_due(stream) {
            return Ok(());
        }
        let due = *self.due.get_or_insert_with(Instant::now);
        let (end, bytes) = (self.store.part_end(), stream.writer().bytes_written());
        let cannot_wait = due.elapsed() >= PATIENCE || end.bytes.is_some_and(|most| bytes >= most + most / 2);
        if stream.has_all_evidence()? || cannot_wait {
            self.turn(stream, sampler, looked)?;
        }
        Ok(())
    }

    fn turn(&mut self, stream: &mut Stream<Sink>, sampler: &mut Sampler, looked: u64) -> Result<()> {
        stream.measure_last(sampler)?;
        stream.flush(sampler)?;
        // Ticks that are still in the ring are of the next part.
        let at = looked.max(stream.writer().last_time_in_output());
        let sink = self.store.begin().map_err(refused)?;
        let header = Header { start_monotonic: at, start_realtime: realtime(at), ..self.header.clone() };
        let mut next = Writer::create(sink, &header).inspect_err(|_| self.store.take_back()).context(BEGINNING)?;
        if let Some(bytes) = self.store.limit() {
            next.limit_to(bytes);
        }
        let counted = stream.totals(&sampler.accounts()?, sampler.clock_time(), at, StopReason::Cut);
        let ended = stream.begin_part(next);
        let totals = since(&counted, &self.before);
        (self.before, self.due, self.begun) = (counted, None, Instant::now());
        let closed = ended.finish(&totals).context("closing a part")?;
        self.store.take(closed);
        self.store.tend(true);
        Ok(())
    }

    /// Closes the last part. Gives the totals of the whole recording, what became of it, and why its end could not be written.
    pub(crate) fn close(
        self,
        stream: Stream<Sink>,
        (accounts, clock_time): (&Accounts, u64),
        stop: StopReason,
    ) -> (Totals, Kept, Option<anyhow::Error>) {
        let whole = stream.whole(accounts, clock_time, stop);
        let (sink, error) = match stream.close(&since(&whole, &self.before)) {
            Ok(sink) => (Some(sink), None),
            Err(error) => (None, Some(error)),
        };
        (whole, self.store.close(sink, stop), error)
    }
}

/// A file that cannot be made is one that cannot be written.
fn refused(error: anyhow::Error) -> anyhow::Error {
    let cause = match error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::other(format!("{error:#}")),
    };
    anyhow::Error::from(profrec_format::Error::Io(cause)).context(BEGINNING)
}

/// What was counted since `before`.
fn since(whole: &Totals, before: &Totals) -> Totals {
    let by_cpu =
        |list: &[(u32, LossCause, u64)]| list.iter().map(|&(cpu, cause, count)| ((cpu, cause), count)).collect();
    let outcomes =
        |list: &[(u32, Outcome, u64)]| list.iter().map(|&(cpu, outcome, count)| ((cpu, outcome), count)).collect();
    let (lost_by_cpu, became) = (
        minus(by_cpu(&whole.lost_by_cpu), by_cpu(&before.lost_by_cpu)),
        minus(outcomes(&whole.outcomes), outcomes(&before.outcomes)),
    );
    Totals {
        end_monotonic: whole.end_monotonic,
        stop: whole.stop,
        expected: whole.expected.saturating_sub(before.expected),
        samples: whole.samples.saturating_sub(before.samples),
        lost: minus(whole.lost.clone(), before.lost.clone()),
        recorder_cpu: whole.recorder_cpu.saturating_sub(before.recorder_cpu),
        bpf_time: whole.bpf_time.saturating_sub(before.bpf_time),
        bpf_runs: whole.bpf_runs.saturating_sub(before.bpf_runs),
        weight: whole.weight.saturating_sub(before.weight),
        ticks: minus(whole.ticks.clone(), before.ticks.clone()),
        outcomes: became.into_iter().map(|((cpu, outcome), count)| (cpu, outcome, count)).collect(),
        lost_by_cpu: lost_by_cpu.into_iter().map(|((cpu, cause), count)| (cpu, cause, count)).collect(),
        clock_time: whole.clock_time.saturating_sub(before.clock_time),
    }
}

/// What each count has grown by; those that have not are not told.
fn minus<K: Ord>(whole: Vec<(K, u64)>, before: Vec<(K, u64)>) -> Vec<(K, u64)> {
    let before: BTreeMap<K, u64> = before.into_iter().collect();
    let grown = whole.into_iter().map(|(key, count)| {
        let more = count.saturating_sub(before.get(&key).copied().unwrap_or(0));
        (key, more)
    });
    grown.filter(|(_, count)| *count > 0).collect()
}

/// The wall clock at a time of CLOCK_MONOTONIC that was a moment ago.
pub(crate) fn realtime(at: u64) -> u64 {
    let real = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let real = real.tv_sec as u64 * 1_000_000_000 + real.tv_nsec as u64;
    real.saturating_add(at).saturating_sub(now())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Totals of parts are differences, cause by cause; a cause that lost nothing in a part is not told there.
    #[test]
    fn totals_of_a_part_are_differences() {
        let lost = |ring, malformed| vec![(LossCause::RingFull, ring), (LossCause::Malformed, malformed)];
        let before = Totals { expected: 10, samples: 7, lost: lost(3, 0), recorder_cpu: 5, ..Totals::default() };
        let whole = Totals { expected: 30, samples: 25, lost: lost(3, 2), recorder_cpu: 9, ..Totals::default() };
        let part = since(&whole, &before);
        assert_eq!((part.expected, part.samples, part.recorder_cpu), (20, 18, 4));
        assert_eq!(part.lost, [(LossCause::Malformed, 2)]);
        let cpus = |one, other| Totals {
            ticks: vec![(0, one), (1, other)],
            outcomes: vec![(0, Outcome::Written, one), (1, Outcome::Idle, other)],
            lost_by_cpu: vec![(1, LossCause::RingFull, other)],
            ..Totals::default()
        };
        let part = since(&cpus(7, 9), &cpus(7, 4));
        assert_eq!((part.ticks, part.outcomes), (vec![(1, 5)], vec![(1, Outcome::Idle, 5)]));
        assert_eq!(part.lost_by_cpu, [(1, LossCause::RingFull, 5)]);
    }
}
