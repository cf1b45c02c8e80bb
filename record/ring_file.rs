//! One file out of the parts that a flight recorder holds.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use anyhow::{Context, Result};
use profrec_format::{Error, LossCause, Recording, StopReason, Totals, Writer};

use crate::flight_recorder::Part;
use crate::output::Output;
use crate::summary::size;

/// What a file needs beside its parts.
pub(crate) const HEAD: u64 = 4096;

/// What was written.
pub(crate) struct Written {
    seconds: f64,
    samples: u64,
    bytes: u64,
}

impl Written {
    /// In words.
    pub(crate) fn text(&self) -> String {
        format!("{:.1} s, {} samples, {}", self.seconds, self.samples, size(self.bytes))
    }
}

/// Writes the parts as one recording. With a `limit` of bytes, the oldest that do not fit are left out. What a failed write has left is
/// closed, if there is room for that.
pub(crate) fn write(parts: &[Arc<Part>], output: Output, stop: StopReason, limit: Option<u64>) -> Result<Written> {
    let recordings: Vec<_> =
        newest(parts, limit).iter().map(|part| Recording::open(&part.bytes)).collect::<Result<_, _>>()?;
    let first = recordings.first().context("nothing that was held fits into --max-size")?;
    let start = first.header().start_monotonic;
    let mut writer = Writer::create(output, first.header()).context("writing its header")?;
    if let Some(bytes) = limit {
        writer.limit_to(bytes);
    }
    let copied = recordings.iter().try_for_each(|recording| copy(recording, &mut writer));
    let mut totals = sum(&recordings, stop);
    let missing = totals.samples.saturating_sub(writer.samples_in_output());
    if missing > 0 {
        let ticks = totals.weight.saturating_sub(writer.ticks_in_output());
        totals.samples -= missing;
        totals.weight -= ticks;
        totals.lost.push((LossCause::NotWritten, ticks));
        totals.stop = StopReason::WriteFailed;
    }
    let written = Written {
        seconds: totals.end_monotonic.saturating_sub(start) as f64 / 1e9,
        samples: totals.samples,
        bytes: writer.bytes_written(),
    };
    let closed = writer.finish(&totals);
    copied.and(closed.map(drop)).with_context(|| format!("{missing} of its samples are missing"))?;
    Ok(written)
}

/// The newest of the parts, as far as they fit.
fn newest(parts: &[Arc<Part>], limit: Option<u64>) -> &[Arc<Part>] {
    let mut left = limit.map_or(u64::MAX, |bytes| bytes.saturating_sub(HEAD));
    let fitting = parts.iter().rev().take_while(|part| {
        let rest = left.checked_sub(part.bytes.len() as u64);
        left = rest.unwrap_or_default();
        rest.is_some()
    });
    &parts[parts.len() - fitting.count()..]
}

fn copy(recording: &Recording<'_>, writer: &mut Writer<Output>) -> Result<(), Error> {
    let unreadable = || Error::Io(io::ErrorKind::InvalidData.into());
    let index = recording.index().filter(|_| recording.damage().is_empty()).ok_or_else(unreadable)?;
    recording.segments().iter().zip(index).try_for_each(|(segment, summary)| writer.copy_segment(segment, summary))
}

/// The totals of all together.
fn sum(recordings: &[Recording<'_>], stop: StopReason) -> Totals {
    let mut all = Totals { stop, ..Totals::default() };
    let (mut lost, mut ticks) = (BTreeMap::new(), BTreeMap::new());
    let (mut outcomes, mut lost_by_cpu) = (BTreeMap::new(), BTreeMap::new());
    for totals in recordings.iter().filter_map(Recording::totals) {
        all.end_monotonic = totals.end_monotonic;
        all.expected += totals.expected;
        all.samples += totals.samples;
        all.weight += totals.ticks();
        all.recorder_cpu += totals.recorder_cpu;
        all.bpf_time += totals.bpf_time;
        all.bpf_runs += totals.bpf_runs;
        all.clock_time += totals.clock_time;
        totals.lost.iter().for_each(|(cause, count)| add(&mut lost, *cause, *count));
        totals.ticks.iter().for_each(|(cpu, count)| add(&mut ticks, *cpu, *count));
        totals.outcomes.iter().for_each(|(cpu, outcome, count)| add(&mut outcomes, (*cpu, *outcome), *count));
        totals.lost_by_cpu.iter().for_each(|(cpu, cause, count)| add(&mut lost_by_cpu, (*cpu, *cause), *count));
    }
    (all.lost, all.ticks) = (lost.into_iter().collect(), ticks.into_iter().collect());
    all.outcomes = outcomes.into_iter().map(|((cpu, outcome), count)| (cpu, outcome, count)).collect();
    all.lost_by_cpu = lost_by_cpu.into_iter().map(|((cpu, cause), count)| (cpu, cause, count)).collect();
    all
}

fn add<K: Ord>(sums: &mut BTreeMap<K, u64>, key: K, count: u64) {
    *sums.entry(key).or_default() += count;
}
