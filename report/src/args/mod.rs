//! The command line.

mod filter;
mod rewrite;
mod view;

use std::path::{Path, PathBuf};

use clap::Parser;

pub use filter::{FilterArgs, TimeRange};
pub use rewrite::RewriteArgs;
pub use view::ViewArgs;

use crate::filter::SampleFilter;
use crate::local_files::Sources;
use crate::local_files::debuginfod::Debuginfod;
use crate::profile::{By, Shape};
use crate::refine::Refinement;

/// Shows where a recording's CPU time went.
#[derive(Parser, Debug)]
#[command(
    name = "profrec-report",
    bin_name = "profrec report",
    version,
    after_help = "Examples:
  profrec report app.prof                              the functions that used most CPU time
  profrec report app.prof --tree                       the call tree from the root
  profrec report app.prof --flamegraph app.svg         a flame graph to open in a browser
  profrec report app.prof --comm worker --time 10..20  one thread name, ten seconds of it
  profrec report app.prof --callers malloc             who called it, and how much that cost
  profrec report app.prof --by module --sort total     libraries in place of functions
  profrec report app.prof --focus parse --hide '^std'  stacks through parse, without the standard library
  profrec report app.prof --symbols ./debug            names from binaries or debug files in a folder
  profrec report --diff before.prof after.prof         what changed, by share of CPU time
  ssh host profrec record -a -d 10s -o - | profrec report -
  profrec report app.prof --why libc                   where the names of libc come from, and what was tried
  profrec report --self app.prof                       what the recorder cost, second by second
  profrec report --check app.prof                      whether every byte of it is as it was written
  profrec report --cut 10..20 -o part.prof app.prof    a recording of ten seconds of it
  profrec report --merge 1.prof 2.prof -o all.prof     one recording of the parts of a longer one
  profrec report --scrub app.prof -o out.prof          the same without memory of its programs, to be given away

Stacks, as in pprof: --focus and --ignore come first, then --hide and --show, then --root, then --callers and
--callees. What is hidden belongs to the innermost frame that is left; a sample without any is left out. --root,
--callers and --callees are from the outermost match on, so that recursion counts once. Shares are of what is left;
under every view it is told what was left out, and by which option: docs/views.md.

Exit status: 0 done, 1 failed, 2 wrong usage. With --check: 0 whole, 3 truncated or not closed, 4 damaged,
1 not a recording or cannot be read."
)]
pub struct Args {
    /// The recording; `-` reads it from standard input
    #[arg(value_name = "FILE", required_unless_present_any = ["diff", "merge", "why"], conflicts_with = "diff")]
    pub file: Option<PathBuf>,

    /// Compare two recordings
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"])]
    pub diff: Option<Vec<PathBuf>>,

    /// Read every frame and sample, and say whether the recording is whole, truncated or damaged, and what is lost
    #[arg(
        long,
        conflicts_with_all = [
            "diff", "tree", "folded", "info", "flamegraph", "min_percent", "limit", "FilterArgs", "symbols", "no_local_files",
            "no_debuginfod", "no_inline", "fold_clones", "no_cache"
        ]
    )]
    pub check: bool,

    /// What to show.
    #[command(flatten)]
    pub view: ViewArgs,

    /// Which samples to show.
    #[command(flatten)]
    pub filter: FilterArgs,

    /// Which recording to make of others.
    #[command(flatten)]
    pub rewrite: RewriteArgs,

    /// A folder of binaries or debug files, or a .build-id tree; repeatable
    #[arg(long, conflicts_with_all = ["cut", "merge"], value_name = "DIR", help_heading = "Names")]
    pub symbols: Vec<PathBuf>,

    /// Use what is in the recording alone: no binaries or debug files of this machine
    #[arg(long, conflicts_with_all = ["symbols", "cut", "merge"], help_heading = "Names")]
    pub no_local_files: bool,

    /// Ask no debuginfod server, whatever DEBUGINFOD_URLS says; files that were fetched before are used
    #[arg(long, conflicts_with_all = ["cut", "merge", "scrub"], help_heading = "Names")]
    pub no_debuginfod: bool,

    /// Do not show functions that the compiler inlined into others
    #[arg(long, help_heading = "Names")]
    pub no_inline: bool,

    /// Count the compiler's clones (f.cold, f.isra.0, f.part.1, f.llvm.123) as the function itself
    #[arg(long, help_heading = "Names")]
    pub fold_clones: bool,

    /// Neither use nor keep names of earlier reports (in $XDG_CACHE_HOME/profrec)
    #[arg(long, help_heading = "Names")]
    pub no_cache: bool,
}

impl Args {
    /// The recording, and what --why is asked of: of one module or, without a name, of all. In `--why FILE`, clap takes
    /// the file for a module.
    pub fn file_and_why(&self) -> (Option<&Path>, Option<Option<&str>>) {
        match (&self.file, &self.view.why) {
            (None, Some(Some(file))) => (Some(Path::new(file)), Some(None)),
            (file, why) => (file.as_deref(), why.as_ref().map(Option::as_deref)),
        }
    }

    /// Whether files or lines are shown, or matched: to find them takes longer than to find functions.
    pub fn needs_lines(&self) -> bool {
        let FilterArgs { focus, ignore, hide, show, root, .. } = &self.filter;
        let is_matched = [focus, ignore, hide, show, root].iter().any(|pattern| pattern.is_some());
        self.view.json || is_matched || matches!(self.view.by, By::File | By::Line)
    }

    /// Where files of the modules are looked for; nowhere with --no-local-files.
    pub fn sources(&self) -> Option<Sources> {
        let mut debuginfod = Debuginfod::from_environment(|name| std::env::var_os(name));
        if self.no_debuginfod {
            debuginfod = debuginfod.without_servers("--no-debuginfod");
        }
        (!self.no_local_files).then(|| Sources { folders: self.symbols.clone(), debuginfod, ..Sources::default() })
    }

    /// Which samples are read, and how they are counted.
    pub fn filter(&self) -> SampleFilter {
        let by = self.view.by;
        SampleFilter { keep_cpus: by == By::Cpu, keep_cgroups: by == By::Cgroup, ..self.filter.filter() }
    }

    /// How they are brought together.
    pub fn shape(&self) -> Shape {
        Shape { refinement: self.refinement(), by: self.view.by }
    }

    fn refinement(&self) -> Refinement {
        let FilterArgs { focus, ignore, hide, show, root, .. } = self.filter.clone();
        Refinement { focus, ignore, hide, show, root, around: self.view.around() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
