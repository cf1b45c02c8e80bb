//! Hosts that are in trouble, and programs that make it: the recorder records, ends as it should and stays small.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::programs::{Running, copy_program, fixture, profrec, stderr, succeed};
use crate::recorded::{Place, record};
use crate::rights::needs_root;

/// A process that has as many mappings as it may, and maps and unmaps all the time, has complete stacks; its recorder needs no more than
/// 64 MB.
#[test]
fn a_process_that_maps_without_end() {
    let _guard = needs_root!();
    let target = Running::start(Command::new(fixture("many_mappings")).arg("60"));
    let place = Place::new();
    let options = ["-q", "-F", "999", "--embed", "symbols", "-p", &target.pid()];
    let recorder = Running::start(place.record().args(options));
    std::thread::sleep(Duration::from_secs(2));
    let status = fs::read_to_string(format!("/proc/{}/status", recorder.pid())).unwrap();
    recorder.signal(Signal::INT);
    let recorded = place.recorded(recorder.finish_within(Duration::from_secs(60)));
    let folded = recorded.folded();
    assert!(folded.share("many_mappings;...;main;outer;spin") > 0.2, "{folded}");
    assert!(recorded.facts().share("complete") > 0.98, "{}", recorded.facts().at("/stacks"));
    assert!(kilobytes(&status, "VmHWM:") < 64 << 10, "{status}");
}

fn kilobytes(status: &str, field: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A thread that renames itself all the time, also with what a terminal obeys: each stack is under the name that it had, and no view lets the
/// terminal see it.
#[test]
fn a_thread_that_renames_itself() {
    let _guard = needs_root!();
    let recorded = record(&["--embed", "symbols"], &[&fixture("renaming"), Path::new("1")]);
    let folded = recorded.folded();
    let of = |function: &str| -> Vec<&str> {
        let stacks = folded.stacks().filter(|stack| stack.iter().any(|frame| frame == function));
        let mut comms: Vec<&str> = stacks.map(|stack| stack[0].as_str()).collect();
        comms.sort_unstable();
        comms.dedup();
        comms
    };
    let (plain, rude) = (of("plain"), of("rude"));
    assert_eq!(plain, ["plain"], "{folded}");
    assert!(rude.len() == 1 && rude[0].ends_with("rude"), "{rude:?}\n{folded}");
    for view in ["--folded", "--info", "--tree", "--json"] {
        let text = recorded.report(&[view]);
        assert!(!text.contains('\x1b'), "{view}: {text:?}");
    }
}

/// A path may have line ends and escape sequences: its program is the same when it is found running and when it is seen starting.
#[test]
fn a_path_with_lines_and_escapes() {
    let _guard = needs_root!();
    let folder = tempfile::tempdir().unwrap();
    let rude = folder.path().join("a\n7f00-7f01 r-xp 0 0:0 1 \x1b[31m");
    fs::create_dir(&rude).unwrap();
    let program = rude.join("recursion");
    copy_program(&fixture("recursion"), &program);
    let running = Running::start(Command::new(&program).arg("60"));
    std::thread::sleep(Duration::from_millis(100));
    let place = Place::new();
    let options = ["-q", "-F", "999", "-d", "1s", "--embed", "symbols", "-p", &running.pid()];
    let output = succeed(place.record().args(options));
    let found = place.recorded(output);
    let started = record(&["--embed", "symbols"], &[&program, Path::new("0.5")]);
    for recorded in [found, started] {
        let folded = recorded.folded();
        assert!(folded.share(&format!("recursion;...;main;{};spin", ["descend"; 20].join(";"))) > 0.9, "{folded}");
        assert!(!recorded.report(&["--info"]).contains('\x1b'));
        let facts = recorded.facts();
        let mut modules = facts.at("/modules").as_array().unwrap().iter();
        let path = program.to_str();
        assert!(modules.any(|module| module["path"].as_str() == path), "{path:?} is not in {}", facts.at("/modules"));
    }
}

/// A target that stands still has no samples, and ends nothing; when it goes on, it has.
#[test]
fn a_stopped_target() {
    let _guard = needs_root!();
    let target = Running::start(Command::new(fixture("recursion")).arg("60"));
    std::thread::sleep(Duration::from_millis(100));
    target.signal(Signal::STOP);
    let place = Place::new();
    let recorder = Running::start(place.record().args(["-q", "-F", "999", "-d", "2s", "-p", &target.pid()]));
    std::thread::sleep(Duration::from_secs(1));
    target.signal(Signal::CONT);
    let output = recorder.finish_within(Duration::from_secs(30));
    assert!(output.status.success(), "{}", stderr(&output));
    let recorded = place.recorded(output);
    let samples = recorded.folded().samples();
    assert!(samples > 20 && samples < 1_600, "{samples}");
    assert!(recorded.facts().share("complete") > 0.95);
}

/// Recorders record each other, under whatever name, and the whole machine twice at once: each closes its recording, and its equation.
#[test]
fn recorders_of_recorders() {
    let _guard = needs_root!();
    let folder = tempfile::tempdir().unwrap();
    let renamed = folder.path().join("\x1b[1mnobody\n");
    copy_program(profrec(), &renamed);
    let places = [Place::new(), Place::new(), Place::new()];
    let inner = Running::start(Command::new(&renamed).args(["record", "-q", "-a", "-o"]).arg(places[0].path()));
    let outer = Running::start(places[1].record().args(["-q", "-F", "999", "-p", &inner.pid()]));
    let again = Running::start(places[2].record().args(["-q", "-a"]));
    std::thread::sleep(Duration::from_millis(1_500));
    for (recorder, place) in [again, outer, inner].into_iter().zip(places.into_iter().rev()) {
        recorder.signal(Signal::INT);
        let output = recorder.finish_within(Duration::from_secs(30));
        assert!(output.status.success(), "{}", stderr(&output));
        let facts = place.recorded(output).facts();
        // The first one keeps within its budget: on a machine that is busy, its samples stand for many.
        let (expected, ticks) = (facts.number("/recording/expected"), facts.number("/recording/ticks"));
        assert_eq!(expected, ticks + facts.lost_samples(), "{}", facts.at("/recording"));
    }
}
