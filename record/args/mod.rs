//! The command line.

mod settings;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::amounts::{
    MaxCpu, Rotation, parse_duration, parse_file_size, parse_flush, parse_long_time, parse_max_cpu, parse_memory,
    parse_ring_size, parse_rotation, parse_stack_size,
};
use crate::narrowing;
use crate::trigger::Trigger;

const EXAMPLES: &str = "\
Examples:
  profrec record -p 4711 -d 30s               a running process, all its threads, for 30 seconds
  profrec record -p 4711,4712 -F 499 -o incident.prof
  profrec record -- g++ -O2 -c big.cpp        a command and its children, from the first instruction
  profrec record -a --preset prod             the whole machine, until Ctrl-C
  profrec record --cgroup /web --comm nginx   what of a control group has this name
  profrec doctor                              can this host be recorded? what is missing?
  profrec report incident.prof                look at it, on any machine";

const NARROWED: &str = "Target, narrowed (each that is given must be met; one that is repeated, by any of its values)";

/// Production CPU profiler for Linux.
///
/// Records with eBPF which code is on the CPU, in one small file that holds all evidence for complete stacks; any other
/// machine can turn it into a report, any day later.
#[derive(Debug, Parser)]
#[command(name = "profrec", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Record processes, a command or the whole machine
    Record(Box<RecordArgs>),
    /// Check whether this host can be recorded, and say what helps
    Doctor(DoctorArgs),
    /// The part of `record --jvm-perfmap` that keeps rights.
    #[command(hide = true)]
    AskJvms,
    /// Any other subcommand is the program `profrec-NAME`, such as `profrec-report`.
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

/// What to record, how often, and where to.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_override_self = true)]
pub(crate) struct RecordArgs {
    /// Record these processes with all their threads; process ids as /proc shows them here, in a container its own
    #[arg(short, long = "pid", value_name = "PID[,PID...]", value_delimiter = ',', help_heading = "Target")]
    pub(crate) pids: Vec<u32>,

