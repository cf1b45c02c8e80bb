//! A recording as its frames, decompressed: to be changed and put together again with checksums that
//! fit. For tests and fuzzing, which would get no further than the checksums otherwise.

use crate::compression::{compress_piece, new_stream};
use crate::error::Error;
use crate::frame::{FrameHeader, FrameKind, LENGTH_LIMIT, SEGMENT_START, encode_header, frame_at};
use crate::numbers;
use crate::segment::{FrameStream, decompress};
use crate::varint;

/// Bytes of a file before its header; the header's length and checksum are the last eight of them.
const HEAD: usize = 20;
/// A fast level of compression.
const LEVEL: i32 = 1;

/// The bytes before the first frame, and the frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawRecording {
    /// The file's head, its header included.
    pub head: Vec<u8>,
    /// The frames, in the order of the file.
    pub frames: Vec<RawFrame>,
}

/// A frame: the fields of its head that can be chosen, and its content before compression.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawFrame {
    /// 1 records, 6 samples, 7 counts, 3 index, 4 totals, 5 footer.
    pub kind: u8,
    /// 1 for the first frame of a segment.
    pub flags: u8,
    /// Segment number.
    pub segment: u32,
    /// How many records or samples.
    pub items: u32,
    /// Earliest and latest time.
    pub times: (u64, u64),
    /// The content.
    pub content: Vec<u8>,
}

impl RawRecording {
    /// Takes a recording apart, up to the first damage; `None` without a whole head.
    pub fn take_apart(file: &[u8]) -> Option<Self> {
        let length = u32::from_le_bytes(file.get(HEAD - 8..HEAD - 4)?.try_into().ok()?);
        let start = HEAD + length as usize;
        let mut raw = Self { head: file.get(..start)?.to_vec(), frames: Vec::new() };
        let mut offset = start;
        let mut stream = FrameStream::default();
        while let Ok(frame) = frame_at(file, offset) {
            offset = frame.end();
            let FrameHeader { kind, flags, segment, items, first_time, last_time, .. } = frame.header;
            if flags & SEGMENT_START != 0 {
                stream = FrameStream::default();
            }
            let content = match kind {
                FrameKind::Samples | FrameKind::Counts => stream.decompress_next(&frame, Vec::new()),
                FrameKind::Footer => Ok(frame.content.to_vec()),
                _ => decompress(&frame),
            };
            let Ok(content) = content else { break };
            let times = (first_time, last_time);
            raw.frames.push(RawFrame { kind: kind.code(), flags, segment, items, times, content });
        }
        Some(raw)
    }

    /// Puts a recording together, with lengths and checksums that fit; what its index says is left as it is. A content
    /// that is longer than a frame may be is cut.
    pub fn put_together(&self) -> Result<Vec<u8>, Error> {
        let mut file = self.head.clone();
        if let Some((head, header)) = file.split_at_mut_checked(HEAD) {
            head[HEAD - 8..HEAD - 4].copy_from_slice(&(header.len() as u32).to_le_bytes());
            head[HEAD - 4..].copy_from_slice(&crc32c::crc32c(header).to_le_bytes());
        }
        let mut stream = None;
        let mut compressed = Vec::new();
        for (sequence, frame) in self.frames.iter().enumerate() {
            let raw = &frame.content[..frame.content.len().min(LENGTH_LIMIT as usize)];
            if frame.flags & SEGMENT_START != 0 {
                stream = None;
            }
            let kind = FrameKind::from_code(frame.kind);
            match kind {
                FrameKind::Samples => {
                    let stream = match &mut stream {
                        Some(stream) => stream,
                        none => none.insert(new_stream(LEVEL)?),
                    };
                    compress_piece(stream, raw, &mut compressed)?;
                }
                FrameKind::Counts => {
                    compressed.clear();
                    // What are no columns is no content either.
                    if numbers::pack(raw, &mut compressed).is_err() {
                        compressed = raw.to_vec();
                    }
                }
                FrameKind::Footer => compressed = raw.to_vec(),
                _ => compressed = zstd::bulk::compress(raw, LEVEL)?,
            }
            let header = FrameHeader {
                kind,
                flags: frame.flags,
                segment: frame.segment,
                sequence: sequence as u32,
                raw_length: raw.len() as u32,
                items: frame.items,
                first_time: frame.times.0,
                last_time: frame.times.1,
            };
            file.extend_from_slice(&encode_header(&header, &compressed));
            file.extend_from_slice(&compressed);
        }
        Ok(file)
    }
}

/// How many bytes a column of counts takes in a frame.
pub fn packed_length(column: &[u8]) -> Result<usize, Error> {
    let (mut columns, mut packed) = (Vec::new(), Vec::new());
    varint::put(&mut columns, 1);
    varint::put(&mut columns, column.len() as u64);
    columns.extend_from_slice(column);
    numbers::pack(&columns, &mut packed)?;
    Ok(packed.len())
}

/// The columns that a content of a frame of counts stands for, if they have so many bytes.
pub fn unpacked(content: &[u8], length: usize) -> Result<Vec<u8>, Error> {
    numbers::unpack(content, length, Vec::new())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Header, Process, Record, Recording, Sample, Totals, Writer};

    /// A recording that was taken apart and put together again is the same recording.
    #[test]
    fn a_recording_round_trips() {
        let mut writer = Writer::create(Vec::new(), &Header::default()).unwrap();
        for time in 0..9 {
            writer.record(&Record::Process(Process { time, ..Process::default() })).unwrap();
            writer.sample(&Sample { time: time * 1024, ..Sample::default() }).unwrap();
            if time % 3 == 0 {
                writer.flush().unwrap();
            }
            if time == 4 {
                writer.start_segment().unwrap();
            }
        }
        let raw = RawRecording::take_apart(&writer.finish(&Totals::default()).unwrap()).unwrap();
        let again = raw.put_together().unwrap();
        assert_eq!(RawRecording::take_apart(&again).unwrap(), raw);
        let recording = Recording::open(&again).unwrap();
        assert_eq!(recording.segments().len(), 2);
        let segments = recording.segments().iter();
        let samples = segments.map(|segment| {
            let mut samples = segment.samples();
            std::iter::from_fn(|| samples.next().unwrap().map(|sample| sample.time)).collect::<Vec<_>>()
        });
        assert!(samples.flatten().eq((0..9).map(|number| number * 1024)));
    }
}
