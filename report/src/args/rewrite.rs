//! Which recording to make of others.

use std::path::PathBuf;

use super::filter::{TimeRange, time_range};

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
    #[arg(
        short, long, requires = "rewrite", value_name = "FILE",
        conflicts_with_all = ["ViewArgs", "FilterArgs", "diff", "check", "no_inline", "fold_clones", "no_cache"]
    )]
    pub output: Option<PathBuf>,

    /// Replace a file that exists
    #[arg(long, requires = "output")]
    pub force: bool,
}

impl RewriteArgs {
    /// Whether a recording is to be written, and none shown.
    pub fn is_asked_for(&self) -> bool {
        self.cut.is_some() || self.merge.is_some() || self.scrub
    }
}
