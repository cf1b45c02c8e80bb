//! Frames: the unit that is written, checked and lost as a whole.
//!
//! ```text
//!  0  sync word, 8 bytes      24  length after decompression, u32
//!  8  kind, u8                28  how many records or samples, u32
//!  9  flags, u8               32  first time, u64
//! 10  zero, u16               40  last time, u64
//! 12  segment number, u32     48  CRC-32C of bytes 0 to 48 and of the content, u32
//! 16  sequence number, u32    52  the content
//! 20  length of content, u32
//! ```

/// Eight bytes that no text has, to find the next frame after damage.
pub(crate) const SYNC: [u8; 8] = [0xf7, b'p', b'r', b'e', b'c', 0x0d, 0x0a, 0x93];
pub(crate) const HEADER_LENGTH: usize = 52;
const CHECKED_LENGTH: usize = 48;
/// Set on the first frame of a segment.
pub(crate) const SEGMENT_START: u8 = 1;
/// No frame is larger than this, before or after compression.
pub(crate) const LENGTH_LIMIT: u32 = 32 << 20;
/// Bytes that may be checked in vain when a frame is looked for, beside some for each byte of the file.
const PATIENCE: usize = 256 << 20;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// Metadata records; compressed by itself.
    Records,
    /// Columns of samples; one compressed stream goes through all such frames of a segment.
    Samples,
    /// The same of ticks that were counted, where chances of numbers take the place of the stream.
    Counts,
    /// The table of segments; compressed by itself.
    Index,
    /// The totals; compressed by itself.
    Totals,
    /// Where the index is; not compressed.
    Footer,
    /// A kind from a later version: skipped.
    Unknown(u8),
}

impl FrameKind {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Records => 1,
            Self::Samples => 6,
            Self::Counts => 7,
            Self::Index => 3,
            Self::Totals => 4,
            Self::Footer => 5,
            Self::Unknown(code) => code,
        }
    }

    /// Whether it holds samples.
    pub(crate) fn has_samples(self) -> bool {
        matches!(self, Self::Samples | Self::Counts)
    }

    pub(crate) fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Records,
            // Of earlier versions, which pass over what this one writes.
            2 | 6 => Self::Samples,
            7 => Self::Counts,
            3 => Self::Index,
            4 => Self::Totals,
            5 => Self::Footer,
            code => Self::Unknown(code),
        }
    }
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameKind,
    pub(crate) flags: u8,
    pub(crate) segment: u32,
    pub(crate) sequence: u32,
    pub(crate) raw_length: u32,
    pub(crate) items: u32,
    pub(crate) first_time: u64,
    pub(crate) last_time: u64,
}

/// A frame in a file, checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) header: FrameHeader,
    /// Where it starts in the file.
    pub(crate) offset: usize,
    /// Its content, compressed.
    pub(crate) content: &'a [u8],
}

impl Frame<'_> {
    /// One past its last byte in the file.
    pub(crate) fn end(&self) -> usize {
        self.offset + HEADER_LENGTH + self.content.len()
    }
}

/// Why there is no frame at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoFrame {
    /// The file ends before the frame does.
    Truncated,
    /// The bytes are not those of a frame.
    Damaged,
}

