//! The one model that every view is written from: named functions with self and total, modules and
//! processes with their samples, and the ledger of what is missing.

mod by;
mod counting;
mod function;
mod modules;
mod processes;
mod roots;

use foldhash::HashMap;

use crate::evidence::Evidence;
use crate::facts::Facts;
use crate::ledger::Ledger;
use crate::paths::StackPaths;
use crate::refine::{Refinement, Selection, Side};
use crate::stacks::{StackId, Stacks};
use crate::symbols::{FunctionId, Names};
pub use by::By;
pub use function::{Code, Function};
pub use modules::Module;
pub use processes::Process;
use roots::Roots;

/// A recording, counted and named.
#[derive(Debug, Default)]
pub struct Profile {
    /// The recording as a whole.
    pub facts: Facts,
    /// Samples that are shown, each as often as it stands for a tick: the base of every percentage. All counts below are alike.
    pub samples: u64,
    /// What the samples are brought together by.
    pub by: By,
    /// Distinct functions, by [`FunctionId`]; modules, files or lines in their place, where these are asked for.
    pub functions: Vec<Function>,
    /// The threads, CPUs and so on that the samples are of, where these are asked for: self and total are the same.
    pub groups: Vec<Function>,
    /// Modules that appear in samples, most samples first.
    pub modules: Vec<Module>,
    /// Processes, most samples first.
    pub processes: Vec<Process>,
    /// Every distinct stack.
    pub stacks: StackPaths<PathFrame>,
    /// What stands above the outermost frames, in the order of their names: threads' names, unless something else is asked for.
    pub roots: Vec<String>,
    /// How often each stack was seen under each root, in the order of root and stack.
    pub counts: Vec<StackCount>,
    /// Only what is above or below a function is shown; of what is above, stacks are read from their innermost frames.
    pub side: Option<Side>,
    /// What is missing.
    pub ledger: Ledger,
}

/// A frame of a path. There are very many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathFrame(u32);

impl PathFrame {
    /// A frame of a function, which may be inlined into the frame before it, and found by a rule of thumb. There are fewer
    /// than 1,073,741,824 functions.
    pub fn new(function: FunctionId, inlined: bool, guessed: bool) -> Self {
        Self(function << 2 | u32::from(inlined) << 1 | u32::from(guessed))
    }

    /// Which function.
    pub fn function(self) -> FunctionId {
        self.0 >> 2
    }

    /// Whether it was inlined into the frame before it.
    pub fn inlined(self) -> bool {
        self.0 & 2 != 0
    }

    /// Whether it was found by a rule of thumb.
    pub fn guessed(self) -> bool {
        self.0 & 1 != 0
    }

    /// The same, found by a rule of thumb if that is so.
    fn guessed_if(self, guessed: bool) -> Self {
        Self(self.0 | u32::from(guessed))
    }
}

/// How often a stack was seen under a root. There are many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackCount {
    /// Which of [`Profile::roots`]; `None` above and below a function, unless it is asked for.
    pub root: Option<RootId>,
    /// Which of [`Profile::stacks`].
    pub stack: StackId,
    /// Samples.
    pub samples: u64,
}

/// An index into [`Profile::roots`].
pub type RootId = u32;

/// The order of functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SortBy {
    /// Most self samples first
    #[default]
    #[value(name = "self")]
    Own,
    /// Most total samples first
    Total,
    /// By name
    Name,
}

/// How a profile is to be built.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// Which stacks, and how much of them.
    pub refinement: Refinement,
    /// What samples are brought together by.
    pub by: By,
}

