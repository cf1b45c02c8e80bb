//! Files of a later minor version are read by this one: what they have more is passed over.

use std::ops::Range;

use profrec_format::{
    CallGraph, Error, Header, Loss, LossCause, Part, Process, Record, Recording, Sample, SegmentSummary, StopReason,
    Totals, UnwoundFrame, UnwoundStack, UserState, Verdict, Writer,
};

use crate::frames::{FOOTER, INDEX, RECORDS, RawFrame, SAMPLES, TOTALS, apart, together};

fn file() -> Vec<u8> {
    let header = Header { host: "here".into(), call_graph: CallGraph::FramePointer, ..Header::default() };
    let mut writer = Writer::create(Vec::new(), &header).unwrap();
    for segment in 0..3 {
        writer.start_segment().unwrap();
        writer.record(&Record::Process(Process { time: segment, pid: 7, ..Process::default() })).unwrap();
        writer.record(&Record::Loss(Loss::at(segment, LossCause::RingFull, 2))).unwrap();
        let user = UserState::Chain(vec![1, 2, 3]);
        writer.sample(&Sample { time: (10 + segment) * 1024, pid: 7, tid: 8, user, ..Sample::default() }).unwrap();
    }
    let lost = vec![(LossCause::RingFull, 6)];
    writer.finish(&Totals { end_monotonic: 20 * 1024, samples: 3, expected: 9, lost, ..Totals::default() }).unwrap()
}

/// Records and samples of all segments.
fn content(recording: &Recording<'_>) -> Vec<(Vec<Record>, Vec<Sample>)> {
    let read = recording.segments().iter().map(|segment| {
        let mut samples = segment.samples();
        let mut read = Vec::new();
        while let Some(sample) = samples.next().unwrap() {
            read.push(sample.clone());
        }
        (segment.records().unwrap(), read)
    });
    read.collect()
}

/// Each record of a frame with its tag, changed.
fn each_record(raw: &[u8], change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let (mut at, mut out) = (0, Vec::new());
    while at < raw.len() {
        let length = u32::from_le_bytes(raw[at + 2..at + 6].try_into().unwrap()) as usize;
        let mut content = raw[at + 6..at + 6 + length].to_vec();
        change(&mut content);
        out.extend_from_slice(&raw[at..at + 2]);
        out.extend_from_slice(&(content.len() as u32).to_le_bytes());
        out.extend_from_slice(&content);
        at += 6 + length;
    }
    out
}

fn same(file: &[u8], changed: &[u8]) {
    let (before, after) = (Recording::open(file).unwrap(), Recording::open(changed).unwrap());
    assert_eq!(after.damage(), []);
    assert_eq!(content(&before), content(&after));
    assert_eq!((before.header(), before.totals()), (after.header(), after.totals()));
    let part = Part { from: Some(11 * 1024), to: Some(12 * 1024), ..Part::default() };
    let part = Recording::open_part(changed, &part).unwrap();
    assert_eq!(content(&part).last().unwrap().1.len(), 1);
}

/// Unknown frames are passed over, also where they start a segment, and unknown records in known frames.
#[test]
fn unknown_kinds_of_frames_and_records() {
    let file = file();
    let (start, frames) = apart(&file);
    let unknown = |frame: &RawFrame| {
        let mut unknown = RawFrame { content: b"not even compressed".to_vec(), ..frame.clone() };
        unknown.head[8] = 77;
        unknown
    };
    let mut more = Vec::new();
    for frame in &frames {
        let mut frame = frame.clone();
        if frame.head[9] != 0 {
            more.push(unknown(&frame));
            frame.head[9] = 0;
        }
        if frame.kind() == RECORDS {
            let mut raw = frame.raw();
            raw.extend_from_slice(&[0xee, 0xee, 3, 0, 0, 0, 1, 2, 3]);
            frame = frame.with_raw(&raw);
        }
        more.push(frame.clone());
        let mut behind = unknown(&frame);
        behind.head[9] = 0;
        more.push(behind);
    }
    let last = more.pop().unwrap();
    assert_eq!(last.kind(), 77, "the footer stays the last");
    let changed = together(&start, &more);
    let recording = Recording::open(&changed).unwrap();
    assert_eq!(content(&recording), content(&Recording::open(&file).unwrap()));
}

