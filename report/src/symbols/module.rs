//! Names the addresses of one module from whatever is known of it: local files first, then what
//! the recording carries.

use std::path::Path;
use std::sync::Arc;

use foldhash::HashMap;
use profrec_format::{ModuleKind, Symbol};

use super::cache::Remembered;
use super::dwarf::{self, DebugFiles, DwarfFrame};
use super::extents::Extents;
use super::go::GoTable;
use super::plt;
use super::readable;
use super::table::{self, Found, SymbolTable};
use super::{Reason, Wanted};
use crate::evidence::ModuleEvidence;
use crate::local_files::{MappedFile, ModuleFiles, Outcome};
use crate::progress;

/// What names of a module come from, the richest source first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// DWARF of a local file: functions, inlined functions, files and lines.
    DebugInfo,
    /// The table of Go's run time in a local file: functions, files and lines.
    GoTable,
    /// Symbol tables of a local file: functions.
    SymbolTable,
    /// Symbols that the recording carries.
    Embedded,
    /// Nothing.
    None,
}

impl Source {
    /// A stable name, used in JSON and on the terminal.
    pub fn name(self) -> &'static str {
        match self {
            Self::DebugInfo => "debug_info",
            Self::GoTable => "go_table",
            Self::SymbolTable => "symbol_table",
            Self::Embedded => "embedded",
            Self::None => "none",
        }
    }
}

/// A frame with its name, not yet counted once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawFrame {
    pub(super) name: Arc<str>,
    pub(super) file: Option<Arc<str>>,
    pub(super) line: Option<u32>,
    pub(super) inlined: bool,
}

/// A location without a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unnamed {
    /// Why it has none.
    pub(super) reason: Reason,
    /// Where its function begins, if that is known, else the location itself.
    pub(super) start: u64,
}

/// The names of a module's addresses.
#[derive(Debug)]
pub(super) struct ModuleNames {
    /// For each address asked for: frames, innermost first, or why there are none.
    pub(super) addresses: Vec<Result<Vec<RawFrame>, Unnamed>>,
    /// Where names come from.
    pub(super) source: Source,
    /// Why they do not come from a richer source.
    pub(super) why: String,
}

/// Names `addresses` of one module.
pub(super) fn name_addresses(
    evidence: &ModuleEvidence,
    files: &ModuleFiles,
    addresses: &[u64],
    how: &Wanted,
) -> ModuleNames {
    let images = parse_files(evidence, files);
    let mini = images.iter().find_map(table::mini_debug_info);
    let exported_only = evidence.image.is_none() && files.symbols().is_none() && mini.is_none();
    let mini = mini.as_deref().and_then(|image| object::File::parse(image).ok());
    let stubs: Vec<Symbol> = images.iter().flat_map(plt::stubs).collect();
    let mut table = SymbolTable::default();
    images.iter().chain(&mini).for_each(|file| table.add_file(file));
    let local = !table.is_empty();
    table.add_embedded(&stubs);
    // The recorded machine's copy may have had symbols that were stripped from the local one.
    table.add_embedded(&evidence.symbols);
    let embedded_mini = evidence.mini_debug_info.as_deref().and_then(table::decompress);
    let embedded_mini = embedded_mini.as_deref().and_then(|image| object::File::parse(image).ok());
    embedded_mini.iter().for_each(|file| table.add_file(file));
    table.finish();

    let mut known = Remembered::open(evidence, files, how);
    let trouble = learn_debug_info(files, &table, addresses, how, &mut known);
    let go = images.iter().find_map(GoTable::of);
    let source = match (local, table.is_empty()) {
        _ if files.debug_info().is_some() => Source::DebugInfo,
        _ if go.is_some() => Source::GoTable,
        (true, _) => Source::SymbolTable,
        (false, false) => Source::Embedded,
        (false, true) => Source::None,
    };
    let reason = match source {
        Source::None => why_nothing(evidence, files),
        Source::SymbolTable if exported_only => Reason::Stripped,
        _ => Reason::NotCovered,
    };
    let stripped = (reason == Reason::Stripped).then(|| reason.explain().to_owned());
    let mut outermost = Outermost::of(&table);
    let frames = addresses.iter().map(|&address| {
        let dwarf = known.frames().get(address).filter(|frames| !frames.is_empty());
        let of_go = if dwarf.is_none() { go.as_ref().and_then(|go| go.at(address)) } else { None };
        merge(dwarf.unwrap_or(of_go.as_slice()), &mut outermost, address)
    });
    let mut frames: Vec<Vec<RawFrame>> = frames.collect();
    readable::make(&mut frames, how, &mut known);
    known.keep();
    let addresses = or_unnamed(frames, addresses, evidence, files, reason);
    ModuleNames { addresses, source, why: explain(source, evidence, files, trouble.or(stripped)) }
}

