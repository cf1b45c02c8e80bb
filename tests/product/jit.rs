//! Code that programs make at run time: its names come from what the process tells, as it was at the time of a sample.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use profrec_format::{PerfMap, Record, Recording};
use tempfile::TempDir;

use crate::folded::Folded;
use crate::programs::{Running, copy_program, fixture, stderr, succeed};
use crate::recorded::{Place, Recorded, record};
use crate::rights::{needs_root, skip};

const SYMBOLS: [&str; 2] = ["--embed", "symbols"];

/// What a recording says of code that was made at run time.
fn perf_maps(recorded: &Recorded) -> Vec<PerfMap> {
    let file = std::fs::read(recorded.path()).unwrap();
    let recording = Recording::open(&file).unwrap();
    let records = recording.segments().iter().flat_map(|segment| segment.records().unwrap());
    let map = |record| if let Record::PerfMap(map) = record { Some(map) } else { None };
    records.filter_map(map).collect()
}

fn names(recorded: &Recorded) -> BTreeSet<String> {
    perf_maps(recorded).into_iter().flat_map(|map| map.symbols).map(|symbol| symbol.name).collect()
}

/// A copy of a fixture program where it is also seen when something else is mounted on `/tmp`, and its folder.
fn outside_of_tmp(name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let program = folder.path().join(name);
    copy_program(&fixture(name), &program);
    (folder, program)
}

/// Whether a program is there; else the test is skipped.
fn has(program: &str, argument: &str) -> bool {
    let there = Command::new(program).arg(argument).output().is_ok_and(|output| output.status.success());
    if !there {
        skip(&format!("needs {program}"));
    }
    there
}

fn assert_both_methods(folded: &Folded) {
    let share = |caller: &str, method: &str| folded.share(&format!("*;...;main;...;{caller};{method}"));
    assert!(share("run_first", "first method(int)") > 0.02, "{folded}");
    assert_eq!(share("run_first", "second:method"), 0.0, "{folded}");
    // It is known late when the machine is too busy for a look within a second.
    let (second, too_late) = (share("run_second", "second:method"), share("run_second", "first method(int)"));
    assert!(second > 0.02 && second >= too_late, "{second:.3} and {too_late:.3}\n{folded}");
}

/// Of a perf map that is appended to, both methods at one address have their time; only what was seen is in the recording.
#[test]
fn a_perf_map_names_both_methods_at_an_address() {
    let _guard = needs_root!();
    let recorded = record(&SYMBOLS, &[&fixture("perf_map"), Path::new("1")]);
    assert_both_methods(&recorded.folded());
    assert_eq!(names(&recorded), ["first method(int)", "second;method"].map(str::to_owned).into());
    assert!(recorded.facts().at("/modules").to_string().contains("[JIT]"));
}

/// In a container, the map is in a `/tmp` and under a number that only the process has, and both go with it.
#[test]
fn a_perf_map_of_other_namespaces() {
    let _guard = needs_root!();
    let (_folder, program) = outside_of_tmp("perf_map");
    let script = format!("mount -t tmpfs none /tmp && exec {} 1", program.display());
    let command = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", &script].map(Path::new);
    assert_both_methods(&record(&SYMBOLS, &command).folded());
}

/// A perf map that only its owner may read is read, also where the recorder has given up its rights by then, and where they were not enough the
/// reason is told.
#[test]
fn a_perf_map_of_another_user_alone() {
    let _guard = needs_root!();
    if !has("setpriv", "--version") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = folder.path().join("perf_map");
    copy_program(&fixture("perf_map"), &program);
    let nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    let script = format!("umask 077; exec {nobody} {} 1", program.display());
    let command = ["sh", "-c", &script].map(Path::new);
    assert_both_methods(&record(&SYMBOLS, &command).folded());

    let place = Place::new();
    let record = place.record();
    let mut without = Command::new("setpriv");
    without
        .args(["--bounding-set", "-dac_read_search,-dac_override"])
        .arg(record.get_program())
        .args(record.get_args());
    let output = succeed(without.args(["-F", "999", "--"]).args(command));
    let said = stderr(&output);
    assert!(said.contains("its perf map may be read by its owner alone"), "{said}");
    assert!(names(&place.recorded(output)).is_empty());
}

/// A jitdump tells times, so that no sample has a wrong name, and what was moved keeps its own.
#[test]
fn a_jitdump_names_what_was_moved() {
    let _guard = needs_root!();
    let recorded = record(&SYMBOLS, &[&fixture("jitdump"), Path::new("1")]);
    let folded = recorded.folded();
    let share = |caller: &str, method: &str| folded.share(&format!("jitdump;...;main;...;{caller};{method}"));
    let right = [("run_first", "first_method"), ("run_second", "second_method"), ("run_moved", "second_method")];
    for (caller, method) in right {
        assert!(share(caller, method) > 0.05, "{caller}\n{folded}");
    }
    let all: f64 = right.iter().map(|(caller, method)| share(caller, method)).sum();
    assert!(all > 0.9, "{folded}");
    assert_eq!(share("run_first", "second_method") + share("run_second", "first_method"), 0.0, "{folded}");
}

