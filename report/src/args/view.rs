//! What to show.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::profile::{By, SortBy};
use crate::refine::{self, Around, FunctionPattern};
use crate::views::ColorWhen;
use crate::views::flamegraph::Limits;

/// What to show. Without any of these: the table of functions.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Views (default: a table of functions by self time)")]
pub struct ViewArgs {
    /// The call tree from the root
    #[arg(long, group = "view", conflicts_with = "diff")]
    pub tree: bool,

    /// One line a stack: comm;outermost;...;innermost count
    #[arg(long, group = "view")]
    pub folded: bool,

    /// The recording: host, losses, how stacks ended, modules with names
    #[arg(long, group = "view", conflicts_with_all = ["diff", "no_inline", "fold_clones"])]
    pub info: bool,

    /// The recorder over time: its CPU, memory and ring, and how long samples took; also with --json and --time
    #[arg(
        long = "self",
        conflicts_with_all = [
            "diff", "check", "tree", "folded", "info", "flamegraph", "callers", "callees", "by", "sort", "min_percent", "pid", "tid",
            "comm", "cpu", "kernel", "user", "cgroup", "focus", "ignore", "hide", "show", "root", "strict", "symbols", "no_local_files",
            "no_debuginfod", "no_inline", "fold_clones", "no_cache"
        ]
    )]
    pub own: bool,

    /// Everything for scripts; docs/json.md explains the fields
    #[arg(long, group = "view")]
    pub json: bool,

    /// Why names are missing or as they are: the files and servers that were looked at for each module, in order, and
    /// what came of each; also with --json
    #[arg(
        long,
        value_name = "MODULE",
        conflicts_with_all = [
            "diff", "check", "tree", "folded", "info", "flamegraph", "own", "rewrite", "callers", "callees", "by", "sort", "limit",
            "min_percent", "no_inline", "fold_clones"
        ]
    )]
    pub why: Option<Option<String>>,

    /// Write a flame graph; `-` writes it to standard output
    #[arg(long, group = "view", value_name = "OUT.svg")]
    pub flamegraph: Option<PathBuf>,

    /// What calls FUNC, as a tree, or with --flamegraph, --folded or --json: a function's name, else a regular expression
    #[arg(long, value_name = "FUNC", conflicts_with_all = ["diff", "info", "check"])]
    pub callers: Option<FunctionPattern>,

    /// What FUNC calls, in the same way
    #[arg(long, value_name = "FUNC", conflicts_with_all = ["callers", "diff", "info", "check"])]
    pub callees: Option<FunctionPattern>,

    /// Bring samples together by function, module, file, line, thread, comm, process, cpu or cgroup
    #[arg(long, value_name = "WHAT", value_enum, default_value_t, hide_possible_values = true, conflicts_with_all = ["info", "check"])]
    pub by: By,

    /// The order of the table: self, total or name
    #[arg(
        long, value_name = "ORDER", value_enum, default_value_t, hide_possible_values = true,
        conflicts_with_all = ["tree", "folded", "info", "flamegraph", "callers", "callees", "diff", "check"]
    )]
    pub sort: SortBy,

    /// At most N rows of a table, or of JSON; 0 for all [default: 30, with --self 40, with --json all]
    #[arg(long, value_name = "N", conflicts_with_all = ["tree", "folded", "info", "flamegraph", "callers", "callees"])]
    pub limit: Option<usize>,

    /// Leave out what has less than this share of the samples [default: 1 for trees, 0.05 for flame graphs]
    #[arg(long, value_name = "PERCENT", value_parser = percent, conflicts_with_all = ["folded", "info"])]
    pub min_percent: Option<f64>,

    /// Draw stacks no more than N frames deep, for recursion that makes a flame graph very high
    #[arg(long, value_name = "N", requires = "flamegraph")]
    pub max_depth: Option<NonZeroUsize>,

    /// Colours: auto (on a terminal, unless NO_COLOR is set), always or never
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, hide_possible_values = true)]
    pub color: ColorWhen,
}

impl ViewArgs {
    /// How much of the stacks is drawn.
    pub fn limits(&self) -> Limits {
        Limits { min_percent: self.min_percent, max_depth: self.max_depth }
    }

    /// The function whose callers or callees are shown.
    pub(super) fn around(&self) -> Option<Around> {
        let callers = self.callers.as_ref().map(|function| (function, refine::Side::Callers));
        let callees = self.callees.as_ref().map(|function| (function, refine::Side::Callees));
        callers.or(callees).map(|(function, side)| Around { function: function.clone(), side })
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let text = text.trim_end_matches('%');
    let percent: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if (0.0..=100.0).contains(&percent) { Ok(percent) } else { Err("expected 0 to 100".to_owned()) }
}
