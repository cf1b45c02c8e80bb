//! The one model that every view is written from: named functions with self and total, modules and
//! processes with their samples, and the ledger of what is missing.

mod modules;
mod processes;

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::HashMap;

use crate::evidence::Evidence;
use crate::facts::Facts;
use crate::ledger::Ledger;
use crate::stacks::{Frame, Stacks};
use crate::symbols::{FunctionId, Home, Names, home_name};
pub use modules::Module;
pub use processes::Process;

/// A recording, counted and named.
#[derive(Debug, Default)]
pub struct Profile {
    /// The recording as a whole.
    pub facts: Facts,
    /// Samples that are shown, each as often as it stands for a tick: the base of every percentage. All counts below are alike.
    pub samples: u64,
    /// Distinct functions, by [`FunctionId`].
    pub functions: Vec<Function>,
    /// Modules that appear in samples, most samples first.
    pub modules: Vec<Module>,
    /// Processes, most samples first.
    pub processes: Vec<Process>,
    /// Every distinct stack, outermost frame first.
    pub paths: Vec<Vec<PathFrame>>,
    /// How often each stack was seen under each thread name, in the order of name and stack.
    pub counts: Vec<PathCount>,
    /// What is missing.
    pub ledger: Ledger,
}

/// One function and its samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its readable name; `module+0xoffset` when it has none.
    pub name: Arc<str>,
    /// The name of the module that it is in.
    pub module: Arc<str>,
    /// Whether it is in the kernel.
    pub kernel: bool,
    /// Whether it is a location without a name.
    pub unnamed: bool,
    /// The source file of `line`.
    pub file: Option<Arc<str>>,
    /// The line that most of its samples were at.
    pub line: Option<u32>,
    /// Samples in which it was the innermost frame.
    pub self_samples: u64,
    /// Samples in which it appeared, however often.
    pub total_samples: u64,
    /// The same of those in which a rule of thumb found it.
    pub guessed_samples: u64,
}

/// A frame of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathFrame {
    /// Which function.
    pub function: FunctionId,
    /// Whether it was inlined into the frame before it.
    pub inlined: bool,
    /// Whether it was found by a rule of thumb.
    pub guessed: bool,
}

/// How often a stack was seen under a thread name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathCount {
    /// The thread's name.
    pub comm: String,
    /// Which of [`Profile::paths`].
    pub path: usize,
    /// Samples.
    pub samples: u64,
}

impl Profile {
    /// Counts named stacks.
    pub fn build(facts: Facts, evidence: &Evidence, stacks: &Stacks, names: &Names) -> Self {
        let stack_samples = samples_by_stack(stacks);
        let paths: Vec<Vec<PathFrame>> = stacks.stacks.iter().map(|stack| path(stack, names)).collect();
        let location_samples = samples_by_location(stacks, &stack_samples);
        let mut functions = functions(evidence, names);
        count_functions(&mut functions, &paths, &stack_samples);
        find_lines(&mut functions, names, &location_samples);
        Self {
            ledger: Ledger::build(&facts, stacks, names, &location_samples),
            facts,
            samples: stacks.samples,
            modules: modules::count(evidence, names, &paths, &stack_samples),
            processes: processes::count(stacks),
            counts: path_counts(stacks),
            functions,
            paths,
        }
    }

    /// The functions that have samples, most self samples first.
    pub fn by_self(&self) -> Vec<&Function> {
        let mut functions: Vec<&Function> = self.functions.iter().filter(|f| f.total_samples > 0).collect();
        let key = |f: &Function| (std::cmp::Reverse(f.self_samples), std::cmp::Reverse(f.total_samples));
        functions.sort_by(|a, b| (key(a), &a.name, &a.module).cmp(&(key(b), &b.name, &b.module)));
        functions
    }

    /// Samples in percent of those shown.
    pub fn percent(&self, samples: u64) -> f64 {
        if self.samples == 0 { 0.0 } else { samples as f64 * 100.0 / self.samples as f64 }
    }
}

