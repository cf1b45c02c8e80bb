//! The index: what is in each segment, so that a part of a recording is read without the rest.
//!
//! ```text
//! header | segment | segment | ... | index | totals | footer
//!                                    ^------------------|
//! ```
//!
//! The footer is a frame of a fixed length with the offset of the index in it, so that the index is found from the
//! file's end. A reader that goes through the whole file needs neither.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::frame::{Frame, FrameKind, HEADER_LENGTH, frame_at};
use crate::header::Totals;
use crate::metadata;
use crate::segment::{Segment, decompress};

/// Content of a footer: the offset of the index, u64, not compressed.
const FOOTER_CONTENT: usize = 8;
/// The tag of a segment's summary in the index.
const SUMMARY_TAG: u16 = 1;

/// What the index says of one segment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentSummary {
    /// Where its first frame starts in the file.
    pub offset: u64,
    /// Bytes of all its frames; the next segment, or the index, follows.
    pub bytes: u64,
    /// The earliest time of a sample in it; `u64::MAX` when it has none.
    pub first_time: u64,
    /// The latest time of a sample in it; 0 when it has none.
    pub last_time: u64,
    /// How many samples it has.
    pub samples: u64,
    /// The processes of its samples, ascending.
    pub pids: Vec<u32>,
    /// The earliest time of a loss in it; 0 when it has none.
    pub first_loss: u64,
    /// The latest time of a loss in it; 0 when it has none.
    pub last_loss: u64,
    /// What its samples stand for together, in ticks. Earlier versions had none; see [`SegmentSummary::ticks`].
    pub weight: u64,
    /// The earliest time of a record of self metrics in it; 0 when it has none.
    pub first_metrics: u64,
    /// The latest time of a record of self metrics in it; 0 when it has none.
    pub last_metrics: u64,
}

impl SegmentSummary {
    /// Ticks that its samples stand for.
    pub fn ticks(&self) -> u64 {
        if self.weight == 0 { self.samples } else { self.weight }
    }

    /// One past its last byte.
    fn end(&self) -> Option<u64> {
        self.offset.checked_add(self.bytes)
    }

    /// Adds the processes of a frame of samples.
    pub(crate) fn add_pids(&mut self, pids: &mut Vec<u32>) {
        self.pids.append(pids);
        self.pids.sort_unstable();
        self.pids.dedup();
    }

    /// Adds the time of a loss.
    pub(crate) fn add_loss(&mut self, time: u64) {
        widen((&mut self.first_loss, &mut self.last_loss), time);
    }

    /// Adds the time of self metrics.
    pub(crate) fn add_metrics(&mut self, time: u64) {
        widen((&mut self.first_metrics, &mut self.last_metrics), time);
    }

    /// Whether its numbers are those of this segment. Its processes, losses and metrics are not looked at: they are in samples and
    /// records.
    pub(crate) fn agrees_with(&self, segment: &Segment<'_>) -> bool {
        let (first_time, last_time) = segment.sample_times().unwrap_or((u64::MAX, 0));
        segment.span() == (self.offset as usize, self.end().unwrap_or_default() as usize)
            && (first_time, last_time, segment.sample_count()) == (self.first_time, self.last_time, self.samples)
    }
}

fn widen((first, last): (&mut u64, &mut u64), time: u64) {
    *first = if *last == 0 { time } else { time.min(*first) };
    *last = time.max(*last);
}

/// The part of a recording that is wanted. Nothing chosen is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Samples from here on, in nanoseconds after the recording's start.
    pub from: Option<u64>,
    /// Samples before this, in nanoseconds after the recording's start.
    pub to: Option<u64>,
    /// Samples of these processes.
    pub pids: Vec<u32>,
    /// The losses of that time, too.
    pub losses: bool,
    /// The self metrics of that time, too.
    pub metrics: bool,
}

impl Part {
    /// Whether it is the whole recording.
    pub(crate) fn is_everything(&self) -> bool {
        self.from.is_none() && self.to.is_none() && self.pids.is_empty()
    }

    /// Whether a segment can have some of it. `start` is when the recording started.
    pub(crate) fn touches(&self, segment: &SegmentSummary, start: u64) -> bool {
        let meets = |first: u64, last: u64| {
            let (first, last) = (first.saturating_sub(start), last.saturating_sub(start));
            self.from.is_none_or(|from| from <= last) && self.to.is_none_or(|to| first < to)
        };
        self.losses && segment.last_loss > 0 && meets(segment.first_loss, segment.last_loss)
            || self.metrics && segment.last_metrics > 0 && meets(segment.first_metrics, segment.last_metrics)
            || segment.samples > 0
                && meets(segment.first_time, segment.last_time)
                && (self.pids.is_empty() || self.pids.iter().any(|pid| segment.pids.binary_search(pid).is_ok()))
    }
}

/// The bytes of an index, before compression.
pub(crate) fn encode(out: &mut Vec<u8>, segments: &[SegmentSummary]) -> Result<(), Error> {
    segments.iter().try_for_each(|segment| metadata::put(out, SUMMARY_TAG, segment))
}

