//! Names each distinct location once: functions with what was inlined into them, files and lines,
//! or the reason why there is no name.

mod cache;
pub mod demangle;
pub mod dwarf;
pub mod extents;
pub mod go;
pub mod kernel;
mod kernel_lines;
mod module;
mod plt;
mod readable;
pub mod table;

use std::sync::Arc;

use foldhash::HashMap;
use rayon::prelude::*;

use crate::evidence::{Evidence, ModuleEvidence, ModuleIndex};
use crate::local_files::{Attempt, LocalFiles, ModuleFiles};
use crate::stacks::Location;
pub use cache::Cache;
use kernel_lines::KernelLines;
pub use module::Source;
use module::{ModuleNames, RawFrame, Unnamed, name_addresses};

/// A function's place in [`Names::functions`].
pub type FunctionId = u32;

/// Why a location has no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// No file of this machine has the module's build-id, and no symbols are in the recording.
    NoLocalFile,
    /// The file at the module's path is another build.
    OtherBuild,
    /// The module has no build-id: no local file can be proven to be it.
    Unidentified,
    /// The module's files hold no symbols.
    NoSymbols,
    /// The module's files name only the functions that it exports.
    Stripped,
    /// The module has symbols, but none covers the address.
    NotCovered,
    /// The address is in code that was made at run time, and the process has told no names.
    NoPerfMap,
    /// The process has told names of code that it made at run time, but none covers the address.
    NotInPerfMap,
    /// The address is outside of all that is known to be mapped.
    OutsideModules,
    /// The kernel's name for it is not in the recording.
    KernelHidden,
}

impl Reason {
    /// A stable name, used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoLocalFile => "no_local_file",
            Self::OtherBuild => "other_build",
            Self::Unidentified => "unidentified",
            Self::NoSymbols => "no_symbols",
            Self::Stripped => "stripped",
            Self::NotCovered => "not_covered",
            Self::NoPerfMap => "no_perf_map",
            Self::NotInPerfMap => "not_in_perf_map",
            Self::OutsideModules => "outside_modules",
            Self::KernelHidden => "kernel_hidden",
        }
    }

    /// What it means, in words.
    pub fn explain(self) -> &'static str {
        match self {
            Self::NoLocalFile => "no local file with this build-id (try --symbols DIR or record --embed symbols)",
            Self::OtherBuild => "the local file is another build (try --symbols DIR)",
            Self::Unidentified => "the recorder could not read its file, so no local file can be trusted",
            Self::NoSymbols => "no symbols in its files (try --symbols DIR)",
            Self::Stripped => "stripped: only exported functions have names (try --symbols DIR)",
            Self::NotCovered => "no symbol covers the address",
            Self::NoPerfMap => {
                "JIT code without a perf map (node --perf-basic-prof, python -X perf; for Java: record --jvm-perfmap)"
            }
            Self::NotInPerfMap => "JIT code that is not in the perf map",
            Self::OutsideModules => "outside of all known mappings",
            Self::KernelHidden => "the kernel's symbols are not in the recording",
        }
    }
}

/// Where a function lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Home {
    /// In a module of a process.
    Module(ModuleIndex),
    /// In the kernel, or in the kernel module of this name.
    Kernel(Arc<str>),
    /// In code that was made at run time.
    Jit,
    /// In no known module.
    Outside,
}

/// A distinct function, or a location without a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Function {
    /// Its readable name; without one `module+0xaddress`, with the address at which the function
    /// begins if that is known.
    pub name: Arc<str>,
    /// Where it lives.
    pub home: Home,
    /// Whether `name` stands for a location without a name.
    pub unnamed: bool,
}

/// One function at a location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFrame {
    /// Which function.
    pub function: FunctionId,
    /// The source file, if known.
    pub file: Option<Arc<str>>,
    /// The line in it.
    pub line: Option<u32>,
    /// Whether the compiler inlined it into the next frame.
    pub inlined: bool,
}

/// Where the names of one module come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleSymbols {
    /// The source.
    pub source: Source,
    /// From where, or why there is none.
    pub why: String,
    /// The files and servers that were looked at, in order.
    pub tried: Vec<Attempt>,
}

/// What of names is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Functions that were inlined; else only those that the compiler gave code of their own.
    pub inlines: bool,
    /// Files and lines.
    pub lines: bool,
    /// Clones that compilers make of a function (`f.cold`, `f.isra.0`) are named as the function itself.
    pub fold_clones: bool,
    /// Where names are kept from one report to the next.
    pub cache: Option<Cache>,
}

impl Wanted {
    /// Everything that is known, nothing of it from earlier.
    pub fn all() -> Self {
        Self { inlines: true, lines: true, ..Self::default() }
    }

    /// A name as it is shown.
    fn readable(&self, raw: &str) -> String {
        demangle::demangle(if self.fold_clones { demangle::without_clone(raw) } else { raw })
    }
}

