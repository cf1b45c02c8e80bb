//! Modules as the unwinder needs them: from an offset in a file to the module's own address, and
//! from that address to its call frame information.
//!
//! ```text
//! process address --mapping--> file offset --PT_LOAD--> module address --FDE--> row
//! ```
//!
//! BOLT-optimised binaries (rustc's libLLVM, many distributors' clang) have two executable loads
//! with different distances between offset and address, so the load is searched for each offset.

use std::sync::OnceLock;

use profrec_format::start_code::is_start_code;
use profrec_format::{Arch, Layout, ModuleKind, Symbol};

use crate::evidence::{Evidence, ModuleEvidence, ModuleIndex};
use crate::jit::{JitCode, JitName};
use crate::unwind::binary::BinaryCfi;
use crate::unwind::calls;
use crate::unwind::cfi::CfiContext;
use crate::unwind::row::Row;
use crate::unwind::slices::SliceCfi;

/// Where local copies of the recorded modules come from.
pub trait LocalBinaries: Sync {
    /// The whole file of a module; only ever one whose identity is that of the module.
    fn bytes(&self, module: &ModuleEvidence) -> Option<&[u8]>;
}

/// No local files at all: the recording has to do by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLocalBinaries;

impl LocalBinaries for NoLocalBinaries {
    fn bytes(&self, _module: &ModuleEvidence) -> Option<&[u8]> {
        None
    }
}

/// Every module of a recording.
pub struct Modules<'a> {
    modules: Vec<ModuleCode<'a>>,
    jit: &'a JitCode,
    local: &'a dyn LocalBinaries,
}

/// One module. Binaries are parsed when an address is first not found in the embedded slices.
struct ModuleCode<'a> {
    evidence: &'a ModuleEvidence,
    slices: SliceCfi<'a>,
    binary: OnceLock<Option<BinaryCfi<'a>>>,
    /// Where functions start that have the name of start code, and the size of the longest at each; by ascending address. Found when
    /// that is first asked.
    start_code: OnceLock<Vec<(u64, u64)>>,
}

impl<'a> Modules<'a> {
    /// Prepares the modules of a recording.
    pub fn new(evidence: &'a Evidence, local: &'a dyn LocalBinaries) -> Self {
        let modules = evidence.modules.iter().map(|evidence| ModuleCode {
            evidence,
            slices: SliceCfi::new(evidence),
            binary: OnceLock::new(),
            start_code: OnceLock::new(),
        });
        Self { modules: modules.collect(), jit: &evidence.jit, local }
    }

    /// The module's own address of the byte at `offset` in its file.
    pub fn address(&self, module: ModuleIndex, offset: u64) -> u64 {
        let layout = self.modules.get(module as usize).and_then(|module| module.evidence.layout.as_ref());
        layout.map_or(offset, |layout| layout_address(layout, offset))
    }

    /// The name of code that a process made at run time.
    pub fn jit_name(&self, pid: u32, address: u64, time: u64) -> Option<JitName> {
        self.jit.find(pid, address, time)
    }

    /// Whether processes fill this module with code of their own making: it has no file, or one of memory alone.
    pub fn is_run_time_code(&self, module: ModuleIndex) -> bool {
        let known = self.modules.get(module as usize).map(|module| &module.evidence.module);
        known.is_none_or(|known| known.kind == ModuleKind::Anonymous || known.path.starts_with("/memfd:"))
    }

    /// Whether places in this module are told by process and address: it has no file.
    pub fn is_anonymous(&self, module: ModuleIndex) -> bool {
        let module = self.modules.get(module as usize);
        module.is_none_or(|module| module.evidence.module.kind == ModuleKind::Anonymous)
    }

    /// The row of call frame information for an address: from the recording's slices, else from
    /// its image, else from a local file.
    pub fn row(&self, module: ModuleIndex, address: u64, context: &mut CfiContext) -> Option<Row> {
        let module = self.modules.get(module as usize)?;
        let row = module.slices.row(address, context);
        row.or_else(|| module.binary(self.local)?.row(address, context))
    }

    /// Whether an address of a module is in code that a stack starts in, as far as names that are at hand tell.
    pub fn is_start_code(&self, module: ModuleIndex, address: u64) -> bool {
        let Some(module) = self.modules.get(module as usize) else { return false };
        module.is_named_start_code(address)
            || module.binary(self.local).is_some_and(|binary| binary.is_start_code(address))
    }

    /// The code of a module from an address on, where it is at hand: of its image, or of a local file.
    pub fn code_at(&self, module: ModuleIndex, address: u64) -> Option<&[u8]> {
        self.modules.get(module as usize)?.binary(self.local)?.code_at(address)
    }

    /// Whether a call stands before an address of a module, if its code is at hand.
    pub fn is_after_call(&self, module: ModuleIndex, address: u64, arch: Arch) -> Option<bool> {
        let binary = self.modules.get(module as usize)?.binary(self.local)?;
        Some(calls::ends_in_call(arch, binary.code_before(address, calls::LONGEST)?))
    }
}

impl<'a> ModuleCode<'a> {
    /// Whether the recording has a name of start code for an address.
    fn is_named_start_code(&self, address: u64) -> bool {
        let symbols = &self.evidence.symbols;
        let after = symbols.partition_point(|symbol| symbol.address <= address);
        let Some(start) = symbols[..after].last().map(|symbol| symbol.address) else { return false };
        let start_code = self.start_code.get_or_init(|| start_code(symbols));
        let place = start_code.binary_search_by_key(&start, |(start, _)| *start);
        place.is_ok_and(|place| address - start < start_code[place].1)
    }