/// The segments that the bytes of an index name.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<SegmentSummary>, Error> {
    let mut segments = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if let (SUMMARY_TAG, content) = metadata::take(bytes, &mut at)? {
            segments.push(metadata::decode(content, "the summary of a segment")?);
        }
    }
    Ok(segments)
}

/// The content of a footer.
pub(crate) fn footer(index_offset: u64) -> [u8; FOOTER_CONTENT] {
    index_offset.to_le_bytes()
}

/// The end of a closed recording, found from behind.
#[derive(Debug)]
pub(crate) struct Closing {
    pub(crate) index: Vec<SegmentSummary>,
    pub(crate) totals: Totals,
    /// Bytes from the index to the file's end.
    pub(crate) bytes: u64,
}

impl Closing {
    /// The closing frames of a recording whose first frame is at `start`. `None` when it was not closed, or when its index
    /// does not describe it from end to end: then all of it has to be read.
    pub(crate) fn find(file: &[u8], start: usize) -> Option<Self> {
        let footer = frame_at(file, file.len().checked_sub(HEADER_LENGTH + FOOTER_CONTENT)?).ok()?;
        let offset = u64::from_le_bytes(footer.content.try_into().ok()?);
        let index = frame_at(file, usize::try_from(offset).ok()?).ok()?;
        if (footer.header.kind, index.header.kind) != (FrameKind::Footer, FrameKind::Index) {
            return None;
        }
        let totals =
            frames_between(file, index.end(), footer.offset).find(|frame| frame.header.kind == FrameKind::Totals);
        let closing = Self {
            index: decode(&decompress(&index).ok()?).ok()?,
            totals: metadata::decode(&decompress(&totals?).ok()?, "the totals").ok()?,
            bytes: file.len() as u64 - offset,
        };
        closing.is_gapless(start as u64, offset).then_some(closing)
    }

    /// Whether the segments fill the file from its header to the index, and their samples add up.
    fn is_gapless(&self, start: u64, index_offset: u64) -> bool {
        let end = self.index.iter().try_fold(start, |end, segment| match segment.end() {
            Some(next) if segment.offset == end && segment.bytes > 0 => Some(next),
            _ => None,
        });
        let samples = self.index.iter().try_fold(0u64, |sum, segment| sum.checked_add(segment.samples));
        end == Some(index_offset) && samples == Some(self.totals.samples)
    }
}

/// The frames from one offset to another, up to the first that is not whole.
fn frames_between(file: &[u8], start: usize, end: usize) -> impl Iterator<Item = Frame<'_>> {
    let mut offset = start;
    std::iter::from_fn(move || {
        let frame = (offset < end).then(|| frame_at(file, offset).ok()).flatten()?;
        offset = frame.end();
        Some(frame)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn summary(first_time: u64, last_time: u64, pids: &[u32]) -> SegmentSummary {
        SegmentSummary { first_time, last_time, samples: 1, pids: pids.to_vec(), ..SegmentSummary::default() }
    }

    /// An index comes back as it was written, whatever a later version puts between.
    #[test]
    fn an_index_round_trips() {
        let segments = [summary(1, 2, &[3, 4]), summary(5, 6, &[])];
        let mut bytes = Vec::new();
        encode(&mut bytes, &segments[..1]).unwrap();
        metadata::put(&mut bytes, 999, &"something new").unwrap();
        encode(&mut bytes, &segments[1..]).unwrap();
        assert_eq!(decode(&bytes).unwrap(), segments);
        bytes.pop();
        assert!(decode(&bytes).is_err());
    }

    /// Both ends of a part are compared as the filter of samples does: the first belongs to it, the last does not.
    #[test]
    fn a_part_touches_segments() {
        let part = |from, to, pids: &[u32]| Part { from, to, pids: pids.to_vec(), ..Part::default() };
        let segment = summary(110, 120, &[7, 9]);
        for touching in [
            part(None, None, &[]),
            part(Some(20), None, &[]),
            part(None, Some(11), &[]),
            part(Some(15), Some(16), &[1, 9]),
        ] {
            assert!(touching.touches(&segment, 100), "{touching:?}");
        }
        for other in [part(Some(21), None, &[]), part(None, Some(10), &[]), part(None, None, &[8])] {
            assert!(!other.touches(&segment, 100), "{other:?}");
        }
        assert!(!Part::default().touches(&SegmentSummary::default(), 100));
        assert!(part(None, Some(1), &[]).touches(&summary(90, 120, &[1]), 100));
        let mut lossy = SegmentSummary::default();
        [130, 110, 120].into_iter().for_each(|time| lossy.add_loss(time));
        assert_eq!((lossy.first_loss, lossy.last_loss), (110, 130));
        let losses = |from, to| Part { losses: true, ..part(Some(from), Some(to), &[]) };
        assert!(losses(30, 31).touches(&lossy, 100) && losses(0, 11).touches(&lossy, 100));
        assert!(!losses(0, 10).touches(&lossy, 100) && !part(Some(0), Some(50), &[]).touches(&lossy, 100));
        let mut measured = SegmentSummary::default();
        measured.add_metrics(120);
        let metrics = Part { metrics: true, ..part(Some(20), Some(21), &[]) };
        assert!(metrics.touches(&measured, 100) && !losses(0, 50).touches(&measured, 100));
    }
}
