//! Every output says which frames were guessed, and a strict one has none.

use std::path::PathBuf;
use std::process::Command;

/// What the report shows of a program without call frame information, whose frame pointers lead on.
fn shown(arguments: &[&str]) -> String {
    let recording = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/recordings/no_cfi.prof");
    let mut command = Command::new(env!("CARGO_BIN_EXE_profrec-report"));
    let output = command.arg(recording).arg("--no-local-files").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Table, tree, folded stacks, flame graph and JSON mark what was guessed, and nothing else: `main` has always been, but for a tick in the vDSO
/// that has call frame information up to there.
#[test]
fn every_output_marks_what_was_guessed() {
    for view in [&["--tree", "--min-percent=0"][..], &["--folded"], &["--flamegraph=-", "--min-percent=0"]] {
        let text = shown(view);
        assert!(text.contains("middle_[g]") && !text.contains("spin_[g]"), "{view:?}: {text}");
    }
    let table = shown(&[]);
    assert!(
        table.contains("  g  middle  ") && table.contains("  g  main  ") && !table.contains("  g  spin  "),
        "{table}"
    );
    let json: serde_json::Value = serde_json::from_str(&shown(&["--json"])).unwrap();
    assert_eq!(json["stacks"]["guessed"], 82);
    let functions = json["functions"].as_array().unwrap();
    let guessed = |name: &str| functions.iter().find(|function| function["name"] == name).unwrap()["guessed"].clone();
    assert_eq!((guessed("middle"), guessed("main"), guessed("spin")), (81.into(), 81.into(), 0.into()));
}

/// With `--strict` no output has a guessed frame; the stacks end before them, with the verdict that call frame information was missing.
#[test]
fn strict_outputs_have_no_guesses() {
    for view in ["--tree", "--folded", "--flamegraph=-", "--limit=0"] {
        let text = shown(&[view, "--strict"]);
        assert!(!text.contains("_[g]") && !text.contains("  g  ") && text.contains("spin"), "{view}: {text}");
    }
    let json: serde_json::Value = serde_json::from_str(&shown(&["--json", "--strict"])).unwrap();
    assert!(json["functions"].as_array().unwrap().iter().all(|function| function["name"] != "middle"));
    let stacks = &json["stacks"];
    assert_eq!((&stacks["total"], &stacks["guessed"], &stacks["no_cfi"]), (&82.into(), &0.into(), &82.into()));
}
