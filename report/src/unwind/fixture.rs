//! A hand-made program for the tests: functions with call frame information, and stacks.

use profrec_format::{Arch, CfiEntry, CfiSection, JitSymbol, PerfMap, StackRange, StackWord, UnwoundStack, UserStack};

use super::{ProcessView, Unwinder, WalkedFrame};
use crate::address_space::{AddressSpace, MappedRange};
use crate::evidence::{Evidence, ModuleEvidence};
use crate::jit::JitGathering;
use crate::modules::{Modules, NoLocalBinaries};
use crate::stacks::{Location, Verdict};

/// Where the program is mapped; module addresses are offsets from here.
pub(super) const BASE: u64 = 0x7000_0000;

/// `def_cfa rsp + 8`, return address at `cfa - 8`: what a call leaves behind.
const AT_ENTRY: [u8; 5] = [0x0c, 7, 8, 0x90, 1];

/// A program of one module.
pub(super) struct Program {
    module: ModuleEvidence,
    jit: JitGathering,
    arch: Arch,
    strict: bool,
}

impl Program {
    pub(super) fn new() -> Self {
        let cies = vec![(CfiSection::EhFrame, cie(0x9000, b"zR\0")), (CfiSection::EhFrame, cie(0x9100, b"zRS\0"))];
        let module = ModuleEvidence { cies, ..ModuleEvidence::default() };
        Self { module, jit: JitGathering::default(), arch: Arch::X86_64, strict: false }
    }

    /// A program for aarch64: the return address is in x30, the canonical frame address at the stack pointer.
    pub(super) fn of_aarch64() -> Self {
        let mut program = Self { arch: Arch::Aarch64, ..Self::new() };
        program.module.cies = vec![(CfiSection::EhFrame, cie_of(0x9000, b"zR\0", 30, &[0x0c, 31, 0]))];
        program
    }

    /// The same program, unwound without guesses.
    pub(super) fn strictly(self) -> Self {
        Self { strict: true, ..self }
    }

    /// The same program, with its whole file at hand.
    pub(super) fn with_file(mut self, bytes: Vec<u8>) -> Self {
        self.module.image = Some(bytes);
        self
    }

    /// The same program, of code made at run time; the function at this place has these names from the first instant on, from the second, and
    /// so on.
    pub(super) fn made_at_run_time(mut self, start: u64, names: &[&str]) -> Self {
        self.module.module.path = "/memfd:jit".into();
        let symbols = (1..).zip(names).map(|(time, name)| {
            let name = (*name).to_owned();
            JitSymbol { time, address: BASE + start, size: 0x100, name }
        });
        self.jit.add(PerfMap { pid: 1, symbols: symbols.collect(), ..PerfMap::default() });
        self
    }

    /// Adds a function of 0x100 bytes with call frame instructions of its own.
    pub(super) fn function(mut self, start: u64, instructions: &[u8]) -> Self {
        self.add(start, 0x9000, instructions);
        self
    }

    /// Adds a signal trampoline.
    pub(super) fn trampoline(mut self, start: u64, instructions: &[u8]) -> Self {
        self.add(start, 0x9100, instructions);
        self
    }

    fn add(&mut self, start: u64, cie: u64, instructions: &[u8]) {
        let address = 0xa000 + start;
        let begin = (start.wrapping_sub(address + 8) as u32).to_le_bytes();
        let mut rest = vec![0xee; 4];
        rest.extend(begin);
        rest.extend(0x100u32.to_le_bytes());
        rest.push(0);
        rest.extend(instructions);
        let entry = CfiEntry { address, cie, bytes: with_length(rest) };
        self.module.fdes.push((CfiSection::EhFrame, entry));
    }

    /// Walks a stack of this program: the frames' module addresses, which of them were guessed, and the verdict.
    pub(super) fn walk(self, stack: &UserStack) -> (Vec<u64>, Vec<bool>, Verdict) {
        self.see(|unwinder, process, frames| unwinder.walk(stack, process, frames))
    }

