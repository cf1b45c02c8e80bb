//! Arbitrary call frame information and arbitrary stacks of one thread: the walk ends, with at most as many frames as the
//! stack has pointers, and what the stacks share makes no difference.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use profrec_format::{Arch, CfiEntry, CfiSection, Registers, StackRange, StackWord, UserStack};
use profrec_report::address_space::{AddressSpace, MappedRange};
use profrec_report::evidence::{Evidence, ModuleEvidence};
use profrec_report::modules::{Modules, NoLocalBinaries};
use profrec_report::unwind::{ProcessView, Unwinder};

const BASE: u64 = 0x7000_0000;
const STACK: u64 = 0x7fff_0000;
/// Frames that a walk may find beyond one for each word of the stack, at both of its ends.
const SPARE: usize = 16;

#[derive(Arbitrary, Debug)]
struct Input {
    aarch64: bool,
    debug_frame: bool,
    cie_head: Option<Vec<u8>>,
    rules: Vec<u8>,
    functions: Vec<(u8, Vec<u8>)>,
    ip: u8,
    registers: Vec<(u8, u16)>,
    top: u16,
    gap: Option<(u16, u16)>,
    words: Vec<(u8, bool, u16)>,
    /// How the next sample of the thread differs: instruction pointer, stack pointer, a word and its value.
    next: Vec<(u8, u8, u8, bool, u16)>,
    strict: bool,
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(input) = Input::arbitrary(&mut Unstructured::new(bytes)) else { return };
    let form = if input.debug_frame { CfiSection::DebugFrame } else { CfiSection::EhFrame };
    let cies = vec![(form, cie(&input, form))];
    let fdes = input.functions.iter().map(|(start, rules)| (form, fde(*start, rules, form))).collect();
    let evidence =
        Evidence { modules: vec![ModuleEvidence { cies, fdes, ..Default::default() }], ..Default::default() };
    let modules = Modules::new(&evidence, &NoLocalBinaries);
    let mut space = AddressSpace::default();
    space.insert(MappedRange { start: BASE, end: BASE + 0x1000, offset: 0, module: 0 });
    let mut stack = stack(&input);
    let arch = if input.aarch64 { Arch::Aarch64 } else { Arch::X86_64 };
    let process = ProcessView { pid: 1, thread: 1, space: &space, time: 1 };
    let mut sharing = Unwinder::new(&modules, arch).strict(input.strict);
    let mut whole = Unwinder::new(&modules, arch).strict(input.strict).without_sharing();
    let mut walk = |stack: &UserStack| {
        let (mut frames, mut expected) = (Vec::new(), Vec::new());
        let verdict = sharing.walk(stack, process, &mut frames);
        assert_eq!(verdict, whole.walk(stack, process, &mut expected));
        assert_eq!(frames, expected);
        assert!(!frames.is_empty());
        assert!(frames.len() <= 5 * stack.words.len() + SPARE);
    };
    walk(&stack);
    for change in input.next.iter().take(8) {
        go_on(&mut stack, *change);
        walk(&stack);
    }
});

/// The thread's stack at its next sample.
fn go_on(stack: &mut UserStack, (ip, sp, place, code, value): (u8, u8, u8, bool, u16)) {
    stack.ip = BASE + u64::from(ip) * 16;
    stack.sp = STACK + u64::from(sp) * 8;
    if let Some(first) = stack.ranges.first_mut() {
        first.start = stack.sp.min(first.end);
    }
    let count = stack.words.len().max(1);
    if let Some(word) = stack.words.get_mut(usize::from(place) % count) {
        word.value = pointer(code, value);
    }
}

fn pointer(code: bool, value: u16) -> u64 {
    if code { BASE + u64::from(value) % 0x1100 } else { STACK + u64::from(value) * 8 }
}

/// A CIE with pointers relative to their place, four bytes wide, unless the fuzzer has a better idea.
fn cie(input: &Input, form: CfiSection) -> CfiEntry {
    let (id, plain) = match form {
        CfiSection::EhFrame => ([0; 4], vec![1, b'z', b'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1]),
        CfiSection::DebugFrame => ([0xff; 4], vec![1, 0, 1, 0x78, 16, 0x0c, 7, 8, 0x90, 1]),
    };
    let mut rest = id.to_vec();
    rest.extend(input.cie_head.as_deref().unwrap_or(&plain));
    rest.extend(&input.rules);
    CfiEntry { address: 0x9000, cie: 0x9000, bytes: with_length(rest) }
}

fn fde(start: u8, rules: &[u8], form: CfiSection) -> CfiEntry {
    let start = u64::from(start) * 16;
    let address = 0xa000 + start;
    let mut rest = vec![0xee; 4];
    match form {
        CfiSection::EhFrame => {
            rest.extend((start.wrapping_sub(address + 8) as u32).to_le_bytes());
            rest.extend(0x100_u32.to_le_bytes());
            rest.push(0);
        }
        CfiSection::DebugFrame => {
            rest.extend(start.to_le_bytes());
            rest.extend(0x100_u64.to_le_bytes());
        }
    }
    rest.extend(rules);
    CfiEntry { address, cie: 0x9000, bytes: with_length(rest) }
}

fn with_length(mut rest: Vec<u8>) -> Vec<u8> {
    rest.resize(rest.len().next_multiple_of(4), 0);
    let mut bytes = (rest.len() as u32).to_le_bytes().to_vec();
    bytes.extend(rest);
    bytes
}

fn stack(input: &Input) -> UserStack {
    let mut registers = Registers::default();
    for (number, value) in &input.registers {
        registers.set(usize::from(*number), STACK + u64::from(*value) * 8);
    }
    let top = STACK + u64::from(input.top) * 8;
    let whole = StackRange { start: STACK, end: top };
    let ranges = match input.gap {
        None => vec![whole],
        Some((from, to)) => {
            let (from, to) = (STACK + u64::from(from) * 8, STACK + u64::from(to) * 8);
            vec![StackRange { end: from, ..whole }, StackRange { start: to, ..whole }]
        }
    };
    let mut address = STACK;
    let words = input.words.iter().map(|(gap, code, value)| {
        address += 8 * (1 + u64::from(*gap));
        StackWord { address: address - 8, value: pointer(*code, *value) }
    });
    UserStack { ip: BASE + u64::from(input.ip) * 16, sp: STACK, registers, top, ranges, words: words.collect() }
}
