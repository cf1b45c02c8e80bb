//! Lines of the kernel, from a file that was linked as the kernel is.

use std::fs;
use std::os::unix::fs::DirEntryExt;
use std::path::Path;
use std::time::SystemTime;

use profrec_format::{Header, KernelSymbol, Machine};
use profrec_report::evidence::Evidence;
use profrec_report::local_files::{LocalFiles, Outcome, Sources};
use profrec_report::stacks::Location;
use profrec_report::symbols::{Cache, Names, Wanted};

use super::program::{Program, folders};

const RELEASE: &str = "6.1.0-test";
const BUILD: &str = "#1 SMP Debian 6.1.1 (2026-01-01)";
/// The kernel was loaded this much above its place in the file.
const SLIDE: u64 = 0x2ac0_0000;

/// The fixture's functions where the kernel's are, with its banner.
fn vmlinux() -> Program {
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/programs/sources.c");
    fs::copy(source, folder.path().join("sources.c")).unwrap();
    let banner = format!("const char linux_banner[] = \"Linux version {RELEASE} (gcc) {BUILD}\\n\";\n");
    fs::write(folder.path().join("banner.c"), banner).unwrap();
    let line = "gcc -g -O2 -nostdlib -static -no-pie -fno-pie -mcmodel=kernel -Wl,-Ttext=0xffffffff81000000 \
         -Wl,-e,main -o prog sources.c banner.c";
    super::toolchain::run(folder.path(), line);
    Program::of(folder)
}

fn find(program: &Program, sources: &Sources, slides: [u64; 2], build: &str) -> (Names, Vec<Outcome>) {
    find_with(program, sources, (slides, build), &Wanted::all())
}

fn find_with(
    program: &Program,
    sources: &Sources,
    (slides, build): ([u64; 2], &str),
    how: &Wanted,
) -> (Names, Vec<Outcome>) {
    let symbol = |name: &str, extent: &std::ops::Range<u64>, slide: u64| KernelSymbol {
        address: extent.start + slide,
        size: extent.end - extent.start,
        name: name.to_owned(),
        module: String::new(),
    };
    let mut kernel =
        vec![symbol("hidden", &program.hidden, slides[0]), symbol("exported", &program.exported, slides[1])];
    kernel.sort_by_key(|symbol| symbol.address);
    let evidence = Evidence { kernel, ..Evidence::default() };
    let machine = Machine { kernel_build: build.to_owned(), ..Machine::default() };
    let header = Header { kernel: RELEASE.to_owned(), machine, ..Header::default() };
    let mut files = LocalFiles::default();
    files.find_kernel(&evidence, &header, sources);
    let addresses = program.hidden.clone().map(|address| Location::Kernel { address: address + slides[0] });
    let names = Names::find(&addresses.collect::<Vec<_>>(), &evidence, &files, how);
    let outcomes = files.kernel_attempts().unwrap().iter().map(|attempt| attempt.outcome.clone());
    (names, outcomes.collect())
}

/// The file is found by the kernel's release in the places of distributions, and tells inlined functions and lines.
#[test]
fn lines_of_the_kernel() {
    let program = vmlinux();
    let place = program.path(&format!("boot/vmlinux-{RELEASE}"));
    fs::create_dir(program.path("boot")).unwrap();
    fs::rename(program.path("prog"), place).unwrap();
    let system = Sources { system_debug: program.folder.path().to_owned(), ..folders(&[]) };
    for sources in [folders(&[program.folder.path()]), system] {
        let (names, outcomes) = find(&program, &sources, [SLIDE; 2], BUILD);
        assert!(matches!(outcomes.last(), Some(Outcome::Taken(_))), "{outcomes:?}");
        let functions: Vec<&str> = names.functions.iter().map(|function| &*function.name).collect();
        assert!(functions.contains(&"inlined") && functions.contains(&"hidden"), "{functions:?}");
        let inlined = names.locations.iter().find(|frames| frames.len() == 2).unwrap();
        assert!((7..=12).contains(&inlined[0].line.unwrap()), "{inlined:?}");
        assert!(names.kernel.unwrap().why.starts_with("from the recording, lines from "));
    }
}

/// A file whose functions lie otherwise, or whose banner tells of another build, is another kernel's.
#[test]
fn another_kernel_is_refused() {
    let program = vmlinux();
    fs::rename(program.path("prog"), program.path("vmlinux")).unwrap();
    let sources = folders(&[program.folder.path()]);
    for (slides, build) in [([SLIDE, SLIDE + 16], BUILD), ([SLIDE; 2], "#2 SMP")] {
        let (names, outcomes) = find(&program, &sources, slides, build);
        assert!(outcomes.iter().any(|outcome| matches!(outcome, Outcome::OtherKernel(_))), "{outcomes:?}");
        assert!(names.functions.iter().all(|function| &*function.name == "hidden"));
        assert!(names.kernel.unwrap().why.contains("no lines"));
    }
}

/// What was found is kept for the next report, whatever address the kernel has by then; where neither inlined functions nor
/// lines are shown, the file's debug info is not read at all.
#[test]
fn lines_are_kept() {
    let program = vmlinux();
    fs::rename(program.path("prog"), program.path("vmlinux")).unwrap();
    let sources = folders(&[program.folder.path()]);
    let kept = program.path("kept");
    let all = Wanted { cache: Some(Cache::at(kept.clone())), ..Wanted::all() };
    let names = |slide: u64, how: &Wanted| find_with(&program, &sources, ([slide; 2], BUILD), how).0;

    let plain = names(SLIDE, &Wanted { inlines: false, lines: false, ..all.clone() });
    assert!(!kept.exists(), "it was read for nothing");
    assert!(plain.functions.iter().all(|function| &*function.name == "hidden"));
    assert!(plain.kernel.unwrap().why.ends_with("no lines are wanted"));

    let first = names(SLIDE, &all);
    let files = || -> Vec<_> { fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap()).collect() };
    assert_eq!(files().len(), 1);
    let inode = files()[0].ino();
    let file = fs::File::open(files()[0].path()).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let again = names(2 * SLIDE, &all);
    assert_eq!((&again.functions, &again.locations), (&first.functions, &first.locations));
    assert_eq!(files()[0].ino(), inode, "nothing was new");
    assert!(file.metadata().unwrap().modified().unwrap() > SystemTime::UNIX_EPOCH, "it was used");
}
