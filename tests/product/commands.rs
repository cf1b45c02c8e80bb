//! How the two programs stand together: `profrec report` is `profrec-report`.

use std::process::Command;

use crate::programs::{copy_program, profrec, profrec_report, run, stderr, stdout, succeed};

/// `profrec report` hands its arguments on to the analyzer beside it.
#[test]
fn report_is_the_analyzer_beside_the_recorder() {
    let through = succeed(Command::new(profrec()).args(["report", "--help"]));
    let direct = succeed(Command::new(profrec_report()).arg("--help"));
    assert_eq!(stdout(&through), stdout(&direct));
}

/// The analyzer's exit status is handed back.
#[test]
fn report_passes_the_exit_status_on() {
    let output = run(Command::new(profrec()).args(["report", "/does/not/exist.prof"]));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("/does/not/exist.prof"), "{}", stderr(&output));
}

/// Where there is no analyzer, the recorder says how to get it.
#[test]
fn a_missing_analyzer_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let alone = folder.path().join("profrec");
    copy_program(profrec(), &alone);
    let output = run(Command::new(&alone).args(["report", "a.prof"]).env("PATH", folder.path()));
    assert!(!output.status.success());
    assert!(
        stderr(&output).contains("cargo install") && stderr(&output).contains("profrec-report"),
        "{}",
        stderr(&output)
    );
}

/// Any other word is another program's name, and a wrong one is told as such.
#[test]
fn an_unknown_subcommand_is_named() {
    let output = run(Command::new(profrec()).arg("nonsense").env("PATH", "/does/not/exist"));
    assert!(!output.status.success());
    assert!(stderr(&output).contains("nonsense"), "{}", stderr(&output));
}

/// Help and version are there.
#[test]
fn help_and_version() {
    let help = stdout(&succeed(Command::new(profrec()).args(["record", "--help"])));
    for word in [
        "--pid",
        "--all",
        "--frequency",
        "--duration",
        "--output",
        "--force",
        "--sync",
        "--embed",
        "--preset",
        "--call-graph",
    ] {
        assert!(help.contains(word), "{word} is not in the help:\n{help}");
    }
    let version = stdout(&succeed(Command::new(profrec()).arg("--version")));
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
}
