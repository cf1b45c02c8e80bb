//! What a recording itself knows about modules and the kernel, gathered over all its segments.

use foldhash::HashMap;
use profrec_format::{
    CfiEntry, CfiSection, KernelSymbol, Layout, LoadSegment, Module, ModuleId, ModuleKind, Record, Recording, Symbol,
    UnwindSlice,
};

use crate::jit::{JitCode, JitGathering};
use crate::pace::PaceLog;

/// Everything that the recording says about modules, the kernel and its own making. `modules` is indexed by
/// [`ModuleIndex`], which numbers distinct modules, whatever their numbers in the file.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Distinct modules, in the order of their first definition.
    pub modules: Vec<ModuleEvidence>,
    /// Kernel functions, by ascending address, without duplicates.
    pub kernel: Vec<KernelSymbol>,
    /// Code that processes made at run time.
    pub jit: JitCode,
    /// There was more than is kept (1 GiB), and the rest was left out.
    pub is_cut: bool,
    /// When and why the recorder slowed down.
    pub pace: PaceLog,
    /// Stacks that are in it as they were in memory.
    pub raw_stacks: u64,
}

/// Bytes of evidence that are kept of all segments together.
const ROOM: usize = 1 << 30;
/// Bytes that come together before what several segments have said alike is thrown away.
const SLACK: usize = 64 << 20;
/// What each piece of evidence takes besides its own bytes, and what a module takes.
const PIECE: usize = 64;
const MODULE: usize = 1024;
/// No compiler makes larger entries of call frame information (the recorder leaves them out, too).
const MAX_CIE: usize = 4 << 10;
const MAX_FDE: usize = 65 << 10;

/// A module's place in [`Evidence::modules`].
pub type ModuleIndex = u32;

/// The modules' numbers in the file, and their places in [`Evidence::modules`].
pub type ModuleNumbers = HashMap<ModuleId, ModuleIndex>;

/// What the recording knows about one module.
#[derive(Debug, Default)]
pub struct ModuleEvidence {
    /// Path, kind and build-id.
    pub module: Module,
    /// Program headers, if the recorder could read them.
    pub layout: Option<Layout>,
    /// Embedded CIEs and FDEs, as they stand in the file; sorted by place, without duplicates.
    pub cies: Vec<(CfiSection, CfiEntry)>,
    /// See `cies`.
    pub fdes: Vec<(CfiSection, CfiEntry)>,
    /// Embedded symbols by ascending address, without duplicates.
    pub symbols: Vec<Symbol>,
    /// The compressed symbol table of a stripped module, as it stands in its section `.gnu_debugdata`.
    pub mini_debug_info: Option<Vec<u8>>,
    /// The whole image (vDSO).
    pub image: Option<Vec<u8>>,
    /// Where functions begin and end, of a module without CIEs and FDEs; sorted, without duplicates.
    pub extents: Vec<(u64, u64)>,
}

impl Evidence {
    /// Reads the evidence of every segment. A segment that cannot be read contributes nothing: the
    /// recording itself says that it is damaged.
    pub fn gather(recording: &Recording<'_>) -> (Self, ModuleNumbers) {
        let (mut gathering, mut pace) = (Gathering::default(), PaceLog::default());
        let mut raw_stacks = 0;
        for segment in recording.segments() {
            let Ok(records) = segment.records() else { continue };
            pace.add_segment(segment.first_time(), &records);
            for record in records {
                raw_stacks += u64::from(matches!(record, Record::RawStack(_)));
                gathering.take(record);
            }
        }
        let (evidence, numbers) = gathering.finish();
        (Self { pace, raw_stacks, ..evidence }, numbers)
    }
}

/// Evidence while it is being gathered: modules by their numbers in the file.
#[derive(Default)]
struct Gathering {
    modules: Vec<ModuleEvidence>,
    places: HashMap<ModuleId, usize>,
    kernel: Vec<KernelSymbol>,
    jit: JitGathering,
    /// Bytes that all of it takes.
    size: usize,
    /// Bytes that it took when it was last tidied up.
    tidy_size: usize,
    is_cut: bool,
}

