//! The comparisons, as commands. `make truth` runs them all.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use profrec_truth::names::tools::Tool;
use profrec_truth::names::{self, Subject};
use profrec_truth::positions;
use profrec_truth::stacks::framehop::Framehop;
use profrec_truth::stacks::libdw::Libdw;
use profrec_truth::stacks::peer::Peer;
use profrec_truth::stacks::{self, report};

/// Compares profrec's stacks and names with those of other tools.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compare the stacks of recordings that were made with `profrec record --keep-raw`
    Stacks {
        /// The recordings; each is shown under the name of its file
        #[arg(required = true)]
        recordings: Vec<PathBuf>,
        /// Only with framehop: libdw needs a C compiler and libdw-dev
        #[arg(long)]
        without_libdw: bool,
        /// Show one sample of each class of differences
        #[arg(long)]
        examples: bool,
        /// For scripts
        #[arg(long)]
        json: bool,
    },
    /// Compare the stacks of programs that gdb stops at their own instructions
    Positions {
        /// The programs; each is run as PROGRAM 0.05
        #[arg(required = true)]
        programs: Vec<PathBuf>,
        /// How many instructions of each
        #[arg(long, default_value_t = 20)]
        count: usize,
    },
    /// Compare the names of random addresses with llvm-symbolizer's and eu-addr2line's
    Names {
        /// ELF files with a build-id; each is shown under its name. FILE=WHOLE: of the same code, WHOLE has all symbols
        /// and debug information in itself; llvm-symbolizer is asked about it. FILE@COUNT: eu-addr2line is asked about so many
        /// addresses only
        #[arg(required = true, value_parser = subject)]
        files: Vec<Subject>,
        /// How many addresses of each
        #[arg(long, default_value_t = 100_000)]
        count: usize,
        /// Folders with files of symbols, as for `profrec report`
        #[arg(long)]
        symbols: Vec<PathBuf>,
        /// A folder for the other tools' answers, so that the same are not asked for twice
        #[arg(long)]
        answers: Option<PathBuf>,
        /// Show some addresses of each class of differences
        #[arg(long)]
        examples: bool,
    },
}

fn subject(text: &str) -> Result<Subject> {
    let (text, few) = match text.split_once('@') {
        Some((text, few)) => (text, Some(few.parse().context("a number of addresses behind @")?)),
        None => (text, None),
    };
    let (path, whole) = match text.split_once('=') {
        Some((path, whole)) => (path, Some(whole.into())),
        None => (text, None),
    };
    Ok(Subject { path: path.into(), whole, few })
}

fn main() -> Result<()> {
    match Args::parse().command {
        Command::Stacks { recordings, without_libdw, examples, json } => {
            let mut compared = Vec::new();
            for path in &recordings {
                let mut peers: Vec<Box<dyn Peer>> = vec![Box::new(Framehop::default())];
                if !without_libdw {
                    peers.push(Box::new(Libdw::start()?));
                }
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                compared.push((name, stacks::compare(path, &mut peers)?));
            }
            print!("{}", if json { report::json(&compared)? } else { report::tables(&compared, examples) });
        }
        Command::Positions { programs, count } => {
            let mut compared = Vec::new();
            for program in &programs {
                let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
                compared.push((name, positions::compare(program, count)?));
            }
            print!("{}", positions::table(&compared));
        }
        Command::Names { files, count, symbols, answers, examples } => {
            let there: Vec<_> = [Tool::Llvm, Tool::Elfutils].into_iter().filter(|tool| tool.is_there()).collect();
            let mut compared = Vec::new();
            for subject in &files {
                let asked = |tool| if tool == Tool::Elfutils { subject.few.unwrap_or(count) } else { count };
                let tools: Vec<_> = there.iter().map(|&tool| (tool, asked(tool))).collect();
                let name = subject.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                compared.push((name, names::compare(subject, count, &tools, &symbols, answers.as_deref())?));
            }
            print!("{}", names::report::tables(&compared, examples));
        }
    }
    Ok(())
}
