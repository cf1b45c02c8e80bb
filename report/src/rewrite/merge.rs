//! The parts of one longer recording, put together again in the order of their times.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use foldhash::HashMap;
use profrec_format::{Header, ModuleId, Recording, StopReason, Totals};

use super::module_ids::{MergedModules, PartModules, renumber};
use super::output::Output;
use super::reading::{Tally, Written, stop};
use super::span::Span;
use super::ticks::Ticks;
use crate::facts::end;
use crate::losses::noticed;
use crate::recording_file::RecordingFile;

/// How far the clocks of two parts may differ: the wall clock is adjusted now and then.
const CLOCK_DIFFERENCE: u64 = 1_000_000_000;

/// One of the recordings.
struct Part<'a> {
    path: &'a Path,
    recording: Recording<'a>,
    end: u64,
}

/// Writes the sum of recordings.
pub(super) fn merge(paths: &[PathBuf], open: impl Fn(&Header, &[&Path]) -> Result<Output>) -> Result<Written> {
    let files = paths.iter().map(|path| RecordingFile::open(path)).collect::<Result<Vec<_>>>()?;
    let parts = paths.iter().zip(&files).map(|(path, file)| Part::open(path, file)).collect::<Result<Vec<_>>>();
    let mut parts = parts?;
    parts.sort_by_key(|part| (part.recording.header().start_monotonic, part.end));
    for pair in parts.windows(2) {
        let [before, after] = pair else { continue };
        before.require_same(after)?;
    }
    let header = header(&parts);
    let inputs: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let mut output = open(&header, &inputs)?;
    let mut tally = Tally::default();
    let mut modules = MergedModules::default();
    let mut cost = Some(Totals::default());
    let mut ticks = Ticks::default();
    for part in &parts {
        let numbers = modules.number(part.modules()).context("there are more modules than numbers")?;
        part.copy(&numbers, &mut output, &mut tally)?;
        ticks.add(part.recording.totals());
        cost = cost.and_then(|cost| add_cost(cost, part.recording.totals()?));
    }
    let Some(last) = parts.last() else { bail!("there is no recording to merge") };
    let samples = output.samples();
    let end = last.end;
    let Totals { recorder_cpu, bpf_time, bpf_runs, .. } = cost.unwrap_or_default();
    let totals = Totals { recorder_cpu, bpf_time, bpf_runs, ..tally.totals(&output, end, stop_of_all(&parts, last)) };
    let totals = ticks.put(output.flushed_by_cpu()?, totals);
    output.finish(&totals)?;
    let nanoseconds = end.saturating_sub(header.start_monotonic);
    Ok(Written { samples, nanoseconds, part_read: None, notes: tally.notes })
}

