//! A segment being read: some frames that stand alone.

use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::DParameter;

use crate::columns::ColumnReader;
use crate::error::Error;
use crate::frame::{Frame, FrameKind, LENGTH_LIMIT};
use crate::frame_writer::NewFrame;
use crate::metadata;
use crate::numbers;
use crate::record::Record;
use crate::sample::{Sample, UserState};
use crate::samples::SampleDecoder;

/// The stream's window: what the writer uses, and all the memory that a reader grants.
pub(crate) const WINDOW_LOG: u32 = 20;

/// What all segments together are worth to a reader (see [`Segment::allowance`]), whatever their length.
pub(crate) const ALLOWANCE: u64 = 1 << 32;
/// What each byte of a segment adds to that.
const ALLOWANCE_PER_BYTE: u64 = 2048;
const WORTH: &str = "what a file of its size is worth";
/// What a sample costs besides its words.
const SAMPLE_COST: u64 = 512;
/// What a byte of the columns of counts costs.
const COUNTS_COST: u64 = 16;
/// Metadata of one segment, before compression; the writer makes 8 MiB of it after compression.
pub(crate) const RECORDS_LIMIT: u64 = 256 << 20;
/// Records of one segment.
pub(crate) const RECORDS: usize = 4 << 20;
/// Samples of one segment, before compression; the writer starts another one after a quarter of it.
pub(crate) const SAMPLES_LIMIT: u64 = 128 << 20;

/// A part of a recording that can be read without the rest: about a minute, or 8 MB.
#[derive(Clone, Debug)]
pub struct Segment<'a> {
    frames: Vec<Frame<'a>>,
    allowance: u64,
}

impl<'a> Segment<'a> {
    pub(crate) fn new(first: Frame<'a>) -> Self {
        Self { frames: vec![first], allowance: 0 }
    }

    pub(crate) fn push(&mut self, frame: Frame<'a>) {
        self.frames.push(frame);
    }

    /// How much its reader should do for it, in units of about a word of a stack: a fair share of what the whole file is
    /// worth. No recorder makes a file that needs more; a few bytes that are made for it can ask for years.
    pub fn allowance(&self) -> u64 {
        self.allowance
    }

    pub(crate) fn allow(&mut self, share: u64) {
        let (start, end) = self.span();
        self.allowance = share.saturating_add((end - start) as u64 * ALLOWANCE_PER_BYTE);
    }

    #[cfg(test)]
    pub(crate) fn limit_to(&mut self, allowance: u64) {
        self.allowance = allowance;
    }

    /// The earliest time of a sample or record in it; `u64::MAX` when there is none.
    pub fn first_time(&self) -> u64 {
        self.frames.iter().map(|frame| frame.header.first_time).min().unwrap_or(u64::MAX)
    }

    /// The latest time of a sample or record in it; 0 when there is none.
    pub fn last_time(&self) -> u64 {
        self.frames.iter().map(|frame| frame.header.last_time).max().unwrap_or(0)
    }

    /// The earliest and the latest time of its samples; `None` when it has none.
    pub fn sample_times(&self) -> Option<(u64, u64)> {
        let times = self.of_samples().map(|frame| (frame.header.first_time, frame.header.last_time));
        times.reduce(|whole, frame| (whole.0.min(frame.0), whole.1.max(frame.1)))
    }

    /// From its first byte in the file to one past its last.
    pub(crate) fn span(&self) -> (usize, usize) {
        let first = self.frames.first().map_or(0, |frame| frame.offset);
        (first, self.frames.last().map_or(first, Frame::end))
    }

    /// How many samples its frames say they hold.
    pub fn sample_count(&self) -> u64 {
        self.of_samples().map(|frame| u64::from(frame.header.items)).sum()
    }

    /// How many samples its frames say they hold behind the first `read`, of those frames alone that `count` by their first
    /// and last time: all that can be said of samples that cannot be decoded.
    pub fn samples_behind(&self, mut read: u64, count: impl Fn(u64, u64) -> bool) -> u64 {
        let behind = self.of_samples().map(|frame| {
            let items = u64::from(frame.header.items);
            let left = items.saturating_sub(read);
            read = read.saturating_sub(items);
            if count(frame.header.first_time, frame.header.last_time) { left } else { 0 }
        });
        behind.sum()
    }

