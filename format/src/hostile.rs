//! Tests: files that were made to exhaust their reader: small, with checksums that fit, and huge once decompressed.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::columns::Column;
use crate::raw::{RawFrame, RawRecording};
use crate::{CallGraph, Error, Header, Recording, Sample, Totals, UserState, Writer};

fn raw() -> RawRecording {
    let writer = Writer::create(Vec::new(), &Header::default()).unwrap();
    RawRecording {
        frames: Vec::new(),
        ..RawRecording::take_apart(&writer.finish(&Totals::default()).unwrap()).unwrap()
    }
}

fn bombs(kind: u8, items: u32, content: &[u8]) -> Vec<u8> {
    let frame = |number| RawFrame {
        kind,
        flags: u8::from(number == 0),
        items,
        content: content.to_vec(),
        ..RawFrame::default()
    };
    RawRecording { frames: (0..12).map(frame).collect(), ..raw() }.put_together().unwrap()
}

/// Frames of 32 MiB that are 3 KB in the file are read up to the limit of a segment, and not all of them.
#[test]
fn metadata_that_explodes_is_refused() {
    // Records of a kind that nobody knows, each of 1 MiB.
    let mut content = vec![0; 32 << 20];
    for record in content.chunks_mut(1 << 20) {
        record[..2].fill(0xff);
        record[2..6].copy_from_slice(&((1u32 << 20) - 6).to_le_bytes());
    }
    let file = bombs(1, 1, &content);
    assert!(file.len() < 100_000, "{}", file.len());
    let recording = Recording::open(&file).unwrap();
    assert!(matches!(recording.segments()[0].records(), Err(Error::TooMuch { .. })));
}

/// The same for samples.
#[test]
fn samples_that_explode_are_refused() {
    let mut content = sample_frame(&Header::default()).content;
    content.resize(32 << 20, 0);
    assert_refused(&Header::default(), content);
}

/// The same for counts: a column of eight million zeros, which nobody knows.
#[test]
fn counts_that_explode_are_refused() {
    let header = Header { counted_every: 1, call_graph: CallGraph::FramePointer, ..Header::default() };
    let mut content = sample_frame(&header).content;
    content[0] += 1;
    crate::varint::put(&mut content, 8 << 20);
    content.resize(content.len() + (8 << 20), 0);
    assert_refused(&header, content);
}

/// A frame with a sample.
fn sample_frame(header: &Header) -> RawFrame {
    let mut writer = Writer::create(Vec::new(), header).unwrap();
    writer.sample(&Sample::default()).unwrap();
    let file = writer.finish(&Totals::default()).unwrap();
    RawRecording::take_apart(&file).unwrap().frames.swap_remove(0)
}

/// A segment of frames with a sample and this content is refused before its end.
fn assert_refused(header: &Header, content: Vec<u8>) {
    let (mut file, one) = (raw(), sample_frame(header));
    // Columns of later versions stand behind those that are known.
    file.frames = (0..40)
        .map(|number| RawFrame { flags: u8::from(number == 0), content: content.clone(), ..one.clone() })
        .collect();
    let file = file.put_together().unwrap();
    assert!(file.len() < 300_000, "{}", file.len());
    let recording = Recording::open(&file).unwrap();
    let mut samples = recording.segments()[0].samples();
    let outcome = loop {
        match samples.next() {
            Ok(Some(_)) => {}
            outcome => break outcome.map(|_| ()),
        }
    };
    assert!(outcome.is_err());
    assert!(matches!(samples.next(), Ok(None)), "after an error there is nothing more");
}

/// Bytes of counts take longer than those of samples, and each is taken from the allowance as sixteen.
#[test]
fn counts_cost_more() {
    let header = Header { counted_every: 1, call_graph: CallGraph::FramePointer, ..Header::default() };
    let frame = sample_frame(&header);
    let cost = 16 * frame.content.len() as u64;
    let file = RawRecording { frames: vec![frame], ..raw() }.put_together().unwrap();
    let recording = Recording::open(&file).unwrap();
    let mut segment = recording.segments()[0].clone();
    for (allowance, is_read) in [(cost + 512, true), (cost + 511, false), (cost - 1, false)] {
        segment.limit_to(allowance);
        assert_eq!(segment.samples().next().is_ok(), is_read, "{allowance}");
    }
}

/// What a sample asks for is taken from the segment's allowance: its words and a bit more.
#[test]
fn the_allowance_ends() {
    let mut writer = Writer::create(Vec::new(), &Header::default()).unwrap();
    for _ in 0..10 {
        let user = UserState::Chain(vec![1; 10]);
        writer.sample(&Sample { user, ..Sample::default() }).unwrap();
    }
    let file = writer.finish(&Totals::default()).unwrap();
    let recording = Recording::open(&file).unwrap();
    let mut segment = recording.segments()[0].clone();
    assert!(segment.allowance() > 1 << 32);
    segment.allow(0);
    let by_length = segment.allowance();
    assert!(by_length > 0 && by_length <= 2_048 * file.len() as u64);
    segment.limit_to(4 * 522);
    let mut samples = segment.samples();
    for _ in 0..4 {
        assert!(samples.next().unwrap().is_some());
    }
    assert!(matches!(samples.next(), Err(Error::TooMuch { .. })));
    assert!(matches!(samples.next(), Ok(None)));
}

/// What several gaps have cost is more than a number can hold, when each claims to be as long as time.
#[test]
fn endless_gaps_do_not_overflow() {
    let frame = |segment, flags| RawFrame { kind: 2, flags, segment, times: (u64::MAX, 0), ..RawFrame::default() };
    let frames = vec![frame(1, 1), frame(9, 0), frame(2, 1), frame(9, 0), frame(3, 1)];
    let file = RawRecording { frames, ..raw() }.put_together().unwrap();
    assert_eq!(Recording::open(&file).unwrap().lost_to_damage().nanoseconds, u64::MAX);
}

proptest! {
    /// Arbitrary numbers in all columns, over two frames of a segment, are samples or an error.
    #[test]
    fn arbitrary_columns_are_safe(
        frames in vec(vec(vec(prop_oneof![0u64..4, 0u64..300, any::<u64>()], 0..80), Column::COUNT), 2),
        items in 0u32..30,
        kind in prop_oneof![Just(2), Just(7)],
    ) {
        let frame = |(number, columns): (usize, &Vec<Vec<u64>>)| {
            let mut content = vec![Column::COUNT as u8];
            for column in columns {
                let mut bytes = Vec::new();
                column.iter().for_each(|&number| crate::varint::put(&mut bytes, number));
                crate::varint::put(&mut content, bytes.len() as u64);
                content.append(&mut bytes);
            }
            RawFrame { kind, flags: u8::from(number == 0), items, content, ..RawFrame::default() }
        };
        let frames = frames.iter().enumerate().map(frame).collect();
        let file = RawRecording { frames, ..raw() }.put_together().unwrap();
        let recording = Recording::open(&file).unwrap();
        let mut samples = recording.segments()[0].samples();
        while let Ok(Some(sample)) = samples.next() {
            if let UserState::Stack(stack) = &sample.user {
                // Each word was once inserted, which took two numbers.
                prop_assert!(stack.words.len() <= 80);
            }
        }
        prop_assert!(matches!(samples.next(), Ok(None)), "after an error there is nothing more");
    }
}
