//! The side of the thread that gathers: opens modules, and finds what covers code of theirs.

use std::fs::File;

use profrec_format::{CfiSection, Layout, LoadSegment, MiniDebugInfo, ModuleId, Record, Symbol};
use rustc_hash::{FxHashMap, FxHashSet};

use super::amount::Amount;
use super::covered::Covered;
use super::slices::{Names, Slices};
use super::{Answer, CodeOffset, Request};
use crate::args::Embed;
use crate::cfi::{Cfi, Found};
use crate::elf::{Elf, LOAD};
use crate::giant_frames::{GIANT, GiantFunction};
use crate::hybrid::start_code::is_in_start_code;
use crate::jit::{self, Jit};
use crate::pages::{PagedFile, Pages};
use crate::symbols::{SymbolIndex, mini_debug_info};

/// Bytes of the indices of all modules; that of the largest file takes half of it.
const MOST_INDICES: usize = 128 << 20;

/// The files of the modules, and what is asked of them.
#[derive(Default)]
pub(super) struct Gatherer {
    embed: Embed,
    /// How many modules may be open; of what comes then there is no evidence, and the report says so.
    most_files: usize,
    pages: Pages,
    modules: FxHashMap<ModuleId, Source>,
    amount: Amount,
}

/// A module's file and what was found in it.
struct Source {
    file: File,
    elf: Elf,
    /// What of it goes into the recording.
    embed: Embed,
    layout: Layout,
    cfi: Option<Cfi>,
    symbols: Option<SymbolIndex>,
    /// Functions whose CFI this segment has.
    covered: Covered,
    given: FxHashSet<(CfiSection, u64)>,
    /// Address and size of the symbols that this segment has: aliases of one address may be of several sizes.
    named: FxHashSet<(u64, u64)>,
    /// This segment has its compressed symbol table, or there is none.
    mini_debug_info_given: bool,
}

impl Gatherer {
    /// With no modules yet.
    pub(super) fn new(embed: Embed, most_files: usize) -> Self {
        Self { embed, most_files, ..Self::default() }
    }

    /// What comes of a request.
    pub(super) fn answer(&mut self, request: Request, jit: &mut Jit) -> Answer {
        let mut answer = Answer::default();
        match request {
            Request::Module(id, file) => answer.records = self.module(id, file, self.embed),
            Request::NamedModule(id, file) => answer.records = self.module(id, Some(file), Embed::Symbols),
            Request::Code(offsets) => self.code(offsets, &mut answer),
            Request::StartCode(offsets) => {
                answer.start_code = offsets.into_iter().map(|place| (place, self.is_start_code(place))).collect();
            }
            Request::Jit(request) => {
                answer.looked = matches!(request, jit::Request::Look);
                answer.records = jit.answer(request);
                answer.private_maps = jit.take_private_maps();
            }
            Request::NewSegment => {
                jit.start_segment();
                self.amount.start_segment();
                for source in self.modules.values_mut() {
                    source.covered.clear();
                    source.given.clear();
                    source.named.clear();
                    source.mini_debug_info_given = false;
                }
            }
        }
        answer
    }

    fn module(&mut self, id: ModuleId, file: Option<File>, embed: Embed) -> Vec<Record> {
        let file = file.filter(|_| self.modules.len() < self.most_files);
        if let Some(source) = file.and_then(|file| Source::open(id, file, embed)) {
            self.modules.insert(id, source);
        }
        self.modules.get(&id).map(|source| Record::Layout(source.layout.clone())).into_iter().collect()
    }

    /// Forgets where things are in files, when that takes more than so many bytes: it is found again.
    fn forget_indices(&mut self, most: usize) {
        if self.modules.values().map(Source::bytes).sum::<usize>() > most {
            self.modules.values_mut().for_each(|source| (source.cfi, source.symbols) = (None, None));
        }
    }

    /// Whether code is such that stacks start in; nobody knows of a module that could not be opened.
    fn is_start_code(&mut self, (id, offset): CodeOffset) -> bool {
        let Self { modules, pages, .. } = self;
        let Some(source) = modules.get_mut(&id) else { return false };
        let before = source.bytes();
        let Source { file, elf, cfi, symbols, .. } = source;
        let mut paged = PagedFile { pages, id, file };
        let Some(address) = elf.address_of(offset) else { return false };
        let cfi = cfi.get_or_insert_with(|| Cfi::open(elf, &mut paged));
        let symbols = symbols.get_or_insert_with(|| SymbolIndex::open(elf, &mut paged));
        let is_start_code = is_in_start_code(address, elf, (cfi, symbols), &mut paged);
        if cfi.bytes() + symbols.bytes() > before {
            self.forget_indices(MOST_INDICES);
        }
        is_start_code
    }

