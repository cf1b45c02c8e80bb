//! The format from outside: what is written comes back, and damage costs no more than it must.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use profrec_format::{
    DamageKind, Error, Header, Loss, LossCause, Process, Record, Recording, Registers, Sample, StackRange, StackWord,
    StopReason, Totals, UnwoundFrame, UnwoundStack, UserStack, UserState, Verdict, Writer,
};

fn words() -> impl Strategy<Value = Vec<StackWord>> {
    vec((0u64..64, prop_oneof![0x7000u64..0x7200, 0x40_0000u64..0x40_0010, any::<u64>()]), 0..20).prop_map(
        |mut slots| {
            slots.sort_by_key(|slot| slot.0);
            slots.dedup_by_key(|slot| slot.0);
            slots.into_iter().map(|(slot, value)| StackWord { address: 0x7000 + 8 * slot, value }).collect()
        },
    )
}

fn user() -> impl Strategy<Value = UserState> {
    let registers = vec((0usize..32, any::<u64>()), 0..4).prop_map(|values| {
        let mut registers = Registers::default();
        values.into_iter().for_each(|(number, value)| registers.set(number, value));
        registers
    });
    let ranges = prop_oneof![
        Just(vec![StackRange { start: 0x7000, end: 0x7200 }]),
        vec((any::<u64>(), any::<u64>()).prop_map(|(start, end)| StackRange { start, end }), 0..3),
    ];
    let top = prop_oneof![Just(0x7200u64), any::<u64>()];
    prop_oneof![
        Just(UserState::None),
        vec(any::<u64>(), 0..5).prop_map(UserState::Chain),
        (vec((any::<u64>(), any::<bool>()), 0..5), any::<u32>()).prop_map(|(frames, verdict)| unwound(frames, verdict)),
        (any::<u64>(), prop_oneof![Just(0x7000u64), any::<u64>()], registers, top, ranges, words()).prop_map(
            |(ip, sp, registers, top, ranges, words)| UserState::Stack(UserStack {
                ip,
                sp,
                registers,
                top,
                ranges,
                words
            })
        ),
    ]
}

fn unwound(frames: Vec<(u64, bool)>, verdict: u32) -> UserState {
    let frames = frames.into_iter().map(|(address, guessed)| UnwoundFrame { address, guessed });
    UserState::Unwound(UnwoundStack { frames: frames.collect(), verdict: Verdict::from(verdict) })
}

/// An unwound stack that is deeper than any chain of the kernel comes back whole.
#[test]
fn deep_unwound_stacks_round_trip() {
    let deep = (0..10_000).map(|depth| (0x40_0000 + depth % 7 * 16, depth % 4_095 == 1)).collect();
    let samples = [unwound(deep, 0), unwound(vec![], 4), unwound(vec![(7, true)], 3)];
    let samples = samples.into_iter().map(|user| Sample { user, ..Sample::default() }).collect::<Vec<_>>();
    let file = write(std::slice::from_ref(&samples));
    assert_eq!(read(&Recording::open(&file).unwrap()).unwrap().concat(), samples);
}

fn sample() -> impl Strategy<Value = Sample> {
    let chain = prop_oneof![Just(vec![]), Just(vec![u64::MAX, u64::MAX - 9]), vec(any::<u64>(), 0..4)];
    // A recording keeps times in steps of 1,024 ns.
    let time = (0..=u64::MAX / 1024).prop_map(|step| step * 1024);
    let weight = prop_oneof![9 => Just(1), 1 => 1..=Sample::MAX_WEIGHT];
    (time, 1u32..4, 1u32..6, 0u32..4, chain, user(), weight).prop_map(
        |(time, pid, tid, cpu, kernel_chain, user, weight)| Sample { time, pid, tid, cpu, kernel_chain, user, weight },
    )
}

fn write(segments: &[Vec<Sample>]) -> Vec<u8> {
    let mut writer = Writer::create(Vec::new(), &Header { host: "here".into(), ..Header::default() }).unwrap();
    for (number, samples) in segments.iter().enumerate() {
        let process = Process { time: 5, pid: number as u32, comm: "a".into(), ..Process::default() };
        writer.record(&Record::Process(process)).unwrap();
        for sample in samples {
            writer.sample(sample).unwrap();
            if sample.cpu == 0 {
                writer.flush().unwrap();
            }
        }
        writer.start_segment().unwrap();
    }
    writer.finish(&Totals { samples: 3, stop: StopReason::Duration, ..Totals::default() }).unwrap()
}

fn read(recording: &Recording<'_>) -> Result<Vec<Vec<Sample>>, Error> {
    let mut all = Vec::new();
    for segment in recording.segments() {
        segment.records()?;
        let mut samples = segment.samples();
        let mut read = Vec::new();
        while let Some(sample) = samples.next()? {
            read.push(sample.clone());
        }
        all.push(read);
    }
    Ok(all)
}

