//! What the sample codec makes of real recordings: bytes a sample, by column and in all, and CPU time a sample.
//!
//!     cargo run --release -p profrec-format --features raw --example codec -- RECORDING...
//!
//! Each recording is read into memory and written again, with a flush where the recorder would have one. Times are CPU time of
//! this thread, medians of several rounds.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::hint::black_box;
use std::path::Path;

use profrec_format::raw::{RawRecording, packed_length};
use profrec_format::{Record, Recording, Sample, Writer};

/// As the recorder flushes samples, in nanoseconds. A flush of counts is a segment.
const FLUSH: u64 = 600_000_000;
const ROUNDS: usize = 9;
/// The kernel counts CPU time in steps of milliseconds.
const REPETITIONS: u32 = 5;
const SAMPLES: u8 = 6;
const COUNTS: u8 = 7;
const COLUMNS: [&str; 30] = [
    "time",
    "cpu",
    "thread",
    "thread definition",
    "kernel chain",
    "kernel frames",
    "shape",
    "chain",
    "top",
    "ranges",
    "stack",
    "addresses",
    "verdict",
    "guessed",
    "beyond",
    "weight",
    "dropped",
    "kernel dropped",
    "branch",
    "kernel branch",
    "callee",
    "kernel callee",
    "new callee",
    "new kernel callee",
    "new thread",
    "repeats",
    "last thread",
    "second last thread",
    "few threads",
    "many threads",
];

type Segments = Vec<(Vec<Record>, Vec<Sample>)>;

fn main() {
    for path in std::env::args().skip(1) {
        let file = std::fs::read(&path).unwrap();
        let recording = Recording::open(&file).unwrap();
        let segments = read(&recording);
        let samples = segments.iter().map(|(_, samples)| samples.len()).sum::<usize>().max(1) as f64;
        let written = write(&recording, &segments);
        assert!(read(&Recording::open(&written).unwrap()) == segments, "{path}: what is read is not what was written");
        let encode = median(|| drop(black_box(write(&recording, &segments))));
        let unsampled: Segments = segments.iter().map(|(records, _)| (records.clone(), Vec::new())).collect();
        let records = median(|| drop(black_box(write(&recording, &unsampled))));
        let file = written;
        let written = Recording::open(&file).unwrap();
        let decode = median(|| {
            black_box(decode(&written));
        });
        println!(
            "{}: {samples} samples, {:.2} bytes a sample; {:.2} us to encode, {:.3} us to decode ({:.2} million a second)",
            Path::new(&path).file_name().unwrap().display(),
            written.file_length() as f64 / samples,
            (encode - records) / samples / 1e3,
            decode / samples / 1e3,
            samples / decode * 1e3,
        );
        let counts = written.segments().iter().map(|segment| segment.byte_counts());
        let (metadata, data) = counts.fold((0, 0), |sum, counts| (sum.0 + counts.records, sum.1 + counts.samples));
        println!("    {:>8.2} metadata, {:.2} samples", metadata as f64 / samples, data as f64 / samples);
        show_columns(&file, samples);
    }
}

fn read(recording: &Recording<'_>) -> Segments {
    let segments = recording.segments().iter().map(|segment| {
        let mut read = Vec::new();
        let mut samples = segment.samples();
        while let Some(sample) = samples.next().unwrap() {
            read.push(sample.clone());
        }
        let mut records = segment.records().unwrap();
        // The order in which a frame has them.
        records
            .sort_by_key(|record| (!is_of_process(record), !matches!(record, Record::Module(_) | Record::Layout(_))));
        (records, read)
    });
    segments.collect()
}

fn is_of_process(record: &Record) -> bool {
    matches!(
        record,
        Record::Process(_)
            | Record::Thread(_)
            | Record::Fork(_)
            | Record::Exec(_)
            | Record::Exit(_)
            | Record::Mapping(_)
    )
}

fn write(recording: &Recording<'_>, segments: &Segments) -> Vec<u8> {
    let mut writer = Writer::create(Vec::new(), recording.header()).unwrap();
    for (number, (records, samples)) in segments.iter().enumerate() {
        if number > 0 {
            writer.start_segment().unwrap();
        }
        records.iter().for_each(|record| writer.record(record).unwrap());
        let every = FLUSH.max(recording.header().counted_every);
        let mut flushed = samples.first().map_or(0, |sample| sample.time);
        for sample in samples {
            if sample.time.saturating_sub(flushed) >= every {
                writer.flush().unwrap();
                flushed = sample.time;
            }
            black_box(writer.sample(sample).unwrap());
        }
    }
    writer.finish(&recording.totals().cloned().unwrap_or_default()).unwrap()
}

fn decode(recording: &Recording<'_>) -> u64 {
    let mut sum = 0;
    for segment in recording.segments() {
        let mut samples = segment.samples();
        while let Some(sample) = samples.next().unwrap() {
            sum ^= sample.time;
        }
    }
    sum
}

/// Each column's bytes a sample: as it is, and compressed by itself: at the level of the writer, or, of counts, flush by flush.
fn show_columns(file: &[u8], samples: f64) {
    let (mut columns, mut packed) = (vec![Vec::new(); COLUMNS.len()], vec![0; COLUMNS.len()]);
    for frame in
        RawRecording::take_apart(file).unwrap().frames.iter().filter(|frame| [SAMPLES, COUNTS].contains(&frame.kind))
    {
        let mut at = 0;
        let count = number(&frame.content, &mut at);
        for (column, packed) in columns.iter_mut().zip(&mut packed).take(count) {
            let length = number(&frame.content, &mut at);
            let new = &frame.content[at..at + length];
            column.extend_from_slice(new);
            if frame.kind == COUNTS {
                *packed += packed_length(new).unwrap();
            }
            at += length;
        }
    }
    for ((name, column), packed) in
        COLUMNS.iter().zip(columns).zip(packed).filter(|((_, column), _)| !column.is_empty())
    {
        let alone = if packed > 0 { packed } else { zstd::bulk::compress(&column, 6).unwrap().len() };
        println!(
            "    {:>8.2} raw, {:>7.3} compressed alone: {name}",
            column.len() as f64 / samples,
            alone as f64 / samples
        );
    }
}

/// The LEB128 number at `at`.
fn number(bytes: &[u8], at: &mut usize) -> usize {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        value |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return value;
        }
    }
}

/// CPU time in nanoseconds, of a typical round.
fn median(mut round: impl FnMut()) -> f64 {
    let mut times: Vec<u64> = (0..ROUNDS)
        .map(|_| {
            let start = cpu_time();
            (0..REPETITIONS).for_each(|_| round());
            cpu_time() - start
        })
        .collect();
    times.sort_unstable();
    times[ROUNDS / 2] as f64 / f64::from(REPETITIONS)
}

/// Nanoseconds that this thread has run.
fn cpu_time() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    status.split(' ').next().unwrap().parse().unwrap()
}
