//! What a recording itself knows about modules and the kernel, gathered over all its segments.

use profrec_format::{
    CfiEntry, CfiSection, KernelSymbol, Layout, Module, ModuleId, ModuleKind, Record, Recording, Symbol,
};
use rustc_hash::FxHashMap;

/// Everything that the recording says about modules and the kernel. `modules` is indexed by
/// [`ModuleIndex`], which numbers distinct modules, whatever their numbers in the file.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Distinct modules, in the order of their first definition.
    pub modules: Vec<ModuleEvidence>,
    /// Kernel functions, by ascending address, without duplicates.
    pub kernel: Vec<KernelSymbol>,
}

/// A module's place in [`Evidence::modules`].
pub type ModuleIndex = u32;

/// The modules' numbers in the file, and their places in [`Evidence::modules`].
pub type ModuleNumbers = FxHashMap<ModuleId, ModuleIndex>;

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
}

impl Evidence {
    /// Reads the evidence of every segment. A segment that cannot be read contributes nothing: the
    /// recording itself says that it is damaged.
    pub fn gather(recording: &Recording<'_>) -> (Self, ModuleNumbers) {
        let mut gathering = Gathering::default();
        for segment in recording.segments() {
            for record in segment.records().unwrap_or_default() {
                gathering.take(record);
            }
        }
        gathering.finish()
    }
}

/// Evidence while it is being gathered: modules by their numbers in the file.
#[derive(Default)]
struct Gathering {
    modules: Vec<ModuleEvidence>,
    places: FxHashMap<ModuleId, usize>,
    kernel: Vec<KernelSymbol>,
}

impl Gathering {
    fn take(&mut self, record: Record) {
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
                let module = self.module(slice.module);
                module.cies.extend(slice.cies.into_iter().map(|entry| (slice.section, entry)));
                module.fdes.extend(slice.fdes.into_iter().map(|entry| (slice.section, entry)));
            }
            Record::SymbolSlice(slice) => self.module(slice.module).symbols.extend(slice.symbols),
            Record::MiniDebugInfo(info) => {
                let module = self.module(info.module);
                module.mini_debug_info.get_or_insert(info.bytes);
            }
            Record::Image(image) => {
                self.module(image.module).image.get_or_insert(image.bytes);
            }
            Record::KernelSymbols(symbols) => self.kernel.extend(symbols.symbols),
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

    fn finish(mut self) -> (Evidence, ModuleNumbers) {
        let mut evidence = Evidence::default();
        let mut indices = Vec::with_capacity(self.modules.len());
        let mut same: FxHashMap<(ModuleKind, String, Vec<u8>), ModuleIndex> = FxHashMap::default();
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
        self.kernel.sort_by(|a, b| (a.address, &a.name).cmp(&(b.address, &b.name)));
        self.kernel.dedup_by(|a, b| a.address == b.address && a.name == b.name);
        evidence.kernel = self.kernel;
        let numbers = self.places.into_iter().map(|(id, place)| (id, indices[place])).collect();
        (evidence, numbers)
    }
}

impl ModuleEvidence {
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
    }

    fn put_in_order(&mut self) {
        for entries in [&mut self.cies, &mut self.fdes] {
            entries.sort_by_key(place);
            entries.dedup_by_key(|entry| place(entry));
        }
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
    use profrec_format::{KernelSymbols, SymbolSlice, UnwindSlice};

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
