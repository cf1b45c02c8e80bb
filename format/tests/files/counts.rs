//! Frames of counts: samples of one stack follow each other, and are packed by themselves.

use profrec_format::raw::RawRecording;
use profrec_format::{
    CallGraph, Header, Recording, Sample, Totals, UnwoundFrame, UnwoundStack, UserState, Verdict, Writer,
};
use proptest::collection::vec;
use proptest::prelude::*;

const COUNTS: u8 = 7;

fn written(flushes: &[Vec<Sample>], segments: usize) -> Vec<u8> {
    let call_graph = CallGraph::FramePointer;
    let header = Header { counted_every: 1_000_000_000, period: 10_000_000, call_graph, ..Header::default() };
    let mut writer = Writer::create(Vec::new(), &header).unwrap();
    for (number, samples) in flushes.iter().enumerate() {
        if number % segments == 0 {
            writer.start_segment().unwrap();
        }
        samples.iter().for_each(|sample| _ = writer.sample(sample).unwrap());
        writer.flush().unwrap();
    }
    writer.finish(&Totals::default()).unwrap()
}

fn read(file: &[u8]) -> Vec<Sample> {
    let recording = Recording::open(file).unwrap();
    let mut read = Vec::new();
    for segment in recording.segments() {
        let mut samples = segment.samples();
        while let Some(sample) = samples.next().unwrap() {
            read.push(sample.clone());
        }
    }
    read
}

fn user() -> impl Strategy<Value = UserState> {
    let frame = |address| UnwoundFrame { address, guessed: false };
    let unwound = move |addresses: Vec<u64>| UnwoundStack {
        frames: addresses.into_iter().map(frame).collect(),
        verdict: Verdict::Complete,
    };
    let chain = || vec(1u64..4, 0..3);
    prop_oneof![
        Just(UserState::None),
        chain().prop_map(UserState::Chain),
        chain().prop_map(UserState::Chain),
        chain().prop_map(move |addresses| UserState::Unwound(unwound(addresses))),
    ]
}

fn sample() -> impl Strategy<Value = Sample> {
    let number = || prop_oneof![0u32..3, any::<u32>()];
    let kernel = prop_oneof![Just(Vec::new()), vec(1u64..3, 1..3)];
    (0u64..3, number(), number(), number(), 1u32..4, kernel, user()).prop_map(
        |(time, cpu, pid, tid, weight, kernel_chain, user)| Sample {
            time: time << 40,
            cpu,
            pid,
            tid,
            weight,
            kernel_chain,
            user,
        },
    )
}

proptest! {
    /// Counts come back as they were, whatever they repeat, over several frames of a segment.
    #[test]
    fn counts_come_back(flushes in vec(vec((sample(), 1usize..4), 0..12), 1..4), segments in 1usize..3) {
        // Neighbours with one stack, of other threads.
        let repeated = |samples: Vec<(Sample, usize)>| {
            let each = samples.into_iter().flat_map(|(sample, times)| {
                (0..times as u32).map(move |more| Sample { tid: sample.tid ^ more, ..sample.clone() })
            });
            each.collect::<Vec<_>>()
        };
        let flushes: Vec<Vec<Sample>> = flushes.into_iter().map(repeated).collect();
        prop_assert_eq!(read(&written(&flushes, segments)), flushes.concat());
    }
}

/// The kind of each frame with samples, and its bytes before compression.
fn frames(file: &[u8]) -> Vec<(u8, usize)> {
    let frames = RawRecording::take_apart(file).unwrap().frames.into_iter();
    frames.filter(|frame| [6, COUNTS].contains(&frame.kind)).map(|frame| (frame.kind, frame.content.len())).collect()
}

/// A stack is told once for all threads that it was seen in.
#[test]
fn a_stack_is_told_once() {
    let of = |tid| Sample { pid: 7, tid, user: UserState::Chain((1..90).collect()), weight: 3, ..Sample::default() };
    let one = frames(&written(&[vec![of(1)]], 1));
    let many = frames(&written(&[(1..101).map(of).collect()], 1));
    assert_eq!((one.len(), one[0].0, many.len(), many[0].0), (1, COUNTS, 1, COUNTS));
    // Time, CPU, weight and thread of each, and each thread's numbers.
    assert!(many[0].1 - one[0].1 <= 100 * 7, "{one:?} {many:?}");
}

/// What says that more samples of a stack follow than there are is damaged, and after the error there is nothing more.
#[test]
fn samples_that_are_missing_are_noticed() {
    let file = written(&[(1..9).map(|tid| Sample { pid: 7, tid, ..Sample::default() }).collect()], 1);
    let mut raw = RawRecording::take_apart(&file).unwrap();
    let frame = raw.frames.iter_mut().find(|frame| frame.kind == COUNTS).unwrap();
    frame.items -= 1;
    let file = raw.put_together().unwrap();
    assert_eq!(read_to_error(&file), 7);
}

/// The same of one whose samples do not have all that they need: it is noticed between two samples of one stack.
#[test]
fn what_samples_lack_is_noticed() {
    let file = written(&[(1..9).map(|tid| Sample { pid: 7, tid, ..Sample::default() }).collect()], 1);
    let mut raw = RawRecording::take_apart(&file).unwrap();
    let frame = raw.frames.iter_mut().find(|frame| frame.kind == COUNTS).unwrap();
    // Behind the number of columns and the times, CPUs: eight numbers of a byte.
    let cpus = 2 + usize::from(frame.content[1]);
    assert_eq!(frame.content[cpus], 8);
    frame.content[cpus] = 3;
    frame.content.drain(cpus + 1..cpus + 6);
    let file = raw.put_together().unwrap();
    assert_eq!(read_to_error(&file), 3);
}

/// How many samples there are before the error of the only segment.
fn read_to_error(file: &[u8]) -> usize {
    let recording = Recording::open(file).unwrap();
    let mut samples = recording.segments()[0].samples();
    let read = (0..).find(|_| samples.next().is_err()).unwrap();
    assert!((0..3).all(|_| matches!(samples.next(), Ok(None))));
    read
}

/// A flush that was changed or cut off costs what it has, and no other one.
#[test]
fn each_flush_stands_alone() {
    let flush = |time: u64| {
        let of = move |tid| Sample {
            time: time << 20,
            pid: 7,
            tid,
            user: UserState::Chain(vec![1, 2]),
            ..Sample::default()
        };
        (1..9).map(of).collect::<Vec<_>>()
    };
    let flushes = [flush(1), flush(2), flush(3)];
    let file = written(&flushes, 1);
    let starts: Vec<usize> = (0..file.len() - 8).filter(|at| file[*at..*at + 9] == *b"\xf7prec\r\n\x93\x07").collect();
    assert_eq!(starts.len(), 3);
    for at in starts[1]..starts[2] {
        let mut changed = file.clone();
        changed[at] ^= 0x10;
        assert_eq!(read(&changed), [&flushes[0][..], &flushes[2]].concat(), "byte {at}");
        assert_eq!(read(&file[..at]), flushes[0], "{at} bytes");
    }
    assert_eq!(read(&file[..starts[2]]), flushes[..2].concat());
}
