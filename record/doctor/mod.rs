//! `profrec doctor`: looks at what a recording needs of the host, tries it, and says what helps.

mod capabilities;
mod check;
mod files;
mod host;
mod trial;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use crate::args::DoctorArgs;
use check::Check;

/// Prints the checks. The exit status is 0 when recording works, else 1.
pub(crate) fn run(args: &DoctorArgs) -> ExitCode {
    let mut checks = host::checks();
    checks.extend(capabilities::checks());
    checks.extend(host::limits());
    checks.extend(trial::checks());
    checks.extend(files::checks(&args.output));
    let text = if args.json { check::json(&checks) } else { check::text(&checks, io::stdout().is_terminal()) };
    // A reader that has gone wants no more.
    let _gone = io::stdout().lock().write_all(text.as_bytes());
    if checks.iter().all(Check::works) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
