//! Writing a recording: records and samples are buffered, and leave as frames.

use std::collections::BTreeMap;
use std::io::Write;

use zstd::bulk::Compressor;
use zstd::stream::raw::Encoder;

use crate::compression::{busy_stream, compress_piece, new_stream};
use crate::error::Error;
use crate::frame::FrameKind;
use crate::frame_writer::{FrameWriter, NewFrame};
use crate::header::{Header, Totals};
use crate::index::{self, SegmentSummary};
use crate::kernel_chains::KERNEL_ADDRESSES_LIMIT;
use crate::metadata;
use crate::numbers;
use crate::record::Record;
use crate::record_buffer::RecordBuffer;
use crate::sample::Sample;
use crate::samples::{NewAddresses, SampleEncoder};
use crate::segment::{RECORDS, RECORDS_LIMIT, SAMPLES_LIMIT, Segment};

/// Buffered bytes after which a frame is written without being asked for.
const BUFFER_LIMIT: usize = 256 << 10;
/// A segment is full after this many bytes in the file.
const SEGMENT_BYTES: u64 = 8 << 20;
/// A segment is full after this many nanoseconds.
const SEGMENT_TIME: u64 = 60_000_000_000;
/// Of samples: the first level that looks for a better match one byte later, which is worth a tenth.
const SAMPLES_LEVEL: i32 = 6;
/// Samples of a segment that begins with so many bytes a sample, before compression, take more CPU time than a tenth of their bytes is worth.
const MANY_BYTES: usize = 450;
/// Of metadata.
const COMPRESSION_LEVEL: i32 = 3;
/// Of that of a flush of counts, which comes once in many seconds.
const FLUSH_LEVEL: i32 = 6;

/// Writes a recording. What is buffered is lost when it is dropped: call [`Writer::finish`].
///
/// The header, and then each frame, reach the output by one call of `write_all`: an output that takes all of it or nothing
/// never has a torn frame. When a call has failed, no record and no sample is written any more, for those that follow need those
/// that are missing; [`Writer::finish`] then closes the recording without what waits.
pub struct Writer<W: Write> {
    frames: FrameWriter<W>,
    samples_written: u64,
    /// Bytes of the segment's samples before compression.
    samples_length: u64,
    /// Bytes of the segment's records before compression, as a reader counts them, and how many these are.
    records_length: u64,
    records_written: usize,
    records: RecordBuffer,
    /// Of the clock, as the header has it.
    period: u64,
    /// Samples are flushes of counts.
    is_counted: bool,
    samples: SampleEncoder,
    /// Processes of the samples that wait.
    pids: Vec<u32>,
    /// Samples by CPU: those that wait, and those that have left for the output.
    waiting_by_cpu: BTreeMap<u32, u64>,
    ticks_by_cpu: BTreeMap<u32, u64>,
    /// The segment's, from its first sample on.
    stream: Option<Encoder<'static>>,
    /// For frames that are compressed by themselves.
    alone: Compressor<'static>,
    raw: Vec<u8>,
    compressed: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Starts a recording: writes the header.
    pub fn create(out: W, header: &Header) -> Result<Self, Error> {
        let is_counted = header.counted_every > 0 && !header.is_hybrid();
        Ok(Self {
            frames: FrameWriter::create(out, header)?,
            samples_written: 0,
            samples_length: 0,
            records_length: 0,
            records_written: 0,
            records: RecordBuffer::default(),
            period: header.period,
            is_counted,
            samples: new_encoder(is_counted, header.period),
            pids: Vec::new(),
            waiting_by_cpu: BTreeMap::new(),
            ticks_by_cpu: BTreeMap::new(),
            stream: None,
            alone: Compressor::new(if is_counted { FLUSH_LEVEL } else { COMPRESSION_LEVEL })?,
            raw: Vec::new(),
            compressed: Vec::new(),
        })
    }

    /// Sets how many bytes the recording may have once it is closed. What would make it longer is refused with
    /// [`Error::LimitReached`], as a failed write is: [`Writer::finish`] then closes it without what waits. Where the
    /// limit is below what an empty recording takes, that is written.
    pub fn limit_to(&mut self, bytes: u64) {
        self.frames.limit_to(bytes);
    }

