//! A recording without memory of its programs: unwound once, as the report does it, with locations for registers and words
//! of stacks. What unwinding needed goes, what names need stays.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use profrec_format::{
    FunctionExtents, Header, ModuleId, Record, Recording, Sample, Segment, UnwoundFrame, UnwoundStack, UserState,
};

use super::output::Output;
use super::reading::{Tally, Written, stop};
use super::redact;
use super::span::Span;
use super::ticks::Ticks;
use crate::args::Args;
use crate::collect::walk_user;
use crate::evidence::{Evidence, ModuleEvidence, ModuleNumbers};
use crate::facts::end;
use crate::local_files::LocalFiles;
use crate::losses::noticed;
use crate::modules::Modules;
use crate::recording_file::RecordingFile;
use crate::replay::replay_records;
use crate::stacks::Verdict;
use crate::symbols::extents::embedded;
use crate::unwind::{Unwinder, WalkedFrame};

/// What is the same for each segment.
struct Scrubber<'a> {
    modules: &'a Modules<'a>,
    numbers: &'a ModuleNumbers,
    header: &'a Header,
    redact: bool,
}

/// Writes a recording without stacks.
pub(super) fn scrub(input: &Path, args: &Args, open: impl Fn(&Header, &[&Path]) -> Result<Output>) -> Result<Written> {
    let file = RecordingFile::open(input)?;
    let recording = Recording::open(file.bytes()).with_context(|| format!("cannot read {}", input.display()))?;
    let (evidence, numbers) = Evidence::gather(&recording);
    let files = args.sources().map(|sources| LocalFiles::find(&evidence, &sources)).unwrap_or_default();
    let modules = Modules::new(&evidence, &files);
    let mut header = Header { scrubbed: true, ..recording.header().clone() };
    if args.rewrite.redact {
        redact::header(&mut header);
    }
    let mut output = open(&header, &[input])?;
    let scrubber = Scrubber { modules: &modules, numbers: &numbers, header: &header, redact: args.rewrite.redact };
    let mut tally = Tally::default();
    tally.begin(&recording, |_| true);
    let mut losses = Vec::new();
    for segment in recording.segments() {
        output.start_segment()?;
        if let Some(records) = tally.records(segment, Span::default()) {
            losses.extend(noticed(&records));
            scrubber.scrub((segment, records), &mut output, &mut tally)?;
        }
    }
    tally.end_whole(output.ticks());
    let whole = recording.totals();
    tally.lose(whole.map_or(losses, |whole| whole.lost.clone()));
    let (samples, end) = (output.samples(), end(&recording));
    let mut totals = tally.totals(&output, end, stop(&recording));
    if let Some(whole) = whole {
        (totals.recorder_cpu, totals.bpf_time, totals.bpf_runs) = (whole.recorder_cpu, whole.bpf_time, whole.bpf_runs);
    }
    let mut ticks = Ticks::default();
    ticks.add(whole);
    let totals = ticks.put(output.flushed_by_cpu()?, totals);
    output.finish(&totals)?;
    let nanoseconds = end.saturating_sub(header.start_monotonic);
    Ok(Written { samples, nanoseconds, part_read: None, notes: tally.notes })
}

impl Scrubber<'_> {
    /// Writes a segment without what unwinding needs.
    fn scrub(
        &self,
        (segment, mut records): (&Segment<'_>, Vec<Record>),
        output: &mut Output,
        tally: &mut Tally,
    ) -> Result<()> {
        for record in &mut records {
            if self.redact {
                redact::record(record);
            }
            if !matches!(record, Record::UnwindSlice(_) | Record::RawStack(_)) {
                output.record(record)?;
            }
        }
        extents(&records).iter().try_for_each(|record| output.record(record))?;
        let mut unwinder = Unwinder::new(self.modules, self.header.arch);
        let mut frames = Vec::new();
        let mut outcome = Ok(());
        let mut written = 0;
        let read = replay_records((segment, records), self.numbers, |sample, instant| {
            if outcome.is_err() || unwinder.work() > segment.allowance() {
                return;
            }
            frames.clear();
            let verdict = walk_user(&mut unwinder, sample, instant, &mut frames);
            if frames.len() <= UnwoundStack::MAX_FRAMES {
                outcome = output.sample(&unwound(sample, &frames, verdict));
                written += 1;
            }
        });
        outcome?;
        let left_out = segment.sample_count().saturating_sub(written);
        match read {
            Err(error) => tally.unreadable(left_out, &error.to_string()),
            Ok(()) if left_out > 0 => tally.unreadable(left_out, "they have unwind information without end"),
            Ok(()) => {}
        }
        Ok(())
    }
}

/// What is left of the call frame information of a segment: where functions begin and end, after which those without a name are
/// called.
fn extents(records: &[Record]) -> Vec<Record> {
    /// One record is 1.6 MB.
    const RANGES: usize = 100_000;
    let mut slices: BTreeMap<ModuleId, ModuleEvidence> = BTreeMap::new();
    for record in records {
        if let Record::UnwindSlice(slice) = record {
            slices.entry(slice.module).or_default().add_slice(slice.clone());
        }
    }
    let of_module = slices.into_iter().flat_map(|(module, evidence)| {
        let ranges = embedded(&evidence.cies, &evidence.fdes);
        let record = |ranges: &[_]| Record::FunctionExtents(FunctionExtents { module, ranges: ranges.to_vec() });
        ranges.chunks(RANGES).map(record).collect::<Vec<_>>()
    });
    of_module.collect()
}

/// The sample without its stack. One that had no user side still has none.
fn unwound(sample: &Sample, frames: &[WalkedFrame], verdict: Verdict) -> Sample {
    let &Sample { time, pid, tid, cpu, weight, .. } = sample;
    let frames = frames.iter().map(|frame| UnwoundFrame { address: frame.address, guessed: frame.guessed });
    let user = match sample.user {
        // Of what a new program has taken the place of, there are registers still.
        _ if verdict == Verdict::ExecOrExit => UserState::None,
        UserState::None => UserState::None,
        _ => UserState::Unwound(UnwoundStack { frames: frames.collect(), verdict: verdict.into() }),
    };
    Sample { time, pid, tid, cpu, kernel_chain: sample.kernel_chain.clone(), user, weight }
}