    fn code(&mut self, mut offsets: Vec<CodeOffset>, answer: &mut Answer) {
        offsets.retain(|(id, _)| self.modules.get(id).is_some_and(|source| source.embed != Embed::None));
        offsets.sort_unstable();
        for group in offsets.chunk_by(|one, other| one.0 == other.0) {
            let Some((id, source)) = group.first().and_then(|(id, _)| Some((*id, self.modules.get_mut(id)?))) else {
                continue;
            };
            let offsets = group.iter().map(|(_, offset)| *offset);
            let before = source.bytes();
            source.gather(id, offsets, (&mut self.pages, &mut self.amount), answer);
            if source.bytes() > before {
                self.forget_indices(MOST_INDICES);
            }
        }
    }
}

impl Source {
    /// Bytes that its indices take.
    fn bytes(&self) -> usize {
        self.cfi.as_ref().map_or(0, Cfi::bytes) + self.symbols.as_ref().map_or(0, SymbolIndex::bytes)
    }

    fn open(id: ModuleId, file: File, embed: Embed) -> Option<Self> {
        // A file that is not ELF (a JIT's memfd, a Wine DLL) gives no evidence.
        let elf = Elf::open(&file).ok()?;
        let loads = elf.segments.iter().filter(|segment| segment.kind == LOAD);
        let loads = loads.map(|load| LoadSegment {
            offset: load.offset,
            address: load.address,
            file_size: load.file_size,
            executable: load.executable,
        });
        let build_id = elf.build_id(&file);
        // Without either the report cannot prove that a local file is this one, and says so.
        let fingerprint = if build_id.is_empty() { elf.fingerprint(&file).unwrap_or_default() } else { Vec::new() };
        let layout = Layout { module: id, build_id, fingerprint, loads: loads.collect() };
        Some(Self {
            file,
            elf,
            embed,
            layout,
            cfi: None,
            symbols: None,
            covered: Covered::default(),
            given: FxHashSet::default(),
            named: FxHashSet::default(),
            mini_debug_info_given: false,
        })
    }

    fn gather(
        &mut self,
        id: ModuleId,
        offsets: impl Iterator<Item = u64>,
        (pages, amount): (&mut Pages, &mut Amount),
        answer: &mut Answer,
    ) {
        let Self { file, elf, embed, cfi, symbols, covered, given, named, .. } = self;
        let mut paged = PagedFile { pages, id, file };
        let Answer { records, giant_functions, .. } = answer;
        if *embed == Embed::Symbols && !std::mem::replace(&mut self.mini_debug_info_given, true) {
            let bytes = mini_debug_info(elf, &mut paged).filter(|bytes| amount.add_table(bytes.len()));
            records.extend(bytes.map(|bytes| Record::MiniDebugInfo(MiniDebugInfo { module: id, bytes })));
        }
        let cfi = cfi.get_or_insert_with(|| Cfi::open(elf, &mut paged));
        let (mut slices, mut names) = (Slices::default(), Names::default());
        for offset in offsets {
            let Some(address) = elf.address_of(offset).filter(|_| !amount.is_full(id)) else {
                continue;
            };
            // A return address stands after its call: behind a call that does not return, that is the
            // next function. An interrupted instruction may be a function's first.
            for address in [address, address.wrapping_sub(1)] {
                if !covered.contains(address)
                    && let Some(found) = cfi.find(address, elf, &mut paged)
                    && amount.add(id, found.fde.bytes.len() + found.cie.entry.bytes.len())
                {
                    covered.add(found.start..found.end);
                    giant_functions.extend(giant_function(id, &found, elf));
                    slices.put(found, id, given, records);
                }
                if *embed == Embed::Symbols {
                    let index = symbols.get_or_insert_with(|| SymbolIndex::open(elf, &mut paged));
                    let symbol = index.find(address, &mut paged);
                    let symbol = symbol.filter(|symbol| is_new(named, symbol) && amount.add(id, symbol.name.len()));
                    names.put(symbol, id, records);
                }
            }
        }
        slices.finish(records);
        names.finish(id, records);
    }
}

fn giant_function(module: ModuleId, found: &Found, elf: &Elf) -> Option<GiantFunction> {
    let (size, largest) = found.large_frame().filter(|frame| *frame.start() >= GIANT)?.into_inner();
    let (offset, length) = (elf.offset_of(found.start)?, found.end - found.start);
    Some(GiantFunction { module, offset, length, size, pushed: largest - size })
}

