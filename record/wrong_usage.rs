//! What the definition of the command line cannot say: options that need others, or mean nothing.

use std::path::Path;

use clap::CommandFactory;
use clap::error::ErrorKind;

use crate::args::{CallGraph, Cli, RecordArgs};

/// What --max-size has to leave to the parts of a recording.
const LEAST_FOR_PARTS: u64 = 512 << 10;

impl RecordArgs {
    /// Says what is wrong with them.
    pub(crate) fn check(&self) -> Result<(), clap::Error> {
        self.check_parts()?;
        self.check_counting()?;
        let who = self.all || !self.pids.is_empty() || !self.tids.is_empty() || !self.command.is_empty();
        if who || self.is_narrowed() {
            return Ok(());
        }
        let message = "nothing to record: give -p PID, -t TID, --cgroup PATH, --comm NAME, --uid USER, -a for the whole \
                       machine, or -- COMMAND";
        Err(Cli::command().error(ErrorKind::MissingRequiredArgument, message))
    }

    fn check_counting(&self) -> Result<(), clap::Error> {
        let wrong = |message| Err(Cli::command().error(ErrorKind::ArgumentConflict, message));
        let is_hybrid = self.samples_every().is_some();
        if is_hybrid && self.call_graph.is_some_and(|call_graph| call_graph != CallGraph::Dwarf) {
            return wrong(
                "--count=hybrid chooses for each process how its stacks are captured: leave --call-graph out",
            );
        }
        let differs = |call_graph| call_graph != CallGraph::Fp;
        if self.count.is_some() && !is_hybrid && self.call_graph.is_some_and(differs) {
            return wrong(
                "--count follows frame pointers: leave --call-graph out, sample instead of --count, or use --count=hybrid",
            );
        }
        let is_about_copies = self.whole_stack.is_some() || self.stack_size.is_some() || self.ring_size.is_some();
        if self.count.is_some() && !is_hybrid && is_about_copies {
            return wrong(
                "--whole-stack, --stack-size and --ring-size are about copied stacks: with --count there are none",
            );
        }
        if self.sample_every.is_some() && !is_hybrid {
            return wrong("--sample-every is about --count=hybrid, which is missing");
        }
        let is_about_counts = self.flush.is_some() || self.stack_entries.is_some() || self.count_entries.is_some();
        if is_about_counts && self.counts_every().is_none() {
            return wrong("--flush, --stack-entries and --count-entries are about --count, which is missing");
        }
        Ok(())
    }

    fn check_parts(&self) -> Result<(), clap::Error> {
        let wrong = |message| Err(Cli::command().error(ErrorKind::ArgumentConflict, message));
        let has_parts = self.rotate.is_some() || self.ring.is_some();
        if has_parts && self.output == Path::new("-") {
            return wrong(
                "--rotate and --ring make several files, and cannot write to the standard output: give a file with -o",
            );
        }
        if has_parts && self.output.file_name().is_none() {
            return wrong("--rotate and --ring need the name of a file: give one with -o, such as -o DIR/app.prof");
        }
        if self.keep.is_some() && !has_parts {
            return wrong("--keep is about the files of --rotate or --ring: one of these is missing");
        }
        if self.rotate.is_some() && self.max_size.is_some_and(|bytes| bytes < LEAST_FOR_PARTS) {
            return wrong(
                "with --rotate, --max-size has to be at least 512k: parts of an eighth of it would hold nothing",
            );
        }
        Ok(())
    }
}