impl Gathering {
    fn take(&mut self, record: Record) {
        let size = size_of_record(&record);
        if size == 0 || self.is_cut {
            return;
        }
        if self.size + size > ROOM.min(2 * self.tidy_size + SLACK) {
            self.tidy_up();
        }
        if self.size + size > ROOM {
            self.is_cut = true;
            return;
        }
        self.size += size;
        match record {
            Record::Module(module) => {
                let known = &mut self.module(module.id).module;
                if known.path.is_empty() || known.build_id.is_empty() {
                    *known = module;
                }
            }
            Record::Layout(layout) => {
                self.module(layout.module).layout.get_or_insert(layout);
            }
            Record::UnwindSlice(slice) => {
                self.module(slice.module).add_slice(slice);
            }
            Record::SymbolSlice(slice) => self.module(slice.module).symbols.extend(slice.symbols),
            Record::MiniDebugInfo(info) => {
                let module = self.module(info.module);
                module.mini_debug_info.get_or_insert(info.bytes);
            }
            Record::Image(image) => {
                self.module(image.module).image.get_or_insert(image.bytes);
            }
            Record::FunctionExtents(extents) => self.module(extents.module).extents.extend(extents.ranges),
            Record::KernelSymbols(symbols) => self.kernel.extend(symbols.symbols),
            Record::PerfMap(map) => self.is_cut |= !self.jit.add(map),
            _ => {}
        }
    }

    /// The module with this number; the first mention makes it.
    fn module(&mut self, id: ModuleId) -> &mut ModuleEvidence {
        let place = *self.places.entry(id).or_insert_with(|| {
            self.modules.push(ModuleEvidence::default());
            self.modules.len() - 1
        });
        &mut self.modules[place]
    }

    /// Throws away what was said several times.
    fn tidy_up(&mut self) {
        self.modules.iter_mut().for_each(ModuleEvidence::put_in_order);
        put_kernel_in_order(&mut self.kernel);
        let kernel = self.kernel.iter().map(|symbol| PIECE + symbol.name.len() + symbol.module.len());
        self.size = self.modules.iter().map(ModuleEvidence::size).chain(kernel).sum();
        self.tidy_size = self.size;
    }

    fn finish(mut self) -> (Evidence, ModuleNumbers) {
        let mut evidence = Evidence { is_cut: self.is_cut, ..Evidence::default() };
        let mut indices = Vec::with_capacity(self.modules.len());
        let mut same: HashMap<(ModuleKind, String, Vec<u8>), ModuleIndex> = HashMap::default();
        for mut module in self.modules {
            module.adopt_build_id();
            let next = evidence.modules.len() as ModuleIndex;
            let index = if module.is_identified() {
                let key = (module.module.kind, module.module.path.clone(), module.identity().to_vec());
                *same.entry(key).or_insert(next)
            } else {
                next
            };
            indices.push(index);
            match evidence.modules.get_mut(index as usize) {
                Some(known) => known.absorb(module),
                None => evidence.modules.push(module),
            }
        }
        evidence.modules.iter_mut().for_each(ModuleEvidence::put_in_order);
        put_kernel_in_order(&mut self.kernel);
        evidence.kernel = self.kernel;
        evidence.jit = self.jit.finish();
        let numbers = self.places.into_iter().map(|(id, place)| (id, indices[place])).collect();
        (evidence, numbers)
    }
}

/// What a record adds to the evidence, in bytes; 0 for what is no evidence.
fn size_of_record(record: &Record) -> usize {
    match record {
        Record::Module(_) => MODULE,
        Record::Layout(layout) => MODULE + layout.loads.len() * size_of::<LoadSegment>(),
        Record::UnwindSlice(slice) => size_of_entries(slice.cies.iter().chain(&slice.fdes)),
        Record::SymbolSlice(slice) => size_of_symbols(&slice.symbols),
        Record::MiniDebugInfo(info) => MODULE + info.bytes.len(),
        Record::Image(image) => MODULE + image.bytes.len(),
        Record::FunctionExtents(extents) => size_of_val(&extents.ranges[..]),
        Record::KernelSymbols(symbols) => {
            symbols.symbols.iter().map(|symbol| PIECE + symbol.name.len() + symbol.module.len()).sum()
        }
        // Kept once however often it is said, and bounded by itself.
        Record::PerfMap(map) => PIECE + map.trouble.len(),
        _ => 0,
    }
}