/// Records, header and totals with more fields than this version knows.
#[test]
fn longer_structs() {
    let file = file();
    let (mut start, frames) = apart(&file);
    start.extend_from_slice(b"a later field");
    let length = (start.len() - 20) as u32;
    let checksum = crc32c::crc32c(&start[20..]);
    start[12..16].copy_from_slice(&length.to_le_bytes());
    start[16..20].copy_from_slice(&checksum.to_le_bytes());
    // The minor version is for people.
    start[10] = 9;
    let longer = frames.into_iter().map(|frame| match frame.kind() {
        RECORDS => frame.clone().with_raw(&each_record(&frame.raw(), |record| record.extend_from_slice(&[1; 9]))),
        TOTALS => frame.clone().with_raw(&[&frame.raw()[..], &[5; 30]].concat()),
        _ => frame,
    });
    let changed = together(&start, &longer.collect::<Vec<_>>());
    let (before, after) = (Recording::open(&file).unwrap(), Recording::open(&changed).unwrap());
    assert_eq!(content(&before), content(&after));
    assert_eq!((before.header(), before.totals()), (after.header(), after.totals()));
}

/// All that a later version may add at once, in a file that is whole to it: this version reads what it knows, of the whole file
/// and of a part that the index leads to.
#[test]
fn a_file_of_a_later_version() {
    let file = file();
    let (start, frames) = apart(&file);
    let unknown = |flags| {
        let mut head = [0; 52];
        head[..8].copy_from_slice(&frames[0].head[..8]);
        (head[8], head[9]) = (99, flags);
        RawFrame { head, content: b"not even compressed".to_vec() }
    };
    let mut later = Vec::new();
    let mut segment = 0;
    for frame in frames.iter().cloned() {
        let flags = frame.head[9];
        let mut frame = match frame.kind() {
            RECORDS => {
                let longer = each_record(&frame.raw(), |record| record.extend_from_slice(&[1; 9]));
                frame.with_raw(&[&[0xee, 0xee, 3, 0, 0, 0, 1, 2, 3][..], &longer].concat())
            }
            SAMPLES => wider(frame),
            TOTALS => frame.clone().with_raw(&[&frame.raw()[..], &[5; 30]].concat()),
            _ => frame,
        };
        if flags & 1 != 0 {
            segment += 1;
            let mut first = unknown(0x81);
            first.head[12] = segment;
            later.push(first.sealed());
        }
        if [RECORDS, SAMPLES].contains(&frame.kind()) {
            frame.head[9] = 0x80;
        }
        let between = [INDEX, TOTALS].contains(&frame.kind());
        later.push(frame);
        if between {
            later.push(unknown(0));
        }
    }
    let at = later.iter().position(|frame| frame.kind() == INDEX).unwrap();
    later[at] = later[at].clone().with_raw(&later_index(&start, &later[..at]));
    same(&file, &together(&start, &later));
    assert_eq!(later.last().map(RawFrame::kind), Some(FOOTER));
    let changed = together(&start, &later);
    let part = Recording::open_part(&changed, &Part { from: Some(11), to: Some(12), ..Part::default() }).unwrap();
    assert!(!part.coverage().is_whole(), "the index is understood");
}

/// The index of these frames, each summary longer than this version knows, and with other things between.
fn later_index(start: &[u8], frames: &[RawFrame]) -> Vec<u8> {
    let mut summaries: Vec<SegmentSummary> = Vec::new();
    let mut offset = start.len() as u64;
    for frame in frames {
        if frame.head[9] & 1 != 0 {
            summaries.push(SegmentSummary { offset, ..SegmentSummary::default() });
        }
        let number = summaries.len() as u64 - 1;
        let summary = summaries.last_mut().unwrap();
        summary.bytes += frame.length() as u64;
        (summary.first_time, summary.last_time, summary.samples) = ((10 + number) * 1024, (10 + number) * 1024, 1);
        offset += frame.length() as u64;
    }
    let mut raw = vec![0xee, 0xee, 2, 0, 0, 0, 1, 2];
    for summary in &summaries {
        let bytes = [&bincode::serialize(summary).unwrap()[..], &[7; 40]].concat();
        raw.extend_from_slice(&1u16.to_le_bytes());
        raw.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        raw.extend_from_slice(&bytes);
    }
    raw
}

/// Structs that an earlier version wrote, with fewer fields.
#[test]
fn shorter_structs() {
    let (start, frames) = apart(&file());
    /// `bpf_time`, `bpf_runs` and `weight`, and behind them three empty lists and `clock_time`.
    const LATER_FIELDS: usize = 3 * 8 + 4 * 8;
    let shorter = frames.into_iter().map(|frame| match frame.kind() {
        TOTALS => {
            let raw = frame.raw();
            frame.with_raw(&raw[..raw.len() - LATER_FIELDS])
        }
        _ => frame,
    });
    let changed = together(&start, &shorter.collect::<Vec<_>>());
    let recording = Recording::open(&changed).unwrap();
    assert_eq!(recording.totals().map(|totals| (totals.samples, totals.bpf_time)), Some((3, 0)));
}