fn samples_by_stack(stacks: &Stacks) -> Vec<u64> {
    let mut samples = vec![0; stacks.stacks.len()];
    for count in &stacks.counts {
        if let Some(samples) = samples.get_mut(count.stack as usize) {
            *samples += count.samples;
        }
    }
    samples
}

/// How many frames of all samples are at each location.
fn samples_by_location(stacks: &Stacks, stack_samples: &[u64]) -> Vec<u64> {
    let mut samples = vec![0; stacks.locations.len()];
    for (stack, &count) in stacks.stacks.iter().zip(stack_samples) {
        for frame in &stack.frames {
            if let Some(samples) = samples.get_mut(frame.location as usize) {
                *samples += count;
            }
        }
    }
    samples
}

/// A stack's functions, outermost first, inlined functions after those that they were inlined into.
fn path(stack: &crate::stacks::Stack, names: &Names) -> Vec<PathFrame> {
    let named = |frame: &Frame| Some((frame.guessed, names.locations.get(frame.location as usize)?));
    let places = stack.frames.iter().rev().filter_map(named);
    let frames = places.flat_map(|(guessed, frames)| frames.iter().rev().map(move |frame| (guessed, frame)));
    frames.map(|(guessed, frame)| PathFrame { function: frame.function, inlined: frame.inlined, guessed }).collect()
}

fn functions(evidence: &Evidence, names: &Names) -> Vec<Function> {
    let mut homes: HashMap<&Home, Arc<str>> = HashMap::default();
    let functions = names.functions.iter().map(|function| Function {
        name: function.name.clone(),
        module: homes.entry(&function.home).or_insert_with(|| home_name(&function.home, evidence).into()).clone(),
        kernel: matches!(function.home, Home::Kernel(_)),
        unnamed: function.unnamed,
        file: None,
        line: None,
        self_samples: 0,
        total_samples: 0,
        guessed_samples: 0,
    });
    functions.collect()
}

/// Adds up self and total; a function that appears several times in a stack counts once.
fn count_functions(functions: &mut [Function], paths: &[Vec<PathFrame>], stack_samples: &[u64]) {
    let mut last_seen = vec![usize::MAX; functions.len()];
    let mut last_guessed = last_seen.clone();
    for (index, (path, &samples)) in paths.iter().zip(stack_samples).enumerate() {
        for frame in path {
            let function = frame.function as usize;
            if last_seen[function] != index {
                last_seen[function] = index;
                functions[function].total_samples += samples;
            }
            if frame.guessed && last_guessed[function] != index {
                last_guessed[function] = index;
                functions[function].guessed_samples += samples;
            }
        }
        if let Some(innermost) = path.last() {
            functions[innermost.function as usize].self_samples += samples;
        }
    }
}

/// Gives each function the line that most of its frames were at; the first such line of several.
fn find_lines(functions: &mut [Function], names: &Names, location_samples: &[u64]) {
    let mut lines: BTreeMap<(FunctionId, Arc<str>, u32), u64> = BTreeMap::new();
    for (frames, &samples) in names.locations.iter().zip(location_samples) {
        for frame in frames {
            if let (Some(file), Some(line)) = (&frame.file, frame.line) {
                *lines.entry((frame.function, file.clone(), line)).or_default() += samples;
            }
        }
    }
    let mut most = vec![0; functions.len()];
    for ((function, file, line), samples) in lines {
        let index = function as usize;
        if samples > most[index] {
            most[index] = samples;
            functions[index].file = Some(file);
            functions[index].line = Some(line);
        }
    }
}

