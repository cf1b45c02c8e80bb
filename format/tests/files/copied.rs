//! Recordings that are put together of other recordings' segments, and those that may not become longer than a limit.

use profrec_format::{
    Error, Header, Loss, LossCause, Part, Process, Record, Recording, Sample, Totals, UserState, Writer,
};

const START: u64 = 1_000_000_000_000;
const SECOND: u64 = 1_000_000_000;

fn header() -> Header {
    Header { start_monotonic: START, period: SECOND, ..Header::default() }
}

/// A closed recording of `seconds` samples of the process `pid`, with a loss in it.
fn piece(pid: u32, start: u64, seconds: u64) -> Vec<u8> {
    let mut writer = Writer::create(Vec::new(), &header()).unwrap();
    put(&mut writer, pid, start, seconds).unwrap();
    writer.record(&Record::Loss(Loss::at(start, LossCause::RingFull, 1))).unwrap();
    writer.finish(&Totals { samples: seconds, ..Totals::default() }).unwrap()
}

/// Adds samples and flushes each.
fn put(writer: &mut Writer<Vec<u8>>, pid: u32, start: u64, seconds: u64) -> Result<(), Error> {
    writer.record(&Record::Process(Process { time: start, pid, ..Process::default() }))?;
    for second in 0..seconds {
        let user = UserState::Chain(vec![0x1000 + second.wrapping_mul(0x9e37_79b9_7f4a_7c15)]);
        let sample = Sample { time: start + second * SECOND, pid, tid: pid, user, ..Sample::default() };
        writer.sample(&sample)?;
        writer.flush()?;
    }
    Ok(())
}

fn samples(recording: &Recording<'_>) -> Vec<Sample> {
    let mut found = Vec::new();
    for segment in recording.segments() {
        assert!(!segment.records().unwrap().is_empty());
        let mut samples = segment.samples();
        while let Some(sample) = samples.next().unwrap() {
            found.push(sample.clone());
        }
    }
    found
}

/// Segments of several recordings make a whole one: the same samples, numbered frames, and an index that finds a part.
#[test]
fn copied_segments_make_a_whole_recording() {
    let pieces = [piece(1, START, 5), piece(2, START + 5 * SECOND, 7), piece(3, START + 12 * SECOND, 4)];
    let pieces: Vec<_> = pieces.iter().map(|piece| Recording::open(piece).unwrap()).collect();
    let mut writer = Writer::create(Vec::new(), &header()).unwrap();
    // The first piece is left out, as the oldest of a ring is.
    for piece in &pieces[1..] {
        for (segment, summary) in piece.segments().iter().zip(piece.index().unwrap()) {
            writer.copy_segment(segment, summary).unwrap();
        }
    }
    assert_eq!((writer.samples_written(), writer.samples_in_output()), (11, 11));
    let bytes = writer.finish(&Totals { samples: 11, ..Totals::default() }).unwrap();
    let whole = Recording::open(&bytes).unwrap();
    assert!(whole.damage().is_empty(), "{:?}", whole.damage());
    let expected: Vec<_> = pieces[1..].iter().flat_map(samples).collect();
    assert_eq!(samples(&whole), expected);
    for (summary, start) in whole.index().unwrap().iter().zip([5, 12]) {
        let loss = START + start * SECOND;
        assert_eq!((summary.first_loss, summary.last_loss), (loss, loss));
    }
    let part = Recording::open_part(&bytes, &Part { pids: vec![3], ..Part::default() }).unwrap();
    assert_eq!((part.segments().len(), samples(&part).len()), (1, 4));
}

/// Whatever the limit, the closed file is not longer, unless it is an empty one; it is whole, and holds what was accepted.
#[test]
fn a_limit_is_kept() {
    let empty = Writer::create(Vec::new(), &header()).unwrap().finish(&Totals::default()).unwrap().len();
    for limit in (0..20_000).step_by(777) {
        let mut writer = Writer::create(Vec::new(), &header()).unwrap();
        writer.limit_to(limit);
        let refused = put(&mut writer, 1, START, 300).unwrap_err();
        assert!(matches!(refused, Error::LimitReached { limit: it } if it == limit));
        assert!(put(&mut writer, 1, START, 1).is_err(), "what follows a gap must not be written");
        let accepted = writer.samples_in_output();
        let bytes = writer.finish(&Totals { samples: accepted, ..Totals::default() }).unwrap();
        assert!(bytes.len() <= empty.max(limit as usize), "{} with a limit of {limit}", bytes.len());
        let recording = Recording::open(&bytes).unwrap();
        assert!(recording.damage().is_empty() && recording.totals().is_some());
        assert_eq!(samples_or_none(&recording), accepted);
        assert!(accepted > 0 || limit < 5000, "nothing fits into {limit}");
    }
}

fn samples_or_none(recording: &Recording<'_>) -> u64 {
    recording.segments().iter().map(profrec_format::Segment::sample_count).sum()
}