/// The columns of a frame of samples that is the first of its stream, so that it decompresses by itself.
fn columns(frame: &RawFrame) -> Vec<Vec<u8>> {
    let length = u32::from_le_bytes(frame.head[24..28].try_into().unwrap()) as usize;
    let mut raw = vec![0; length];
    let mut decoder = zstd::stream::raw::Decoder::new().unwrap();
    zstd::stream::raw::Operation::run_on_buffers(&mut decoder, &frame.content, &mut raw).unwrap();
    let (mut at, mut columns) = (1, Vec::new());
    for _ in 0..raw[0] {
        let length = raw[at] as usize;
        assert!(length < 128, "a length of one byte");
        columns.push(raw[at + 1..at + 1 + length].to_vec());
        at += 1 + length;
    }
    columns
}

/// The frame with other columns.
fn with_columns(frame: RawFrame, columns: &[Vec<u8>]) -> RawFrame {
    let each = columns.iter().flat_map(|column| [&[column.len() as u8][..], column].concat());
    let raw: Vec<u8> = [columns.len() as u8].into_iter().chain(each).collect();
    frame.with_raw(&raw)
}

/// The place of the shapes among the columns.
const SHAPE: usize = 6;

/// Columns more than this version knows, behind all others, and flags in the shape of samples.
fn wider(frame: RawFrame) -> RawFrame {
    let mut columns = columns(&frame);
    columns[SHAPE].iter_mut().for_each(|shape| *shape |= 0x40);
    columns.extend([vec![0xaa, 0xbb], vec![]]);
    with_columns(frame, &columns)
}

/// A column more than this version knows, behind all others.
#[test]
fn another_column() {
    let file = file();
    let (start, frames) = apart(&file);
    let frames = frames.into_iter().map(|frame| if frame.kind() == SAMPLES { wider(frame) } else { frame });
    let changed = together(&start, &frames.collect::<Vec<_>>());
    let (before, after) = (Recording::open(&file).unwrap(), Recording::open(&changed).unwrap());
    assert_eq!(content(&before), content(&after));
}

/// An unwound stack is a chain to a reader that knows neither its flag nor its columns: the same frames, as return addresses.
#[test]
fn an_unwound_stack_was_a_chain() {
    let frame = |address, guessed| UnwoundFrame { address, guessed };
    let frames = vec![frame(0x1000, false), frame(0x1fff, true), frame(0x3000, false)];
    let user = UserState::Unwound(UnwoundStack { frames, verdict: Verdict::Complete });
    let mut writer = Writer::create(Vec::new(), &Header::default()).unwrap();
    writer.sample(&Sample { time: 1, user, ..Sample::default() }).unwrap();
    let (start, frames) = apart(&writer.finish(&Totals { samples: 1, ..Totals::default() }).unwrap());
    const COLUMNS: Range<usize> = 12..15;
    let older = frames.into_iter().map(|frame| match frame.kind() {
        SAMPLES => {
            let mut columns = columns(&frame);
            columns[SHAPE][0] &= 0xf;
            columns[COLUMNS].fill_with(Vec::new);
            with_columns(frame, &columns)
        }
        _ => frame,
    });
    let older = together(&start, &older.collect::<Vec<_>>());
    let content = content(&Recording::open(&older).unwrap());
    assert_eq!(content[0].1[0].user, UserState::Chain(vec![0x1000, 0x2000, 0x3001]));
}

/// Causes, reasons and kinds of stacks that this version has never heard of.
#[test]
fn unknown_variants() {
    let header = Header { call_graph: CallGraph::Other(9), ..Header::default() };
    let mut writer = Writer::create(Vec::new(), &header).unwrap();
    let loss = |number| Loss::at(1, LossCause::Other(number), 3);
    for number in [102, 103] {
        writer.record(&Record::Loss(loss(number))).unwrap();
    }
    let totals = Totals { stop: StopReason::Other(50), lost: vec![(LossCause::Other(102), 3)], ..Totals::default() };
    let file = writer.finish(&totals).unwrap();
    let recording = Recording::open(&file).unwrap();
    assert_eq!((recording.header(), recording.totals()), (&header, Some(&totals)));
    let content = content(&recording);
    let causes = content[0].0.iter().map(|record| match record {
        Record::Loss(loss) => loss.cause.is_samples(),
        _ => unreachable!(),
    });
    assert_eq!(causes.collect::<Vec<_>>(), [true, false]);
}

/// A file that is as it was is as it was: the tools of this test change nothing by themselves.
#[test]
fn apart_and_together() {
    let file = file();
    let (start, frames) = apart(&file);
    assert_eq!(together(&start, &frames), file);
    same(&file, &together(&start, &frames));
}

/// A later major version is refused with words that say so.
#[test]
fn a_newer_major_version() {
    let mut file = file();
    file[8] = 2;
    let error = Recording::open(&file).unwrap_err();
    assert!(matches!(error, Error::NewerVersion { found: 2, supported: 1 }));
    assert!(error.to_string().contains("use a newer profrec-report"), "{error}");
}
