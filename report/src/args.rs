//! The command line.

use std::path::{Path, PathBuf};

use clap::Parser;

use crate::filter::{SampleFilter, Side};
use crate::local_files::Sources;
use crate::local_files::debuginfod::Debuginfod;
use crate::profile::{By, Shape, SortBy};
use crate::refine::{self, Around, FunctionPattern, Pattern, Refinement};
use crate::views::ColorWhen;

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
    #[arg(long, conflicts_with_all = ["diff", "tree", "folded", "info", "flamegraph", "min_percent", "limit", "FilterArgs"])]
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

    /// Ask no debuginfod server, whatever DEBUGINFOD_URLS says
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
        let debuginfod = match self.no_debuginfod {
            true => Debuginfod::off("--no-debuginfod"),
            false => Debuginfod::from_environment(|name| std::env::var_os(name)),
        };
        (!self.no_local_files).then(|| Sources { folders: self.symbols.clone(), debuginfod, ..Sources::default() })
    }
}

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
    #[arg(long, group = "view", conflicts_with = "diff")]
    pub info: bool,

    /// The recorder over time: its CPU, memory and ring, and how long samples took; also with --json and --time
    #[arg(
        long = "self",
        conflicts_with_all = [
            "diff", "check", "tree", "folded", "info", "flamegraph", "callers", "callees", "by", "sort", "min_percent", "pid", "tid",
            "comm", "cpu", "kernel", "user", "cgroup", "focus", "ignore", "hide", "show", "root", "strict"
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
        conflicts_with_all = ["diff", "check", "tree", "folded", "info", "flamegraph", "own", "rewrite"]
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

    /// At most N rows; 0 for all [default: 30, with --self 40, with --json all]
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,

    /// Leave out what has less than this share of the samples [default: 1 for trees, 0.05 for flame graphs]
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub min_percent: Option<f64>,

    /// Colours: auto (on a terminal, unless NO_COLOR is set), always or never
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, hide_possible_values = true)]
    pub color: ColorWhen,
}

/// Which samples to show. Several values of one filter: any of them; several filters: all of them.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Filters")]
pub struct FilterArgs {
    /// Only these processes
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub pid: Vec<u32>,

    /// Only these threads
    #[arg(long, value_name = "TID", value_delimiter = ',')]
    pub tid: Vec<u32>,

    /// Only threads of these names
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub comm: Vec<String>,

    /// Only processes in these cgroups, or inside of them: paths as --info shows them
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    pub cgroup: Vec<String>,

    /// Only these CPUs
    #[arg(long, value_name = "CPU", value_delimiter = ',')]
    pub cpu: Vec<u32>,

    /// Only these seconds from the start: 10..20, 10.., ..20
    #[arg(long, value_name = "FROM..TO", value_parser = time_range)]
    pub time: Option<TimeRange>,

    /// Only samples that hit the kernel
    #[arg(long, conflicts_with = "user")]
    pub kernel: bool,

    /// Only samples that hit user code
    #[arg(long)]
    pub user: bool,

    /// No frames that were guessed: where unwind information does not lead on, stacks end (docs/unwinding.md)
    #[arg(long)]
    pub strict: bool,

    /// Only samples with a frame of which RE, a regular expression, matches function, source file or module
    #[arg(long, value_name = "RE")]
    pub focus: Option<Pattern>,

    /// Only samples without such a frame
    #[arg(long, value_name = "RE")]
    pub ignore: Option<Pattern>,

    /// Without the frames that RE matches; what they cost themselves is their callers' own
    #[arg(long, value_name = "RE")]
    pub hide: Option<Pattern>,

    /// Only the frames that RE matches
    #[arg(long, value_name = "RE")]
    pub show: Option<Pattern>,

    /// Stacks from the outermost frame on that RE matches, and no others
    #[arg(long, value_name = "RE")]
    pub root: Option<Pattern>,
}

/// Which recording to make of others.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Recordings of recordings (with -o; docs/rewriting.md)")]
pub struct RewriteArgs {
    /// Write the seconds FROM..TO of the recording
    #[arg(long, group = "rewrite", requires = "output", value_name = "FROM..TO", value_parser = time_range)]
    pub cut: Option<TimeRange>,

    /// Write recordings of one host, one after the other
    #[arg(long, group = "rewrite", requires = "output", num_args = 1.., value_name = "FILE", conflicts_with = "file")]
    pub merge: Option<Vec<PathBuf>>,

