//! The recorder: `profrec record` turns a running target into one small file; any other subcommand is
//! a program of its own.
//!
//! ```text
//!  args ─► target ─► session ─► summary
//!                      │
//!   perf clock ─► bpf/on_tick ─► ring ─► event ─► filter ─┐    (chunks: what was sent before)
//!   side_band ─► processes, modules ──────────────────────┼─► stream ─► the file
//!   evidence (cfi, symbols), kernel_symbols ──────────────┘
//! ```

mod args;
mod attach;
mod cfi;
mod cgroup;
mod chunks;
mod code_ranges;
mod command;
mod doctor;
mod elf;
mod event;
mod evidence;
mod filter;
mod giant_frames;
mod kernel;
mod kernel_symbols;
mod losses;
mod modules;
mod narrowing;
mod output;
mod own_cost;
mod pages;
mod perf_event;
mod proc_maps;
mod processes;
mod progress;
mod refusal;
mod remedy;
mod rights;
mod ring;
mod sampler;
mod scan;
mod seen_code;
mod session;
mod side_band;
mod stop;
mod stream;
mod subcommand;
mod summary;
mod symbols;
mod target;
mod vdso;

use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Error, Result};
use clap::Parser;

use crate::args::{Cli, Command, RecordArgs};
use crate::command::NotStarted;
use crate::output::Output;
use crate::rights::Account;
use crate::target::Target;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Record(args) => {
            args.check().unwrap_or_else(|wrong_usage| wrong_usage.exit());
            record(&args)
        }
        Command::Doctor(args) => Ok(doctor::run(&args)),
        Command::Other(words) => Err(subcommand::become_program(&words)),
    };
    result.unwrap_or_else(|error| {
        progress::put(&format!("profrec: {error:#}\n"));
        failure(&error)
    })
}

fn record(args: &RecordArgs) -> Result<ExitCode> {
    let account = Account::from_args(args)?;
    let target = Target::from_args(args)?;
    let output = Output::open(&args.output, args.force, args.sync)?;
    if let Some(account) = account.filter(|_| args.output != Path::new("-")) {
        account.take(output.as_fd())?;
    }
    let recorded =
        session::record(args, target, output, account).inspect_err(|_| output::discard_if_empty(&args.output));
    let (finished, mut stop) = recorded?;
    let refused = finished.refusal.as_ref().map(|error| refusal::text(error, &finished, &args.output));
    if let Some(refused) = &refused {
        output::discard_if_empty(&args.output);
        progress::put(&format!("profrec: {refused}\n"));
    } else if !args.quiet {
        progress::put(&format!("{}\n", summary::text(&finished, &args.output)));
    }
    // A command goes on when its recording could not.
    let status = stop.command_status()?;
    if refused.is_some() {
        return Ok(ExitCode::FAILURE);
    }
    Ok(status.map_or(ExitCode::SUCCESS, |status| command::shell_status(status).into()))
}

/// A command that does not run has the status that shells give; everything else is 1.
fn failure(error: &Error) -> ExitCode {
    error.downcast_ref::<NotStarted>().map_or(ExitCode::FAILURE, |reason| reason.status.into())
}