    /// Record these threads alone, without those that they create
    #[arg(
        short,
        long = "tid",
        value_name = "TID[,TID...]",
        value_delimiter = ',',
        conflicts_with = "pids",
        help_heading = "Target"
    )]
    pub(crate) tids: Vec<u32>,

    /// Record the whole machine
    #[arg(short, long, conflicts_with_all = ["pids", "tids"], help_heading = "Target")]
    pub(crate) all: bool,

    /// Record this command from its first instruction to its end, and exit with its status
    #[arg(
        last = true, value_name = "COMMAND", conflicts_with_all = ["pids", "tids", "all"], help_heading = "Target"
    )]
    pub(crate) command: Vec<OsString>,

    /// Only what runs in this control group of version 2, or below it: a path as in /proc/PID/cgroup
    #[arg(long = "cgroup", value_name = "PATH", conflicts_with = "command", help_heading = NARROWED)]
    pub(crate) cgroups: Vec<PathBuf>,

    /// Only threads of this name, and all threads of processes of this name
    #[arg(long = "comm", value_name = "NAME", value_parser = narrowing::parse_comm, help_heading = NARROWED)]
    pub(crate) comms: Vec<String>,

    /// Only what runs for this real user, by name or number
    #[arg(long = "uid", value_name = "USER", conflicts_with = "command", help_heading = NARROWED)]
    pub(crate) users: Vec<String>,

    /// Do not follow child processes
    #[arg(long, help_heading = "Target")]
    pub(crate) no_inherit: bool,

    /// Samples a second and CPU, as long as that costs no more than --max-cpu [default: 99]
    #[arg(short = 'F', long, value_name = "HZ", value_parser = clap::value_parser!(u64).range(1..=10_000), help_heading = "Rate")]
    pub(crate) frequency: Option<u64>,

    /// Time between two samples of a CPU, such as 10ms
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "frequency", help_heading = "Rate")]
    pub(crate) interval: Option<Duration>,

    /// A rate by its purpose
    #[arg(long, value_enum, conflicts_with_all = ["frequency", "interval"], help_heading = "Rate")]
    pub(crate) preset: Option<Preset>,

    /// Slow down rather than use more of the machine's CPU time (all CPUs together) for recording: 0.5% or none. First
    /// less of deep stacks is copied, then the rate falls: each sample says how many ticks it stands for, so that shares and sums
    /// stay right [default: 1%, with --preset dev 5%]
    #[arg(long, value_name = "SHARE", value_parser = parse_max_cpu, help_heading = "Rate")]
    pub(crate) max_cpu: Option<MaxCpu>,

    /// Stop after this time, such as 30s, 500ms or 2m [default: at Ctrl-C or the target's end]
    #[arg(short, long, value_name = "TIME", value_parser = parse_duration, help_heading = "Rate")]
    pub(crate) duration: Option<Duration>,

    /// The file to write; - is the standard output (a command's own output then goes to the standard error)
    #[arg(short, long, value_name = "FILE", default_value = "profrec.prof", help_heading = "Output")]
    pub(crate) output: PathBuf,

    /// Replace the file if it exists
    #[arg(long, help_heading = "Output")]
    pub(crate) force: bool,

    /// Stop before the recording is larger than this, such as 500MB; with --rotate and --ring: delete the oldest files before
    /// all are larger together
    #[arg(long, value_name = "SIZE", value_parser = parse_file_size, help_heading = "Output")]
    pub(crate) max_size: Option<u64>,

    /// Have the disk confirm what was written, about once a second: a power cut costs no more than a kill then
    #[arg(long, help_heading = "Output")]
    pub(crate) sync: bool,

    /// No progress, no summary
    #[arg(short, long, help_heading = "Output")]
    pub(crate) quiet: bool,

    /// Begin another file after this time (10m) or size (100MB): FILE.000001.prof and so on, each a whole recording. SIGUSR1
    /// begins one at once
    #[arg(long, value_name = "TIME|SIZE", value_parser = parse_rotation, conflicts_with = "force", help_heading = "Parts")]
    pub(crate) rotate: Option<Rotation>,

    /// With --rotate or --ring: so many files stay, the oldest are deleted, those of earlier runs too
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Parts")]
    pub(crate) keep: Option<u32>,

    /// Flight recorder: hold the last TIME in memory alone; write it to FILE.000001.prof and so on at SIGUSR1, at a --trigger, and
    /// at the end. SIGKILL leaves nothing
    #[arg(
        long, value_name = "TIME", value_parser = parse_long_time, conflicts_with_all = ["rotate", "force"],
        help_heading = "Flight recorder"
    )]
    pub(crate) ring: Option<Duration>,

    /// Memory for what --ring holds (while a file is written, up to twice): with less than TIME needs, it holds less time
    #[arg(
        long, value_name = "SIZE", value_parser = parse_memory, default_value = "64MB", requires = "ring",
        help_heading = "Flight recorder"
    )]
    pub(crate) ring_memory: u64,

    /// Write the ring out when this is true: 'cpu>90% for 5s' (-a: of all CPUs; else of one CPU, by the target), 'load>8 for 1m',
    /// or with <
    #[arg(long, value_name = "CONDITION", requires = "ring", help_heading = "Flight recorder")]
    pub(crate) trigger: Vec<Trigger>,

    /// Work for this account once all is attached, and give it the file; a command stays yours
    #[arg(long, value_name = "NAME", help_heading = "Rights")]
    pub(crate) user: Option<String>,

    /// Count stacks in the kernel instead of sending each, for weeks: by frame pointers, without the times of single samples.
    /// Implied by --preset monitor, unless --call-graph says how to sample
    #[arg(
        long, value_name = "HOW", value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "all",
        conflicts_with = "keep_raw", help_heading = "Counting"
    )]
    pub(crate) count: Option<HowToCount>,

    /// With --count=hybrid: of a process whose stacks are copied, one in so many ticks is a sample; it stands for the others [default: 10]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000), help_heading = "Counting")]
    pub(crate) sample_every: Option<u32>,

    /// How often counts are read and written: what SIGKILL can cost [default: 10s; 1m with --preset monitor]
    #[arg(long, value_name = "TIME", value_parser = parse_flush, help_heading = "Counting")]
    pub(crate) flush: Option<Duration>,

    /// Distinct stacks between two flushes: 2.5 KB of kernel memory each, and up to 1 KB of the recorder's at a flush [default: 16384]
    #[arg(
        long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1_024..=1 << 20), help_heading = "Counting"
    )]
    pub(crate) stack_entries: Option<u32>,

    /// Distinct threads' names, CPUs and stacks between two flushes [default: 32768]
    #[arg(
        long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1_024..=1 << 22), help_heading = "Counting"
    )]
    pub(crate) count_entries: Option<u32>,

    /// How user stacks are captured [default: dwarf]
    #[arg(long, value_enum, help_heading = "Stacks")]
    pub(crate) call_graph: Option<CallGraph>,

    /// Stacks up to this depth are copied whole, as long as all CPUs' copies fit into 32 MB [default: 512k]
    #[arg(long, value_name = "BYTES", value_parser = parse_stack_size, help_heading = "Stacks")]
    pub(crate) whole_stack: Option<u32>,

    /// Bytes copied from each end of a stack that is deeper: a multiple of 4096, at most 1m [default: 64k]
    #[arg(long, value_name = "BYTES", value_parser = parse_stack_size, help_heading = "Stacks")]
    pub(crate) stack_size: Option<u32>,

    /// Evidence about the programs that goes into the file, for machines that do not have them [default: unwind, with --count none]
    #[arg(long, value_enum, help_heading = "Stacks")]
    pub(crate) embed: Option<Embed>,

    /// Also write each sample's registers and stack as they were, with all that the program had there: to check unwinders
    #[arg(long, hide = true)]
    pub(crate) keep_raw: bool,

    /// At the end, have recorded JVMs write the names of their compiled methods: jcmd PID Compiler.perfmap. This talks to the
    /// target, by SIGQUIT and a socket, which nothing else does
    #[arg(long, help_heading = "Stacks")]
    pub(crate) jvm_perfmap: bool,

    /// Size of the buffer between kernel and recorder: a power of two. (What --ring holds has --ring-memory.) With it, the recorder takes less
    /// than 64 MB with 20,000 processes and 10,000 threads: at most 24 MB are about processes, of which those not seen for
    /// longest are forgotten, and 16 MB about stacks. The kernel takes 256 KB more for each CPU, and copies of stacks [default: 8m]
    #[arg(long, value_name = "BYTES", value_parser = parse_ring_size, help_heading = "Tuning")]
    pub(crate) ring_size: Option<u32>,
}

/// What to look at.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Where a recording would go
    #[arg(short, long, value_name = "PATH", default_value = ".")]
    pub(crate) output: PathBuf,

    /// For scripts: docs/doctor.md
    #[arg(long)]
    pub(crate) json: bool,
}

/// Rates by purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Preset {
    /// 999 a second: to look closely
    Dev,
    /// 99 a second: for production
    Prod,
    /// 10 a second, counted in the kernel (--count): for weeks
    Monitor,
}

/// What is counted in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HowToCount {
    /// All processes
    All,
    /// Processes whose stacks frame pointers lead through; of the others, stacks are copied, at a lower rate
    Hybrid,
}

/// How user stacks are captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CallGraph {
    /// Complete stacks without frame pointers: registers and pointers on the stack
    Dwarf,
    /// The kernel follows frame pointers: cheaper, for programs that have them
    Fp,
    /// Only the function that runs
    None,
}

/// What evidence is embedded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Embed {
    /// What complete stacks need
    #[default]
    Unwind,
    /// The names of functions too
    Symbols,
    /// Nothing
    None,
}