fn path_counts(stacks: &Stacks) -> Vec<PathCount> {
    let mut counts: BTreeMap<(&str, usize), u64> = BTreeMap::new();
    let known = stacks.counts.iter().filter(|count| (count.stack as usize) < stacks.stacks.len());
    for count in known {
        *counts.entry((&count.comm, count.stack as usize)).or_default() += count.samples;
    }
    let counts = counts.into_iter();
    counts.map(|((comm, path), samples)| PathCount { comm: comm.to_owned(), path, samples }).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::evidence::ModuleEvidence;
    use crate::local_files::LocalFiles;
    use crate::stacks::{Count, Location, Stack, Verdict};
    use crate::symbols::Wanted;
    use profrec_format::{KernelSymbol, Symbol};

    /// A small profile: `main` calls `work`, which calls itself; once a tick hit the kernel.
    pub(crate) fn sample_profile() -> Profile {
        let module = profrec_format::Module { path: "/opt/prog".into(), build_id: vec![7; 20], ..Default::default() };
        let symbol = |address, name: &str| Symbol { address, size: 0x100, name: name.to_owned() };
        let symbols = vec![symbol(0x1000, "main"), symbol(0x2000, "work")];
        let kernel = vec![KernelSymbol { address: 0xffff_0000, size: 16, name: "do_sys".into(), module: "".into() }];
        let evidence = Evidence {
            modules: vec![ModuleEvidence { module, symbols, ..Default::default() }],
            kernel,
            ..Default::default()
        };
        let stacks = sample_stacks();
        let names = Names::find(&stacks.locations, &evidence, &LocalFiles::default(), &Wanted::all());
        let facts = Facts { samples: 10, duration: 1_000_000_000, ..Facts::default() };
        Profile::build(facts, &evidence, &stacks, &names)
    }

    fn sample_stacks() -> Stacks {
        let at = |address| Location::Module { module: 0, address };
        let frames = |locations: &[u32]| {
            locations.iter().map(|&location| Frame { location, guessed: false }).collect::<Vec<_>>()
        };
        let stack = |locations: &[u32], verdict| Stack { frames: frames(locations), verdict };
        let count = |stack, samples| Count { comm: "prog".into(), pid: 7, tid: 7, stack, samples };
        Stacks {
            cgroups: BTreeMap::new(),
            locations: vec![at(0x1010), at(0x2010), at(0x2020), Location::Kernel { address: 0xffff_0004 }, at(0x9000)],
            stacks: vec![
                stack(&[1, 2, 0], Verdict::Complete),
                stack(&[3, 1, 0], Verdict::Complete),
                stack(&[4], Verdict::NoCfi),
            ],
            counts: vec![count(0, 6), count(1, 3), count(2, 1)],
            samples: 10,
        }
    }

    fn function<'a>(profile: &'a Profile, name: &str) -> &'a Function {
        let found = profile.functions.iter().find(|function| &*function.name == name);
        assert!(found.is_some(), "{name} is missing");
        found.unwrap_or(&profile.functions[0])
    }

    /// A recursive function counts once per sample in total, and self goes to the innermost frame.
    #[test]
    fn recursion_counts_once() {
        let profile = sample_profile();
        let work = function(&profile, "work");
        assert_eq!((work.self_samples, work.total_samples), (6, 9));
        let main = function(&profile, "main");
        assert_eq!((main.self_samples, main.total_samples), (0, 9));
        assert_eq!(&*profile.by_self()[0].name, "work");
    }

    /// Self samples of all functions, and of all modules, add up to the samples.
    #[test]
    fn self_samples_add_up() {
        let profile = sample_profile();
        assert_eq!(profile.functions.iter().map(|function| function.self_samples).sum::<u64>(), 10);
        assert_eq!(profile.modules.iter().map(|module| module.self_samples).sum::<u64>(), 10);
        assert_eq!(
            profile.processes,
            [Process { pid: 7, comm: "prog".into(), threads: 1, samples: 10, cgroup: "".into() }]
        );
    }

    /// A module counts the samples it appears in, not its frames.
    #[test]
    fn modules_count_samples() {
        let profile = sample_profile();
        let shown: Vec<_> = profile.modules.iter().map(|m| (m.name.as_str(), m.samples, m.symbols)).collect();
        assert_eq!(shown, [("prog", 10, "embedded"), ("[kernel]", 3, "embedded")]);
    }

    /// A profile of nothing is no division by zero.
    #[test]
    fn nothing_is_zero_percent() {
        assert!(Profile::default().percent(0).abs() < f64::EPSILON);
    }
}