    /// Compressed bytes of metadata and of samples, heads included.
    pub fn byte_counts(&self) -> ByteCounts {
        let size = |frame: &Frame<'_>| (frame.end() - frame.offset) as u64;
        let records = self.frames.iter().filter(|frame| frame.header.kind == FrameKind::Records);
        ByteCounts { records: records.map(size).sum(), samples: self.of_samples().map(size).sum() }
    }

    /// Its metadata, in the order in which it was written.
    pub fn records(&self) -> Result<Vec<Record>, Error> {
        let mut records = Vec::new();
        let mut length = 0;
        for frame in self.frames.iter().filter(|frame| frame.header.kind == FrameKind::Records) {
            length += u64::from(frame.header.raw_length);
            self.check_records(frame, length)?;
            let bytes = decompress(frame)?;
            let mut at = 0;
            while at < bytes.len() {
                if records.len() >= RECORDS {
                    return Err(Error::TooMuch { offset: frame.offset, what: "4,194,304 records in one segment" });
                }
                length += metadata::take_records(&bytes, &mut at, &mut records)?;
                self.check_records(frame, length)?;
            }
        }
        Ok(records)
    }

    /// Refuses more metadata than a reader takes, before compression and as what its tables stand for.
    fn check_records(&self, frame: &Frame<'_>, length: u64) -> Result<(), Error> {
        if length > RECORDS_LIMIT {
            return Err(Error::TooMuch { offset: frame.offset, what: "256 MiB of metadata in one segment" });
        }
        if length > self.allowance {
            return Err(Error::TooMuch { offset: frame.offset, what: WORTH });
        }
        Ok(())
    }

    /// Its samples, nearly in the order of their times.
    pub fn samples(&self) -> Samples<'_> {
        Samples {
            frames: self.frames.iter(),
            stream: FrameStream::default(),
            left: 0,
            columns: ColumnReader::default(),
            decoder: SampleDecoder::default(),
            sample: Sample::default(),
            allowance: self.allowance,
            offset: self.span().0,
            length: 0,
        }
    }

    /// Its frames, for another recording.
    pub(crate) fn frames(&self) -> impl Iterator<Item = NewFrame<'a>> + '_ {
        self.frames.iter().map(|Frame { header, content, .. }| NewFrame {
            kind: header.kind,
            items: header.items,
            times: (header.first_time, header.last_time),
            raw_length: header.raw_length,
            content,
        })
    }

    fn of_samples(&self) -> impl Iterator<Item = &Frame<'a>> {
        self.frames.iter().filter(|frame| frame.header.kind.has_samples())
    }
}

/// Where the bytes of a segment go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByteCounts {
    /// Metadata: processes, mappings, evidence.
    pub records: u64,
    /// Samples.
    pub samples: u64,
}

/// The samples of a segment, one after the other.
pub struct Samples<'a> {
    frames: std::slice::Iter<'a, Frame<'a>>,
    stream: FrameStream,
    left: u32,
    columns: ColumnReader,
    decoder: SampleDecoder,
    sample: Sample,
    /// What is left of the segment's allowance.
    allowance: u64,
    /// Where the frame that is being read starts in the file.
    offset: usize,
    /// Bytes of the frames so far, before compression.
    length: u64,
}