/// The bytes of a frame's head, for this content.
pub(crate) fn encode_header(header: &FrameHeader, content: &[u8]) -> [u8; HEADER_LENGTH] {
    let mut bytes = [0; HEADER_LENGTH];
    bytes[..8].copy_from_slice(&SYNC);
    bytes[8] = header.kind.code();
    bytes[9] = header.flags;
    bytes[12..16].copy_from_slice(&header.segment.to_le_bytes());
    bytes[16..20].copy_from_slice(&header.sequence.to_le_bytes());
    bytes[20..24].copy_from_slice(&(content.len() as u32).to_le_bytes());
    bytes[24..28].copy_from_slice(&header.raw_length.to_le_bytes());
    bytes[28..32].copy_from_slice(&header.items.to_le_bytes());
    bytes[32..40].copy_from_slice(&header.first_time.to_le_bytes());
    bytes[40..48].copy_from_slice(&header.last_time.to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..CHECKED_LENGTH]), content);
    bytes[CHECKED_LENGTH..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The frame at `offset`, if it is there whole and undamaged.
pub(crate) fn frame_at(file: &[u8], offset: usize) -> Result<Frame<'_>, NoFrame> {
    let rest = file.get(offset..).ok_or(NoFrame::Truncated)?;
    let known = rest.len().min(SYNC.len());
    if rest[..known] != SYNC[..known] {
        return Err(NoFrame::Damaged);
    }
    let head = rest.get(..HEADER_LENGTH).ok_or(NoFrame::Truncated)?;
    let length = u32_at(head, 20);
    let raw_length = u32_at(head, 24);
    if length > LENGTH_LIMIT || raw_length > LENGTH_LIMIT {
        return Err(NoFrame::Damaged);
    }
    let content = rest.get(HEADER_LENGTH..HEADER_LENGTH + length as usize).ok_or(NoFrame::Truncated)?;
    if crc32c::crc32c_append(crc32c::crc32c(&head[..CHECKED_LENGTH]), content) != u32_at(head, CHECKED_LENGTH) {
        return Err(NoFrame::Damaged);
    }
    let header = FrameHeader {
        kind: FrameKind::from_code(head[8]),
        flags: head[9],
        segment: u32_at(head, 12),
        sequence: u32_at(head, 16),
        raw_length,
        items: u32_at(head, 28),
        first_time: u64_at(head, 32),
        last_time: u64_at(head, 40),
    };
    Ok(Frame { header, offset, content })
}

/// The first undamaged frame at or after `offset`.
///
/// A hostile file can be full of sync words, each with a long content behind it to be checked in vain: what is spent on
/// them is bounded, and the rest of such a file is given up.
pub(crate) fn next_frame(file: &[u8], offset: usize) -> Option<Frame<'_>> {
    let mut patience = PATIENCE.saturating_add(file.len().saturating_mul(4));
    let mut from = offset;
    loop {
        let rest = file.get(from..)?;
        let found = from + rest.windows(SYNC.len()).position(|window| window == SYNC)?;
        if let Ok(frame) = frame_at(file, found) {
            return Some(frame);
        }
        let length = file.get(found + 20..found + 24).map_or(0, |bytes| u32_at(bytes, 0).min(LENGTH_LIMIT));
        patience = patience.checked_sub(length as usize)?;
        from = found + 1;
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn example() -> (FrameHeader, Vec<u8>) {
        let header = FrameHeader {
            kind: FrameKind::Samples,
            flags: SEGMENT_START,
            segment: 3,
            sequence: 17,
            raw_length: 99,
            items: 5,
            first_time: 1 << 40,
            last_time: (1 << 40) + 7,
        };
        let content = b"content".to_vec();
        let mut bytes = encode_header(&header, &content).to_vec();
        bytes.extend_from_slice(&content);
        (header, bytes)
    }

    /// A frame comes back as it was written.
    #[test]
    fn a_frame_round_trips() {
        let (header, bytes) = example();
        let frame = frame_at(&bytes, 0).unwrap();
        assert_eq!(frame.header, header);
        assert_eq!(frame.content, b"content");
        assert_eq!(frame.end(), bytes.len());
    }

    /// Every flipped bit is noticed; every missing byte is called truncation.
    #[test]
    fn every_flip_and_cut_is_noticed() {
        let (_, bytes) = example();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(frame_at(&flipped, 0).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(frame_at(&bytes[..length], 0).unwrap_err(), NoFrame::Truncated, "length {length}");
        }
    }

    /// After damage, the next frame is found.
    #[test]
    fn the_next_frame_is_found() {
        let (_, bytes) = example();
        let file = [b"garbage".as_slice(), &SYNC, b"more", &bytes].concat();
        assert_eq!(next_frame(&file, 0).unwrap().offset, 7 + 8 + 4);
        assert!(next_frame(&file, 20).is_none());
    }

    /// A file of nothing but sync words with long contents is given up after a while.
    #[test]
    fn looking_for_a_frame_has_an_end() {
        let (header, _) = example();
        let mut head = encode_header(&header, b"").to_vec();
        head[20..24].copy_from_slice(&(4u32 << 20).to_le_bytes());
        let file = head.repeat(200_000);
        assert!(next_frame(&file, 1).is_none());
    }
}