/// What is no file of the process's own is not read, and the recorder, the recording and the report say so.
#[test]
fn a_map_that_leads_elsewhere_is_refused() {
    let _guard = needs_root!();
    let (_folder, program) = outside_of_tmp("jit");
    let script =
        format!("mount -t tmpfs none /tmp && ln -s /etc/passwd /tmp/perf-$$.map && exec {} 1", program.display());
    let place = Place::new();
    let mut command = place.record();
    command.args(["-F", "999", "--", "unshare", "--mount", "sh", "-c", &script]);
    let output = succeed(&mut command);
    let said = stderr(&output);
    assert!(said.contains("is not used: it is a symbolic link"), "{said}");
    let recorded = place.recorded(output);
    assert!(names(&recorded).is_empty());
    assert!(perf_maps(&recorded).iter().any(|map| map.trouble.contains("symbolic link")));
    let notes = recorded.facts().at("/notes").to_string();
    assert!(notes.contains("symbolic link"), "{notes}");
}

/// Code without a map has no names, and the reason says what helps; nothing of it is written with `--embed none`.
#[test]
fn code_without_a_map_says_why() {
    let _guard = needs_root!();
    let recorded = record(&[], &[&fixture("jit"), Path::new("0.5")]);
    let table = recorded.report(&[]);
    assert!(table.contains("[JIT]+0x") && table.contains("--perf-basic-prof"), "{table}");
    let recorded = record(&["--embed", "none"], &[&fixture("perf_map"), Path::new("0.5")]);
    assert!(perf_maps(&recorded).is_empty());
}

/// Node names its functions with `--perf-basic-prof`, and with `--perf-prof` in a jitdump.
#[test]
fn node_has_named_frames() {
    let _guard = needs_root!();
    if !has("node", "--version") {
        return;
    }
    let script = "function spin(n) { let s = 0; for (let i = 0; i < n; i++) { s = (s * 31 + i) | 0; } return s; }
        function outer(n) { return spin(n) + 1; }
        const end = Date.now() + 1000; while (Date.now() < end) { outer(1e6); }";
    for option in ["--perf-basic-prof", "--perf-prof"] {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new();
        let mut command = place.record();
        // The map stays where node writes it: in a `/tmp` that goes with it.
        let words = [
            "-q",
            "-F",
            "999",
            "--",
            "unshare",
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs none /tmp && exec \"$@\"",
            "sh",
        ];
        command.current_dir(folder.path()).args(words).args(["node", option, "-e", script]);
        let output = succeed(&mut command);
        let recorded = place.recorded(output);
        let folded = recorded.folded();
        let named = folded.stacks().filter(|frames| frames.iter().any(|frame| is_function(frame, "spin"))).count();
        assert!(named > 0, "{option}\n{folded}");
        let facts = recorded.facts();
        assert!(facts.share("complete") > 0.9, "{option}: {}", facts.at("/stacks"));
    }
}

/// Whether a frame is a function of a script, as V8 names it: with its kind in front, and the place behind.
fn is_function(frame: &str, name: &str) -> bool {
    frame.starts_with("JS:") && frame.trim_start_matches(|letter| "JS:*~^+".contains(letter)).starts_with(name)
}

/// A JVM names its methods when it is asked, which happens only with `--jvm-perfmap`.
#[test]
fn a_jvm_is_asked_for_its_names() {
    let _guard = needs_root!();
    if !has("java", "-version") || !has("javac", "-version") || !has("jcmd", "-h") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = "public class Busy {
        static int spin(int n) { int s = 0; for (int i = 0; i < n; i++) { s = s * 31 + i; } return s; }
        public static void main(String[] words) { int s = 0; while (true) { s += spin(1000000); if (s == 1) { return; } } }
    }";
    std::fs::write(folder.path().join("Busy.java"), source).unwrap();
    succeed(Command::new("javac").arg("Busy.java").current_dir(&folder));
    let java = Running::start(Command::new("java").args(["-XX:+PreserveFramePointer", "Busy"]).current_dir(&folder));
    std::thread::sleep(Duration::from_secs(1));
    for (option, named) in [(&[][..], false), (&["--jvm-perfmap"][..], true)] {
        let place = Place::new();
        let output = succeed(place.record().args(["-F", "499", "-d", "1s", "-p", &java.pid()]).args(option));
        let said = stderr(&output);
        let folded = place.recorded(output).folded();
        let spins = folded.stacks().any(|frames| frames.iter().any(|frame| frame.contains("Busy.spin")));
        let _not_written = std::fs::remove_file(format!("/tmp/perf-{}.map", java.pid()));
        assert_eq!(spins, named, "{option:?}: {said}\n{folded}");
    }
}