fn size_of_entries<'a>(entries: impl Iterator<Item = &'a CfiEntry>) -> usize {
    entries.map(|entry| PIECE + entry.bytes.len()).sum()
}

fn size_of_symbols(symbols: &[Symbol]) -> usize {
    symbols.iter().map(|symbol| PIECE + symbol.name.len()).sum()
}

fn put_kernel_in_order(symbols: &mut Vec<KernelSymbol>) {
    symbols.sort_by(|a, b| (a.address, &a.name).cmp(&(b.address, &b.name)));
    symbols.dedup_by(|a, b| a.address == b.address && a.name == b.name);
}

impl ModuleEvidence {
    /// Adds call frame information.
    pub fn add_slice(&mut self, slice: UnwindSlice) {
        let UnwindSlice { section, cies, fdes, .. } = slice;
        let no_longer_than = |limit| move |entry: &CfiEntry| entry.bytes.len() <= limit;
        self.cies.extend(cies.into_iter().filter(no_longer_than(MAX_CIE)).map(|entry| (section, entry)));
        self.fdes.extend(fdes.into_iter().filter(no_longer_than(MAX_FDE)).map(|entry| (section, entry)));
    }

    /// How much memory it takes, in bytes.
    fn size(&self) -> usize {
        let bytes = [&self.mini_debug_info, &self.image].into_iter().flatten().map(Vec::len).sum::<usize>();
        let loads = self.layout.iter().map(|layout| layout.loads.len() * size_of::<LoadSegment>()).sum::<usize>();
        let entries = size_of_entries(self.cies.iter().chain(&self.fdes).map(|(_, entry)| entry));
        MODULE + bytes + loads + entries + size_of_symbols(&self.symbols) + size_of_val(&self.extents[..])
    }

    /// The kernel's build-id and the one in the file are the same thing; either may be missing.
    fn adopt_build_id(&mut self) {
        if let (true, Some(layout)) = (self.module.build_id.is_empty(), &self.layout) {
            self.module.build_id.clone_from(&layout.build_id);
        }
    }

    /// What proves that a file is this module: its build-id, or the fingerprint of a file that has
    /// none. Empty when the recorder could read neither.
    pub fn identity(&self) -> &[u8] {
        match &self.layout {
            Some(layout) if self.module.build_id.is_empty() => &layout.fingerprint,
            _ => &self.module.build_id,
        }
    }

    /// Whether path and identity say for certain which module this is: two files without either
    /// may differ although they have had the same path.
    fn is_identified(&self) -> bool {
        !self.identity().is_empty() || self.module.kind != ModuleKind::File
    }

    fn absorb(&mut self, other: Self) {
        self.layout = self.layout.take().or(other.layout);
        self.image = self.image.take().or(other.image);
        self.mini_debug_info = self.mini_debug_info.take().or(other.mini_debug_info);
        self.cies.extend(other.cies);
        self.fdes.extend(other.fdes);
        self.symbols.extend(other.symbols);
        self.extents.extend(other.extents);
    }

    fn put_in_order(&mut self) {
        for entries in [&mut self.cies, &mut self.fdes] {
            entries.sort_by_key(place);
            entries.dedup_by_key(|entry| place(entry));
        }
        self.extents.sort_unstable();
        self.extents.dedup();
        self.symbols.sort_by(|a, b| (a.address, &a.name).cmp(&(b.address, &b.name)));
        self.symbols.dedup_by(|a, b| a.address == b.address && a.name == b.name);
    }
}