    /// Walks several stacks of one thread one after the other, each an instant later, with and without what they share.
    pub(super) fn walk_both_ways(self, stacks: &[UserStack]) -> [Vec<(Vec<WalkedFrame>, Verdict)>; 2] {
        let mut both = [Vec::new(), Vec::new()];
        self.see(|unwinder, process, _| {
            let mut whole = Unwinder::new(unwinder.modules, unwinder.arch).without_sharing();
            for (time, stack) in (process.time..).zip(stacks) {
                let process = ProcessView { time, ..process };
                for (unwinder, walks) in [&mut *unwinder, &mut whole].into_iter().zip(&mut both) {
                    let mut frames = Vec::new();
                    let verdict = unwinder.walk(stack, process, &mut frames);
                    walks.push((frames, verdict));
                }
            }
            Verdict::Complete
        });
        both
    }

    /// The same for a chain of addresses in the module.
    pub(super) fn chain(self, addresses: &[u64]) -> (Vec<u64>, Vec<bool>, Verdict) {
        let addresses: Vec<_> = addresses.iter().map(|address| BASE + address).collect();
        self.see(|unwinder, process, frames| unwinder.chain(&addresses, process, frames))
    }

    /// The same for what was unwound before.
    pub(super) fn unwound(self, stack: &UnwoundStack) -> (Vec<u64>, Vec<bool>, Verdict) {
        self.see(|unwinder, process, frames| unwinder.unwound(stack, process, frames))
    }

    fn see(
        self,
        look: impl FnOnce(&mut Unwinder<'_>, ProcessView<'_>, &mut Vec<WalkedFrame>) -> Verdict,
    ) -> (Vec<u64>, Vec<bool>, Verdict) {
        let evidence = Evidence { modules: vec![self.module], jit: self.jit.finish(), ..Evidence::default() };
        let modules = Modules::new(&evidence, &NoLocalBinaries);
        let mut space = AddressSpace::default();
        space.insert(MappedRange { start: BASE, end: BASE + 0x8000, offset: 0, module: 0 });
        let mut frames = Vec::new();
        let process = ProcessView { pid: 1, thread: 1, space: &space, time: 1 };
        let mut unwinder = Unwinder::new(&modules, self.arch).strict(self.strict);
        let verdict = look(&mut unwinder, process, &mut frames);
        let guessed = frames.iter().map(|frame| frame.guessed).collect();
        (frames.iter().map(address_of).collect(), guessed, verdict)
    }
}

fn address_of(frame: &WalkedFrame) -> u64 {
    match frame.location {
        Location::Module { address, .. }
        | Location::Anonymous { address, .. }
        | Location::Process { address, .. }
        | Location::Kernel { address } => address,
        Location::Jit { .. } => 0,
    }
}

/// A CIE with pointers relative to their place, four bytes wide.
fn cie(address: u64, augmentation: &[u8]) -> CfiEntry {
    cie_of(address, augmentation, 16, &AT_ENTRY)
}

fn cie_of(address: u64, augmentation: &[u8], return_address: u8, rules: &[u8]) -> CfiEntry {
    let mut rest = vec![0, 0, 0, 0, 1];
    rest.extend(augmentation);
    rest.extend([1, 0x78, return_address, 1, 0x1b]);
    rest.extend(rules);
    CfiEntry { address, cie: address, bytes: with_length(rest) }
}

fn with_length(mut rest: Vec<u8>) -> Vec<u8> {
    rest.resize(rest.len().next_multiple_of(4), 0);
    let mut bytes = (rest.len() as u32).to_le_bytes().to_vec();
    bytes.extend(rest);
    bytes
}

/// A stack at the given ranges of addresses; the first starts at the stack pointer, the last ends at the top.
pub(super) fn stack(ip: u64, ranges: &[(u64, u64)], words: &[(u64, u64)]) -> UserStack {
    UserStack {
        ip: BASE + ip,
        sp: ranges.first().map_or(0, |range| range.0),
        top: ranges.last().map_or(0, |range| range.1),
        ranges: ranges.iter().map(|&(start, end)| StackRange { start, end }).collect(),
        words: words.iter().map(|&(address, value)| StackWord { address, value }).collect(),
        ..UserStack::default()
    }
}
