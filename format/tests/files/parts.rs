//! Reading a part of a recording, and what is left of one that is not whole.

use profrec_format::{
    DamageKind, Header, Part, Process, Record, Recording, Sample, SegmentSummary, Totals, UserState, Writer,
};

use crate::frames::{FOOTER, INDEX, RECORDS, RawFrame, SAMPLES, apart, together};

const START: u64 = 1_000_000_000_000;
const SECOND: u64 = 1_000_000_000;
const SEGMENTS: u64 = 60;

/// An hour in segments of a minute. Ten samples a minute, in two frames; in the segment with number n runs process n % 10.
fn hour() -> Vec<u8> {
    let header = Header { start_monotonic: START, period: 6 * SECOND, ..Header::default() };
    let mut writer = Writer::create(Vec::new(), &header).unwrap();
    for segment in 0..SEGMENTS {
        writer.start_segment().unwrap();
        let (time, pid) = (START + segment * 60 * SECOND, (segment % 10) as u32);
        writer.record(&Record::Process(Process { time, pid, ..Process::default() })).unwrap();
        for number in 0..10 {
            let user = UserState::Chain(vec![0x1000 + number, 0x2000 + segment]);
            let sample = Sample { time: time + number * 6 * SECOND, pid, tid: pid, user, ..Sample::default() };
            writer.sample(&sample).unwrap();
            if number % 5 == 4 {
                writer.flush().unwrap();
            }
        }
    }
    let samples = SEGMENTS * 10;
    let end_monotonic = START + SEGMENTS * 60 * SECOND;
    writer.finish(&Totals { end_monotonic, samples, expected: samples, ..Totals::default() }).unwrap()
}

/// The samples of a part, whatever segments were read for it.
fn samples(recording: &Recording<'_>, part: &Part) -> Vec<Sample> {
    let mut found = Vec::new();
    for segment in recording.segments() {
        assert!(!segment.records().unwrap().is_empty());
        let mut samples = segment.samples();
        while let Some(sample) = samples.next().unwrap() {
            let elapsed = sample.time - START;
            if part.from.is_none_or(|from| from <= elapsed)
                && part.to.is_none_or(|to| elapsed < to)
                && (part.pids.is_empty() || part.pids.contains(&sample.pid))
            {
                found.push(sample.clone());
            }
        }
    }
    found
}

fn part(from: u64, to: u64, pids: &[u32]) -> Part {
    Part { from: Some(from * SECOND), to: Some(to * SECOND), pids: pids.to_vec(), ..Part::default() }
}

/// Of an hour, only the segments that can hold the part are read, and the samples are those that reading all of it gives.
#[test]
fn a_part_is_read_without_the_rest() {
    let file = hour();
    let whole = Recording::open(&file).unwrap();
    assert!(whole.coverage().is_whole() && whole.damage().is_empty());
    let of_pid = Part { pids: vec![3], ..Part::default() };
    for (wanted, segments) in [
        (part(90, 200, &[]), 3),
        (part(60, 120, &[]), 1),
        (part(55, 60, &[]), 0),
        (part(0, 1800, &[3, 4]), 6),
        (of_pid, 6),
        (part(4000, 5000, &[]), 0),
    ] {
        let recording = Recording::open_part(&file, &wanted).unwrap();
        let coverage = recording.coverage();
        assert_eq!((coverage.segments_read, coverage.segments), (segments, 60), "{wanted:?}");
        assert!(
            coverage.bytes_read < 3500 + segments as u64 * file.len() as u64 / 50,
            "{coverage:?} of {}",
            file.len()
        );
        assert_eq!(samples(&recording, &wanted), samples(&whole, &wanted), "{wanted:?}");
        assert_eq!((recording.totals(), recording.samples_found()), (whole.totals(), 600));
    }
    assert!(Recording::open_part(&file, &Part::default()).unwrap().coverage().is_whole());
}

/// What is outside of the part is not looked at: damage there is no matter. Damage inside is found.
#[test]
fn damage_elsewhere_is_no_matter() {
    let mut file = hour();
    let index = Recording::open(&file).unwrap().index().unwrap().to_vec();
    file[index[30].offset as usize + 70] ^= 1;
    let recording = Recording::open_part(&file, &part(60, 120, &[])).unwrap();
    assert!(recording.damage().is_empty() && recording.coverage().segments_read == 1);
    let recording = Recording::open_part(&file, &part(1800, 1860, &[])).unwrap();
    assert!(recording.damage().len() == 1 && recording.coverage().is_whole());
}

/// An index that lies about a segment that is read, or does not add up, is not believed; and a whole reading tells of it.
#[test]
fn a_lying_index_is_not_believed() {
    let (start, frames) = apart(&hour());
    let lies: [fn(&mut Vec<SegmentSummary>); 5] = [
        |index| index[1].samples += 1,
        |index| (index[1].samples, index[2].samples) = (9, 11),
        |index| index[1].last_time -= 1,
        |index| index[1].bytes += 1,
        |index| drop(index.remove(40)),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let file = together(&start, &frames);
        let mut index = Recording::open(&file).unwrap().index().unwrap().to_vec();
        lie(&mut index);
        let mut raw = Vec::new();
        for summary in &index {
            let bytes = bincode::serialize(summary).unwrap();
            raw.extend_from_slice(&1u16.to_le_bytes());
            raw.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            raw.extend_from_slice(&bytes);
        }
        let frames =
            frames.iter().cloned().map(|frame| if frame.kind() == INDEX { frame.with_raw(&raw) } else { frame });
        let file = together(&start, &frames.collect::<Vec<_>>());
        let wanted = part(60, 180, &[]);
        let recording = Recording::open_part(&file, &wanted).unwrap();
        assert!(recording.coverage().is_whole(), "lie {number}");
        assert_eq!(samples(&recording, &wanted).len(), 20, "lie {number}");
        assert_eq!(recording.damage()[0].kind, DamageKind::WrongIndex, "lie {number}");
    }
}

