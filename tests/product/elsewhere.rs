//! A recording that is read on a machine which has none of the recorded programs: here a folder
//! that holds nothing but the analyzer, entered by chroot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::folded::Folded;
use crate::programs::{copy_program, fixture, profrec_report, stdout, succeed};
use crate::recorded::{Facts, Recorded, record};
use crate::rights::needs_root;

/// A machine with nothing but the analyzer.
struct Elsewhere {
    root: TempDir,
    loader: PathBuf,
}

impl Elsewhere {
    /// Copies the analyzer and the libraries that it needs, to where no recorded path leads.
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("analyzer");
        fs::create_dir(&folder).unwrap();
        copy_program(&profrec_report(), &folder.join("profrec-report"));
        let libraries = stdout(&succeed(Command::new("ldd").arg(profrec_report())));
        let mut loader = None;
        for path in libraries.split_whitespace().filter(|word| word.starts_with('/')).map(Path::new) {
            let name = path.file_name().unwrap();
            copy_program(path, &folder.join(name));
            if name.to_string_lossy().starts_with("ld-linux") {
                loader = Some(Path::new("/analyzer").join(name));
            }
        }
        Self { root, loader: loader.unwrap() }
    }

    fn report(&self, recorded: &Recorded, view: &str) -> String {
        fs::copy(recorded.path(), self.root.path().join("it.prof")).unwrap();
        let mut command = Command::new("chroot");
        command.arg(self.root.path()).arg(&self.loader).args(["--library-path", "/analyzer"]);
        stdout(&succeed(command.args(["/analyzer/profrec-report", "/it.prof", view])))
    }

    fn facts(&self, recorded: &Recorded) -> Facts {
        Facts::parse(&self.report(recorded, "--json"))
    }
}

fn live(embed: &str, name: &str) -> Recorded {
    record(&["--embed", embed], &[&fixture(name), Path::new("1")])
}

/// With the symbols embedded, stacks are complete and named.
#[test]
fn embedded_symbols_name_complete_stacks() {
    let _guard = needs_root!();
    let elsewhere = Elsewhere::new();
    for (name, pattern) in [
        ("no_frame_pointers", "no_frame_pointe;...;main;outer;middle;spin"),
        ("plt", "plt;...;main;...;library_*"),
        ("signal_stack", "signal_stack;...;main;interrupted;...;on_signal;spin"),
        ("cpp_names", "cpp_names;...;main;shop::Till<int>::close*;shop::Till<int>::close*;shop::count(int)"),
    ] {
        let recorded = live("symbols", name);
        let folded = Folded::parse(&elsewhere.report(&recorded, "--folded"));
        assert!(folded.share(pattern) > if name == "plt" { 0.5 } else { 0.95 }, "{name}\n{folded}");
        let facts = elsewhere.facts(&recorded);
        assert!(facts.share("complete") > 0.98, "{name}: {}", facts.at("/stacks"));
    }
}

/// By default the unwind evidence alone is embedded: stacks are complete, without names, and the reason is told.
#[test]
fn embedded_unwind_evidence_completes_stacks() {
    let _guard = needs_root!();
    let elsewhere = Elsewhere::new();
    let recorded = live("unwind", "no_frame_pointers");
    let facts = elsewhere.facts(&recorded);
    assert!(facts.share("complete") > 0.98, "{}", facts.at("/stacks"));
    let folded = Folded::parse(&elsewhere.report(&recorded, "--folded"));
    let program = "no_frame_pointers+0x*";
    let pattern = format!("no_frame_pointe;...;{program};{program};{program};{program}");
    assert!(folded.share(&pattern) > 0.95, "{folded}");
    assert_tells_why(&facts, "no_frame_pointers");
}

/// With nothing embedded, stacks are not complete there, and the report says so.
#[test]
fn nothing_embedded_is_told() {
    let _guard = needs_root!();
    let elsewhere = Elsewhere::new();
    let recorded = live("none", "recursion");
    let facts = elsewhere.facts(&recorded);
    assert!(facts.share("complete") < 0.5, "{}", facts.at("/stacks"));
    assert_tells_why(&facts, "recursion");
    let info = elsewhere.report(&recorded, "--info");
    assert!(info.contains("no unwind information"), "{info}");
    // At home, with the binaries, the same recording is complete.
    assert!(recorded.facts().share("complete") > 0.98, "{}", recorded.facts().at("/stacks"));
}

fn assert_tells_why(facts: &Facts, module: &str) {
    let modules = facts.at("/modules").as_array().unwrap();
    let entry = modules.iter().find(|entry| entry["name"].as_str().unwrap().ends_with(module)).unwrap();
    assert!(!entry["why"].as_str().unwrap_or_default().is_empty(), "no reason is given: {entry}");
}

/// A program that was deleted while it ran is read through the process: its stacks are complete and named.
#[test]
fn a_deleted_binary() {
    let _guard = needs_root!();
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("deleted");
    copy_program(&fixture("no_frame_pointers"), &program);
    let target = crate::programs::Running::start(Command::new(&program).arg("60"));
    std::thread::sleep(std::time::Duration::from_millis(100));
    fs::remove_file(&program).unwrap();
    let place = crate::recorded::Place::new();
    let arguments = ["-q", "-F", "999", "-d", "1s", "--embed", "symbols", "-p"];
    let output = succeed(place.record().args(arguments).arg(target.pid()));
    let folded = place.recorded(output).folded();
    assert!(folded.share("deleted;...;main;outer;middle;spin") > 0.95, "{folded}");
}
