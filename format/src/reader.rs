//! Opening a recording: its header, its segments, its totals, and what is wrong with it.

use std::fmt;

use crate::error::Error;
use crate::frame::{Frame, FrameKind, NoFrame, SEGMENT_START, frame_at, next_segment_start};
use crate::header::{Header, Totals};
use crate::metadata;
use crate::segment::{Segment, decompress};
use crate::{FILE_MAGIC, VERSION};

/// A recording in memory: read or mapped.
#[derive(Debug)]
pub struct Recording<'a> {
    header: Header,
    segments: Vec<Segment<'a>>,
    totals: Option<Totals>,
    damage: Vec<Damage>,
    length: usize,
}

/// A place where a recording is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The file ends inside the frame that starts at this byte.
    TruncatedAt(usize),
    /// The bytes from the first offset to the second are not those of undamaged frames.
    DamagedAt(usize, usize),
}

impl fmt::Display for Damage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TruncatedAt(offset) => write!(out, "truncated at byte {offset}"),
            Self::DamagedAt(start, end) => write!(out, "damaged from byte {start} to {end}"),
        }
    }
}

impl<'a> Recording<'a> {
    /// Reads the header and finds all frames, checking each one's checksum. Damage is noted, not an error, as long
    /// as the header is whole.
    pub fn open(file: &'a [u8]) -> Result<Self, Error> {
        let (header, start) = read_header(file)?;
        let mut recording = Self { header, segments: Vec::new(), totals: None, damage: Vec::new(), length: file.len() };
        recording.walk(file, start);
        Ok(recording)
    }

    /// How the recording was made.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What it holds in all; `None` when the recorder did not get to close it.
    pub fn totals(&self) -> Option<&Totals> {
        self.totals.as_ref()
    }

    /// Its segments, in the order of time.
    pub fn segments(&self) -> &[Segment<'a>] {
        &self.segments
    }

    /// Where it is not whole; empty for a whole recording.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// Length of the file in bytes.
    pub fn file_length(&self) -> usize {
        self.length
    }

    fn walk(&mut self, file: &'a [u8], start: usize) {
        let mut offset = start;
        let mut segment = None;
        while offset < file.len() {
            let error = match frame_at(file, offset) {
                Ok(frame) => {
                    offset = frame.end();
                    self.add(frame, &mut segment);
                    continue;
                }
                Err(error) => error,
            };
            let next = next_segment_start(file, offset + 1);
            self.damage.push(match (error, &next) {
                (NoFrame::Truncated, None) => Damage::TruncatedAt(offset),
                (_, Some(frame)) => Damage::DamagedAt(offset, frame.offset),
                (NoFrame::Damaged, None) => Damage::DamagedAt(offset, file.len()),
            });
            segment = None;
            offset = next.map_or(file.len(), |frame| frame.offset);
        }
    }

    /// Puts a frame where it belongs. `current` is the number of the segment being read.
    fn add(&mut self, frame: Frame<'a>, current: &mut Option<u32>) {
        match frame.header.kind {
            FrameKind::Records | FrameKind::Samples => {}
            FrameKind::Totals => return self.close(&frame),
            FrameKind::Index | FrameKind::Unknown(_) => return,
        }
        if frame.header.flags & SEGMENT_START != 0 {
            *current = Some(frame.header.segment);
            self.segments.push(Segment::new(frame));
        } else if *current == Some(frame.header.segment)
            && let Some(segment) = self.segments.last_mut()
        {
            segment.push(frame);
        } else {
            self.damage.push(Damage::DamagedAt(frame.offset, frame.end()));
        }
    }

    fn close(&mut self, frame: &Frame<'_>) {
        match decompress(frame).and_then(|bytes| metadata::decode(&bytes, "the totals")) {
            Ok(totals) => self.totals = Some(totals),
            Err(_) => self.damage.push(Damage::DamagedAt(frame.offset, frame.end())),
        }
    }
}

/// The header, and where the first frame starts.
fn read_header(file: &[u8]) -> Result<(Header, usize), Error> {
    if file.len() < FILE_MAGIC.len() || file[..FILE_MAGIC.len()] != FILE_MAGIC {
        return Err(Error::NotARecording);
    }
    let truncated = Error::HeaderTruncated { offset: file.len() };
    let Some(&[major0, major1, _, _, len0, len1, len2, len3, crc0, crc1, crc2, crc3]) =
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
