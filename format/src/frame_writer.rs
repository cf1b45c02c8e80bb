//! Finished frames on their way into the output: each gets its numbers there, and the index what it will say of it.

use std::io::{self, Write};

use crate::error::Error;
use crate::frame::{FrameHeader, FrameKind, HEADER_LENGTH, SEGMENT_START, encode_header};
use crate::header::Header;
use crate::index::SegmentSummary;
use crate::metadata;
use crate::{FILE_MAGIC, VERSION};

/// The totals, the footer, the heads of the last frames, and what compression adds at most.
const CLOSING: u64 = 2048;
/// What the totals say of a CPU.
const CLOSING_OF_CPU: u64 = 160;

/// A frame that is not in the output yet.
#[derive(Clone, Copy)]
pub(crate) struct NewFrame<'a> {
    pub(crate) kind: FrameKind,
    pub(crate) items: u32,
    pub(crate) times: (u64, u64),
    /// Length of the content before compression.
    pub(crate) raw_length: u32,
    /// Compressed.
    pub(crate) content: &'a [u8],
}

impl NewFrame<'_> {
    /// Whether it belongs to a segment, and not to the end of the recording.
    fn is_of_segment(&self) -> bool {
        !matches!(self.kind, FrameKind::Index | FrameKind::Totals | FrameKind::Footer)
    }
}

/// The frames of one recording.
pub(crate) struct FrameWriter<W: Write> {
    out: W,
    bytes_written: u64,
    sequence: u32,
    segments: Vec<SegmentSummary>,
    segment_open: bool,
    /// A frame has been refused, by the output or for the limit.
    refused: bool,
    /// The file becomes no longer than this.
    limit: u64,
    /// Bytes that the closing frames take at most, without the index.
    closing: u64,
    frame: Vec<u8>,
}

impl<W: Write> FrameWriter<W> {
    /// Writes the head of the file.
    pub(crate) fn create(mut out: W, header: &Header) -> Result<Self, Error> {
        let mut bytes = Vec::new();
        metadata::encode(&mut bytes, header)?;
        let mut head = FILE_MAGIC.to_vec();
        head.extend_from_slice(&VERSION.to_le_bytes());
        head.extend_from_slice(&0u16.to_le_bytes());
        head.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        head.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        head.append(&mut bytes);
        out.write_all(&head)?;
        Ok(Self {
            out,
            bytes_written: head.len() as u64,
            sequence: 0,
            segments: Vec::new(),
            segment_open: false,
            refused: false,
            limit: u64::MAX,
            closing: CLOSING + CLOSING_OF_CPU * u64::from(header.cpus),
            frame: Vec::new(),
        })
    }

    pub(crate) fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    pub(crate) fn segments(&self) -> &[SegmentSummary] {
        &self.segments
    }

    /// The segment that the next frame belongs to, when it has one already.
    pub(crate) fn open_segment(&self) -> Option<&SegmentSummary> {
        self.segments.last().filter(|_| self.segment_open)
    }

    /// Adds what the samples of a segment's frame, or of all its frames, stand for.
    pub(crate) fn add_ticks(&mut self, ticks: u64) {
        if let Some(segment) = self.segments.last_mut() {
            segment.weight += ticks;
        }
    }

    /// The next frame starts a segment.
    pub(crate) fn end_segment(&mut self) {
        self.segment_open = false;
    }

    /// Refuses what would make the file longer than this once it is closed.
    pub(crate) fn limit_to(&mut self, bytes: u64) {
        self.limit = bytes;
    }

    /// Whether a frame has been refused: then it takes no more that belong to a segment.
    pub(crate) fn has_refused(&self) -> bool {
        self.refused
    }

    /// Writes a frame.
    pub(crate) fn write(&mut self, new: NewFrame<'_>) -> Result<(), Error> {
        let of_segment = new.is_of_segment();
        if self.refused && of_segment {
            return Err(io::Error::other("an earlier part of it could not be written").into());
        }
        if of_segment && self.length_with(&new) > self.limit {
            self.refused = true;
            return Err(Error::LimitReached { limit: self.limit });
        }
        let starts_segment = of_segment && !self.segment_open;
        let header = FrameHeader {
            kind: new.kind,
            flags: if starts_segment { SEGMENT_START } else { 0 },
            segment: self.segments.len() as u32 + u32::from(starts_segment),
            sequence: self.sequence,
            raw_length: new.raw_length,
            items: new.items,
            first_time: new.times.0,
            last_time: new.times.1,
        };
        self.frame.clear();
        self.frame.extend_from_slice(&encode_header(&header, new.content));
        self.frame.extend_from_slice(new.content);
        self.out.write_all(&self.frame).inspect_err(|_| self.refused = true)?;
        if starts_segment {
            self.segment_open = true;
            let (offset, first_time) = (self.bytes_written, u64::MAX);
            self.segments.push(SegmentSummary { offset, first_time, ..SegmentSummary::default() });
        }
        self.sequence += 1;
        self.bytes_written += self.frame.len() as u64;
        if of_segment {
            self.count(&header);
        }
        Ok(())
    }

    /// How long the file can be at most when it is closed behind this frame.
    fn length_with(&self, new: &NewFrame<'_>) -> u64 {
        /// A segment in the index, without its processes.
        const SUMMARY: u64 = 96;
        let pids: usize = self.segments.iter().map(|segment| segment.pids.len()).sum();
        let pids = (pids as u64).saturating_add(u64::from(new.items)).saturating_mul(4);
        let index = (self.segments.len() as u64 + 1) * SUMMARY + pids;
        let frame = (HEADER_LENGTH + new.content.len()) as u64;
        self.bytes_written.saturating_add(frame).saturating_add(index + index / 128 + self.closing)
    }

    /// Adds a frame that was written to what the index will say of its segment.
    fn count(&mut self, frame: &FrameHeader) {
        let Some(segment) = self.segments.last_mut() else { return };
        segment.bytes += self.frame.len() as u64;
        if frame.kind.has_samples() {
            segment.first_time = segment.first_time.min(frame.first_time);
            segment.last_time = segment.last_time.max(frame.last_time);
            segment.samples += u64::from(frame.items);
        }
    }

    /// Adds processes that the segment's samples are of.
    pub(crate) fn add_pids(&mut self, pids: &mut Vec<u32>) {
        if let Some(segment) = self.segments.last_mut() {
            segment.add_pids(pids);
        }
    }

    /// Adds times at which the segment's records tell of a loss, and at which they have self metrics.
    pub(crate) fn add_times(&mut self, losses: &[u64], metrics: &[u64]) {
        if let Some(segment) = self.segments.last_mut() {
            losses.iter().for_each(|time| segment.add_loss(*time));
            metrics.iter().for_each(|time| segment.add_metrics(*time));
        }
    }

    /// Has the output pass on what it holds.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        Ok(self.out.flush().inspect_err(|_| self.refused = true)?)
    }

    /// Gives the output back.
    pub(crate) fn finish(mut self) -> Result<W, Error> {
        self.out.flush()?;
        Ok(self.out)
    }
}