    fn binary(&self, local: &'a dyn LocalBinaries) -> Option<&BinaryCfi<'a>> {
        let parse = || {
            let image = self.evidence.image.as_deref();
            let is_file = self.evidence.module.kind == ModuleKind::File;
            let bytes = image.or_else(|| is_file.then(|| local.bytes(self.evidence)).flatten());
            bytes.and_then(BinaryCfi::parse)
        };
        self.binary.get_or_init(parse).as_ref()
    }
}

/// Where functions start that have the name of start code, and the size of the longest at each. There may be any number of names of
/// one address.
fn start_code(symbols: &[Symbol]) -> Vec<(u64, u64)> {
    let named = symbols.iter().filter(|symbol| is_start_code(&symbol.name));
    let mut starts: Vec<_> = named.map(|symbol| (symbol.address, symbol.size.max(1))).collect();
    starts.dedup_by(|next, kept| {
        let is_alias = next.0 == kept.0;
        kept.1 = if is_alias { kept.1.max(next.1) } else { kept.1 };
        is_alias
    });
    starts
}

/// The address of a file offset. Executable loads come first: the linker lets the pages of two
/// loads overlap in the file, and only code is asked for. An offset just outside of every load is
/// in the page that was mapped with the nearest executable one.
fn layout_address(layout: &Layout, offset: u64) -> u64 {
    let holds = |start: u64, size: u64| offset.checked_sub(start).is_some_and(|inside| inside < size);
    let mut holding = layout.loads.iter().filter(|load| holds(load.offset, load.file_size));
    let load = holding.clone().find(|load| load.executable).or_else(|| holding.next());
    let nearest = || {
        let executable = layout.loads.iter().filter(|load| load.executable);
        executable.min_by_key(|load| distance(offset, load.offset, load.file_size))
    };
    let load = load.or_else(nearest);
    load.map_or(offset, |load| offset.wrapping_sub(load.offset).wrapping_add(load.address))
}

fn distance(offset: u64, start: u64, size: u64) -> u64 {
    if offset < start { start - offset } else { offset.saturating_sub(start.saturating_add(size)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use profrec_format::LoadSegment;

    fn load(offset: u64, address: u64, file_size: u64, executable: bool) -> LoadSegment {
        LoadSegment { offset, address, file_size, executable }
    }

    fn bolted() -> Evidence {
        let loads = vec![
            load(0, 0, 0x1000, false),
            load(0x1000, 0x40_1000, 0x1000, true),
            load(0x8000, 0x90_0000, 0x4000, true),
        ];
        let layout = Some(Layout { loads, ..Layout::default() });
        Evidence { modules: vec![ModuleEvidence { layout, ..ModuleEvidence::default() }], ..Evidence::default() }
    }

    /// Each of two executable loads has its own distance between offset and address.
    #[test]
    fn every_load_has_its_own_bias() {
        let evidence = bolted();
        let modules = Modules::new(&evidence, &NoLocalBinaries);
        assert_eq!(modules.address(0, 0x1010), 0x40_1010);
        assert_eq!(modules.address(0, 0x8010), 0x90_0010);
        assert_eq!(modules.address(0, 0x10), 0x10);
    }

    /// What is mapped beyond the end of a load belongs to the nearest executable one.
    #[test]
    fn an_offset_between_loads_belongs_to_the_nearest() {
        let evidence = bolted();
        let modules = Modules::new(&evidence, &NoLocalBinaries);
        assert_eq!(modules.address(0, 0x2010), 0x40_2010);
        assert_eq!(modules.address(0, 0x7ff0), 0x8f_fff0);
    }

    /// Without program headers the offset itself is the address, also in a module that is not known.
    #[test]
    fn without_layout_the_offset_is_the_address() {
        let evidence = Evidence { modules: vec![ModuleEvidence::default()], ..Evidence::default() };
        let modules = Modules::new(&evidence, &NoLocalBinaries);
        assert_eq!(modules.address(0, 0x77), 0x77);
        assert_eq!(modules.address(5, 0x77), 0x77);
    }

    /// A name of start code holds for its own length, whatever other names its address has; behind the start of another function it does not.
    #[test]
    fn start_code_is_named_by_any_alias() {
        let symbol = |(address, size, name): (u64, u64, &str)| Symbol { address, size, name: name.to_owned() };
        let symbols =
            [(0x100, 0x80, "a"), (0x100, 0x10, "_start"), (0x100, 0x20, "main"), (0x100, 0, "x"), (0x300, 0, "_start")];
        let symbols = symbols.into_iter().chain([(0x108, 1, "other")]).map(symbol);
        let evidence = named(symbols.collect());
        let modules = Modules::new(&evidence, &NoLocalBinaries);
        let asked = [0xff, 0x100, 0x107, 0x108, 0x10f, 0x110, 0x300, 0x301];
        let expected = [false, true, true, false, false, false, true, false];
        assert_eq!(asked.map(|address| modules.is_start_code(0, address)), expected);
    }

    /// A recording may have any number of names for one address: they are looked at once, not for each stack that ends there.
    #[test]
    fn very_many_aliases_are_looked_at_once() {
        let alias = |number| Symbol { address: 0x100, size: 8, name: format!("alias {number}") };
        let evidence = named((0..200_000).map(alias).collect());
        let modules = Modules::new(&evidence, &NoLocalBinaries);
        assert!((0..200_000).all(|_| !modules.is_start_code(0, 0x104)));
    }

    fn named(mut symbols: Vec<Symbol>) -> Evidence {
        symbols.sort_by(|a, b| (a.address, &a.name).cmp(&(b.address, &b.name)));
        Evidence { modules: vec![ModuleEvidence { symbols, ..ModuleEvidence::default() }], ..Evidence::default() }
    }
}
