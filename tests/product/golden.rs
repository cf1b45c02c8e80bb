//! The committed recordings give the expected folded stacks, on every machine.
//!
//! `make fixtures` makes the recordings; `PROFREC_BLESS=1 cargo test --test product golden` writes
//! what comes out now as what is expected.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::programs::{profrec_report, repository, stdout, succeed};

fn recordings() -> Vec<PathBuf> {
    let folder = repository().join("fixtures/recordings");
    let mut paths: Vec<PathBuf> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "prof"));
    paths.sort();
    paths
}

/// Every recording of the fixtures still gives the stacks that it gave.
#[test]
fn recordings_give_their_expected_stacks() {
    let mut different = Vec::new();
    for path in recordings() {
        let folded = stdout(&succeed(Command::new(profrec_report()).arg(&path).args(["--folded", "--no-local-files"])));
        let expected = path.with_extension("folded");
        if std::env::var_os("PROFREC_BLESS").is_some() {
            fs::write(&expected, folded).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != folded {
            different.push(path.file_stem().unwrap().to_string_lossy().into_owned());
        }
    }
    assert!(
        different.is_empty(),
        "other stacks than expected: {different:?}; PROFREC_BLESS=1 writes what comes out now"
    );
}

/// Every recording of the fixtures is whole to this version of the report: a change of the format that it would not
/// read as it was meant shows here.
#[test]
fn recordings_are_whole() {
    for path in recordings() {
        let said = stdout(&succeed(Command::new(profrec_report()).arg("--check").arg(&path)));
        assert!(said.starts_with("whole: "), "{}: {said}", path.display());
    }
}