/// The names of all locations of a profile.
#[derive(Debug, Default)]
pub struct Names {
    /// Distinct functions, in the order of their first location.
    pub functions: Vec<Function>,
    /// For each location its frames, innermost inlined function first; never empty.
    pub locations: Vec<Vec<NamedFrame>>,
    /// For each location, why it has no name.
    pub unnamed: Vec<Option<Reason>>,
    /// For each module of the evidence that has locations, where its names come from.
    pub modules: Vec<Option<ModuleSymbols>>,
    /// Where the kernel's lines come from, if they were looked for.
    pub kernel: Option<ModuleSymbols>,
    known: HashMap<Function, FunctionId>,
}

impl Names {
    /// Names all locations; the modules are worked on in parallel.
    pub fn find(locations: &[Location], evidence: &Evidence, files: &LocalFiles, how: &Wanted) -> Self {
        let wanted = addresses_by_module(locations, evidence.modules.len());
        let no_files = ModuleFiles::default();
        let modules: Vec<Option<ModuleNames>> = wanted
            .par_iter()
            .zip(&evidence.modules)
            .enumerate()
            .map(|(index, (addresses, module))| {
                let files = files.module(index).unwrap_or(&no_files);
                (!addresses.is_empty()).then(|| name_addresses(module, files, addresses, how))
            })
            .collect();
        let kernel = KernelLines::find(locations, files, how);
        let mut names = Self::default();
        for &location in locations {
            let (home, found) = Self::look_up(location, evidence, (&wanted, &modules), &kernel);
            names.add(home, found, evidence, how.inlines);
        }
        let tried = |index| files.module(index).map(|files| files.attempts().to_vec()).unwrap_or_default();
        let symbols =
            |index, names: ModuleNames| ModuleSymbols { source: names.source, why: names.why, tried: tried(index) };
        let modules = modules.into_iter().enumerate();
        names.kernel = kernel.symbols;
        names.modules = modules.map(|(index, module)| module.map(|module| symbols(index, module))).collect();
        names
    }

    /// Whether there is code that was made at run time and has no name.
    pub fn lacks_jit_names(&self) -> bool {
        self.unnamed.iter().flatten().any(|reason| matches!(reason, Reason::NoPerfMap | Reason::NotInPerfMap))
    }

    fn look_up(
        location: Location,
        evidence: &Evidence,
        (wanted, modules): (&[Vec<u64>], &[Option<ModuleNames>]),
        kernel: &KernelLines<'_>,
    ) -> (Home, Result<Vec<RawFrame>, Unnamed>) {
        match location {
            Location::Module { module, address } => {
                let place = module as usize;
                let index = wanted.get(place).and_then(|addresses| addresses.binary_search(&address).ok());
                let names = modules.get(place).and_then(Option::as_ref);
                let found = names.zip(index).and_then(|(names, index)| names.addresses.get(index));
                let outside = Unnamed { reason: Reason::OutsideModules, start: address };
                (Home::Module(module), found.cloned().unwrap_or(Err(outside)))
            }
            Location::Kernel { address } => match kernel::find(&evidence.kernel, address) {
                Some(symbol) => (Home::Kernel(symbol.module.as_str().into()), Ok(kernel.frames(address, &symbol.name))),
                None => (Home::Kernel("".into()), Err(Unnamed { reason: Reason::KernelHidden, start: address })),
            },
            Location::Jit { name } => match evidence.jit.name(name) {
                Some(name) => (Home::Jit, Ok(vec![RawFrame { name, file: None, line: None, inlined: false }])),
                None => (Home::Jit, Err(Unnamed { reason: Reason::NotInPerfMap, start: 0 })),
            },
            Location::Anonymous { pid, address } => {
                let reason = if evidence.jit.has_told(pid) { Reason::NotInPerfMap } else { Reason::NoPerfMap };
                (Home::Jit, Err(Unnamed { reason, start: address }))
            }
            Location::Process { address, .. } => {
                (Home::Outside, Err(Unnamed { reason: Reason::OutsideModules, start: address }))
            }
        }
    }

    fn add(&mut self, home: Home, found: Result<Vec<RawFrame>, Unnamed>, evidence: &Evidence, inlines: bool) {
        self.unnamed.push(found.as_ref().err().map(|unnamed| unnamed.reason));
        let frames = match found {
            Ok(raw) => {
                let kept = raw.into_iter().filter(|frame| inlines || !frame.inlined);
                kept.map(|frame| self.named_frame(frame, &home)).collect()
            }
            Err(unnamed) => {
                let name = format!("{}+{:#x}", home_name(&home, evidence), unnamed.start).into();
                let function = self.intern(Function { name, home, unnamed: true });
                vec![NamedFrame { function, file: None, line: None, inlined: false }]
            }
        };
        self.locations.push(frames);
    }

    fn named_frame(&mut self, frame: RawFrame, home: &Home) -> NamedFrame {
        let function = self.intern(Function { name: frame.name, home: home.clone(), unnamed: false });
        NamedFrame { function, file: frame.file, line: frame.line, inlined: frame.inlined }
    }

    fn intern(&mut self, function: Function) -> FunctionId {
        if let Some(&id) = self.known.get(&function) {
            return id;
        }
        let id = self.functions.len() as FunctionId;
        self.functions.push(function.clone());
        self.known.insert(function, id);
        id
    }
}

