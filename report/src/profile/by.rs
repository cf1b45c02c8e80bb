//! What samples are brought together by: the functions, modules, files or lines of their frames, or the threads, processes, CPUs or
//! cgroups that they are of.

use std::sync::Arc;

use foldhash::HashMap;

use super::{Code, Function, PathFrame};
use crate::evidence::Evidence;
use crate::paths::StackPaths;
use crate::refine::{SeenFrame, Selection};
use crate::stacks::Stacks;
use crate::symbols::{FunctionId, Home, NamedFrame, Names, home_name};

/// What samples are brought together by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    /// Functions
    #[default]
    Function,
    /// Programs and libraries, the kernel and its modules
    Module,
    /// Source files
    File,
    /// Lines of source files
    Line,
    /// Threads
    Thread,
    /// Names of threads
    Comm,
    /// Processes
    Process,
    /// CPUs
    Cpu,
    /// Cgroups
    Cgroup,
}

/// A source file, and a line in it, as far as they are known and asked for.
type Place<'a> = (Option<&'a str>, Option<u32>);

/// What stands in the place of functions.
pub(super) struct Groups {
    pub(super) functions: Vec<Function>,
    /// For each frame, which of `functions`.
    of_frames: Vec<FunctionId>,
    /// Neighbours in a stack that are of one group are one.
    merges: bool,
}

impl By {
    /// Its name on the command line and in JSON, and the heading of its column.
    pub fn name(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Module => "module",
            Self::File => "file",
            Self::Line => "line",
            Self::Thread => "thread",
            Self::Comm => "comm",
            Self::Process => "process",
            Self::Cpu => "cpu",
            Self::Cgroup => "cgroup",
        }
    }

    /// Whether a sample is of one of them as a whole, whatever its stack.
    pub fn is_of_samples(self) -> bool {
        !matches!(self, Self::Function | Self::Module | Self::File | Self::Line)
    }

    /// What the frames are of: functions, unless modules, files or lines are asked for.
    pub(super) fn groups(self, frames: &[NamedFrame], names: &Names, evidence: &Evidence) -> Groups {
        let mut modules: HashMap<&Home, Arc<str>> = HashMap::default();
        let mut module = |home| modules.entry(home).or_insert_with(|| home_name(home, evidence).into()).clone();
        if matches!(self, Self::Module | Self::File | Self::Line) {
            return self.other_groups(frames, names, module);
        }
        let functions = names.functions.iter().map(|function| Function {
            unnamed: function.unnamed,
            ..Function::new(function.name.clone(), module(&function.home), Code::of(&function.home))
        });
        let of_frames = frames.iter().map(|frame| frame.function).collect();
        Groups { functions: functions.collect(), of_frames, merges: false }
    }

    fn other_groups<'n>(
        self,
        frames: &'n [NamedFrame],
        names: &'n Names,
        mut module: impl FnMut(&'n Home) -> Arc<str>,
    ) -> Groups {
        let mut known: HashMap<(Place<'n>, Option<&Home>), FunctionId> = HashMap::default();
        let mut functions: Vec<Function> = Vec::new();
        let mut of_frames = Vec::with_capacity(frames.len());
        for frame in frames {
            let home = &names.functions[frame.function as usize].home;
            let place @ (file, line) = self.place(frame);
            let group = *known.entry((place, file.is_none().then_some(home))).or_insert_with(|| {
                let name = match (file, line) {
                    (Some(file), Some(line)) => format!("{file}:{line}").into(),
                    (Some(file), None) => file.into(),
                    _ if self == Self::Module => module(home),
                    _ => format!("[no {} in {}]", self.name(), module(home)).into(),
                };
                functions.push(Function::new(name, "".into(), Code::of(home)));
                (functions.len() - 1) as FunctionId
            });
            of_frames.push(group);
        }
        Groups { functions, of_frames, merges: true }
    }

    /// The file and line of a frame, as far as they matter.
    fn place(self, frame: &NamedFrame) -> Place<'_> {
        match (self, &frame.file, frame.line) {
            (Self::File, Some(file), _) => (Some(file), None),
            (Self::Line, Some(file), Some(line)) => (Some(file), Some(line)),
            _ => (None, None),
        }
    }
}

impl Groups {
    /// The stacks as paths of functions, or of what stands in their place.
    pub(super) fn paths(&self, selection: &Selection<'_>, stacks: &Stacks) -> StackPaths<PathFrame> {
        let path_frame = |seen: SeenFrame| {
            let frame = seen.frame() as usize;
            let inlined = selection.frames[frame].inlined && !self.merges;
            PathFrame::new(self.of_frames[frame], inlined, seen.guessed())
        };
        let merged = |kept: PathFrame, next: PathFrame| {
            let is_same = self.merges && next.function() == kept.function();
            is_same.then(|| kept.guessed_if(next.guessed()))
        };
        selection.paths(stacks, path_frame, merged)
    }
}
