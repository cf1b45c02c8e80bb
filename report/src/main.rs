//! The analyzer's program: parse, run, say once what went wrong.

use std::process::ExitCode;

use clap::Parser;
use profrec_report::args::Args;
use profrec_report::{escape, pipeline};

fn main() -> ExitCode {
    let args = Args::parse();
    match pipeline::run(&args) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("profrec report: {}", escape::text(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}