/// Gives each address without frames the reason and the start of its function.
fn or_unnamed(
    frames: Vec<Vec<RawFrame>>,
    addresses: &[u64],
    evidence: &ModuleEvidence,
    files: &ModuleFiles,
    reason: Reason,
) -> Vec<Result<Vec<RawFrame>, Unnamed>> {
    let missing = frames.iter().zip(addresses).filter(|(frames, _)| frames.is_empty());
    let missing: Vec<u64> = missing.map(|(_, address)| *address).collect();
    let extents = match missing.is_empty() {
        true => Extents::default(),
        false => Extents::find(evidence, files.binary().map(MappedFile::bytes), &missing),
    };
    let named = frames.into_iter().zip(addresses).map(|(frames, &address)| {
        let unnamed = || Unnamed { reason, start: extents.start(address).unwrap_or(address) };
        if frames.is_empty() { Err(unnamed()) } else { Ok(frames) }
    });
    named.collect()
}

/// The images that symbol tables are read from: the vDSO's own, or the module's local files.
fn parse_files<'a>(evidence: &'a ModuleEvidence, files: &'a ModuleFiles) -> Vec<object::File<'a>> {
    let mut images: Vec<&[u8]> = Vec::new();
    images.extend(evidence.image.as_deref());
    images.extend([files.symbols(), files.binary()].into_iter().flatten().map(MappedFile::bytes));
    images.dedup_by_key(|bytes| bytes.as_ptr());
    // Local files were parsed before; an image from a recording that is no ELF file has no names.
    images.into_iter().filter_map(|bytes| object::File::parse(bytes).ok()).collect()
}

/// Looks up what debug info says about the addresses, as far as it is not known; says what went wrong.
fn learn_debug_info(
    files: &ModuleFiles,
    table: &SymbolTable<'_>,
    addresses: &[u64],
    how: &Wanted,
    known: &mut Remembered<'_>,
) -> Option<String> {
    let mapped = files.debug_info()?;
    // The table names outermost functions: without inlined ones and lines, it is all that is needed.
    let is_enough = |address| !how.lines && !how.inlines && table.find(address).is_some_and(|found| found.sized);
    let wanted: Vec<u64> = addresses.iter().copied().filter(|&address| !is_enough(address)).collect();
    let unknown: Vec<u64> = wanted.into_iter().filter(|address| !known.frames().knows(*address)).collect();
    let trouble = if unknown.is_empty() { None } else { read_debug_info(mapped, files, &unknown, how, known) };
    let lacks_shared = || "the file that its debug info shares with others is missing".to_owned();
    files.lacks_shared_debug_info().then(lacks_shared).or(trouble)
}

/// Looks up what is not known; says what went wrong.
fn read_debug_info(
    mapped: &MappedFile,
    files: &ModuleFiles,
    unknown: &[u64],
    how: &Wanted,
    known: &mut Remembered<'_>,
) -> Option<String> {
    let paths: Vec<&Path> = [files.debug_info(), files.binary()].into_iter().flatten().map(MappedFile::path).collect();
    let doing = progress::doing(format!("names of {}", mapped.path().display()), unknown.len() as u64);
    let shared = files.shared_debug_info().and_then(|file| object::File::parse(file.bytes()).ok());
    let found = object::File::parse(mapped.bytes()).map_err(|error| error.to_string()).and_then(|main| {
        let files = DebugFiles { main: &main, shared: shared.as_ref(), paths: &paths };
        dwarf::frames_at(files, unknown, how.lines, &doing).map_err(|error| error.to_string())
    });
    match found {
        Ok(found) => {
            known.learn(unknown, found.frames, &found.passing);
            found.trouble
        }
        Err(error) => Some(format!("the debug info in {} cannot be read: {error}", mapped.path().display())),
    }
}