    /// Write the recording unwound: with locations, without registers and words of stacks
    #[arg(long, group = "rewrite", requires = "output")]
    pub scrub: bool,

    /// With --scrub: without host name, facts about the machine, command line, cgroups and folders of paths
    #[arg(long, requires = "scrub", conflicts_with_all = ["cut", "merge"])]
    pub redact: bool,

    /// Where to write the recording; `-` is standard output
    #[arg(short, long, requires = "rewrite", conflicts_with_all = ["ViewArgs", "FilterArgs", "diff", "check"], value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Replace a file that exists
    #[arg(long, requires = "output")]
    pub force: bool,
}

/// Nanoseconds from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    from: Option<u64>,
    to: Option<u64>,
}

impl TimeRange {
    /// Its start, if it has one.
    pub fn from(self) -> Option<u64> {
        self.from
    }

    /// Its end, if it has one.
    pub fn to(self) -> Option<u64> {
        self.to
    }
}

impl RewriteArgs {
    /// Whether a recording is to be written, and none shown.
    pub fn is_asked_for(&self) -> bool {
        self.cut.is_some() || self.merge.is_some() || self.scrub
    }
}

impl Args {
    /// Which samples are read, and how they are counted.
    pub fn filter(&self) -> SampleFilter {
        SampleFilter { keep_cpus: self.view.by == By::Cpu, ..self.filter.filter() }
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

impl ViewArgs {
    fn around(&self) -> Option<Around> {
        let callers = self.callers.as_ref().map(|function| (function, refine::Side::Callers));
        let callees = self.callees.as_ref().map(|function| (function, refine::Side::Callees));
        callers.or(callees).map(|(function, side)| Around { function: function.clone(), side })
    }
}

impl FilterArgs {
    /// The filter that these arguments ask for.
    pub fn filter(&self) -> SampleFilter {
        SampleFilter {
            keep_cpus: false,
            pids: self.pid.clone(),
            tids: self.tid.clone(),
            comms: self.comm.clone(),
            cgroups: self.cgroup.clone(),
            cpus: self.cpu.clone(),
            from: self.time.and_then(|time| time.from),
            to: self.time.and_then(|time| time.to),
            side: match (self.kernel, self.user) {
                (true, _) => Side::KernelOnly,
                (false, true) => Side::UserOnly,
                (false, false) => Side::Both,
            },
            strict: self.strict,
        }
    }
}

fn time_range(text: &str) -> Result<TimeRange, String> {
    let (from, to) = text.split_once("..").ok_or("expected FROM..TO in seconds, such as 10..20")?;
    let range = TimeRange { from: seconds(from)?, to: seconds(to)? };
    match range {
        TimeRange { from: Some(from), to: Some(to) } if from >= to => Err("the end is not after the start".to_owned()),
        range => Ok(range),
    }
}

/// Seconds as nanoseconds; nothing stands for an open end.
fn seconds(text: &str) -> Result<Option<u64>, String> {
    let text = text.trim().trim_end_matches('s');
    if text.is_empty() {
        return Ok(None);
    }
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is not a number of seconds"))?;
    if !(0.0..=1e9).contains(&seconds) {
        return Err(format!("{text} seconds are out of range"));
    }
    Ok(Some((seconds * 1e9).round() as u64))
}

fn percent(text: &str) -> Result<f64, String> {
    let text = text.trim_end_matches('%');
    let percent: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if (0.0..=100.0).contains(&percent) { Ok(percent) } else { Err("expected 0 to 100".to_owned()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// clap's own check of the definition.
    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    /// A time range may be open at either end; anything else is refused in words.
    #[test]
    fn time_ranges() {
        let range = |from, to| Ok(TimeRange { from, to });
        assert_eq!(time_range("10..20.5"), range(Some(10_000_000_000), Some(20_500_000_000)));
        assert_eq!(time_range("..2s"), range(None, Some(2_000_000_000)));
        assert_eq!(time_range("1.."), range(Some(1_000_000_000), None));
        for wrong in ["5", "a..b", "3..2", "-1..2", "nan..", "1e99.."] {
            assert!(time_range(wrong).is_err(), "{wrong}");
        }
    }

    /// One view at a time, and a file or a diff.
    #[test]
    fn contradictions_are_refused() {
        let parse = |line: &str| Args::try_parse_from(line.split(' '));
        assert!(parse("report a.prof --tree").is_ok());
        assert!(parse("report a.prof --why libc --json").is_ok());
        assert!(parse("report --check a.prof --json").is_ok());
        assert!(parse("report --diff a b --flamegraph c.svg").is_ok());
        assert!(parse("report a --callers f --flamegraph c.svg --focus x --by cpu").is_ok());
        assert!(parse("report --diff a b --by module --root x").is_ok());
        assert!(parse("report --cut 1..2 -o b a").is_ok());
        assert!(parse("report --merge a b c -o d --force").is_ok());
        assert!(parse("report --scrub a -o b --redact --no-local-files").is_ok());
        for wrong in [
            "report",
            "report a --tree --json",
            "report a --tree --why libc",
            "report a --diff b c",
            "report --diff a",
            "report --diff a b --tree",
            "report --check",
            "report --check a --tree",
            "report --check a --pid 4",
            "report a --kernel --user",
            "report --cut 1..2 a",
            "report --cut 1..2 -o b",
            "report --cut 2..1 a -o b",
            "report --cut 1..2 --scrub a -o b",
            "report --cut 1..2 a -o b --tree",
            "report --scrub a -o b --pid 7",
            "report --scrub --check a -o b",
            "report --merge -o b",
            "report --merge a b -o c d",
            "report --cut 1..2 --redact a -o b",
            "report a -o b",
            "report a --force",
            "report a --callers f --callees g",
            "report --diff a b --callers f",
            "report a --tree --sort name",
            "report a --focus (",
            "report --cut 1..2 a -o b --by module",
            "report --check a --by module",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    /// The recorder's own measurements know the time alone: --self refuses every filter but --time, also those that are added later.
    #[test]
    fn self_refuses_what_it_would_ignore() {
        let command = Args::command();
        let filters = command.get_groups().find(|group| group.get_id() == "FilterArgs").unwrap();
        let filters: Vec<_> = filters.get_args().map(clap::Id::as_str).collect();
        assert!(filters.contains(&"time") && filters.len() > 7, "{filters:?}");
        for filter in filters {
            let option = command.get_arguments().find(|option| option.get_id() == filter).unwrap();
            let mut line = vec!["report".to_owned(), "a.prof".to_owned(), format!("--{}", option.get_long().unwrap())];
            if option.get_action().takes_values() {
                line.push(if filter == "time" { "1..2" } else { "4" }.to_owned());
            }
            assert!(Args::try_parse_from(&line).is_ok(), "{line:?}");
            line.push("--self".to_owned());
            assert_eq!(Args::try_parse_from(&line).is_ok(), filter == "time", "{line:?}");
        }
    }

    /// Lines are looked for where a view shows them or a pattern may mean a file, and only there.
    #[test]
    fn lines_where_they_are_needed() {
        let needs = |line: &str| Args::try_parse_from(line.split(' ')).unwrap().needs_lines();
        for with in ["--json", "--by line", "--by file --tree", "--focus a.c", "--hide a.c", "--folded --root a.c"] {
            assert!(needs(&format!("report a {with}")), "{with}");
        }
        for without in ["--tree", "--folded", "--by module", "--flamegraph x.svg", "--info", "--callers f"] {
            assert!(!needs(&format!("report a {without}")), "{without}");
        }
    }

    /// `--why` takes a module, or nothing, and the recording may stand on either side of it.
    #[test]
    fn why_of_one_module_or_all() {
        let of = |line: &str| {
            let args = Args::try_parse_from(line.split(' ')).unwrap();
            let (file, why) = args.file_and_why();
            (file.map(Path::to_owned), why.map(|module| module.map(str::to_owned)))
        };
        let file = Some(PathBuf::from("a"));
        assert_eq!(of("report a --why"), (file.clone(), Some(None)));
        assert_eq!(of("report --why a"), (file.clone(), Some(None)));
        assert_eq!(of("report a --why libc"), (file.clone(), Some(Some("libc".to_owned()))));
        assert_eq!(of("report --why libc a"), (file.clone(), Some(Some("libc".to_owned()))));
        assert_eq!(of("report a"), (file, None));
    }

    /// Only --scrub looks for names and unwind information in files: the others refuse what they would ignore.
    #[test]
    fn cut_and_merge_ignored_where_files_are() {
        for option in ["--symbols c", "--no-local-files"] {
            let parse = |line: &str| Args::try_parse_from(format!("report {line} a -o b {option}").split(' '));
            assert!(parse("--scrub").is_ok(), "{option}");
            assert!(parse("--cut 1..2").is_err(), "{option}");
            assert!(parse("--merge").is_err(), "{option}");
        }
    }
}
