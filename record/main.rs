//! The recorder: `profrec record` turns a running target into one small file; any other subcommand is
//! a program of its own.
//!
//! ```text
//!  args ─► target ─► session ─► summary
//!                      │
//!   perf clock ─► bpf/on_tick ─► ring ─► event ─► filter ─┐    (chunks: what was sent before)
//!   side_band ─► processes, modules ──────────────────────┼─► stream ─► the file
//!   evidence (cfi, symbols), kernel_symbols ──────────────┘
//!   parts (when a file ends) ─► store: one file, part_files, or a flight_recorder in memory
//!   frugality: own cost ─► budget ─► another pace of the clocks and stacks
//! ```

mod amounts;
mod args;
mod attach;
mod budget;
mod cfi;
mod cgroup;
mod cgroup_ids;
mod chunks;
mod clock;
mod code_ranges;
mod command;
mod count_sets;
mod counting;
mod counts;
mod cpu_use;
mod delays;
mod doctor;
mod elf;
mod event;
mod evidence;
mod filter;
mod flight_recorder;
mod frugality;
mod giant_frames;
mod header;
mod hotplug;
mod hybrid;
mod interrupt;
mod jit;
mod kernel;
mod kernel_symbols;
mod kernel_types;
mod loading;
mod losses;
mod machine;
mod meter;
mod modules;
mod narrowing;
mod online_cpus;
mod open_files;
mod opener;
mod outcomes;
mod output;
mod own_cost;
mod pages;
mod part_files;
mod parts;
mod perf_event;
mod pid_namespace;
mod proc_maps;
mod process;
mod process_cgroup;
mod processes;
mod programs;
mod progress;
mod raw_stacks;
mod refusal;
mod remedy;
mod rights;
mod ring;
mod ring_file;
mod room;
mod running_clocks;
mod sampler;
mod scan;
mod scratch;
mod seen_code;
mod session;
mod short_lives;
mod side_band;
mod sink;
mod skeleton;
mod slow_reader;
mod slowed;
mod stop;
mod store;
mod stream;
mod subcommand;
mod summary;
mod symbols;
mod target;
mod trigger;
mod vdso;
mod wrong_usage;

use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Error, Result};
use clap::Parser;

use crate::args::{Cli, Command, RecordArgs};
use crate::command::NotStarted;
use crate::rights::Account;
use crate::sink::Sink;
use crate::store::Store;
use crate::target::Target;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Record(args) => {
            args.check().unwrap_or_else(|wrong_usage| wrong_usage.exit());
            record(&args)
        }
        Command::Doctor(args) => Ok(doctor::run(&args)),
        Command::AskJvms => jit::jvm::serve().map(|()| ExitCode::SUCCESS),
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
    let (store, sink) = Store::open(args)?;
    let account_of_file = account.filter(|_| args.output != Path::new("-"));
    if let (Some(account), Sink::File(output) | Sink::Part(output, _)) = (account_of_file, &sink) {
        account.take(output.as_fd())?;
    }
    let first = store.path();
    let recorded = session::record(args, target, store, sink, account);
    let recorded = recorded.inspect_err(|_| first.iter().for_each(|path| output::discard_if_empty(path)));
    let (finished, mut stop) = recorded?;
    let refused = finished.refusal.as_ref().map(|error| refusal::text(error, &finished, &finished.kept.path));
    if let Some(refused) = &refused {
        output::discard_if_empty(&finished.kept.path);
        progress::put(&format!("profrec: {refused}\n"));
    } else if !args.quiet {
        progress::put(&format!("{}\n", summary::text(&finished)));
    }
    // A command goes on when its recording could not.
    let status = stop.command_status()?;
    if refused.is_some() || finished.kept.failed {
        return Ok(ExitCode::FAILURE);
    }
    Ok(status.map_or(ExitCode::SUCCESS, |status| command::shell_status(status).into()))
}

/// A command that does not run has the status that shells give; everything else is 1.
fn failure(error: &Error) -> ExitCode {
    error.downcast_ref::<NotStarted>().map_or(ExitCode::FAILURE, |reason| reason.status.into())
}
