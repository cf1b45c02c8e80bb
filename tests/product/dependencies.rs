//! The program that runs as root stands on few others, and a new one is a decision.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::programs::{repository, stdout, succeed};

/// The recorder's dependencies are those of the list.
#[test]
fn the_recorders_dependencies_are_listed() {
    let tree = succeed(
        Command::new(env!("CARGO"))
            .args(["tree", "--locked", "--offline", "--package", "profrec", "--edges", "normal", "--prefix", "none"])
            .args(["--format", "{p}"])
            .current_dir(repository()),
    );
    let found: BTreeSet<String> =
        stdout(&tree).lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    let path = repository().join("tests/recorder-dependencies.txt");
    let listed: BTreeSet<String> = fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
    let new: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(new.is_empty() && gone.is_empty(), "tests/recorder-dependencies.txt: new {new:?}, gone {gone:?}");
}
