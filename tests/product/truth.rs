//! The recorded stacks against a debugger's and other unwinders'. `make truth` compares more: docs/truth.md.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::programs::{Running, fixture, profrec, profrec_report, run, stdout, succeed};
use crate::recorded::{Facts, Place, record};
use crate::rights::{needs_root, skip};

/// Programs whose frames gdb and a profiler tell alike. Not here: tail calls, where gdb shows
/// frames that are gone; what has no names; what gdb cannot walk.
const PROGRAMS: [&str; 12] = [
    "no_frame_pointers",
    "recursion",
    "inlining",
    "signal_handler",
    "signal_stack",
    "alloca",
    "giant_frame",
    "no_cfi",
    "static_program",
    "static_pie",
    "noreturn",
    "dlopen",
];

/// What gdb sees in a running process, root first: the functions of the fixture itself.
fn backtrace(pid: &str) -> Vec<String> {
    let mut gdb = Command::new("gdb");
    gdb.args(["-p", pid, "-batch", "-nx", "-ex", "set style enabled off", "-ex", "backtrace"]);
    let text = stdout(&run(&mut gdb));
    let mut names: Vec<String> = text.lines().filter_map(function_of).collect();
    names.reverse();
    names
}

/// The function of a line such as `#2  0x000055e6 in middle () at programs/recursion.c:8`.
fn function_of(line: &str) -> Option<String> {
    let frame = line.strip_prefix('#')?.split_once(' ')?.1.trim_start();
    let place = if frame.starts_with("0x") { frame.split_once(" in ")?.1 } else { frame };
    let name = place.split_once(" (")?.0;
    // libc's functions have several names each; the C library is not what is tested here.
    let own = line.contains(" at programs/") || !line.contains(" at ");
    (own && !name.starts_with('_') && !name.starts_with('<') && !name.starts_with('?')).then(|| name.to_owned())
}

fn contains_in_order(frames: &[String], names: &[String]) -> bool {
    let mut frames = frames.iter();
    names.iter().all(|name| frames.any(|frame| frame == name))
}

/// At three instants of each program, gdb's stack is among the recorded ones.
#[test]
fn gdb_sees_the_same_stacks() {
    let _guard = needs_root!();
    if run(Command::new("sh").args(["-c", "command -v gdb"])).stdout.is_empty() {
        return skip("needs gdb");
    }
    for name in PROGRAMS {
        let target = Running::start(Command::new(fixture(name)).arg("60"));
        std::thread::sleep(std::time::Duration::from_millis(200));
        let place = Place::new();
        let arguments = ["-q", "-F", "999", "-d", "500ms", "-p"];
        let output = succeed(place.record().args(arguments).arg(target.pid()));
        let folded = place.recorded(output).folded();
        // The look at the clock between two turns takes a ten thousandth of the time: gdb may meet it, half a second of samples need not.
        let instants = std::iter::repeat_with(|| backtrace(&target.pid()));
        let instants = instants.take(20).filter(|names| names.last().is_none_or(|name| name != "time_is_left"));
        let mut compared = 0;
        for names in instants.take(3) {
            compared += 1;
            assert!(names.len() > 1, "{name}: gdb told only {names:?}");
            let found = folded.stacks().any(|frames| contains_in_order(frames, &names));
            assert!(found, "{name}: gdb sees {names:?}\n{folded}");
        }
        assert_eq!(compared, 3, "{name}: gdb met little but the look at the clock");
    }
}

/// The program that compares. It belongs to another package, as the analyzer does.
fn profrec_truth() -> PathBuf {
    let path = profrec().with_file_name("profrec-truth");
    assert!(path.exists(), "{} is missing: run `cargo build --workspace` first", path.display());
    path
}

/// Where framehop loses its way, and we do not: it knows no signal frames, and of the registers only rip, rsp and rbp.
const NOT_BY_FRAMEHOP: [&str; 2] = ["signal frame; found here", "CFA by another register; found here"];

/// framehop, given all bytes of a stack, walks it as we do, given its pointers alone; sample by sample.
#[test]
fn another_unwinder_walks_the_same_stacks() {
    let _guard = needs_root!();
    for name in ["recursion", "alloca", "signal_stack", "plt", "coroutines"] {
        let recorded = record(&["--keep-raw"], &[&fixture(name), Path::new("0.5")]);
        let mut command = Command::new(profrec_truth());
        command.args(["stacks", "--without-libdw", "--json"]).arg(recorded.path());
        let compared: Value = serde_json::from_str(&stdout(&succeed(&mut command))).unwrap();
        let compared = &compared[0];
        let samples = compared["samples"].as_u64().unwrap();
        let mut accounted = compared["equal"]["framehop"].as_u64().unwrap();
        for difference in compared["differences"].as_array().unwrap() {
            let why = difference["why"].as_str().unwrap();
            let example = difference["example"].as_str().unwrap();
            assert!(NOT_BY_FRAMEHOP.iter().any(|known| why.starts_with(known)), "{name}: {difference}\n{example}");
            accounted += difference["samples"].as_u64().unwrap();
        }
        assert!(samples > 10 && accounted == samples, "{name}: {accounted} of {samples}");
    }
}

/// A recording with stacks as they were says so, and loses them when it is scrubbed.
#[test]
fn raw_stacks_are_told_and_scrubbed() {
    let _guard = needs_root!();
    let recorded = record(&["--keep-raw"], &[&fixture("recursion"), Path::new("0.3")]);
    let raw_stacks = |facts: &Facts| facts.number("/recording/raw_stacks");
    assert!(raw_stacks(&recorded.facts()) > 10.0, "{}", recorded.facts().at("/recording"));
    assert!(recorded.report(&["--info"]).contains("stacks are also here as they were"));
    let scrubbed = recorded.path().with_file_name("scrubbed.prof");
    recorded.report(&["--scrub", "-o", scrubbed.to_str().unwrap()]);
    let facts = Facts::parse(&stdout(&succeed(Command::new(profrec_report()).arg(&scrubbed).arg("--json"))));
    assert_eq!((raw_stacks(&facts), facts.share("complete") > 0.98), (0.0, true), "{}", facts.at("/recording"));
    let usual = record(&[], &[&fixture("recursion"), Path::new("0.3")]);
    assert_eq!(raw_stacks(&usual.facts()), 0.0);
}

/// At twenty instructions of a program, in prologues and epilogues too, our stack is gdb's: all frames, and all names of its own.
#[test]
fn gdb_sees_the_same_at_each_instruction() {
    if run(Command::new("sh").args(["-c", "command -v gdb"])).stdout.is_empty() {
        return skip("needs gdb");
    }
    let programs = ["recursion", "alloca", "inlining", "signal_stack", "cpp_names", "static_pie"];
    let table = stdout(&succeed(Command::new(profrec_truth()).arg("positions").args(programs.map(fixture))));
    for name in programs {
        let row = table.lines().find(|line| line.starts_with(&format!("| {name} |")));
        let figures: Vec<u32> = row.unwrap().split('|').filter_map(|cell| cell.trim().parse().ok()).collect();
        assert!(matches!(figures[..], [stops, equal, 0] if stops >= 15 && equal == stops), "{table}");
    }
}