/// Where an entry stood: the section's kind and the address.
fn place(entry: &(CfiSection, CfiEntry)) -> (bool, u64) {
    (entry.0 == CfiSection::DebugFrame, entry.1.address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use profrec_format::{KernelSymbols, SymbolSlice};

    fn module(id: ModuleId, path: &str, build_id: &[u8]) -> Record {
        Record::Module(Module { id, kind: ModuleKind::File, path: path.into(), build_id: build_id.into() })
    }

    fn gather(records: Vec<Record>) -> (Evidence, ModuleNumbers) {
        let mut gathering = Gathering::default();
        records.into_iter().for_each(|record| gathering.take(record));
        gathering.finish()
    }

    fn entry(address: u64) -> CfiEntry {
        CfiEntry { address, cie: 0, bytes: vec![1] }
    }

    fn slice(module: ModuleId, addresses: &[u64]) -> Record {
        let fdes = addresses.iter().map(|&address| entry(address)).collect();
        Record::UnwindSlice(UnwindSlice { module, fdes, ..UnwindSlice::default() })
    }

    /// What several segments say about one module comes together, in order and once.
    #[test]
    fn segments_come_together() {
        let records = vec![module(4, "/a", b"1"), slice(4, &[9, 3]), module(4, "/a", b"1"), slice(4, &[3, 5])];
        let (evidence, numbers) = gather(records);
        assert_eq!(numbers[&4], 0);
        let addresses: Vec<_> = evidence.modules[0].fdes.iter().map(|(_, fde)| fde.address).collect();
        assert_eq!(addresses, [3, 5, 9]);
    }

    /// Two numbers for the same path and build-id are one module; without a build-id they are two.
    #[test]
    fn equal_modules_are_one() {
        let records = vec![module(1, "/a", b"x"), module(2, "/a", b"x"), module(3, "/b", b""), module(4, "/b", b"")];
        let (evidence, numbers) = gather(records);
        assert_eq!(evidence.modules.len(), 3);
        assert_eq!([numbers[&1], numbers[&2], numbers[&3], numbers[&4]], [0, 0, 1, 2]);
    }

    /// A build-id that the kernel did not report is taken from the file's own notes.
    #[test]
    fn build_id_comes_from_the_layout() {
        let layout = Layout { module: 1, build_id: b"id".to_vec(), ..Layout::default() };
        let (evidence, _) = gather(vec![module(1, "/a", b""), Record::Layout(layout)]);
        assert_eq!(evidence.modules[0].module.build_id, b"id");
    }

    /// The same evidence in each of many segments is kept once, also before all has been read; evidence without end is cut.
    #[test]
    fn evidence_is_bounded() {
        let image = |module| Record::Image(profrec_format::Image { module, bytes: vec![0; 15 << 20] });
        let mut gathering = Gathering::default();
        for _ in 0..100 {
            gathering.take(image(1));
        }
        assert!(gathering.size <= 2 * (MODULE + (15 << 20)) + SLACK && !gathering.is_cut);
        (2..).take(80).for_each(|module| gathering.take(image(module)));
        let (evidence, _) = gathering.finish();
        assert!(evidence.is_cut);
        assert!(evidence.modules.iter().map(ModuleEvidence::size).sum::<usize>() <= ROOM);
    }

    /// Entries of call frame information that no compiler makes are not kept: each would be read for each address.
    #[test]
    fn huge_entries_are_left_out() {
        let huge = CfiEntry { bytes: vec![0; 1 << 20], ..entry(8) };
        let slice =
            UnwindSlice { cies: vec![huge.clone(), entry(1)], fdes: vec![huge, entry(2)], ..UnwindSlice::default() };
        let (evidence, _) = gather(vec![Record::UnwindSlice(slice)]);
        assert_eq!((evidence.modules[0].cies.len(), evidence.modules[0].fdes.len()), (1, 1));
    }

    /// Symbols of user modules and of the kernel are sorted and without duplicates.
    #[test]
    fn symbols_are_in_order() {
        let symbol = |address, name: &str| Symbol { address, size: 1, name: name.into() };
        let kernel = |address| KernelSymbol { address, name: "k".into(), ..KernelSymbol::default() };
        let symbols = vec![symbol(2, "b"), symbol(1, "a"), symbol(2, "b")];
        let records = vec![
            Record::SymbolSlice(SymbolSlice { module: 1, symbols }),
            Record::KernelSymbols(KernelSymbols { symbols: vec![kernel(5), kernel(4), kernel(5)] }),
        ];
        let (evidence, _) = gather(records);
        assert_eq!(evidence.modules[0].symbols, [symbol(1, "a"), symbol(2, "b")]);
        assert_eq!(evidence.kernel, [kernel(4), kernel(5)]);
    }
}