/// Whether the segment lacks a symbol: of one address, it has each that was chosen for some code.
fn is_new(named: &mut FxHashSet<(u64, u64)>, symbol: &Symbol) -> bool {
    named.insert((symbol.address, symbol.size))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::evidence::amount::{MOST, MOST_OF_MODULE};

    /// A short and a long symbol of one address are both embedded, each once.
    #[test]
    fn aliases_of_one_address_are_embedded_by_size() {
        let symbol = |size, name: &str| Symbol { address: 0x100, size, name: name.to_owned() };
        let mut named = FxHashSet::default();
        let symbols = [symbol(8, "short"), symbol(32, "long"), symbol(8, "short")];
        assert_eq!(symbols.each_ref().map(|symbol| is_new(&mut named, symbol)), [true, true, false]);
    }

    /// What is remembered of where things are in files is forgotten when it is much, and found again.
    #[test]
    fn indices_are_found_again() {
        let (mut gatherer, mut jit) = (Gatherer::new(Embed::Symbols, 1), Jit::default());
        let mut entry = 0;
        let file = File::open("/proc/self/exe").unwrap();
        if let Ok(elf) = Elf::open(&file) {
            entry = elf.offset_of(elf.entry()).unwrap();
        }
        gatherer.answer(Request::Module(1, Some(file)), &mut jit);
        let mut found = Vec::new();
        for _ in 0..2 {
            found.push(gatherer.answer(Request::Code(vec![(1, entry)]), &mut jit).records);
            gatherer.answer(Request::NewSegment, &mut jit);
            assert!(gatherer.modules[&1].bytes() > 0);
            gatherer.forget_indices(usize::MAX);
            assert!(gatherer.modules[&1].bytes() > 0);
            gatherer.forget_indices(0);
            assert_eq!(gatherer.modules[&1].bytes(), 0);
        }
        assert!(!found[0].is_empty() && found[0] == found[1]);
    }

    /// Where functions are in [`huge_entries`]: addresses and offsets are the same.
    const CODE: u64 = 1 << 32;
    /// The bytes that each has.
    const LENGTH: u64 = 16;

    /// An ELF file with a function for each of so many entries of call frame information, which are nearly as long as they can be.
    fn huge_entries(count: u64) -> File {
        const ENTRY: usize = 60_000;
        let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let halves = |halves: &[u32]| halves.iter().flat_map(|half| half.to_le_bytes()).collect::<Vec<u8>>();
        let mut frames = [&halves(&[12, 0])[..], &[1, 0, 1, 0x78, 16, 0, 0, 0]].concat();
        for function in 0..count {
            let cie_pointer = frames.len() as u32 + 4;
            let mut entry = halves(&[ENTRY as u32 - 4, cie_pointer]);
            entry.extend(words(&[CODE + function * LENGTH, LENGTH]));
            entry.resize(ENTRY, 0);
            frames.extend(entry);
        }
        let names = b"\0.eh_frame\0.shstrtab\0";
        let (frames_at, names_at) = (256, 256 + frames.len() as u64);
        let sections_at = (names_at + names.len() as u64).next_multiple_of(8);
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0".to_vec();
        file.extend(words(&[0, 64, sections_at]));
        file.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 3, 0, 2, 0]);
        // All of it is loaded, and can be executed.
        file.extend([halves(&[LOAD, 5]), words(&[0, 0, 0, 1 << 40, 1 << 40, 4096])].concat());
        file.resize(256, 0);
        file.extend(frames);
        file.extend(names);
        file.resize(sections_at as usize + 64, 0);
        for (name, kind, at, size) in [(1, 1, frames_at, names_at - frames_at), (11, 3, names_at, names.len() as u64)] {
            file.extend([halves(&[name, kind]), words(&[0, 0, at, size, 0, 1, 0])].concat());
        }
        let mut written = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut written, &file).unwrap();
        written
    }

    /// Files whose call frame information is larger than any compiler makes it, of which programs show any number of places: what
    /// comes of it is written in records that a reader takes, a segment has no more of it than memory allows, and the first of them leave
    /// others theirs.
    #[test]
    fn evidence_is_bounded() {
        const FUNCTIONS: u64 = 160;
        const MODULES: u32 = 6;
        let (mut gatherer, mut jit) = (Gatherer::new(Embed::Unwind, MODULES as usize), Jit::default());
        let mut answer = |request| gatherer.answer(request, &mut jit).records;
        let file = huge_entries(FUNCTIONS);
        for module in 0..MODULES {
            let file = file.try_clone().unwrap();
            assert!(matches!(answer(Request::Module(module, Some(file)))[..], [Record::Layout(_)]));
        }
        let places = |module, functions: std::ops::Range<u64>| {
            functions.map(|function| (module, CODE + function * LENGTH + 8)).collect()
        };
        for _segment in 0..2 {
            let mut all = 0;
            for module in 0..MODULES {
                let records = answer(Request::Code(places(module, 0..FUNCTIONS)));
                let mut writer =
                    profrec_format::Writer::create(Vec::new(), &profrec_format::Header::default()).unwrap();
                records.iter().for_each(|record| writer.record(record).unwrap());
                let fdes = records.iter().flat_map(|record| match record {
                    Record::UnwindSlice(slice) => &slice.fdes[..],
                    _ => &[],
                });
                let bytes: usize = fdes.map(|fde| fde.bytes.len()).sum();
                let least = if module < 3 { MOST_OF_MODULE / 2 } else { 0 };
                assert!((least..MOST_OF_MODULE).contains(&bytes), "{module}: {bytes}");
                all += bytes;
                assert!(answer(Request::Code(places(module, FUNCTIONS - 1..FUNCTIONS))).is_empty());
            }
            assert!((MOST / 2..MOST).contains(&all), "{all}");
            answer(Request::NewSegment);
        }
    }
}
