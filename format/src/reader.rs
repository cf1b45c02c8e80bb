//! Opening a recording: its header, its segments, its totals, and what is wrong with it.

use crate::damage::{Damage, DamageKind, LostToDamage};
use crate::error::Error;
use crate::frame::{Frame, FrameKind, NoFrame, SEGMENT_START, frame_at, next_frame};
use crate::header::{Header, Totals};
use crate::index::{self, Closing, Part, SegmentSummary};
use crate::metadata;
use crate::segment::{ALLOWANCE, Segment, decompress};
use crate::{FILE_MAGIC, VERSION};

/// A recording in memory: read or mapped.
#[derive(Debug)]
pub struct Recording<'a> {
    header: Header,
    segments: Vec<Segment<'a>>,
    totals: Option<Totals>,
    index: Option<Vec<SegmentSummary>>,
    damage: Vec<Damage>,
    coverage: Coverage,
}

/// How much of a recording was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Segments that were read.
    pub segments_read: usize,
    /// Segments that there are.
    pub segments: usize,
    /// Bytes of the file that were read.
    pub bytes_read: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

impl Coverage {
    /// Whether all of the file was read.
    pub fn is_whole(&self) -> bool {
        self.bytes_read == self.bytes
    }
}

impl<'a> Recording<'a> {
    /// Reads the header and finds all frames, checking each one's checksum. Damage is noted, not an error, as long
    /// as the header is whole.
    pub fn open(file: &'a [u8]) -> Result<Self, Error> {
        let (header, start) = read_header(file)?;
        Ok(Self::whole(file, header, start))
    }

    /// The same for the segments alone that can have samples of a part of the recording. The index tells which these are:
    /// what it says of the segments that are read is checked, what it says of the others is believed. A recording without
    /// an index, or with one that is wrong, is read as a whole.
    pub fn open_part(file: &'a [u8], part: &Part) -> Result<Self, Error> {
        let (header, start) = read_header(file)?;
        let closing = if part.is_everything() { None } else { Closing::find(file, start) };
        let chosen = closing.and_then(|closing| Self::chosen(file, (&header, start), closing, part));
        Ok(chosen.unwrap_or_else(|| Self::whole(file, header, start)))
    }

    /// How the recording was made.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What it holds in all; `None` when the recorder did not get to close it.
    pub fn totals(&self) -> Option<&Totals> {
        self.totals.as_ref()
    }

    /// The segments that were read, in the order of time.
    pub fn segments(&self) -> &[Segment<'a>] {
        &self.segments
    }

    /// What its index says of its segments, whether they were read or not; `None` when it has no index that can be read.
    pub fn index(&self) -> Option<&[SegmentSummary]> {
        self.index.as_deref()
    }

    /// Where it is not whole; empty for a whole recording.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// How much of it was read.
    pub fn coverage(&self) -> Coverage {
        self.coverage
    }

    /// Length of the file in bytes.
    pub fn file_length(&self) -> usize {
        self.coverage.bytes as usize
    }

    /// Samples that were found: those of the segments that were read, and those that the index has of the others.
    pub fn samples_found(&self) -> u64 {
        match &self.index {
            Some(index) if !self.coverage.is_whole() => index.iter().map(|segment| segment.samples).sum(),
            _ => self.segments.iter().map(Segment::sample_count).sum(),
        }
    }

    /// What damage has cost.
    pub fn lost_to_damage(&self) -> LostToDamage {
        let found = self.samples_found();
        LostToDamage {
            samples: self.totals.as_ref().map(|totals| totals.samples.saturating_sub(found)),
            at_least: self.damage.iter().map(|damage| damage.samples).sum(),
            nanoseconds: self.damage.iter().filter_map(Damage::nanoseconds).fold(0, u64::saturating_add),
        }
    }

    fn whole(file: &'a [u8], header: Header, start: usize) -> Self {
        // The first frame is number 0.
        let mut walk = Walk { sequence: Some(0), ..Walk::default() };
        walk.through(file, start, file.len());
        walk.compare_index();
        let bytes = file.len() as u64;
        let count = walk.segments.len();
        let coverage = Coverage { segments_read: count, segments: count, bytes_read: bytes, bytes };
        walk.finish(header, coverage)
    }

