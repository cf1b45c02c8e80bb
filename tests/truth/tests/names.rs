//! A small part of what `make truth` compares: the names of one program, with llvm-symbolizer alone.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use profrec_truth::names::compare;
use profrec_truth::names::tools::Tool;

/// What of the two answers may differ, and why that is no mistake.
const EXPLAINED: [&str; 2] = [
    // The code of the C library's start files has no debug information; llvm-symbolizer shows the file of their symbols.
    "no file here",
    // What fills the space behind a function belongs to none; it may have a line.
    "a line there, no name in either",
];

/// For the addresses of a C++ program with inlined functions, functions, inlined chains, files and lines are those of llvm-symbolizer.
#[test]
fn names_are_those_of_llvm_symbolizer() {
    if !Tool::Llvm.is_there() {
        eprintln!("skipped: needs llvm-symbolizer");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("cpp_names");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/programs/cpp_names.cpp");
    let mut compiler = Command::new("g++");
    compiler.args(["-O2", "-g", "-Wl,--build-id", "-D_GNU_SOURCE", "-o"]).arg(&program).arg(source);
    assert!(compiler.status().unwrap().success());
    let tally = compare(&program, 2_000, &[(Tool::Llvm, 2_000)], &[]).unwrap();
    let (asked, equal) = (tally.asked[&Tool::Llvm], tally.equal[&Tool::Llvm]);
    for (difference, seen) in &tally.differences {
        assert!(EXPLAINED.contains(&difference.class), "{difference:?}: {:x?}", seen.examples);
    }
    assert!(asked > 100 && 2 * equal > asked, "{equal} of {asked}");
}
