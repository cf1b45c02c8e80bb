//! Names each distinct location once: functions with what was inlined into them, files and lines,
//! or the reason why there is no name.

mod cache;
pub mod demangle;
pub mod dwarf;
pub mod extents;
pub mod go;
mod home;
pub mod kernel;
mod kernel_lines;
mod module;
mod named_locations;
mod plt;
mod readable;
mod reason;
pub mod table;

use std::borrow::Cow;
use std::sync::Arc;

use foldhash::HashMap;
use rayon::prelude::*;

use crate::evidence::{Evidence, ModuleIndex};
use crate::local_files::{Attempt, LocalFiles, ModuleFiles};
use crate::stacks::Location;
pub use cache::Cache;
pub use home::{Home, JIT, KERNEL, OUTSIDE, home_name, short_name};
use kernel_lines::KernelLines;
pub use module::Source;
use module::{ModuleNames, RawFrame, Unnamed, name_addresses};
pub use named_locations::NamedLocations;
pub use reason::Reason;

/// A function's place in [`Names::functions`].
pub type FunctionId = u32;

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
    pub locations: NamedLocations,
    /// For each location, why it has no name.
    pub unnamed: Vec<Option<Reason>>,
    /// For each module of the evidence that has locations, where its names come from.
    pub modules: Vec<Option<ModuleSymbols>>,
    /// Where the kernel's lines come from, if they were looked for.
    pub kernel: Option<ModuleSymbols>,
    known: HashMap<Function, FunctionId>,
    /// The same by where the text of the name is, which is quicker to look up; each text is kept, so that no other comes to its place.
    known_texts: HashMap<(usize, ModuleIndex), (Arc<str>, FunctionId)>,
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

    fn look_up<'n>(
        location: Location,
        evidence: &Evidence,
        (wanted, modules): (&[Vec<u64>], &'n [Option<ModuleNames>]),
        kernel: &KernelLines<'_>,
    ) -> (Home, Result<Cow<'n, [RawFrame]>, Unnamed>) {
        match location {
            Location::Module { module, address } => {
                let place = module as usize;
                let index = wanted.get(place).and_then(|addresses| addresses.binary_search(&address).ok());
                let names = modules.get(place).and_then(Option::as_ref);
                let found = names.zip(index).and_then(|(names, index)| names.addresses.get(index));
                let outside = Unnamed { reason: Reason::OutsideModules, start: address };
                let found = found.map(|found| found.as_ref().map(|frames| frames.into()).map_err(|unnamed| *unnamed));
                (Home::Module(module), found.unwrap_or(Err(outside)))
            }
            Location::Kernel { address } => match kernel::find(&evidence.kernel, address) {
                Some(symbol) => {
                    let frames = kernel.frames(address, &symbol.name);
                    (Home::Kernel(symbol.module.as_str().into()), Ok(frames.into()))
                }
                None => (Home::Kernel("".into()), Err(Unnamed { reason: Reason::KernelHidden, start: address })),
            },
            Location::Jit { name } => match evidence.jit.name(name) {
                Some(name) => (Home::Jit, Ok(vec![RawFrame { name, file: None, line: None, inlined: false }].into())),
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

    fn add(&mut self, home: Home, found: Result<Cow<'_, [RawFrame]>, Unnamed>, evidence: &Evidence, inlines: bool) {
        self.unnamed.push(found.as_ref().err().map(|unnamed| unnamed.reason));
        match found {
            Ok(raw) => {
                let mut frames: Vec<NamedFrame> = Vec::with_capacity(raw.len());
                let kept = raw.iter().filter(|frame| inlines || !frame.inlined);
                frames.extend(kept.map(|frame| self.named_frame(frame, &home)));
                self.locations.push(frames);
            }
            Err(unnamed) => {
                let name = format!("{}+{:#x}", home_name(&home, evidence), unnamed.start).into();
                let function = self.intern(Function { name, home, unnamed: true });
                self.locations.push([NamedFrame { function, file: None, line: None, inlined: false }]);
            }
        }
    }

    fn named_frame(&mut self, frame: &RawFrame, home: &Home) -> NamedFrame {
        let function = || Function { name: frame.name.clone(), home: home.clone(), unnamed: false };
        let function = match *home {
            Home::Module(module) => self.intern_text(&frame.name, module, function),
            _ => self.intern(function()),
        };
        NamedFrame { function, file: frame.file.clone(), line: frame.line, inlined: frame.inlined }
    }

    /// A module's frames share the texts of their names: most are known by where they are.
    fn intern_text(&mut self, name: &Arc<str>, module: ModuleIndex, function: impl FnOnce() -> Function) -> FunctionId {
        let place = (name.as_ptr().addr(), module);
        if let Some(&(_, id)) = self.known_texts.get(&place) {
            return id;
        }
        let id = self.intern(function());
        self.known_texts.insert(place, (name.clone(), id));
        id
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

#[cfg(test)]
mod tests;
