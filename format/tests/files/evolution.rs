//! Files of a later minor version are read by this one: what they have more is passed over.

use profrec_format::{
    CallGraph, Error, Header, Loss, LossCause, Part, Process, Record, Recording, Sample, StopReason, Totals, UserState,
    Writer,
};

use crate::frames::{RECORDS, RawFrame, SAMPLES, TOTALS, apart, together};

fn file() -> Vec<u8> {
    let header = Header { host: "here".into(), call_graph: CallGraph::FramePointer, ..Header::default() };
    let mut writer = Writer::create(Vec::new(), &header).unwrap();
    for segment in 0..3 {
        writer.start_segment().unwrap();
        writer.record(&Record::Process(Process { time: segment, pid: 7, ..Process::default() })).unwrap();
        writer.record(&Record::Loss(Loss { time: segment, cause: LossCause::RingFull, count: 2 })).unwrap();
        let user = UserState::Chain(vec![1, 2, 3]);
        writer.sample(&Sample { time: 10 + segment, pid: 7, tid: 8, user, ..Sample::default() }).unwrap();
    }
    let lost = vec![(LossCause::RingFull, 6)];
    writer.finish(&Totals { end_monotonic: 20, samples: 3, expected: 9, lost, ..Totals::default() }).unwrap()
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
    let part = Part { from: Some(11), to: Some(12), ..Part::default() };
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

/// Structs that an earlier version wrote, with fewer fields.
#[test]
fn shorter_structs() {
    let (start, frames) = apart(&file());
    const BPF_TIME_AND_RUNS: usize = 16;
    let shorter = frames.into_iter().map(|frame| match frame.kind() {
        TOTALS => {
            let raw = frame.raw();
            frame.with_raw(&raw[..raw.len() - BPF_TIME_AND_RUNS])
        }
        _ => frame,
    });
    let changed = together(&start, &shorter.collect::<Vec<_>>());
    let recording = Recording::open(&changed).unwrap();
    assert_eq!(recording.totals().map(|totals| (totals.samples, totals.bpf_time)), Some((3, 0)));
}

/// A column more than this version knows, behind all others.
#[test]
fn another_column() {
    let file = file();
    let (start, frames) = apart(&file);
    let wider = frames.into_iter().map(|frame| match frame.kind() {
        SAMPLES => {
            // The first frame of its stream, so it decompresses by itself.
            let length = u32::from_le_bytes(frame.head[24..28].try_into().unwrap()) as usize;
            let mut raw = vec![0; length];
            let mut decoder = zstd::stream::raw::Decoder::new().unwrap();
            zstd::stream::raw::Operation::run_on_buffers(&mut decoder, &frame.content, &mut raw).unwrap();
            raw[0] += 1;
            raw.extend_from_slice(&[3, 0xaa, 0xbb, 0xcc]);
            frame.with_raw(&raw)
        }
        _ => frame,
    });
    let wider = wider.collect::<Vec<_>>();
    let changed = together(&start, &wider);
    let (before, after) = (Recording::open(&file).unwrap(), Recording::open(&changed).unwrap());
    assert_eq!(content(&before), content(&after));
}

/// Causes, reasons and kinds of stacks that this version has never heard of.
#[test]
fn unknown_variants() {
    let header = Header { call_graph: CallGraph::Other(9), ..Header::default() };
    let mut writer = Writer::create(Vec::new(), &header).unwrap();
    let loss = |number| Loss { time: 1, cause: LossCause::Other(number), count: 3 };
    for number in [100, 101] {
        writer.record(&Record::Loss(loss(number))).unwrap();
    }
    let totals = Totals { stop: StopReason::Other(50), lost: vec![(LossCause::Other(100), 3)], ..Totals::default() };
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
