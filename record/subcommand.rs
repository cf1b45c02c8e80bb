//! Any subcommand but `record` is a program of its own, `profrec-NAME`: the recorder stays small,
//! and a report needs no rights.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Error, anyhow};

/// Becomes `profrec-NAME`, found beside this program or else on PATH. Returns only when that failed.
pub(crate) fn become_program(words: &[OsString]) -> Error {
    let Some((name, arguments)) = words.split_first() else {
        return anyhow!("a subcommand is missing: see `profrec --help`");
    };
    let mut program = OsString::from("profrec-");
    program.push(name);
    let beside = env::current_exe().ok().map(|path| path.with_file_name(&program)).filter(|path| path.is_file());
    let path = beside.map_or_else(|| program.clone(), OsString::from);
    let error = Command::new(&path).args(arguments).exec();
    let name = name.to_string_lossy();
    if error.kind() != std::io::ErrorKind::NotFound {
        return Error::new(error).context(format!("starting {}", path.display()));
    }
    if name == "report" {
        anyhow!("profrec-report is not installed: `cargo install profrec-report` puts it beside profrec")
    } else {
        anyhow!("there is no subcommand '{name}', and no program profrec-{name}: see `profrec --help`")
    }
}

/// The program's own name and version in the header of a recording.
pub(crate) fn version() -> String {
    format!("profrec {}", env!("CARGO_PKG_VERSION"))
}

/// The recorder's command line as it was typed, with the name of a recorded command but without its arguments, of which
/// there are `hidden`: these are the target's own, and may be secret.
pub(crate) fn command_line(hidden: usize) -> Vec<String> {
    let words = env::args_os();
    let shown = words.len().saturating_sub(hidden);
    words.take(shown).map(|word| word.to_string_lossy().into_owned()).collect()
}

/// The name of the machine and its kernel.
pub(crate) fn machine() -> (String, String) {
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    (text(uname.nodename()), text(uname.release()))
}