/// What ended the whole: the end of an earlier part that was not closed may be missing, whatever ended the last.
fn stop_of_all(parts: &[Part<'_>], last: &Part<'_>) -> StopReason {
    let mut stops = parts.iter().map(|part| stop(&part.recording));
    stops.find(|stop| *stop == StopReason::NotClosed).unwrap_or_else(|| stop(&last.recording))
}

/// What recording has cost in all; `None` where that of a part is not known.
fn add_cost(sum: Totals, part: &Totals) -> Option<Totals> {
    (part.recorder_cpu > 0 || part.samples == 0).then(|| Totals {
        recorder_cpu: sum.recorder_cpu.saturating_add(part.recorder_cpu),
        bpf_time: sum.bpf_time.saturating_add(part.bpf_time),
        bpf_runs: sum.bpf_runs.saturating_add(part.bpf_runs),
        ..sum
    })
}

/// The header of the whole: that of the first part, and the gaps. What may differ between parts is the largest of all.
fn header(parts: &[Part<'_>]) -> Header {
    let headers = || parts.iter().map(|part| part.recording.header());
    let mut header = headers().next().cloned().unwrap_or_default();
    header.cpus = headers().map(|header| header.cpus).max().unwrap_or_default();
    header.stack_size = headers().map(|header| header.stack_size).max().unwrap_or_default();
    header.scrubbed = headers().all(|header| header.scrubbed);
    header.gaps = gaps(parts);
    header
}

/// The times in which no part recorded, those that the parts themselves know included. What is shorter than a tick
/// is no gap.
fn gaps(parts: &[Part<'_>]) -> Vec<(u64, u64)> {
    let between = parts.windows(2).filter_map(|pair| match pair {
        [before, after] => Some((before.end, after.recording.header().start_monotonic)),
        _ => None,
    });
    let period = parts.first().map_or(0, |part| part.recording.header().period);
    let long = between.filter(|(from, to)| to.saturating_sub(*from) > period);
    let mut gaps: Vec<_> =
        parts.iter().flat_map(|part| part.recording.header().gaps.iter().copied()).chain(long).collect();
    gaps.sort_unstable();
    gaps
}

impl<'a> Part<'a> {
    fn open(path: &'a Path, file: &'a RecordingFile) -> Result<Self> {
        let recording = Recording::open(file.bytes()).with_context(|| format!("cannot read {}", path.display()))?;
        let end = end(&recording);
        Ok(Self { path, recording, end })
    }

    /// Which modules its numbers are.
    fn modules(&self) -> PartModules {
        let mut modules = PartModules::default();
        for segment in self.recording.segments() {
            // What cannot be read is told when it is copied.
            segment.records().unwrap_or_default().into_iter().for_each(|record| modules.add(record));
        }
        modules
    }

    fn copy(&self, numbers: &HashMap<ModuleId, ModuleId>, output: &mut Output, tally: &mut Tally) -> Result<()> {
        tally.begin(&self.recording, |_| true);
        let before = output.ticks();
        let mut losses = Vec::new();
        for segment in self.recording.segments() {
            output.start_segment()?;
            let Some(records) = tally.records(segment, Span::default()) else { continue };
            losses.extend(noticed(&records));
            for mut record in records {
                renumber(&mut record, numbers);
                output.record(&record)?;
            }
            tally.copy(segment, Span::default(), output)?;
        }
        tally.end_whole(output.ticks() - before);
        tally.lose(self.recording.totals().map_or(losses, |totals| totals.lost.clone()));
        Ok(())
    }

    /// Whether this part and a later one can be parts of one recording: of one host, since it started, taken in the
    /// same way, one after the other.
    fn require_same(&self, later: &Self) -> Result<()> {
        let differences = differences(self.recording.header(), later.recording.header());
        let (one, other) = (self.path.display(), later.path.display());
        if !differences.is_empty() {
            bail!("{one} and {other} cannot be merged, they differ in {}", differences.join(", "));
        }
        let start = later.recording.header().start_monotonic;
        if start < self.end {
            let seconds = (self.end.min(later.end) - start) as f64 / 1e9;
            bail!("{one} and {other} cannot be merged, they overlap by {seconds:.3} s: samples would count twice");
        }
        Ok(())
    }
}

/// What is not the same in two headers and has to be, in words.
fn differences(one: &Header, other: &Header) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: &str, one: String, other: String| {
        if one != other {
            found.push(format!("{what} ({one} and {other})"));
        }
    };
    compare("host", format!("{:?}", one.host), format!("{:?}", other.host));
    compare("kernel", one.kernel.clone(), other.kernel.clone());
    compare("architecture", one.arch.name().to_owned(), other.arch.name().to_owned());
    compare("page size", one.page_size.to_string(), other.page_size.to_string());
    compare("event", one.event.clone(), other.event.clone());
    compare("rate", rate(one.period), rate(other.period));
    compare("call graph", format!("{:?}", one.call_graph), format!("{:?}", other.call_graph));
    let apart = clock_offset(one).abs_diff(clock_offset(other));
    if apart > i128::from(CLOCK_DIFFERENCE).unsigned_abs() {
        let seconds = apart as f64 / 1e9;
        found.push(format!(
            "the start of the clock (by {seconds:.1} s: another boot, a suspended machine, or the time was set)"
        ));
    }
    found
}

fn rate(period: u64) -> String {
    format!("one tick in {:.3} ms", period as f64 / 1e6)
}

/// The wall clock at the start of the monotonic clock.
fn clock_offset(header: &Header) -> i128 {
    i128::from(header.start_realtime) - i128::from(header.start_monotonic)
}