impl Profile {
    /// Counts named stacks. Fails when a function is asked for that is in none of them.
    pub fn build(
        facts: Facts,
        evidence: &Evidence,
        mut stacks: Stacks,
        names: &Names,
        shape: &Shape,
    ) -> anyhow::Result<Self> {
        let Shape { refinement, by } = shape;
        let side = refinement.around.as_ref().map(|around| around.side);
        let mut selection = Selection::of(refinement, &mut stacks, names, evidence)?;
        let stack_samples = counting::samples_by_stack(&stacks);
        let location_samples = stacks.samples_by_location();
        let modules = modules::count(evidence, names, &selection, &stacks, &stack_samples);
        let mut groups = by.groups(selection.frames, names, evidence);
        let shown = groups.paths(&selection, &stacks);
        counting::count(&mut groups.functions, |function| function as usize, &shown, &stack_samples);
        if *by == By::Function {
            counting::find_lines(&mut groups.functions, names, &location_samples);
        }
        let mut ledger = Ledger::build(&facts, &stacks, names, &location_samples);
        ledger.notes.append(&mut selection.notes);
        ledger.left_out = selection.left_out;
        let processes = processes::count(&stacks);
        let roots = Roots::new(*by, &stacks, &processes);
        let (root_names, counts) = roots.stack_counts(side);
        Ok(Self {
            ledger,
            facts,
            samples: stacks.samples,
            by: *by,
            functions: groups.functions,
            groups: roots.groups(),
            roots: root_names,
            counts,
            modules,
            processes,
            side,
            stacks: shown,
        })
    }

    /// What the table has: the functions that have samples, or what stands in their place, in this order.
    pub fn rows(&self, sort: SortBy) -> Vec<&Function> {
        let all = if self.by.is_of_samples() { &self.groups } else { &self.functions };
        let mut rows: Vec<&Function> = all.iter().filter(|row| row.total_samples > 0).collect();
        let figures = |row: &Function| match sort {
            SortBy::Own => (row.self_samples, row.total_samples),
            SortBy::Total => (row.total_samples, row.self_samples),
            SortBy::Name => (0, 0),
        };
        rows.sort_by(|a, b| (figures(b), &a.name, &a.module).cmp(&(figures(a), &b.name, &b.module)));
        rows
    }

    /// The same with those together that read the same, such as functions of two builds of a module. A sample in which several of them
    /// appear counts once.
    pub fn by_name(&self) -> Vec<Function> {
        if self.by.is_of_samples() {
            return self.groups.clone();
        }
        let mut known: HashMap<(&str, &str), usize> = HashMap::default();
        let mut together: Vec<Function> = Vec::new();
        let places = self.functions.iter().map(|function| {
            *known.entry((&function.name, &function.module)).or_insert_with(|| {
                together.push(function.uncounted());
                together.len() - 1
            })
        });
        let places: Vec<usize> = places.collect();
        counting::count(&mut together, |function| places[function as usize], &self.stacks, &self.samples_by_stack());
        together.retain(|function| function.total_samples > 0);
        together
    }

    /// For each stack, its samples under all roots.
    pub fn samples_by_stack(&self) -> Vec<u64> {
        let mut samples = vec![0; self.stacks.ends.len()];
        self.counts.iter().for_each(|count| samples[count.stack as usize] += count.samples);
        samples
    }

    /// The frames of a stack in the order in which they are shown: from the outermost on, or from the innermost on when callers are asked
    /// for. They take the place of those in `frames`.
    pub fn show(&self, stack: StackId, frames: &mut Vec<PathFrame>) {
        frames.clear();
        frames.extend(self.stacks.from_innermost(stack as usize));
        if self.side != Some(Side::Callers) {
            frames.reverse();
        }
    }

    /// The first frame of a stack that is shown.
    pub fn first_shown(&self, stack: StackId) -> Option<PathFrame> {
        let mut frames = self.stacks.from_innermost(stack as usize);
        if self.side == Some(Side::Callers) { frames.next() } else { frames.last() }
    }

    /// What stands above the outermost frame of a stack.
    pub fn root(&self, count: &StackCount) -> Option<&str> {
        self.roots.get(count.root? as usize).map(String::as_str)
    }

