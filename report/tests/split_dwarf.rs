//! Programs whose debug info the compiler has put into files of their own (`-gsplit-dwarf`), in the form of GNU's DWARF 4 and in
//! that of DWARF 5: their inlined functions and lines are found where these files are, and missed in words where they are not.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use object::{Object, ObjectSymbol};
use profrec_format::{Module, ModuleKind};
use profrec_report::evidence::{Evidence, ModuleEvidence};
use profrec_report::local_files::{LocalFiles, MappedFile, Sources};
use profrec_report::stacks::Location;
use profrec_report::symbols::{Names, Wanted};

const PROGRAM: &str = "static inline __attribute__((always_inline)) int inner(volatile int *p)
{
    return *p * 3;
}
__attribute__((noinline)) int outer(volatile int *p)
{
    return inner(p) + 1;
}
int main(int argc, char **argv)
{
    volatile int x = argc;
    return outer(&x) + (argv == 0);
}
";

/// A program that was built in `folder/built`, with its `.dwo` file there; none without a compiler.
fn build(folder: &Path, version: u32) -> Option<PathBuf> {
    let built = folder.join("built");
    fs::create_dir(&built).unwrap();
    fs::write(built.join("program.c"), PROGRAM).unwrap();
    let dwarf = format!("-gdwarf-{version}");
    let run = |arguments: &[&str]| Command::new("gcc").args(arguments).current_dir(&built).status();
    let Ok(compiled) = run(&["-O1", "-gsplit-dwarf", &dwarf, "-c", "program.c"]) else {
        eprintln!("skipped: there is no gcc");
        return None;
    };
    assert!(compiled.success() && run(&["-Wl,--build-id", "-o", "program", "program.o"]).unwrap().success());
    assert!(built.join("program.dwo").exists());
    Some(built.join("program"))
}

/// The frames of all addresses of `outer`, each as `name:line<name:line`, and why the module's names are as they are.
fn frames(program: &Path) -> (Vec<String>, String) {
    let file = MappedFile::open(program).unwrap();
    let elf = object::File::parse(file.bytes()).unwrap();
    let outer = elf.symbols().find(|symbol| symbol.name() == Ok("outer")).unwrap();
    let build_id = elf.build_id().unwrap().unwrap().to_vec();
    let path = program.to_str().unwrap().to_owned();
    let module = Module { kind: ModuleKind::File, path, build_id, ..Module::default() };
    let modules = vec![ModuleEvidence { module, ..ModuleEvidence::default() }];
    let evidence = Evidence { modules, ..Evidence::default() };
    let addresses = outer.address()..outer.address() + outer.size();
    let locations: Vec<_> = addresses.map(|address| Location::Module { module: 0, address }).collect();
    let names = Names::find(&locations, &evidence, &LocalFiles::find(&evidence, &Sources::default()), &Wanted::all());
    let frame = |frame: &profrec_report::symbols::NamedFrame| {
        format!("{}:{}", names.functions[frame.function as usize].name, frame.line.unwrap_or_default())
    };
    let chains = names.locations.iter().map(|frames| frames.iter().map(frame).collect::<Vec<_>>().join("<"));
    (chains.collect(), names.modules[0].as_ref().unwrap().why.clone())
}

fn require_inlined(program: &Path) {
    let (chains, why) = frames(program);
    assert!(chains.contains(&"inner:3<outer:7".to_owned()), "{chains:?} {why}");
    assert!(!why.contains("missing"), "{why}");
}

fn require_missing(program: &Path) {
    let (chains, why) = frames(program);
    assert!(chains.iter().all(|chain| chain.starts_with("outer:") && !chain.contains('<')), "{chains:?}");
    assert!(why.contains("1 of its .dwo files are missing"), "{why}");
}

/// The compiler's `.dwo` file is found where it was written, and beside a program that was moved with it. Without it, or
/// with another one in its place, the function is still named, and the module says what is missing.
#[test]
fn files_of_units() {
    for version in [4, 5] {
        let folder = tempfile::tempdir().unwrap();
        let Some(program) = build(folder.path(), version) else { return };
        require_inlined(&program);
        let moved = folder.path().join("moved");
        fs::rename(program.parent().unwrap(), &moved).unwrap();
        require_inlined(&moved.join("program"));
        fs::rename(moved.join("program.dwo"), moved.join("other")).unwrap();
        require_missing(&moved.join("program"));

        // Another build of the same program is another unit.
        let folder = tempfile::tempdir().unwrap();
        let changed =
            PROGRAM.replace("* 3", "* 5 + argc_of(p)").replace("static inline", "#define argc_of(p) 1\nstatic inline");
        let Some(other) = build(folder.path(), version) else { return };
        fs::write(other.with_file_name("program.c"), changed).unwrap();
        let compile = ["-O1", "-gsplit-dwarf", if version == 4 { "-gdwarf-4" } else { "-gdwarf-5" }, "-c", "program.c"];
        assert!(Command::new("gcc").args(compile).current_dir(other.parent().unwrap()).status().unwrap().success());
        fs::copy(other.with_extension("dwo"), moved.join("program.dwo")).unwrap();
        require_missing(&moved.join("program"));
    }
}

/// The `.dwp` file beside a program serves when the `.dwo` files are gone.
#[test]
fn a_package_of_all_units() {
    for (version, tool) in [(4, "dwp"), (5, "llvm-dwp")] {
        let folder = tempfile::tempdir().unwrap();
        let Some(program) = build(folder.path(), version) else { return };
        let package = program.with_extension("dwp");
        let packed = Command::new(tool)
            .args(["-e", "program", "-o", "program.dwp"])
            .current_dir(program.parent().unwrap())
            .status();
        let Ok(packed) = packed else {
            eprintln!("skipped: there is no {tool}");
            continue;
        };
        assert!(packed.success(), "{tool}");
        fs::remove_file(program.with_extension("dwo")).unwrap();
        require_inlined(&program);
        fs::remove_file(&package).unwrap();
        require_missing(&program);
    }
}