    /// The segments of a part; `None` when one of them is not what the index says.
    fn chosen(file: &'a [u8], (header, start): (&Header, usize), closing: Closing, part: &Part) -> Option<Self> {
        let chosen: Vec<_> =
            closing.index.iter().filter(|segment| part.touches(segment, header.start_monotonic)).collect();
        let mut walk = Walk::default();
        for segment in &chosen {
            walk.sequence = None;
            walk.through(file, segment.offset as usize, (segment.offset + segment.bytes) as usize);
        }
        let agree = chosen.iter().zip(&walk.segments).all(|(summary, segment)| summary.agrees_with(segment));
        if !agree || walk.segments.len() != chosen.len() || !walk.damage.is_empty() {
            return None;
        }
        let read: u64 = chosen.iter().map(|segment| segment.bytes).sum();
        let coverage = Coverage {
            segments_read: chosen.len(),
            segments: closing.index.len(),
            bytes_read: start as u64 + read + closing.bytes,
            bytes: file.len() as u64,
        };
        (walk.totals, walk.index) = (Some(closing.totals), Some(closing.index));
        Some(walk.finish(header.clone(), coverage))
    }
}

/// What a walk through frames has found.
#[derive(Default)]
struct Walk<'a> {
    segments: Vec<Segment<'a>>,
    totals: Option<Totals>,
    index: Option<Vec<SegmentSummary>>,
    damage: Vec<Damage>,
    current: Current,
    /// The number that the next frame should have.
    sequence: Option<u32>,
    /// The latest time of the samples found so far.
    latest: u64,
}

/// The segment being read.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Current {
    /// None, or one whose start is missing.
    #[default]
    Unknown,
    /// The last one found, by its number; no frame of it is missing.
    Whole(u32),
    /// The last one found, by its number; samples after the missing frames cannot be decoded.
    Broken(u32),
}

impl<'a> Walk<'a> {
    /// Finds the frames from `start` to `end`.
    fn through(&mut self, file: &'a [u8], start: usize, end: usize) {
        let mut offset = start;
        while offset < end {
            match frame_at(file, offset) {
                Ok(frame) => {
                    offset = frame.end();
                    self.add(frame);
                }
                Err(error) => {
                    let next = next_frame(file, offset + 1);
                    let kind = match (error, &next) {
                        (NoFrame::Truncated, None) => DamageKind::Truncated,
                        _ => DamageKind::Damaged,
                    };
                    let until = next.map_or(file.len(), |frame| frame.offset);
                    self.note(kind, offset, until);
                    self.sequence = None;
                    offset = until;
                }
            }
        }
    }

    /// Puts a frame where it belongs.
    fn add(&mut self, frame: Frame<'a>) {
        if self.sequence.is_some_and(|expected| expected != frame.header.sequence) {
            self.note(DamageKind::FramesMissing, frame.offset, frame.offset);
        }
        self.sequence = Some(frame.header.sequence.wrapping_add(1));
        match frame.header.kind {
            FrameKind::Index => self.take_index(&frame),
            FrameKind::Totals => self.close(&frame),
            FrameKind::Footer => {}
            // What a later version closes a recording with.
            FrameKind::Unknown(_) if self.index.is_some() => {}
            FrameKind::Records | FrameKind::Samples | FrameKind::Counts | FrameKind::Unknown(_) => {
                self.add_to_segment(frame)
            }
        }
    }

    fn add_to_segment(&mut self, frame: Frame<'a>) {
        let number = frame.header.segment;
        if frame.header.flags & SEGMENT_START != 0 {
            self.segments.push(Segment::new(frame));
            self.current = Current::Whole(number);
            return self.time_of(&frame);
        }
        let is_samples = frame.header.kind.has_samples();
        match (self.current, self.segments.last_mut()) {
            (Current::Whole(current), Some(segment)) if current == number => {
                segment.push(frame);
                self.time_of(&frame);
            }
            // Metadata stands by itself, and what is known of the samples before the damage may be in it.
            (Current::Broken(current), Some(segment)) if current == number && !is_samples => segment.push(frame),
            _ => self.give_up(&frame),
        }
    }