    /// Samples in percent of those shown.
    pub fn percent(&self, samples: u64) -> f64 {
        if self.samples == 0 { 0.0 } else { samples as f64 * 100.0 / self.samples as f64 }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::evidence::ModuleEvidence;
    use crate::local_files::LocalFiles;
    use crate::paths::tests::paths;
    use crate::refine::Around;
    use crate::stacks::{Count, Frame, Location, Stack, Thread, Verdict};
    use crate::symbols::Wanted;
    use profrec_format::{KernelSymbol, Symbol};

    /// A small profile: `main` calls `work`, which calls itself; once a tick hit the kernel.
    pub(crate) fn sample_profile() -> Profile {
        shaped(&Shape::default())
    }

    /// What is above or below a function.
    pub(crate) fn around(function: &str, side: Side) -> Refinement {
        let around = function.parse().ok().map(|function| Around { function, side });
        Refinement { around, ..Refinement::default() }
    }

    /// The same, built in another way.
    pub(crate) fn shaped(shape: &Shape) -> Profile {
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
        Profile::build(facts, &evidence, stacks, &names, shape).unwrap_or_default()
    }

    fn sample_stacks() -> Stacks {
        let at = |address| Location::Module { module: 0, address };
        let frames = |locations: &[u32]| locations.iter().map(|&location| Frame::new(location, false)).collect();
        let (paths, ends) = paths(&[frames(&[0, 2, 1]), frames(&[0, 1, 3]), frames(&[4])]);
        let stack = |path: usize, verdict| Stack { end: ends[path], verdict };
        let thread = |cpu| Thread { comm: "prog".into(), pid: 7, tid: 7, cpu: Some(cpu), cgroup: "".into() };
        let count = |stack: u32, samples| Count { thread: stack % 2, stack, samples };
        Stacks {
            threads: vec![thread(0), thread(1)],
            cgroups: BTreeMap::new(),
            paths,
            locations: vec![at(0x1010), at(0x2010), at(0x2020), Location::Kernel { address: 0xffff_0004 }, at(0x9000)],
            stacks: vec![stack(0, Verdict::Complete), stack(1, Verdict::Complete), stack(2, Verdict::NoCfi)],
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
        assert_eq!(&*profile.rows(SortBy::Own)[0].name, "work");
    }

    /// Self samples of all functions, and of all modules, add up to the samples.
    #[test]
    fn self_samples_add_up() {
        let profile = sample_profile();
        assert_eq!(profile.functions.iter().map(|function| function.self_samples).sum::<u64>(), 10);
        assert_eq!(profile.modules.iter().map(|module| module.self_samples).sum::<u64>(), 10);
        assert_eq!(
            profile.processes,
            [Process {
                pid: 7,
                comm: "prog".into(),
                threads: 1,
                samples: 10,
                user_samples: 10,
                complete: 9,
                cgroup: "".into(),
            }]
        );
    }

    /// A module counts the samples it appears in, not its frames.
    #[test]
    fn modules_count_samples() {
        let profile = sample_profile();
        let shown: Vec<_> = profile.modules.iter().map(|m| (m.name.as_str(), m.samples, m.symbols)).collect();
        assert_eq!(shown, [("prog", 10, "embedded"), ("[kernel]", 3, "embedded")]);
    }

    /// Two functions that read the same, in one stack, are one in what is compared by name, and count once.
    #[test]
    fn functions_that_read_the_same() {
        let mut profile = sample_profile();
        for function in &mut profile.functions {
            function.name = if &*function.name == "main" { "work".into() } else { function.name.clone() };
        }
        let together = profile.by_name();
        let found = together.iter().filter(|function| &*function.name == "work").collect::<Vec<_>>();
        assert_eq!((found.len(), found[0].self_samples, found[0].total_samples), (1, 6, 9));
    }

    /// A profile of nothing is no division by zero.
    #[test]
    fn nothing_is_zero_percent() {
        assert!(Profile::default().percent(0).abs() < f64::EPSILON);
    }
}
