//! Code without symbols: what is left of names.

use object::{Object, ObjectSection};
use profrec_format::{Module, ModuleKind};
use profrec_report::evidence::{Evidence, ModuleEvidence};
use profrec_report::local_files::{LocalFiles, MappedFile};
use profrec_report::stacks::Location;
use profrec_report::symbols::{Names, Wanted};

use super::program::{Program, folders};
use super::toolchain::{needs, run};

/// All addresses of a nameless function are one line, named after where call frame information says that it begins.
#[test]
fn one_function_is_one_line() {
    needs!("strip");
    let program = Program::new().recorded_at("prog");
    program.run("strip --strip-all prog");
    let found = program.find(&folders(&[]));
    let hidden = format!("prog+{:#x}", program.hidden.start);
    assert_eq!(found.functions(), ["exported", &hidden]);
}

/// The names of all stubs of a section: of each byte of it.
fn stubs(folder: &std::path::Path, section: &str) -> Vec<String> {
    let path = folder.join("prog");
    let file = MappedFile::open(&path).unwrap();
    let contents = file.contents().unwrap();
    let elf = object::File::parse(file.bytes()).unwrap();
    let section = elf.section_by_name(section).unwrap();
    let module = Module { path: path.to_str().unwrap().to_owned(), build_id: contents.identity, ..Module::default() };
    let module = ModuleEvidence { module, ..ModuleEvidence::default() };
    let evidence = Evidence { modules: vec![module], ..Evidence::default() };
    let addresses = section.address()..section.address() + section.size();
    let locations: Vec<Location> = addresses.map(|address| Location::Module { module: 0, address }).collect();
    let files = LocalFiles::find(&evidence, &folders(&[]));
    let names = Names::find(&locations, &evidence, &files, &Wanted::all());
    let mut names: Vec<String> = names.functions.iter().map(|function| function.name.to_string()).collect();
    names.sort_unstable();
    names
}

fn build(source: &str, options: &str) -> tempfile::TempDir {
    build_with("gcc", source, options)
}

fn build_with(compiler: &str, source: &str, options: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("prog.c"), source).unwrap();
    run(folder.path(), &format!("{compiler} -O2 -Wl,--build-id {options} -o prog prog.c"));
    folder
}

const CALLS: &str = "#include <stdlib.h>\n#include <time.h>\n\
    int main(void) { void (*volatile f)(void *) = free; f(malloc(1)); free(malloc(time(0) & 7)); return clock() == 3; }\n";

/// Stubs have the names of what they call: in the plain table, in that of indirect branch tracking, and of functions whose
/// address is taken too (`.plt.got`).
#[test]
fn stubs_of_every_section() {
    let usual = "-fplt -Wl,-z,lazy -no-pie -fcf-protection=none";
    let named = stubs(build(CALLS, usual).path(), ".plt");
    assert!(["clock@plt", "malloc@plt", "time@plt"].iter().all(|name| named.iter().any(|n| n == name)), "{named:?}");

    let marked = "-fplt -Wl,-z,lazy -Wl,-z,ibtplt -pie -fcf-protection=full";
    let named = stubs(build(CALLS, marked).path(), ".plt.sec");
    assert_eq!(named, ["clock@plt", "malloc@plt", "time@plt"]);
    for options in [marked, "-fplt -Wl,-z,lazy -pie -fcf-protection=none"] {
        let named = stubs(build(CALLS, options).path(), ".plt.got");
        assert!(named.iter().any(|name| name == "__cxa_finalize@plt"), "{options}: {named:?}");
    }
}

/// The same for aarch64, with and without the mark of branch protection.
#[test]
fn stubs_of_aarch64() {
    needs!("aarch64-linux-gnu-gcc");
    for options in ["-fplt -Wl,-z,lazy", "-fplt -Wl,-z,lazy -mbranch-protection=standard -Wl,-z,force-bti"] {
        let named = stubs(build_with("aarch64-linux-gnu-gcc", CALLS, options).path(), ".plt");
        let has = |name: &str| named.iter().any(|n| n == name);
        assert!(["clock@plt", "malloc@plt", "time@plt"].iter().all(|name| has(name)), "{options}: {named:?}");
    }
}

/// In static programs, stubs lead to the best variant for the processor, which is chosen at the start.
#[test]
fn stubs_of_static_programs() {
    let copies =
        "#include <string.h>\nint main(int c, char **v) { char a[99]; memcpy(a, v[0], c); return strlen(a); }\n";
    for options in ["-static -fno-builtin", "-static-pie -fno-builtin"] {
        let named = stubs(build(copies, options).path(), ".plt");
        for name in ["memcpy@plt", "strlen@plt"] {
            assert!(named.iter().any(|n| n == name), "{options}: no {name} in {named:?}");
        }
    }
}

/// The kernel's library in every process has no file: its image in the recording has its names.
#[test]
fn the_vdso() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let Some(line) = maps.lines().find(|line| line.ends_with("[vdso]")) else {
        return super::toolchain::skip("no vDSO");
    };
    let bounds = line.split(' ').next().unwrap().split_once('-').unwrap();
    let [start, end] = [bounds.0, bounds.1].map(|bound| u64::from_str_radix(bound, 16).unwrap());
    let memory = std::fs::File::open("/proc/self/mem").unwrap();
    let mut image = vec![0; (end - start) as usize];
    std::os::unix::fs::FileExt::read_exact_at(&memory, &mut image, start).unwrap();
    let address = {
        let elf = object::File::parse(&*image).unwrap();
        object::ObjectSymbol::address(
            &elf.dynamic_symbols()
                .find(|symbol| object::ObjectSymbol::name(symbol).is_ok_and(|name| name == "__vdso_clock_gettime"))
                .unwrap(),
        )
    };
    let module = Module { kind: ModuleKind::Vdso, path: "[vdso]".into(), ..Module::default() };
    let module = ModuleEvidence { module, image: Some(image), ..ModuleEvidence::default() };
    let evidence = Evidence { modules: vec![module], ..Evidence::default() };
    let names =
        Names::find(&[Location::Module { module: 0, address }], &evidence, &LocalFiles::default(), &Wanted::all());
    assert!(names.functions[0].name.ends_with("clock_gettime"), "{:?}", names.functions);
}
