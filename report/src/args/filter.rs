//! Which samples to show.

use crate::filter::{SampleFilter, Side};
use crate::refine::Pattern;

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

impl FilterArgs {
    /// The filter that these arguments ask for.
    pub fn filter(&self) -> SampleFilter {
        SampleFilter {
            keep_cpus: false,
            keep_cgroups: false,
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

/// Nanoseconds from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    pub(super) from: Option<u64>,
    pub(super) to: Option<u64>,
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

/// Seconds from the start as `FROM..TO`, either of which may be left away.
pub(super) fn time_range(text: &str) -> Result<TimeRange, String> {
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
