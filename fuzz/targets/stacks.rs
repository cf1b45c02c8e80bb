//! Whatever samples are written, the same come back.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use profrec_format::{
    Header, Recording, Registers, Sample, StackRange, StackWord, Totals, UnwoundFrame, UnwoundStack, UserStack,
    UserState, Writer,
};

/// A sample in the words of the fuzzer. Small numbers make addresses that meet again.
#[derive(Arbitrary, Debug)]
struct Shot {
    time: u16,
    thread: u8,
    cpu: u8,
    kernel: Vec<u8>,
    user: User,
    flush: bool,
    new_segment: bool,
    /// Ticks that it stands for, beyond one.
    more: Option<u16>,
}

#[derive(Arbitrary, Debug)]
enum User {
    None,
    Chain(Vec<u8>),
    Unwound { frames: Vec<(u8, bool)>, verdict: u8 },
    Stack {
        ip: u8,
        sp: u8,
        top: Option<u64>,
        registers: Vec<(u8, u64)>,
        ranges: Option<Vec<(u64, u64)>>,
        words: Vec<(u8, Value)>,
    },
}

#[derive(Arbitrary, Debug)]
enum Value {
    Code(u8),
    Stack(u8),
    Any(u64),
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Unstructured::new(bytes);
    let Ok(mut writer) = Writer::create(Vec::new(), &Header::default()) else { return };
    let mut samples = Vec::new();
    while !input.is_empty() {
        let Ok(shot) = Shot::arbitrary(&mut input) else { break };
        let (flush, new_segment) = (shot.flush, shot.new_segment);
        samples.push(sample(shot));
        writer.sample(&samples[samples.len() - 1]).expect("memory takes everything");
        if flush {
            writer.flush().expect("memory takes everything");
        }
        if new_segment {
            writer.start_segment().expect("memory takes everything");
        }
    }
    let file = writer.finish(&Totals::default()).expect("memory takes everything");
    let recording = Recording::open(&file).expect("what was written is a recording");
    assert!(recording.damage().is_empty());
    let mut expected = samples.iter();
    profrec_fuzz::read(&recording, |sample| assert_eq!(Some(sample), expected.next())).expect("it can be read");
    assert_eq!(expected.next(), None);
});

fn sample(shot: Shot) -> Sample {
    let code = |number: u8| 0x40_0000 + u64::from(number);
    let stack = |number: u8| 0x7000 + 8 * u64::from(number);
    let user = match shot.user {
        User::None => UserState::None,
        User::Chain(chain) => UserState::Chain(chain.into_iter().map(code).collect()),
        User::Unwound { frames, verdict } => UserState::Unwound(UnwoundStack {
            frames: frames.into_iter().map(|(number, guessed)| UnwoundFrame { address: code(number), guessed }).collect(),
            verdict: u32::from(verdict).into(),
        }),
        User::Stack { ip, sp, top, registers: values, ranges, mut words } => {
            let mut registers = Registers::default();
            values.into_iter().for_each(|(number, value)| registers.set(usize::from(number), value));
            let (sp, top) = (stack(sp), top.unwrap_or(0x7800));
            let ranges = ranges.unwrap_or_else(|| vec![(sp, top)]).into_iter().take(64);
            words.sort_by_key(|(slot, _)| *slot);
            let words = words.into_iter().map(|(slot, value)| StackWord {
                address: stack(slot),
                value: match value {
                    Value::Code(number) => code(number),
                    Value::Stack(number) => stack(number),
                    Value::Any(value) => value,
                },
            });
            UserState::Stack(UserStack {
                ip: code(ip),
                sp,
                registers,
                top,
                ranges: ranges.map(|(start, end)| StackRange { start, end }).collect(),
                words: words.collect(),
            })
        }
    };
    Sample {
        // A recording keeps times in steps of 1,024 ns.
        time: u64::from(shot.time) * 1024,
        pid: u32::from(shot.thread / 4),
        tid: shot.thread.into(),
        cpu: shot.cpu.into(),
        kernel_chain: shot.kernel.into_iter().map(|number| u64::MAX - u64::from(number)).collect(),
        user,
        weight: 1 + u32::from(shot.more.unwrap_or(0)),
    }
}