/// The distinct addresses of each module, ascending.
fn addresses_by_module(locations: &[Location], modules: usize) -> Vec<Vec<u64>> {
    let mut wanted = vec![Vec::new(); modules];
    for location in locations {
        if let Location::Module { module, address } = *location
            && let Some(addresses) = wanted.get_mut(module as usize)
        {
            addresses.push(address);
        }
    }
    for addresses in &mut wanted {
        addresses.sort_unstable();
        addresses.dedup();
    }
    wanted
}

/// How the kernel is called where modules are listed.
pub const KERNEL: &str = "[kernel]";
/// How code that was made at run time is called, as perf calls it.
pub const JIT: &str = "[JIT]";
/// How code outside every module is called.
pub const OUTSIDE: &str = "[unknown]";

/// A module's name: the last part of its path.
pub fn short_name(module: &ModuleEvidence) -> &str {
    let path = module.module.path.as_str();
    match path.rsplit('/').find(|part| !part.is_empty()) {
        Some(name) => name,
        None => OUTSIDE,
    }
}

/// The name of the module that a function lives in.
pub fn home_name(home: &Home, evidence: &Evidence) -> String {
    match home {
        Home::Module(index) => evidence.modules.get(*index as usize).map_or(OUTSIDE, short_name).to_owned(),
        Home::Kernel(module) if module.is_empty() => KERNEL.to_owned(),
        Home::Kernel(module) => format!("[{module}]"),
        Home::Jit => JIT.to_owned(),
        Home::Outside => OUTSIDE.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::jit::JitGathering;
    use profrec_format::{JitSymbol, KernelSymbol, Module, PerfMap, Symbol};

    fn evidence() -> Evidence {
        let module = Module { path: "/opt/app/prog".into(), build_id: vec![7; 20], ..Module::default() };
        let symbols = vec![Symbol { address: 0x1000, size: 0x100, name: "_Z3foov".into() }];
        Evidence {
            modules: vec![ModuleEvidence { module, symbols, ..ModuleEvidence::default() }],
            kernel: vec![KernelSymbol {
                address: 0xffff_0000,
                size: 16,
                name: "do_work".into(),
                module: "ext4".into(),
            }],
            ..Evidence::default()
        }
    }

    /// Two locations in one function are one function; what has no name says why.
    #[test]
    fn names_each_location_or_says_why_not() {
        let evidence = evidence();
        let locations = [
            Location::Module { module: 0, address: 0x1010 },
            Location::Module { module: 0, address: 0x1020 },
            Location::Module { module: 0, address: 0x2000 },
            Location::Kernel { address: 0xffff_0001 },
            Location::Kernel { address: 1 },
            Location::Process { pid: 1, address: 0x7f00 },
            Location::Module { module: 99, address: 0x1010 },
        ];
        let names = Names::find(&locations, &evidence, &LocalFiles::default(), &Wanted::all());
        let shown: Vec<&str> = names.functions.iter().map(|function| &*function.name).collect();
        assert_eq!(shown, ["foo()", "prog+0x2000", "do_work", "[kernel]+0x1", "[unknown]+0x7f00", "[unknown]+0x1010"]);
        assert_eq!(names.locations[0][0].function, names.locations[1][0].function);
        assert_eq!(
            names.unnamed,
            [
                None,
                None,
                Some(Reason::NotCovered),
                None,
                Some(Reason::KernelHidden),
                Some(Reason::OutsideModules),
                Some(Reason::OutsideModules)
            ]
        );
        assert_eq!(home_name(&names.functions[2].home, &evidence), "[ext4]");
        assert_eq!(names.modules[0].as_ref().unwrap().source, Source::Embedded);
    }

    /// Code that was made at run time has the name that its process told, or the reason why there is none.
    #[test]
    fn code_made_at_run_time() {
        let mut gathering = JitGathering::default();
        let symbols = vec![JitSymbol { time: 1, address: 0x100, size: 8, name: "JS:*f /a.js:1:1".into() }];
        gathering.add(PerfMap { pid: 7, symbols, ..PerfMap::default() });
        let evidence = Evidence { jit: gathering.finish(), ..Evidence::default() };
        let name = evidence.jit.find(7, 0x104, 2).unwrap();
        let locations = [
            Location::Jit { name },
            Location::Anonymous { pid: 7, address: 0x200 },
            Location::Anonymous { pid: 8, address: 0x104 },
        ];
        let names = Names::find(&locations, &evidence, &LocalFiles::default(), &Wanted::all());
        let shown: Vec<&str> = names.functions.iter().map(|function| &*function.name).collect();
        assert_eq!(shown, ["JS:*f /a.js:1:1", "[JIT]+0x200", "[JIT]+0x104"]);
        assert_eq!(names.unnamed, [None, Some(Reason::NotInPerfMap), Some(Reason::NoPerfMap)]);
        assert_eq!(home_name(&names.functions[0].home, &evidence), "[JIT]");
        assert!(names.lacks_jit_names());
    }
}
