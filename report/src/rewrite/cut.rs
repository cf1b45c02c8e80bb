//! A part of a recording, by time: its samples, losses and process events, and in front of them what there was when it
//! began. Only segments that can have some of it are read.

use std::path::Path;

use anyhow::{Context, Result, bail};
use profrec_format::{Header, Pace, PaceReason, Part, Record, Recording, Segment, StopReason};

use super::output::Output;
use super::reading::{Tally, Written, stop};
use super::span::Span;
use super::start::{Wanted, definitions};
use crate::args::TimeRange;
use crate::evidence::{Evidence, ModuleNumbers};
use crate::facts::{end, part_read};
use crate::losses::noticed;
use crate::recording_file::RecordingFile;
use crate::replay::in_order;
use crate::world::World;

/// Writes a part of a recording.
pub(super) fn cut(
    input: &Path,
    range: TimeRange,
    open: impl Fn(&Header, &[&Path]) -> Result<Output>,
) -> Result<Written> {
    let file = RecordingFile::open(input)?;
    let part = Part { from: range.from(), to: range.to(), pids: Vec::new(), losses: true, metrics: true };
    let recording = Recording::open_part(file.bytes(), &part);
    let recording = recording.with_context(|| format!("cannot read {}", input.display()))?;
    let (header, end) = (recording.header(), end(&recording));
    let span = Span::of(range, header.start_monotonic);
    if span.from > end {
        let seconds = end.saturating_sub(header.start_monotonic) as f64 / 1e9;
        bail!("{} is {seconds:.3} s long: there is nothing in the time asked for", input.display());
    }
    let header = span.header(header);
    let mut output = open(&header, &[input])?;
    let mut tally = Tally::default();
    tally.begin(&recording, |damage| span.meets(damage.since, damage.until.unwrap_or(u64::MAX)));
    let ids = module_ids(&recording);
    // An index has chosen the segments already. Without one, all are here.
    for segment in recording.segments().iter().filter(|segment| span.meets(segment.first_time(), segment.last_time())) {
        let Some(records) = tally.records(segment, span) else { continue };
        if span.has_some_of(segment, &records) {
            output.start_segment()?;
            span.cut_segment((segment, records), &ids, &mut output, &mut tally)?;
        }
    }
    let reaches_end = span.to.is_none_or(|to| to >= end);
    let (end, stop) =
        (span.to.map_or(end, |to| to.min(end)), if reaches_end { stop(&recording) } else { StopReason::Cut });
    let samples = output.samples();
    let totals = tally.totals(&output, end, stop);
    output.finish(&totals)?;
    let nanoseconds = end.saturating_sub(header.start_monotonic);
    Ok(Written { samples, nanoseconds, part_read: part_read(recording.coverage()), notes: tally.notes })
}

/// The modules that the recording knows, by their own numbers: a mapping of any other is none.
fn module_ids(recording: &Recording<'_>) -> ModuleNumbers {
    let (_, numbers) = Evidence::gather(recording);
    numbers.into_keys().map(|id| (id, id)).collect()
}

impl Span {
    /// The header of the part.
    fn header(self, whole: &Header) -> Header {
        let start_monotonic = whole.start_monotonic.max(self.from);
        let later = start_monotonic - whole.start_monotonic;
        let clipped = |&(from, to): &(u64, u64)| (from.max(start_monotonic), self.to.map_or(to, |end| to.min(end)));
        Header {
            start_monotonic,
            start_realtime: whole.start_realtime.saturating_add(later),
            gaps: whole.gaps.iter().map(clipped).filter(|(from, to)| from < to).collect(),
            ..whole.clone()
        }
    }

    /// Whether a segment has samples, losses or self metrics of the part. Processes may be defined a little before their first
    /// sample.
    fn has_some_of(self, segment: &Segment<'_>, records: &[Record]) -> bool {
        let is_told = |record: &Record| match record {
            Record::Loss(loss) => self.holds(loss.time),
            Record::SelfMetrics(metrics) => self.holds(metrics.time),
            _ => false,
        };
        segment.sample_times().is_some_and(|(first, last)| self.meets(first, last)) || records.iter().any(is_told)
    }

    /// Writes what a segment has of the part.
    fn cut_segment(
        self,
        (segment, records): (&Segment<'_>, Vec<Record>),
        ids: &ModuleNumbers,
        output: &mut Output,
        tally: &mut Tally,
    ) -> Result<()> {
        let is_earlier = |record: &Record| record.time().is_some_and(|time| time < self.from);
        let (earlier, others): (Vec<_>, Vec<_>) = records.into_iter().partition(is_earlier);
        let pace = self.pace(&earlier);
        let kept: Vec<_> =
            others.into_iter().filter(|record| record.time().is_none_or(|time| self.is_before_end(time))).collect();
        pace.map_or(Ok(()), |pace| output.record(&pace))?;
        if !earlier.is_empty() {
            let Some(start) = self.start((segment, earlier), &kept, ids) else {
                bail!("the recording has more processes and mappings than any machine at once");
            };
            start.iter().try_for_each(|record| output.record(record))?;
        }
        tally.lose(noticed(&kept));
        kept.iter().try_for_each(|record| output.record(record))?;
        tally.copy(segment, self, output)
    }

    /// The pace at which the part begins, of these earlier records.
    fn pace(self, earlier: &[Record]) -> Option<Record> {
        let paces = earlier.iter().filter_map(|record| if let Record::Pace(pace) = record { Some(pace) } else { None });
        let last = paces.max_by_key(|pace| pace.time)?;
        Some(Record::Pace(Pace { time: self.from, reason: PaceReason::GoesOn, ..*last }))
    }

    /// What there is when the part begins, of a segment with these earlier records.
    fn start(
        self,
        (segment, earlier): (&Segment<'_>, Vec<Record>),
        kept: &[Record],
        ids: &ModuleNumbers,
    ) -> Option<Vec<Record>> {
        let mut world = World::new(ids, earlier, segment.allowance());
        let mut wanted = Wanted::default();
        kept.iter().for_each(|record| wanted.add_record(record));
        // What keeps samples from being read is told when they are copied.
        let _told_later = in_order(segment, |sample| {
            if sample.time < self.from {
                world.at(sample);
            } else if self.is_before_end(sample.time) {
                wanted.add_sample(sample);
            }
        });
        world.before(self.from);
        definitions(&world, self.from, &wanted)
    }
}
