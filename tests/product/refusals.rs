//! What cannot be done is said: what was tried, and what helps.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use crate::programs::{Running, copy_program, profrec, run, stderr, succeed};
use crate::recorded::Place;
use crate::rights::{is_root, needs_root, skip};

/// The command failed with this exit status, and its message has these words.
fn assert_refused(output: &Output, status: i32, words: &[&str]) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(status), "{message}");
    for word in words {
        assert!(message.contains(word), "`{word}` is not in the message:\n{message}");
    }
    for accident in ["panicked", "fatal runtime error"] {
        assert!(!message.contains(accident), "{message}");
    }
}

/// Without a target, the three kinds of target are named.
#[test]
fn no_target() {
    let output = run(Command::new(profrec()).arg("record"));
    assert_refused(&output, 2, &["-p", "-a", "-- "]);
}

/// Two kinds of target at once are wrong usage.
#[test]
fn two_targets() {
    let output = run(Command::new(profrec()).args(["record", "-a", "-p", "1"]));
    assert_refused(&output, 2, &[]);
}

/// A rate that is no rate is wrong usage.
#[test]
fn a_rate_of_zero() {
    let output = run(Command::new(profrec()).args(["record", "-F", "0", "-a"]));
    assert_refused(&output, 2, &[]);
}

/// A process that does not exist is named, and nothing is written.
#[test]
fn a_dead_pid() {
    let _guard = needs_root!();
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let place = Place::new();
    let output = run(place.record().args(["-p", &child.id().to_string()]));
    assert_refused(&output, 1, &[&child.id().to_string()]);
    assert!(!place.path().exists());
}

/// A file that exists is not overwritten, unless one says so.
#[test]
fn an_output_that_exists() {
    let _guard = needs_root!();
    let place = Place::new();
    fs::write(place.path(), "precious").unwrap();
    let output = run(place.record().args(["--", "true"]));
    assert_refused(&output, 1, &["--force", "it.prof"]);
    assert_eq!(fs::read_to_string(place.path()).unwrap(), "precious");
    succeed(place.record().args(["-q", "--force", "--", "true"]));
    assert_ne!(fs::read(place.path()).unwrap(), b"precious");
}

/// A place that cannot be written to is named, before the command runs.
#[test]
fn an_output_that_cannot_be_written() {
    let _guard = needs_root!();
    let place = Place::new();
    let proof = place.path().with_file_name("ran");
    for path in ["/does/not/exist/it.prof", "/proc/it.prof"] {
        let output = run(Command::new(profrec()).args(["record", "-o", path, "--", "touch"]).arg(&proof));
        assert_refused(&output, 1, &[path]);
        assert!(!proof.exists(), "the command ran, though its recording could not be written");
    }
}

/// A command that does not exist gives 127, as a shell does.
#[test]
fn a_command_that_does_not_exist() {
    let _guard = needs_root!();
    let output = run(Place::new().record().args(["--", "does-not-exist-anywhere"]));
    assert_refused(&output, 127, &["does-not-exist-anywhere"]);
}

/// A user without rights is told which ones are needed.
#[test]
fn no_rights() {
    // Nobody must be able to run the recorder, and to write beside it.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let recorder = folder.path().join("profrec");
    copy_program(profrec(), &recorder);
    let output = folder.path().join("it.prof");
    let mut command;
    if is_root() {
        if run(Command::new("sh").args(["-c", "command -v setpriv"])).stdout.is_empty() {
            return skip("needs setpriv");
        }
        command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--"]).arg(&recorder);
    } else {
        command = Command::new(&recorder);
    }
    let output = run(command.arg("record").arg("-o").arg(&output).args(["--", "true"]));
    assert_refused(&output, 1, &["sudo", "CAP_BPF", "CAP_PERFMON"]);
}

/// A recording of a live process of another kind than a recording is refused by the report.
#[test]
fn a_report_of_no_recording() {
    let place = Place::new();
    fs::write(place.path(), "this is not a recording").unwrap();
    let output = run(Command::new(crate::programs::profrec_report()).arg(place.path()));
    assert_refused(&output, 1, &["it.prof"]);
}

/// One dead pid among living ones is named too.
#[test]
fn one_dead_pid_among_living_ones() {
    let _guard = needs_root!();
    let living = Running::start(Command::new("sleep").arg("30"));
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let pids = format!("{},{}", living.pid(), child.id());
    let output = run(Place::new().record().args(["-p", &pids, "-d", "1s"]));
    assert_refused(&output, 1, &[&child.id().to_string()]);
}
