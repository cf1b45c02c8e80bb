//! The tools that make the files.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Leaves the test visibly unless these tools are there.
macro_rules! needs {
    ($($tool:literal),+) => {
        for tool in [$($tool),+] {
            if !$crate::toolchain::is_there(tool) {
                $crate::toolchain::skip(&format!("needs {tool}"));
                return;
            }
        }
    };
}
pub(crate) use needs;

pub(crate) fn is_there(tool: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|folder| folder.join(tool).is_file())
}

/// Tells on the terminal that the running test is skipped, and counts it for `make test`.
pub(crate) fn skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("skipped: {}: {reason}\n", thread.name().unwrap_or("a test"));
    // Not eprint: that would be captured.
    io::stderr().write_all(line.as_bytes()).unwrap();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("skipped");
    OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(line.as_bytes()).unwrap();
}

/// Runs a tool in a folder; it must succeed. Gives what it wrote.
pub(crate) fn run(folder: &Path, line: &str) -> String {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap());
    let output = command.args(words).current_dir(folder).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