    /// A frame that cannot be used, because others are missing before it.
    fn give_up(&mut self, frame: &Frame<'_>) {
        if self.damage.last().is_none_or(|damage| damage.until.is_some()) {
            self.note(DamageKind::FramesMissing, frame.offset, frame.offset);
        }
        if let (true, Some(damage)) = (frame.header.kind.has_samples(), self.damage.last_mut()) {
            damage.samples += u64::from(frame.header.items);
            damage.reached = damage.reached.max(frame.header.last_time);
        }
    }

    /// Samples that can be used end what the damage before has cost.
    fn time_of(&mut self, frame: &Frame<'_>) {
        if !frame.header.kind.has_samples() {
            return;
        }
        if let Some(damage) = self.damage.last_mut().filter(|damage| damage.until.is_none()) {
            damage.until = Some(frame.header.first_time);
        }
        self.latest = self.latest.max(frame.header.last_time);
    }

    fn note(&mut self, kind: DamageKind, start: usize, end: usize) {
        if let Current::Whole(number) = self.current {
            self.current = Current::Broken(number);
        }
        self.damage.push(Damage { kind, start, end, samples: 0, since: self.latest, reached: 0, until: None });
    }

    fn close(&mut self, frame: &Frame<'_>) {
        match decompress(frame).and_then(|bytes| metadata::decode(&bytes, "the totals")) {
            Ok(totals) => self.totals = Some(totals),
            Err(_) => self.note(DamageKind::Damaged, frame.offset, frame.end()),
        }
    }

    fn take_index(&mut self, frame: &Frame<'_>) {
        match decompress(frame).and_then(|bytes| index::decode(&bytes)) {
            Ok(index) => self.index = Some(index),
            Err(_) => self.note(DamageKind::Damaged, frame.offset, frame.end()),
        }
    }

    /// An index that does not describe what was found would hide a part of it from a reader that believes it.
    fn compare_index(&mut self) {
        let Some(index) = self.index.as_ref().filter(|_| self.damage.is_empty()) else { return };
        let agrees = index.len() == self.segments.len()
            && index.iter().zip(&self.segments).all(|(summary, segment)| summary.agrees_with(segment));
        if !agrees {
            self.note(DamageKind::WrongIndex, 0, 0);
        }
    }

    fn finish(mut self, header: Header, coverage: Coverage) -> Recording<'a> {
        let end = self.totals.as_ref().map(|totals| totals.end_monotonic);
        let found: u64 = self.segments.iter().map(Segment::sample_count).sum();
        let costs_nothing = self.totals.as_ref().is_some_and(|totals| totals.samples == found);
        for damage in &mut self.damage {
            damage.since = damage.since.max(header.start_monotonic);
            damage.until = damage.until.or(end).or(Some(damage.reached).filter(|time| *time > 0));
            if costs_nothing {
                damage.until = Some(damage.since);
            }
        }
        let share = ALLOWANCE / self.segments.len().max(1) as u64;
        self.segments.iter_mut().for_each(|segment| segment.allow(share));
        let Self { segments, totals, index, damage, .. } = self;
        Recording { header, segments, totals, index, damage, coverage }
    }
}

/// The header, and where the first frame starts.
fn read_header(file: &[u8]) -> Result<(Header, usize), Error> {
    if file.len() < FILE_MAGIC.len() || file[..FILE_MAGIC.len()] != FILE_MAGIC {
        return Err(Error::NotARecording);
    }
    let truncated = Error::HeaderTruncated { offset: file.len() };
    let Some(&[major0, major1, _minor0, _minor1, len0, len1, len2, len3, crc0, crc1, crc2, crc3]) =
        file[FILE_MAGIC.len()..].first_chunk()
    else {
        return Err(truncated);
    };
    let found = u16::from_le_bytes([major0, major1]);
    if found > VERSION {
        return Err(Error::NewerVersion { found, supported: VERSION });
    }
    let start = FILE_MAGIC.len() + 12;
    let length = u32::from_le_bytes([len0, len1, len2, len3]) as usize;
    let bytes = file[start..].get(..length).ok_or(truncated)?;
    if crc32c::crc32c(bytes) != u32::from_le_bytes([crc0, crc1, crc2, crc3]) {
        return Err(Error::HeaderDamaged { expected: "a header with a matching checksum" });
    }
    let header = metadata::decode(bytes, "the header");
    let header = header.map_err(|_| Error::HeaderDamaged { expected: "a header of format version 1" })?;
    Ok((header, start + length))
}