impl Samples<'_> {
    /// The next sample, or `None` after the last. After an error there is nothing more to read.
    #[expect(clippy::should_implement_trait, reason = "it lends the sample, which an Iterator cannot")]
    pub fn next(&mut self) -> Result<Option<&Sample>, Error> {
        while self.left == 0 {
            if let Err(error) = self.columns.require_end().and_then(|()| self.decoder.require_end()) {
                self.stop();
                return Err(error);
            }
            let Some(frame) = self.frames.next() else { return Ok(None) };
            if frame.header.kind.has_samples() {
                self.open(frame)?;
            }
        }
        self.left -= 1;
        let read = self.decoder.take(&mut self.columns, &mut self.sample);
        if let Err(error) = read.and_then(|()| self.spend()) {
            self.stop();
            return Err(error);
        }
        Ok(Some(&self.sample))
    }

    /// Takes what the sample costs from the allowance.
    fn spend(&mut self) -> Result<(), Error> {
        let too_much = |what| Error::TooMuch { offset: self.offset, what };
        let user = match &self.sample.user {
            UserState::None => 0,
            UserState::Chain(addresses) => addresses.len(),
            UserState::Stack(stack) => stack.words.len(),
            UserState::Unwound(stack) => stack.frames.len(),
        };
        let cost = SAMPLE_COST + (self.sample.kernel_chain.len() + user) as u64;
        let left = self.allowance.checked_sub(cost);
        self.allowance = left.ok_or_else(|| too_much(WORTH))?;
        Ok(())
    }

    fn open(&mut self, frame: &Frame<'_>) -> Result<(), Error> {
        let buffer = std::mem::take(&mut self.columns).into_bytes();
        self.offset = frame.offset;
        self.length += u64::from(frame.header.raw_length);
        if frame.header.kind == FrameKind::Counts {
            self.allowance = self.allowance.saturating_sub(u64::from(frame.header.raw_length) * COUNTS_COST);
        }
        let limits = [(SAMPLES_LIMIT, "128 MiB of samples in one segment"), (self.allowance, WORTH)];
        if let Some((_, what)) = limits.into_iter().find(|(limit, _)| self.length > *limit) {
            self.stop();
            return Err(Error::TooMuch { offset: frame.offset, what });
        }
        let opened = self.stream.decompress_next(frame, buffer).and_then(ColumnReader::parse);
        let started = opened.and_then(|columns| {
            self.columns = columns;
            self.decoder.start_frame(&mut self.columns)
        });
        if let Err(error) = started {
            self.stop();
            return Err(error);
        }
        self.left = frame.header.items;
        Ok(())
    }

    fn stop(&mut self) {
        self.left = 0;
        self.columns = ColumnReader::default();
        self.decoder = SampleDecoder::default();
        self.frames = [].iter();
    }
}

/// The compressed stream that goes through a segment's frames of samples.
#[derive(Default)]
pub(crate) struct FrameStream {
    decoder: Option<Decoder<'static>>,
}

impl FrameStream {
    /// The stream's next piece, or the columns of counts, in `buffer`'s memory.
    pub(crate) fn decompress_next(&mut self, frame: &Frame<'_>, mut buffer: Vec<u8>) -> Result<Vec<u8>, Error> {
        if frame.header.kind == FrameKind::Counts {
            return numbers::unpack(frame.content, frame.header.raw_length as usize, buffer);
        }
        let broken = |_| Error::Compression { offset: frame.offset };
        let stream = match &mut self.decoder {
            Some(stream) => stream,
            none => {
                let mut stream = Decoder::new().map_err(broken)?;
                stream.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).map_err(broken)?;
                none.insert(stream)
            }
        };
        buffer.clear();
        buffer.resize(frame.header.raw_length as usize, 0);
        let mut input = InBuffer::around(frame.content);
        let mut output = OutBuffer::around(&mut buffer[..]);
        loop {
            let before = (input.pos, output.pos());
            stream.run(&mut input, &mut output).map_err(broken)?;
            if (input.pos, output.pos()) == before {
                break;
            }
        }
        if input.pos < frame.content.len() || output.pos() < frame.header.raw_length as usize {
            return Err(Error::Compression { offset: frame.offset });
        }
        Ok(buffer)
    }
}

/// The content of a frame that is compressed by itself.
pub(crate) fn decompress(frame: &Frame<'_>) -> Result<Vec<u8>, Error> {
    let length = frame.header.raw_length.min(LENGTH_LIMIT) as usize;
    let bytes = zstd::bulk::decompress(frame.content, length);
    bytes.ok().filter(|bytes| bytes.len() == length).ok_or(Error::Compression { offset: frame.offset })
}