/// What the symbol table names; the text of a name is made once.
struct Outermost<'t> {
    table: &'t SymbolTable<'t>,
    /// The names by where they are in the file.
    names: HashMap<usize, Arc<str>>,
}

impl<'t> Outermost<'t> {
    fn of(table: &'t SymbolTable<'t>) -> Self {
        Self { table, names: HashMap::default() }
    }

    fn name(&mut self, symbol: Found<'t>) -> Arc<str> {
        let made = self.names.entry(symbol.name.as_ptr().addr());
        made.or_insert_with(|| Arc::from(String::from_utf8_lossy(symbol.name))).clone()
    }
}

/// The frames of one address, with names as they stand in the files. The symbol table names the outermost function, as
/// in perf and LLVM: it tells clones such as `f.cold` apart; DWARF names what was inlined into it.
fn merge(dwarf: &[DwarfFrame], table: &mut Outermost<'_>, address: u64) -> Vec<RawFrame> {
    let symbol = table.table.find(address);
    let Some((outermost, inlined)) = dwarf.split_last() else {
        let name = symbol.map(|symbol| table.name(symbol));
        return name.map(|name| RawFrame { name, file: None, line: None, inlined: false }).into_iter().collect();
    };
    let preferred = symbol.filter(|symbol| symbol.sized || outermost.name.is_none());
    let outer_name = preferred.map(|symbol| table.name(symbol)).or_else(|| outermost.name.clone());
    let Some(outer_name) = outer_name else { return Vec::new() };
    let frame = |frame: &DwarfFrame, name: Arc<str>, inlined: bool| RawFrame {
        name,
        file: frame.file.clone(),
        line: frame.line,
        inlined,
    };
    let without_name = || Arc::from("[inlined]");
    let inlined = inlined.iter().map(|inner| frame(inner, inner.name.clone().unwrap_or_else(without_name), true));
    inlined.chain([frame(outermost, outer_name, false)]).collect()
}

fn why_nothing(evidence: &ModuleEvidence, files: &ModuleFiles) -> Reason {
    let other_build = |outcome: &Outcome| matches!(outcome, Outcome::OtherBuild(_));
    if files.any() || evidence.image.is_some() {
        Reason::NoSymbols
    } else if evidence.module.kind == ModuleKind::Anonymous {
        Reason::OutsideModules
    } else if evidence.module.kind == ModuleKind::Vdso {
        Reason::NoLocalFile
    } else if evidence.identity().is_empty() {
        Reason::Unidentified
    } else if files.attempts().iter().any(|attempt| other_build(&attempt.outcome)) {
        Reason::OtherBuild
    } else {
        Reason::NoLocalFile
    }
}

/// One sentence on where a module's names come from and what kept them from being better.
fn explain(source: Source, evidence: &ModuleEvidence, files: &ModuleFiles, trouble: Option<String>) -> String {
    let path = |file: Option<&MappedFile>| file.map(|file| file.path().display().to_string()).unwrap_or_default();
    let origin = match source {
        Source::DebugInfo => format!("from {}", path(files.debug_info())),
        Source::GoTable => format!("from Go's own table in {}", path(files.binary().or(files.symbols()))),
        Source::SymbolTable if evidence.image.is_some() => "from the image in the recording".to_owned(),
        Source::SymbolTable => format!("from {}", path(files.symbols().or(files.binary()))),
        Source::Embedded => format!("from the recording; {}", why_nothing(evidence, files).explain()),
        Source::None => why_nothing(evidence, files).explain().to_owned(),
    };
    match (trouble, source) {
        (Some(trouble), _) => format!("{origin}; {trouble}"),
        (None, Source::SymbolTable) if evidence.image.is_none() => format!("{origin}; no debug info found"),
        (None, _) => origin,
    }
}