proptest! {
    /// Samples of every shape come back as they were, over frames and segments.
    #[test]
    fn samples_round_trip(segments in vec(vec(sample(), 1..30), 1..4)) {
        let file = write(&segments);
        let recording = Recording::open(&file).unwrap();
        prop_assert_eq!(recording.damage(), &[]);
        prop_assert!(recording.totals().is_some());
        prop_assert_eq!(read(&recording).unwrap(), segments);
    }

    /// A file of arbitrary bytes behind a good header never panics the reader.
    #[test]
    fn arbitrary_frames_are_safe(bytes: Vec<u8>, cut in option::of(0usize..200)) {
        let mut file = write(&[]);
        file.truncate(cut.unwrap_or(file.len()));
        file.extend_from_slice(&bytes);
        if let Ok(recording) = Recording::open(&file) {
            let _ = read(&recording).is_ok();
        }
    }
}

fn small() -> Vec<u8> {
    let stack = |ip| UserStack {
        ip,
        sp: 0x7000,
        top: 0x7200,
        ranges: vec![StackRange { start: 0x7000, end: 0x7200 }],
        words: (0..20).map(|slot| StackWord { address: 0x7000 + slot * 16, value: 0x40_0000 + ip + slot }).collect(),
        ..UserStack::default()
    };
    let sample = |number| Sample {
        time: number * 1024,
        pid: 1,
        tid: 1,
        cpu: 0,
        kernel_chain: vec![],
        user: UserState::Stack(stack(number)),
        weight: 1 + number as u32 / 5 * 3,
    };
    write(&[(0..5).map(sample).collect(), (5..9).map(sample).collect()])
}

/// A file cut at any byte gives a prefix of the samples, and says that it was cut or not closed.
#[test]
fn truncation_at_every_byte_is_noticed() {
    let file = small();
    let whole: Vec<Sample> = read(&Recording::open(&file).unwrap()).unwrap().concat();
    for length in 0..file.len() {
        let Ok(recording) = Recording::open(&file[..length]) else { continue };
        const FOOTER: usize = 60;
        assert!(recording.totals().is_none() || length >= file.len() - FOOTER, "length {length}");
        let samples = read(&recording).unwrap().concat();
        assert_eq!(samples, whole[..samples.len()], "length {length}");
        assert!(recording.damage().iter().all(|damage| damage.kind == DamageKind::Truncated), "length {length}");
    }
}

/// A flip of any byte is an error or a note of damage, and never changes a sample.
#[test]
fn a_flip_of_every_byte_is_noticed() {
    let file = small();
    let whole: Vec<Sample> = read(&Recording::open(&file).unwrap()).unwrap().concat();
    for at in 0..file.len() {
        let mut flipped = file.clone();
        flipped[at] ^= 0x55;
        match Recording::open(&flipped) {
            Err(_) => {}
            // Minor version and reserved bytes of the head are free.
            Ok(recording) if recording.damage().is_empty() => assert!((10..12).contains(&at), "byte {at}"),
            Ok(recording) => {
                let samples = read(&recording).unwrap().concat();
                assert!(samples.iter().all(|sample| whole.contains(sample)), "byte {at}");
            }
        }
    }
}

/// Damage in the first segment leaves the second one whole.
#[test]
fn damage_costs_one_segment() {
    let mut file = small();
    let first_frame = file.windows(5).position(|window| window == [0xf7, b'p', b'r', b'e', b'c']).unwrap();
    file[first_frame + 60] ^= 1;
    let recording = Recording::open(&file).unwrap();
    assert!(
        matches!(recording.damage(), [damage] if (damage.kind, damage.start) == (DamageKind::Damaged, first_frame))
    );
    assert_eq!(read(&recording).unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [4]);
}

/// Not a recording, and one from the future, are told apart.
#[test]
fn foreign_files_are_named() {
    assert!(matches!(Recording::open(b"\x7fELF...."), Err(Error::NotARecording)));
    let mut file = small();
    file[8] = 9;
    assert!(matches!(Recording::open(&file), Err(Error::NewerVersion { found: 9, .. })));
    let loss = Loss::at(1, LossCause::RingFull, 2);
    assert_eq!(Record::Loss(loss).time(), Some(1));
}

/// The recorder's largest stack, every word of it a pointer, comes back; of a larger one, what a reader takes.
#[test]
fn the_largest_stack() {
    let words = |count: u64| (0..count).map(|slot| StackWord { address: 0x10_0000 + slot * 8, value: slot }).collect();
    let stack = |count| UserStack { sp: 0x10_0000, words: words(count), ..UserStack::default() };
    let (largest, limit) = (2 * (1 << 20) / 8 + 511, 512 << 10);
    for (count, read) in [(largest, largest), (limit + 9, limit)] {
        let mut writer = Writer::create(Vec::new(), &Header::default()).unwrap();
        for user in [stack(count), stack(3)] {
            writer.sample(&Sample { user: UserState::Stack(user), ..Sample::default() }).unwrap();
        }
        let file = writer.finish(&Totals { samples: 2, expected: 2, ..Totals::default() }).unwrap();
        let recording = Recording::open(&file).unwrap();
        let mut samples = recording.segments()[0].samples();
        for expected in [read, 3] {
            let sample = samples.next().unwrap().unwrap();
            assert!(matches!(&sample.user, UserState::Stack(stack) if stack.words == words(expected)));
        }
        assert!(samples.next().unwrap().is_none());
    }
}

