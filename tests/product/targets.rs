//! What is recorded: running processes, the whole machine, children of any shortness; at which rate.

use std::path::Path;
use std::process::Command;

use crate::programs::{Running, fixture, succeed};
use crate::recorded::{Place, Recorded, record};
use crate::rights::needs_root;

fn record_for_a_second(arguments: &[&str]) -> Recorded {
    let place = Place::new();
    let output = succeed(place.record().args(["-q", "-F", "999", "-d", "1s"]).args(arguments));
    place.recorded(output)
}

/// A process that runs already: its mappings are read once, at the start.
#[test]
fn a_running_process() {
    let _guard = needs_root!();
    let target = Running::start(Command::new(fixture("no_frame_pointers")).arg("60"));
    std::thread::sleep(std::time::Duration::from_millis(100));
    let folded = record_for_a_second(&["-p", &target.pid()]).folded();
    assert!(folded.share("no_frame_pointe;...;main;outer;middle;spin") > 0.95, "{folded}");
}

/// All threads of a running process.
#[test]
fn the_threads_of_a_running_process() {
    let _guard = needs_root!();
    let target = Running::start(Command::new(fixture("threads")).arg("60"));
    std::thread::sleep(std::time::Duration::from_millis(100));
    let folded = record_for_a_second(&["-p", &target.pid()]).folded();
    assert!(folded.of_comm("three") > 0 && folded.of_comm("one") > 0, "{folded}");
}

/// Several processes; others stay out.
#[test]
fn several_processes() {
    let _guard = needs_root!();
    let first = Running::start(Command::new(fixture("recursion")).arg("60"));
    let second = Running::start(Command::new(fixture("alloca")).arg("60"));
    let other = Running::start(Command::new(fixture("tail_call")).arg("60"));
    std::thread::sleep(std::time::Duration::from_millis(100));
    let folded = record_for_a_second(&["-p", &format!("{},{}", first.pid(), second.pid())]).folded();
    assert!(folded.of_comm("recursion") > 50 && folded.of_comm("alloca") > 50, "{folded}");
    assert_eq!(folded.of_comm("tail_call"), 0, "{} is not recorded\n{folded}", other.pid());
}

/// The whole machine.
#[test]
fn the_whole_machine() {
    let _guard = needs_root!();
    let target = Running::start(Command::new(fixture("recursion")).arg("60"));
    std::thread::sleep(std::time::Duration::from_millis(100));
    let folded = record_for_a_second(&["-a"]).folded();
    assert!(folded.of_comm("recursion") > 100, "{} is on the machine\n{folded}", target.pid());
}

/// Children that a running process forks later are recorded, unless one says so.
#[test]
fn children_forked_later() {
    let _guard = needs_root!();
    let script = format!("sleep 0.5; while true; do {} 0.2; done", fixture("recursion").display());
    for (arguments, found) in [(&[][..], true), (&["--no-inherit"][..], false)] {
        let shell = Running::start(Command::new("sh").args(["-c", &script]));
        let pid = shell.pid();
        let mut all = vec!["-p", pid.as_str()];
        all.extend(arguments);
        let folded = record_for_a_second(&all).folded();
        assert_eq!(folded.of_comm("recursion") > 20, found, "{arguments:?}\n{folded}");
    }
}

/// Children that a process forks while the recorder looks at it, loads its programs and starts its clocks are all recorded, whether or not it
/// had children before.
#[test]
fn children_forked_while_the_recorder_starts() {
    const CHILDREN: usize = 8;
    let _guard = needs_root!();
    let fork = format!("{} 60 & sleep 0.05", fixture("recursion").display());
    let forks = format!("i=0; while [ $i -lt {CHILDREN} ]; do {fork}; i=$((i+1)); done; wait");
    for before in ["", "sleep 60 &"] {
        // In a session of its own, which is ended with all children.
        let shell = Running::start(Command::new("setsid").args(["sh", "-c", &format!("{before} {forks}")]));
        let pid = shell.pid();
        let recorded = {
            let place = Place::new();
            let output = succeed(place.record().args(["-q", "-F", "999", "-d", "5s", "-p", &pid]));
            place.recorded(output)
        };
        succeed(Command::new("kill").args(["-KILL", "--", &format!("-{pid}")]));
        let processes = recorded.report(&["--by", "process", "--limit", "0"]);
        let children = processes.lines().filter(|line| line.contains("recursion (")).count();
        assert_eq!(children, CHILDREN, "{before}\n{processes}");
    }
}

/// Two hundred processes, each shorter than the time between two ticks: together they have the samples of their
/// CPU time, and all losses are counted.
#[test]
fn a_storm_of_short_processes() {
    let _guard = needs_root!();
    let script = "i=0; while [ $i -lt 200 ]; do /bin/true; i=$((i+1)); done";
    let recorded = record(&["--embed", "symbols"], &[Path::new("sh"), Path::new("-c"), Path::new(script)]);
    let folded = recorded.folded();
    assert!(folded.of_comm("true") > 40, "{folded}");
    let facts = recorded.facts();
    assert_eq!(facts.number("/recording/expected"), facts.number("/recording/samples") + facts.lost_samples());
    // A process that is about to end has no user memory any more.
    let with_user_side = 1.0 - facts.share("exec_or_exit");
    assert!(facts.share("complete") > 0.95 * with_user_side, "{}", facts.at("/stacks"));
}

/// The rate is what was asked for, however it was asked.
#[test]
fn rates() {
    let _guard = needs_root!();
    for (arguments, rate) in [
        (&["-F", "499"][..], 499.0),
        (&["--interval", "10ms"][..], 100.0),
        (&["--preset", "dev"][..], 999.0),
        (&["--preset", "prod"][..], 99.0),
        (&["--preset", "monitor"][..], 10.0),
        (&[][..], 99.0),
    ] {
        let place = Place::new();
        let program = fixture("no_frame_pointers");
        let output = succeed(place.record().arg("-q").args(arguments).arg("--").arg(program).arg("0.2"));
        let facts = place.recorded(output).facts();
        let found = facts.number("/recording/frequency_hz");
        assert!((found - rate).abs() < rate * 0.01, "{arguments:?}: {found} Hz");
    }
}

/// `--call-graph fp` walks frame pointers; `none` stores the place alone.
#[test]
fn other_call_graphs() {
    let _guard = needs_root!();
    let folded = record(&["--call-graph", "fp"], &[&fixture("no_cfi"), Path::new("1")]).folded();
    // A leaf that makes no frame hides its caller: that is what frame pointers give.
    assert!(folded.share("no_cfi;...;main;outer;...;spin") > 0.95, "{folded}");
    let folded = record(&["--call-graph", "none"], &[&fixture("no_cfi"), Path::new("1")]).folded();
    assert!(folded.share("no_cfi;spin") > 0.95, "{folded}");
}

/// A target that sleeps is not woken: hardly a sample.
#[test]
fn a_sleeping_process() {
    let _guard = needs_root!();
    let target = Running::start(Command::new("sleep").arg("60"));
    let facts = record_for_a_second(&["-p", &target.pid()]).facts();
    assert!(facts.number("/recording/samples") < 10.0, "{}", facts.at("/recording"));
}
