//! Go programs without symbols and DWARF, by the table of Go's run time.

use std::path::Path;

use profrec_format::Module;
use profrec_report::evidence::{Evidence, ModuleEvidence};
use profrec_report::local_files::{LocalFiles, MappedFile};
use profrec_report::stacks::Location;
use profrec_report::symbols::{Names, Wanted};

use super::program::folders;
use super::toolchain::{needs, run};

/// In a program that Go's linker has stripped, functions have their names, and lines where nothing is inlined.
#[test]
fn a_stripped_go_program() {
    needs!("go", "env");
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/programs/sources.go");
    std::fs::copy(source, folder.path().join("sources.go")).unwrap();
    let go = format!("env GOCACHE={} GO111MODULE=off CGO_ENABLED=0 go", folder.path().join("cache").display());
    run(folder.path(), &format!("{go} build -o whole sources.go"));
    run(folder.path(), &format!("{go} build -ldflags=-s -o prog sources.go"));
    let symbols = run(folder.path(), &format!("{go} tool nm -n whole"));
    let mut starts = symbols.lines().skip_while(|line| !line.ends_with(" T main.hidden"));
    let mut next = || u64::from_str_radix(starts.next().unwrap().trim().split(' ').next().unwrap(), 16).unwrap();
    let hidden = next()..next();

    let path = folder.path().join("prog");
    let contents = MappedFile::open(&path).unwrap().contents().unwrap();
    assert!(!contents.symbols && !contents.debug_info, "it is stripped");
    let layout = profrec_format::Layout { fingerprint: contents.identity, ..Default::default() };
    let module = Module { path: path.to_str().unwrap().to_owned(), ..Module::default() };
    let module = ModuleEvidence { module, layout: Some(layout), ..ModuleEvidence::default() };
    let evidence = Evidence { modules: vec![module], ..Evidence::default() };
    let locations: Vec<Location> = hidden.map(|address| Location::Module { module: 0, address }).collect();
    let files = LocalFiles::find(&evidence, &folders(&[]));
    let names = Names::find(&locations, &evidence, &files, &Wanted::all());

    assert_eq!(names.modules[0].as_ref().unwrap().source.name(), "go_table");
    let functions: Vec<&str> = names.functions.iter().map(|function| &*function.name).collect();
    assert_eq!(functions, ["main.hidden"]);
    let mut lines: Vec<Option<u32>> = names.locations.iter().map(|frames| frames[0].line).collect();
    lines.sort_unstable();
    lines.dedup();
    // Line 8 is that of `inlined`.
    assert!(lines.contains(&None) && lines.contains(&Some(12)) && !lines.contains(&Some(8)), "{lines:?}");
    assert!(lines.iter().flatten().all(|line| (12..=17).contains(line)), "{lines:?}");
}
