//! The modules of a profile, and where their names come from.

use crate::evidence::{Evidence, ModuleEvidence};
use crate::ledger::grouped;
use crate::local_files::{Attempt, hex};
use crate::refine::{SeenFrame, Selection};
use crate::stacks::Stacks;
use crate::symbols::{Home, Names, Reason, home_name};

/// One module and its samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// The last part of its path.
    pub name: String,
    /// Its path as recorded; empty for the kernel.
    pub path: String,
    /// Its build-id in hexadecimal digits; empty when it has none.
    pub build_id: String,
    /// Samples whose innermost frame is in it.
    pub self_samples: u64,
    /// Samples in which it appeared.
    pub samples: u64,
    /// Where its names come from.
    pub symbols: &'static str,
    /// From which file, or why there are no names.
    pub why: String,
    /// What of it is in the recording.
    pub recorded: String,
    /// The files and servers that were looked at, in order.
    pub tried: Vec<Attempt>,
}

/// The modules that appear in samples, most samples first.
pub(super) fn count(
    evidence: &Evidence,
    names: &Names,
    selection: &Selection<'_>,
    stacks: &Stacks,
    stack_samples: &[u64],
) -> Vec<Module> {
    let mut homes: Vec<&Home> = names.functions.iter().map(|function| &function.home).collect();
    homes.sort_unstable();
    homes.dedup();
    let places = names.functions.iter().map(|function| homes.binary_search(&&function.home).unwrap_or_default() as u32);
    let places: Vec<u32> = places.collect();
    let home = |seen: SeenFrame| places[selection.frames[seen.frame() as usize].function as usize];
    let stacks = selection.paths(stacks, home, |kept, next| (kept == next).then_some(kept));
    let totals = stacks.paths.samples_by(homes.len(), &stacks.totals(stack_samples), |home| Some(home as usize));
    let mut own = vec![0; homes.len()];
    for (stack, samples) in stack_samples.iter().enumerate() {
        stacks.from_innermost(stack).next().into_iter().for_each(|home| own[home as usize] += samples);
    }
    let counts = homes.into_iter().zip(own).zip(totals);
    let counted = counts.filter(|(_, total)| *total > 0);
    let mut modules: Vec<Module> =
        counted.map(|((home, own), total)| module(home, own, total, evidence, names)).collect();
    modules.sort_by(|a, b| (b.samples, &a.name, &a.path, &a.build_id).cmp(&(a.samples, &b.name, &b.path, &b.build_id)));
    modules
}

fn module(home: &Home, self_samples: u64, samples: u64, evidence: &Evidence, names: &Names) -> Module {
    let mut module = Module {
        name: home_name(home, evidence),
        path: String::new(),
        build_id: String::new(),
        self_samples,
        samples,
        symbols: "none",
        why: String::new(),
        recorded: String::new(),
        tried: Vec::new(),
    };
    match home {
        Home::Module(index) => {
            let index = *index as usize;
            if let Some(known) = evidence.modules.get(index) {
                module.path.clone_from(&known.module.path);
                module.build_id = hex(&known.module.build_id);
                module.recorded = recorded(known);
            }
            if let Some(Some(symbols)) = names.modules.get(index) {
                module.symbols = symbols.source.name();
                module.why.clone_from(&symbols.why);
                module.tried.clone_from(&symbols.tried);
            }
        }
        Home::Kernel(_) if evidence.kernel.is_empty() => {
            module.why = "the recording holds no kernel symbols (hidden by kptr_restrict?)".to_owned();
        }
        Home::Kernel(part) => {
            module.symbols = "embedded";
            module.why = "from the recording".to_owned();
            if let Some(kernel) = names.kernel.as_ref().filter(|_| part.is_empty()) {
                module.why.clone_from(&kernel.why);
                module.tried.clone_from(&kernel.tried);
            }
            module.recorded =
                format!("{} functions of the kernel and its modules", grouped(evidence.kernel.len() as u64));
        }
        Home::Jit if evidence.jit.is_empty() => module.why = Reason::NoPerfMap.explain().to_owned(),
        Home::Jit => {
            module.symbols = "embedded";
            module.why = "what its processes have told, in perf maps or jitdumps".to_owned();
        }
        Home::Outside => module.why = "code outside of all known mappings".to_owned(),
    }
    module
}

/// What a recording has of a module, in words.
fn recorded(module: &ModuleEvidence) -> String {
    let parts = [
        (module.symbols.len() as u64, "symbols"),
        (module.mini_debug_info.as_ref().map_or(0, Vec::len) as u64, "bytes of compressed symbol table"),
        (module.image.as_ref().map_or(0, Vec::len) as u64, "bytes, the whole image"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{} {what}", grouped(*count)));
    match parts.collect::<Vec<_>>().as_slice() {
        [] => "no names (record --embed symbols puts them there)".to_owned(),
        parts => parts.join(", "),
    }
}
