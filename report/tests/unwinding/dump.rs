//! What a debugger has read of a program that it stopped: registers and stack, and the walk of them.

use std::fs;
use std::path::PathBuf;

use object::{Object, ObjectSymbol};
use profrec_format::{Arch, Layout, LoadSegment, StackRange, StackWord, UserStack};
use profrec_report::address_space::{AddressSpace, MappedRange};
use profrec_report::evidence::{Evidence, ModuleEvidence};
use profrec_report::modules::{LocalBinaries, Modules};
use profrec_report::stacks::Verdict;
use profrec_report::unwind::{ProcessView, Unwinder};

/// Where the programs' code is, which is at offset 0 of their files.
const BASE: u64 = 0x40_0000;

/// A file of the fixtures.
pub(crate) fn fixture(path: &str) -> Vec<u8> {
    fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(path)).unwrap()
}

/// A place at which a program was stopped.
pub(crate) struct Stop {
    pub(crate) name: String,
    /// The functions that the debugger found, innermost first, if it was asked.
    pub(crate) frames: String,
    pub(crate) stack: UserStack,
}

/// What the debugger has read. Of it, a recording keeps what points at code or stack, signed or not.
pub(crate) fn stops(path: &str, program: &[u8]) -> Vec<Stop> {
    let text = String::from_utf8(fixture(path)).unwrap();
    let mut stops: Vec<Stop> = Vec::new();
    for line in text.lines() {
        let (what, rest) = line.split_once(' ').unwrap();
        match what {
            "stop" => stops.push(stop(rest)),
            "frames" => stops.last_mut().unwrap().frames = rest.to_owned(),
            _ => {
                let (place, value) = rest.split_once(' ').unwrap();
                keep(&mut stops.last_mut().unwrap().stack, program, (what, place, hexadecimal(value)));
            }
        }
    }
    stops
}

fn stop(line: &str) -> Stop {
    let fields: Vec<&str> = line.split(' ').collect();
    let [ip, sp, top] = [1, 2, 3].map(|field| hexadecimal(fields[field]));
    let ranges = vec![StackRange { start: sp, end: top }];
    let stack = UserStack { ip, sp, top, ranges, ..UserStack::default() };
    Stop { name: fields[0].to_owned(), frames: String::new(), stack }
}

fn keep(stack: &mut UserStack, program: &[u8], (what, place, value): (&str, &str, u64)) {
    let unsigned = value & ((1 << 48) - 1);
    let is_code = (BASE..BASE + program.len() as u64).contains(&unsigned);
    if !is_code && !(stack.sp - 128..=stack.top).contains(&value) {
        return;
    }
    match what {
        "register" => stack.registers.set(place.parse().unwrap(), value),
        _ => stack.words.push(StackWord { address: hexadecimal(place), value }),
    }
}

fn hexadecimal(field: &str) -> u64 {
    u64::from_str_radix(field, 16).unwrap()
}

/// A program's file, as what a module has on this machine; none, if it is empty.
pub(crate) struct Program(pub(crate) Vec<u8>);

impl LocalBinaries for Program {
    fn bytes(&self, _module: &ModuleEvidence) -> Option<&[u8]> {
        (!self.0.is_empty()).then_some(&self.0)
    }
}

/// The functions of a walk by a local file, or by what a module's evidence holds, and by what this program's symbols call them; innermost
/// first, with a mark behind those that were guessed.
pub(crate) fn walk(
    (local, module): (&Program, ModuleEvidence),
    symbols: &[u8],
    (arch, strict): (Arch, bool),
    stack: &UserStack,
) -> (String, Verdict) {
    let length = symbols.len() as u64;
    let load = LoadSegment { offset: 0, address: BASE, file_size: length, executable: true };
    let layout = Some(Layout { loads: vec![load], ..Layout::default() });
    let evidence = Evidence { modules: vec![ModuleEvidence { layout, ..module }], ..Evidence::default() };
    let modules = Modules::new(&evidence, local);
    let mut space = AddressSpace::default();
    space.insert(MappedRange { start: BASE, end: BASE + length, offset: 0, module: 0 });
    let process = ProcessView { pid: 1, thread: 1, space: &space, time: 1 };
    let mut frames = Vec::new();
    let verdict = Unwinder::new(&modules, arch).strict(strict).walk(stack, process, &mut frames);
    let mark = |guessed| if guessed { "?" } else { "" };
    let names = frames.iter().map(|frame| name_of(symbols, frame.address) + mark(frame.guessed));
    (names.collect::<Vec<_>>().join(" "), verdict)
}

fn name_of(program: &[u8], address: u64) -> String {
    let file = object::File::parse(program).unwrap();
    let covers =
        |symbol: &object::Symbol<'_, '_>| symbol.address() <= address && address < symbol.address() + symbol.size();
    file.symbols().find(covers).map_or("?".to_owned(), |symbol| symbol.name().unwrap().to_owned())
}