/// A damaged frame costs the rest of its segment. What that is, is told in samples and seconds; the totals behind it
/// are still read.
#[test]
fn damage_costs_the_rest_of_its_segment() {
    let file = hour();
    let index = Recording::open(&file).unwrap().index().unwrap().to_vec();
    for segment in [7, 59] {
        let mut file = file.clone();
        // The last frame of samples in the segment.
        file[(index[segment].offset + index[segment].bytes) as usize - 1] ^= 1;
        let recording = Recording::open(&file).unwrap();
        let [damage] = recording.damage() else { unreachable!("{:?}", recording.damage()) };
        assert_eq!(damage.kind, DamageKind::Damaged);
        assert_eq!(damage.nanoseconds(), Some(36 * SECOND), "from the fifth sample to the next segment's first");
        assert!(recording.totals().is_some() && recording.segments().len() == 60);
        let lost = recording.lost_to_damage();
        assert_eq!((lost.samples, lost.at_least, lost.nanoseconds), (Some(5), 0, 36 * SECOND));
        assert_eq!(samples(&recording, &Part::default()).len(), 595);
    }
}

/// Frames that were taken out are noticed by their numbers; samples behind them in their segment are counted, not decoded.
#[test]
fn missing_frames_are_noticed() {
    let file = hour();
    let (start, frames) = apart(&file);
    let without = |missing: &[usize]| {
        let kept = frames.iter().enumerate().filter(|(number, _)| !missing.contains(number));
        let bytes = kept.flat_map(|(_, RawFrame { head, content })| [&head[..], content]);
        [&start[..], &bytes.collect::<Vec<_>>().concat()].concat()
    };
    // Each segment has a frame of records and two of samples: 0 1 2, 3 4 5, ...
    for (missing, at_least, lost, segments) in
        [(&[4][..], 5, 10, 60), (&[3], 10, 10, 59), (&[3, 4, 5], 0, 10, 59), (&[5], 0, 5, 60), (&[0, 1, 2], 0, 10, 59)]
    {
        let file = without(missing);
        let recording = Recording::open(&file).unwrap();
        assert_eq!(recording.damage().len(), 1, "{missing:?}");
        assert_eq!(recording.damage()[0].kind, DamageKind::FramesMissing, "{missing:?}");
        let found = recording.lost_to_damage();
        assert_eq!((found.at_least, found.samples), (at_least, Some(lost)), "{missing:?}");
        assert_eq!(recording.segments().len(), segments, "{missing:?}");
        assert_eq!(samples(&recording, &Part::default()).len() as u64, 600 - lost, "{missing:?}");
    }
}

/// Nor does a recording without index and totals hide that its start was taken out.
#[test]
fn a_start_that_is_missing_is_noticed() {
    let (start, frames) = apart(&hour());
    let kept = frames[3..].iter().filter(|frame| [RECORDS, SAMPLES].contains(&frame.kind()));
    let bytes = kept.flat_map(|RawFrame { head, content }| [&head[..], content]).collect::<Vec<_>>().concat();
    let file = [&start[..], &bytes].concat();
    let recording = Recording::open(&file).unwrap();
    assert_eq!(recording.damage().len(), 1);
    assert_eq!(recording.damage()[0].kind, DamageKind::FramesMissing);
    assert_eq!(recording.lost_to_damage().nanoseconds, 60 * SECOND);
}

/// A head that says of fewer samples than its frame holds does not hide them.
#[test]
fn samples_are_not_hidden_by_a_head() {
    let (start, mut frames) = apart(&hour());
    frames[1].head[28] -= 1;
    frames[1] = frames[1].clone().sealed();
    let file = together(&start, &frames);
    let recording = Recording::open(&file).unwrap();
    let mut samples = recording.segments()[0].samples();
    let mut read = 0;
    while let Ok(Some(_)) = samples.next() {
        read += 1;
    }
    assert_eq!(read, 4);
    assert!(samples.next().unwrap().is_none(), "after an error there is nothing more to read");
    let mut samples = recording.segments()[0].samples();
    assert!((0..=4).any(|_| samples.next().is_err()));
}

/// Without totals, what is lost is what lies behind the damage; more nobody knows.
#[test]
fn damage_of_an_unclosed_recording() {
    let (start, frames) = apart(&hour());
    let open: Vec<_> = frames.into_iter().filter(|frame| [RECORDS, SAMPLES].contains(&frame.kind())).collect();
    let mut file = together(&start, &open);
    let second = open[0].length() + start.len();
    file[second + 60] ^= 1;
    let recording = Recording::open(&file).unwrap();
    assert!(recording.totals().is_none() && recording.index().is_none());
    let lost = recording.lost_to_damage();
    assert_eq!((lost.samples, lost.at_least), (None, 5));
    let wanted = part(60, 120, &[]);
    let partly = Recording::open_part(&file, &wanted).unwrap();
    assert!(partly.coverage().is_whole());
    assert_eq!(samples(&partly, &wanted).len(), 10);
}

/// A file of a version without a footer is read as a whole.
#[test]
fn a_recording_without_a_footer_is_whole() {
    let (start, frames) = apart(&hour());
    let kept: Vec<_> = frames.into_iter().filter(|frame| frame.kind() != FOOTER).collect();
    let file = together(&start, &kept);
    let recording = Recording::open_part(&file, &part(60, 120, &[])).unwrap();
    assert!(recording.coverage().is_whole() && recording.damage().is_empty() && recording.totals().is_some());
}