/// What the samples of a segment stand for together is in the index, and what all do is known while writing; a recording
/// that says nothing of it is one whose samples stand for one tick each.
#[test]
fn weights_are_added_up() {
    let weights = [1, 1, 4, 2, Sample::MAX_WEIGHT];
    let mut writer = Writer::create(Vec::new(), &Header::default()).unwrap();
    for weight in weights {
        writer.start_segment().unwrap();
        for _ in 0..3 {
            writer.sample(&Sample { weight, ..Sample::default() }).unwrap();
        }
    }
    let sum = 3 * weights.iter().map(|weight| u64::from(*weight)).sum::<u64>();
    assert_eq!((writer.ticks_written(), writer.samples_written()), (sum, 15));
    let file = writer.finish(&Totals { samples: 15, weight: sum, ..Totals::default() }).unwrap();
    let recording = Recording::open(&file).unwrap();
    let index = recording.index().unwrap();
    assert!(index.iter().map(|segment| segment.ticks()).eq(weights.iter().map(|weight| 3 * u64::from(*weight))));
    assert_eq!(recording.totals().unwrap().ticks(), sum);
    assert_eq!(Totals { samples: 15, ..Totals::default() }.ticks(), 15);
}

/// Code is new to an address space that has not shown it in the segment, in a chain, a stack or a register; kernel chains are new once.
#[test]
fn code_is_new_to_each_address_space() {
    const KERNEL: u64 = 0xffff_ffff_8100_0000;
    let words = vec![StackWord { address: 0x7008, value: 0x1234 }, StackWord { address: 0x7010, value: 0x7018 }];
    let mut registers = Registers::default();
    registers.set(3, 0x1500);
    let ranges = vec![StackRange { start: 0x7000, end: 0x7020 }];
    let stack = UserStack { ip: 0x1000, sp: 0x7000, top: 0x7020, registers, ranges, words };
    let stack = Sample { user: UserState::Stack(stack), kernel_chain: vec![KERNEL, KERNEL + 8], ..Sample::default() };
    let chain = Sample { user: UserState::Chain(vec![0x1234, 0x1600]), ..Sample::default() };
    let mut writer = Writer::create(Vec::new(), &Header::default()).unwrap();
    let new = |writer: &mut Writer<Vec<u8>>, sample: &Sample, space| {
        let new = writer.sample_in_space(sample, space).unwrap();
        let mut code = new.code.to_vec();
        code.sort_unstable();
        (code, new.kernel.to_vec())
    };
    assert_eq!(new(&mut writer, &stack, 1), (vec![0x1000, 0x1234, 0x1500], vec![KERNEL, KERNEL + 8]));
    assert_eq!(new(&mut writer, &stack, 1), (vec![], vec![]));
    assert_eq!(new(&mut writer, &chain, 1), (vec![0x1600], vec![]));
    assert_eq!(new(&mut writer, &chain, 2), (vec![0x1234, 0x1600], vec![]));
    // Code that lies between two stacks is code.
    let ranges = vec![StackRange { start: 0x1000, end: 0x1100 }, StackRange { start: 0x7000, end: 0x7020 }];
    let words = [(0x1008, 0x1020), (0x1010, 0x3000)].map(|(address, value)| StackWord { address, value });
    let two = UserStack { ip: 0x1600, sp: 0x1000, top: 0x7020, ranges, words: words.to_vec(), ..UserStack::default() };
    let two = Sample { user: UserState::Stack(two), tid: 2, ..Sample::default() };
    assert_eq!(new(&mut writer, &two, 2), (vec![0x3000], vec![]));
    writer.start_segment().unwrap();
    assert_eq!(new(&mut writer, &chain, 2), (vec![0x1234, 0x1600], vec![]));
}

/// Kernel chains that share their callers take few bytes each: how many addresses a segment's have is limited, and the writer says when it is too many.
#[test]
fn shared_kernel_chains_are_limited() {
    let mut writer = Writer::create(Vec::new(), &Header::default()).unwrap();
    let mut sample = Sample { kernel_chain: vec![9; 4096], ..Sample::default() };
    let limit = 16 << 20;
    for number in 0..limit / 4096 + 1 {
        assert!(writer.segment_is_readable());
        sample.kernel_chain[0] = number;
        writer.sample(&sample).unwrap();
    }
    assert!(!writer.segment_is_readable() && writer.segment_is_overfull());
    let file = writer.finish(&Totals::default()).unwrap();
    assert!(file.len() < 100_000, "{}", file.len());
    let refused = read(&Recording::open(&file).unwrap()).unwrap_err().to_string();
    assert!(refused.contains("kernel chains of at most 16,777,216 addresses"), "{refused}");
}
