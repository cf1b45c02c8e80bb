//! A small part of what `make truth` compares: the names of one program, with llvm-symbolizer alone.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use profrec_truth::names::tools::Tool;
use profrec_truth::names::{Subject, compare};

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
    let subject = Subject { path: program, whole: None, few: None };
    let tally = compare(&subject, 2_000, &[(Tool::Llvm, 2_000)], &[], None).unwrap();
    let (asked, equal) = (tally.asked[&Tool::Llvm], tally.equal[&Tool::Llvm]);
    assert!(tally.unexplained.is_empty(), "{:x?}", tally.unexplained);
    assert!(asked > 100 && 2 * equal > asked, "{equal} of {asked}");
}
