//! Files of this machine: the program itself, debug files by build-id, by `.gnu_debuglink`, by `.gnu_debugaltlink`.

use std::fs;

use profrec_report::local_files::{Outcome, Sources, Step};

use super::program::{Program, folders};
use super::toolchain::needs;

/// The recording's own symbols name functions without any file.
#[test]
fn embedded_in_the_recording() {
    let program = Program::new();
    let mut evidence = program.evidence();
    evidence.symbols = program.symbols();
    let found = program.find_with(evidence, &folders(&[]));
    assert_eq!((found.functions(), found.source()), (vec!["exported", "hidden"], "embedded"));
    assert_eq!(found.outcomes(Step::RecordedPath), [&Outcome::NoSuchFile]);
}

/// A file at the recorded path is taken by its build-id.
#[test]
fn at_the_recorded_path() {
    let found = Program::new().recorded_at("prog").find(&folders(&[]));
    found.require_debug_info();
    found.require_taken(Step::RecordedPath);
}

/// Another build at the recorded path is refused, and the attempt tells its build-id.
#[test]
fn another_build_is_refused() {
    let mut program = Program::new().recorded_at("prog");
    let other = std::mem::replace(&mut program.identity, vec![7; 20]);
    let found = program.find(&folders(&[]));
    assert_eq!(found.outcomes(Step::RecordedPath), [&Outcome::OtherBuild(other)]);
    assert_eq!(found.source(), "none");
}

/// A folder given with `--symbols` has the program under another name, somewhere below.
#[test]
fn in_a_folder_of_symbols() {
    let program = Program::new();
    fs::create_dir(program.path("below")).unwrap();
    fs::rename(program.path("prog"), program.path("below/renamed")).unwrap();
    let found = program.find(&folders(&[program.folder.path()]));
    found.require_debug_info();
    found.require_taken(Step::SymbolsFolder);
    let elsewhere = tempfile::tempdir().unwrap();
    let found = program.find(&folders(&[elsewhere.path()]));
    assert_eq!(found.outcomes(Step::SymbolsFolder), [&Outcome::NoneOfThisBuild]);
}

/// A `.build-id` tree: in a folder given with `--symbols`, and the system's.
#[test]
fn in_a_tree_by_build_id() {
    needs!("objcopy");
    for is_system in [true, false] {
        let program = Program::new();
        program.run("objcopy --only-keep-debug prog prog.debug");
        let root = tempfile::tempdir().unwrap();
        program.move_to_tree("prog.debug", root.path());
        let (sources, step) = match is_system {
            true => (Sources { system_debug: root.path().to_owned(), ..folders(&[]) }, Step::SystemDebug),
            false => (folders(&[root.path()]), Step::SymbolsFolder),
        };
        let found = program.find(&sources);
        found.require_debug_info();
        found.require_taken(step);
    }
}

/// A program without a build-id leads to its debug file, which proves itself by its checksum alone.
#[test]
fn by_debug_link_and_checksum() {
    needs!("objcopy", "strip");
    let linked = |beside: &str| {
        let program = Program::with("-Wl,--build-id=none").recorded_at("prog");
        program.run("objcopy --only-keep-debug prog prog.debug");
        program.run("strip --strip-all prog");
        program.run("objcopy --add-gnu-debuglink=prog.debug prog");
        let folder = program.path(beside);
        fs::create_dir_all(&folder).unwrap();
        fs::rename(program.path("prog.debug"), folder.join("prog.debug")).unwrap();
        // Its headers have changed with it: it was recorded as it is now.
        let identity = profrec_report::local_files::MappedFile::open(&program.path("prog")).unwrap();
        let identity = identity.contents().unwrap().identity;
        Program { identity, ..program }
    };
    for beside in ["", ".debug"] {
        let found = linked(beside).find(&folders(&[]));
        found.require_debug_info();
        found.require_taken(Step::DebugLink);
    }
    let program = linked("elsewhere");
    let found = program.find(&folders(&[&program.path("elsewhere")]));
    found.require_debug_info();

    let program = linked("");
    let mut bytes = fs::read(program.path("prog.debug")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(program.path("prog.debug"), bytes).unwrap();
    let found = program.find(&folders(&[]));
    assert!(found.outcomes(Step::DebugLink).contains(&&Outcome::OtherChecksum), "{:#?}", found.attempts);
    assert_eq!(found.functions().iter().filter(|name| name.starts_with("prog+0x")).count(), 1);
}

/// Two debug files whose common part dwz has moved into a third: with it all is found, also through the `.build-id` tree;
/// without it, that is said.
#[test]
fn by_debug_alt_link() {
    needs!("dwz");
    let build = || {
        let program = Program::new();
        fs::copy(program.path("prog"), program.path("second")).unwrap();
        program.run("dwz -m common.debug -M ../common.debug prog second");
        fs::create_dir(program.path("bin")).unwrap();
        fs::rename(program.path("prog"), program.path("bin/prog")).unwrap();
        program.recorded_at("bin/prog")
    };
    let program = build();
    let found = program.find(&folders(&[]));
    found.require_debug_info();
    found.require_taken(Step::DebugAltLink);

    let shared = fs::read(program.path("common.debug")).unwrap();
    fs::remove_file(program.path("common.debug")).unwrap();
    let found = program.find(&folders(&[]));
    assert!(found.outcomes(Step::DebugAltLink).contains(&&Outcome::NoSuchFile), "{:#?}", found.attempts);
    let why = &found.names.modules[0].as_ref().unwrap().why;
    assert!(why.contains("shares with others is missing"), "{why}");

    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("renamed"), shared).unwrap();
    program.find(&folders(&[elsewhere.path()])).require_debug_info();

    // Another file in its place is not taken for it.
    fs::copy(program.path("second"), program.path("common.debug")).unwrap();
    let found = program.find(&folders(&[]));
    let refused = |outcome: &&Outcome| matches!(outcome, Outcome::OtherBuild(_));
    assert!(found.outcomes(Step::DebugAltLink).iter().any(refused), "{:#?}", found.attempts);
}