    /// Adds a segment of another recording as it is, with what that recording's index says of it. The other one must be without damage, and of
    /// the same header but for its start.
    pub fn copy_segment(&mut self, segment: &Segment<'_>, summary: &SegmentSummary) -> Result<(), Error> {
        self.start_segment()?;
        for frame in segment.frames() {
            self.frames.write(frame)?;
        }
        self.frames.add_ticks(summary.ticks());
        self.frames.add_pids(&mut summary.pids.clone());
        let times = |first, last| if last > 0 { vec![first, last] } else { Vec::new() };
        let losses = times(summary.first_loss, summary.last_loss);
        self.frames.add_times(&losses, &times(summary.first_metrics, summary.last_metrics));
        self.samples_written += segment.sample_count();
        self.frames.end_segment();
        Ok(())
    }

    /// Adds a record.
    pub fn record(&mut self, record: &Record) -> Result<(), Error> {
        self.records.put(record)?;
        if self.records.len() > BUFFER_LIMIT {
            self.write_records()?;
        }
        Ok(())
    }

    /// Adds a sample, and tells which code addresses it is the first of its process to show in this segment.
    pub fn sample(&mut self, sample: &Sample) -> Result<NewAddresses<'_>, Error> {
        self.sample_in_space(sample, sample.pid)
    }

    /// The same, where what shows addresses is not the process but its address space as it is: `space` is a number that changes with what is
    /// mapped there, and that processes with the same mappings can share.
    pub fn sample_in_space(&mut self, sample: &Sample, space: u32) -> Result<NewAddresses<'_>, Error> {
        if self.samples.len() > BUFFER_LIMIT {
            self.flush()?;
        }
        self.samples_written += 1;
        if self.pids.last() != Some(&sample.pid) {
            self.pids.push(sample.pid);
        }
        *self.waiting_by_cpu.entry(sample.cpu).or_default() += u64::from(sample.weight);
        Ok(self.samples.put(sample, space))
    }

    /// Writes all that is buffered, records before the samples that need them.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.write_records()?;
        self.write_samples()?;
        self.frames.flush()
    }

    /// Whether it is time for a new segment.
    pub fn segment_is_full(&self) -> bool {
        self.samples_length >= SAMPLES_LIMIT / 4
            || self.samples.kernel_addresses() >= KERNEL_ADDRESSES_LIMIT / 4
            || self.records_length >= RECORDS_LIMIT / 4
            || self.frames.open_segment().is_some_and(|segment| {
                segment.last_time.saturating_sub(segment.first_time) >= SEGMENT_TIME || segment.bytes >= SEGMENT_BYTES
            })
    }

    /// Whether it is high time for a new segment: no reader takes twice as much as this one has.
    pub fn segment_is_overfull(&self) -> bool {
        self.samples_length >= SAMPLES_LIMIT / 2
            || self.samples.kernel_addresses() >= KERNEL_ADDRESSES_LIMIT / 2
            || self.records_length >= RECORDS_LIMIT / 2
    }

    /// Whether a reader takes all of the segment so far: it refuses what is more than any recorder makes.
    pub fn segment_is_readable(&self) -> bool {
        self.samples_length <= SAMPLES_LIMIT
            && self.samples.kernel_addresses() <= KERNEL_ADDRESSES_LIMIT
            && self.records_length <= RECORDS_LIMIT
            && self.records_written <= RECORDS
    }

    /// Ends the segment. From here on, all that samples refer to has to be recorded again.
    pub fn start_segment(&mut self) -> Result<(), Error> {
        self.flush()?;
        self.frames.end_segment();
        (self.samples_length, self.records_length, self.records_written) = (0, 0, 0);
        self.samples = new_encoder(self.is_counted, self.period);
        self.stream = None;
        Ok(())
    }

    /// Bytes that have left for the output.
    pub fn bytes_written(&self) -> u64 {
        self.frames.bytes_written()
    }

    /// Ticks that the samples stand for that have left for the output.
    pub fn ticks_in_output(&self) -> u64 {
        self.frames.segments().iter().map(SegmentSummary::ticks).sum()
    }

    /// Ticks that the samples stand for that were added.
    pub fn ticks_written(&self) -> u64 {
        self.ticks_in_output() + self.samples.waiting_ticks()
    }

    /// Samples that were added.
    pub fn samples_written(&self) -> u64 {
        self.samples_written
    }

    /// Samples that have left for the output: those of [`Writer::samples_written`] that do not wait.
    pub fn samples_in_output(&self) -> u64 {
        self.frames.segments().iter().map(|segment| segment.samples).sum()
    }

    /// The same of [`Writer::ticks_in_output`] by CPU; without those of copied segments.
    pub fn ticks_by_cpu(&self) -> &BTreeMap<u32, u64> {
        &self.ticks_by_cpu
    }

    /// The time of the latest sample that has left for the output; 0 without any.
    pub fn last_time_in_output(&self) -> u64 {
        self.frames.segments().iter().map(|segment| segment.last_time).max().unwrap_or_default()
    }

    /// Closes the recording with its index, totals and footer, and gives the output back.
    pub fn finish(mut self, totals: &Totals) -> Result<W, Error> {
        if !self.frames.has_refused() {
            self.flush()?;
        }
        let index_offset = self.frames.bytes_written();
        self.raw.clear();
        index::encode(&mut self.raw, self.frames.segments())?;
        self.write_alone(FrameKind::Index, self.frames.segments().len() as u32, (0, 0))?;
        self.raw.clear();
        metadata::encode(&mut self.raw, totals)?;
        self.write_alone(FrameKind::Totals, 1, (totals.end_monotonic, totals.end_monotonic))?;
        self.raw.clear();
        self.raw.extend_from_slice(&index::footer(index_offset));
        self.compressed.clone_from(&self.raw);
        self.write_frame(FrameKind::Footer, 1, (0, 0))?;
        self.frames.finish()
    }

    fn write_records(&mut self) -> Result<(), Error> {
        if self.records.count == 0 {
            return Ok(());
        }
        let mut records = std::mem::take(&mut self.records);
        let cost = records.cost();
        self.records_written += records.count as usize;
        self.raw.clear();
        records.drain_into(&mut self.raw);
        self.records_length += self.raw.len() as u64 + cost;
        self.write_alone(FrameKind::Records, records.count, records.times())?;
        self.frames.add_times(&records.losses, &records.metrics);
        Ok(())
    }

    fn write_samples(&mut self) -> Result<(), Error> {
        let items = self.samples.count();
        if items == 0 {
            return Ok(());
        }
        let (times, ticks) = (self.samples.times(), self.samples.waiting_ticks());
        self.raw.clear();
        self.samples.drain_into(&mut self.raw);
        self.samples_length += self.raw.len() as u64;
        let kind = if self.is_counted { FrameKind::Counts } else { FrameKind::Samples };
        if self.is_counted {
            self.compressed.clear();
            numbers::pack(&self.raw, &mut self.compressed)?;
        } else {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                none => {
                    let many = self.raw.len() > MANY_BYTES * items as usize;
                    none.insert(if many { busy_stream() } else { new_stream(SAMPLES_LEVEL) }?)
                }
            };
            compress_piece(stream, &self.raw, &mut self.compressed)?;
        }
        self.write_frame(kind, items, times)?;
        self.frames.add_ticks(ticks);
        Ok(())
    }

    /// Compresses `raw` by itself and writes it as one frame.
    fn write_alone(&mut self, kind: FrameKind, items: u32, times: (u64, u64)) -> Result<(), Error> {
        self.compressed.clear();
        self.compressed.reserve(zstd::zstd_safe::compress_bound(self.raw.len()));
        self.alone.compress_to_buffer(&self.raw, &mut self.compressed)?;
        self.write_frame(kind, items, times)
    }

    fn write_frame(&mut self, kind: FrameKind, items: u32, times: (u64, u64)) -> Result<(), Error> {
        let frame = NewFrame { kind, items, times, raw_length: self.raw.len() as u32, content: &self.compressed };
        self.frames.write(frame)?;
        if kind.has_samples() {
            self.frames.add_pids(&mut self.pids);
            for (cpu, count) in std::mem::take(&mut self.waiting_by_cpu) {
                *self.ticks_by_cpu.entry(cpu).or_default() += count;
            }
        }
        Ok(())
    }
}

/// For the samples of a segment.
fn new_encoder(is_counted: bool, period: u64) -> SampleEncoder {
    if is_counted { SampleEncoder::of_counts() } else { SampleEncoder::new(period) }
}
