//! Ticks that are counted in the kernel: no tick is lost or counted twice, and every view says the same as of samples.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use profrec_format::raw::RawRecording;
use profrec_format::{Record, Recording};
use rustix::process::Signal;

use crate::programs::{Running, fixture, profrec_report, stderr, stdout, succeed, wait_for};
use crate::recorded::{Facts, Place, Recorded, record};
use crate::rights::needs_root;

/// Distinct stacks of many threads' names and processes, for as long as it is asked for: hundreds of short processes.
fn storm(seconds: &str) -> Command {
    let mut command = Command::new("sh");
    let script = "end=$(($(date +%s) + $1)); while [ $(date +%s) -lt $end ]; do ls -l /usr/bin >/dev/null; done";
    command.args(["-c", script, "sh", seconds]);
    command
}

fn segments(recorded: &Recorded) -> f64 {
    recorded.facts().number("/recording/segments")
}

/// Over a hundred flushes and more, under the load of a storm of processes, the sum of what is in the file is what the kernel has
/// counted, on each CPU; each flush is a segment.
#[test]
fn nothing_is_lost_between_two_flushes() {
    let _guard = needs_root!();
    let (place, _storm) = (Place::new(), Running::quiet(&mut storm("26")));
    let mut command = place.record();
    let output = succeed(command.args(["-a", "--count", "--flush", "100ms", "-F", "999", "-d", "24s"]));
    let recorded = place.recorded(output);
    let facts = recorded.facts();
    facts.assert_accounts_close();
    assert_eq!(facts.lost_samples(), 0.0, "{}", facts.at("/recording"));
    assert_eq!(facts.number("/recording/expected"), facts.number("/recording/ticks"));
    assert!(facts.number("/recording/ticks") > facts.number("/recording/samples"), "{}", facts.at("/recording"));
    // A flush joins the segment before while evidence of that is still gathered.
    assert!(segments(&recorded) > 100.0, "{} segments", segments(&recorded));
    let check = recorded.report(&["--check"]);
    assert!(check.starts_with("whole"), "{check}");
    for process in facts.at("/processes").as_array().unwrap() {
        let name = process["comm"].as_str().unwrap();
        assert!(!name.is_empty() && name != "[unknown]", "{process}");
    }
}

/// A flush is told in one piece, and its evidence in another at most, whatever was lost meanwhile. Beginnings and ends of threads are not in it, but
/// their names are.
#[test]
fn a_flush_is_told_at_once() {
    let _guard = needs_root!();
    let recorded = record(&["--count", "--flush", "20s"], &[&fixture("threads"), Path::new("4")]);
    let folded = recorded.folded();
    assert!(folded.of_comm("three") > 0 && folded.of_comm("one") > 0, "{folded}");
    let file = fs::read(recorded.path()).unwrap();
    let frames = RawRecording::take_apart(&file).unwrap().frames;
    let kinds: Vec<u8> = frames.iter().map(|frame| frame.kind).filter(|kind| [1, 7].contains(kind)).collect();
    assert!(kinds == [1, 7] || kinds == [1, 7, 1], "{kinds:?}");
    let recording = Recording::open(&file).unwrap();
    for record in recording.segments().iter().flat_map(|segment| segment.records().unwrap()) {
        let of_thread = match &record {
            Record::Fork(fork) => fork.pid == fork.parent,
            Record::Exit(exit) => exit.pid != exit.tid,
            _ => false,
        };
        assert!(!of_thread, "{record:?}");
    }
}

/// Counted stacks are those that frame pointers lead through, and have the shares that the program has by construction.
#[test]
fn counts_have_the_shares_of_the_program() {
    let _guard = needs_root!();
    let recorded = record(&["--count", "--flush", "1s"], &[&fixture("framed_shares"), Path::new("4"), Path::new("75")]);
    let folded = recorded.folded();
    let (alpha, beta) =
        (folded.share("framed_shares;...;main;...;spin_alpha"), folded.share("framed_shares;...;main;...;spin_beta"));
    assert!((alpha - 0.75).abs() < 0.06 && (beta - 0.25).abs() < 0.06, "{alpha} {beta}\n{folded}");
    let facts = recorded.facts();
    facts.assert_accounts_close();
    // Chains end in what calls `main`, which has no name in a stripped libc.
    let complete = facts.number("/processes/0/complete_percent");
    assert!(complete > 95.0, "{complete} %: {}", facts.at("/processes"));
    let (samples, ticks) = (facts.number("/recording/samples"), facts.number("/recording/ticks"));
    assert!(samples < ticks / 10.0, "{samples} samples for {ticks} ticks");
    let info = recorded.report(&["--info"]);
    assert!(info.contains("counted in the kernel: a sample is all ticks of a stack in 1 s"), "{info}");
}

/// Maps that are too small cost stacks and ticks, which are counted by cause, and nothing else: the equation closes.
#[test]
fn maps_that_are_too_small_are_told() {
    let _guard = needs_root!();
    let (place, _storm) = (Place::new(), Running::quiet(&mut storm("8")));
    let mut command = place.record();
    command.args(["-a", "--count", "--flush", "1h", "-F", "4999", "-d", "6s"]);
    let output = succeed(command.args(["--stack-entries", "1024", "--count-entries", "1024"]));
    let said = stderr(&output);
    let recorded = place.recorded(output);
    let facts = recorded.facts();
    facts.assert_accounts_close();
    let full = facts.number("/recording/lost/counts_full");
    assert!(full > 0.0 && said.contains("--count-entries"), "{said}");
    let collided = facts.number("/recording/all_ticks/outcomes/stack_collided");
    assert!(collided > 0.0 && said.contains("--stack-entries"), "{said}");
    // A stack that is not known is told as that, not as one that was not there.
    assert!(facts.number("/stacks/not_recorded") > 0.0, "{}", facts.at("/stacks"));
}

/// The two parts of a recording of the whole machine, where a fixture is at work: one ends by a signal, after some seconds, and the other
/// some seconds later. A busy machine takes longer to begin a part: all that belongs to the one before is to be in it.
pub(crate) fn two_parts(name: &str, how: &[&str]) -> [Facts; 2] {
    let (place, mut target) = (Place::new(), Command::new(fixture(name)));
    let part = |part: u32| place.path().with_file_name(format!("it.{part:06}.prof"));
    let mut command = place.record();
    command.args(["-a", "-F", "499", "--rotate", "1h"]).args(how);
    let (recorder, _target) = (Running::start(&mut command), Running::quiet(target.arg("60")));
    // Before it catches signals, one would end it.
    wait_for(&part(1));
    thread::sleep(Duration::from_secs(3));
    recorder.signal(Signal::USR1);
    wait_for(&part(2));
    thread::sleep(Duration::from_secs(3));
    recorder.signal(Signal::INT);
    let output = recorder.finish_within(Duration::from_secs(60));
    assert!(output.status.success(), "{}", stderr(&output));
    [1, 2].map(|number| {
        let mut report = Command::new(profrec_report());
        Facts::parse(&stdout(&succeed(report.arg(part(number)).arg("--json"))))
    })
}

/// What a signal asks for has all ticks until then, however far the next flush is.
#[test]
fn a_part_has_what_was_counted_until_its_end() {
    let _guard = needs_root!();
    for part in two_parts("framed_shares", &["--count", "--flush", "1h"]) {
        part.assert_accounts_close();
        let (seconds, ticks) = (part.number("/recording/duration_seconds"), part.number("/recording/ticks"));
        assert!(seconds > 0.5 && ticks > 100.0 * seconds, "{}", part.at("/recording"));
    }
}

/// A segment has the mappings that its chains lead through, and no others; of the vDSO, which is no file, it has the names.
#[test]
fn a_recording_has_the_code_that_ran() {
    let _guard = needs_root!();
    let script = "import time\nend = time.time() + 2\nwhile time.time() < end: pass";
    let command: [&Path; 3] = [Path::new("/usr/bin/python3"), Path::new("-c"), Path::new(script)];
    let recorded = record(&["--count", "--flush", "500ms", "-F", "999"], &command);
    let facts = recorded.facts();
    for module in facts.at("/modules").as_array().unwrap() {
        assert!(module["samples"].as_u64() > Some(0), "{module}");
    }
    let folded = recorded.folded();
    assert!(folded.share("...;clock_gettime") > 0.0, "{folded}");
}

/// Names of code that was made at run time are in the recording: nobody could fetch them later.
#[test]
fn names_of_run_time_code_are_counted_too() {
    let _guard = needs_root!();
    let recorded = record(&["--count", "--flush", "500ms"], &[&fixture("perf_map"), Path::new("2")]);
    let folded = recorded.folded();
    assert!(folded.share("...;first method(int)") + folded.share("...;second:method") > 0.3, "{folded}");
}

/// A recorder that stands still loses nothing but time: the kernel goes on counting in the same maps.
#[test]
fn a_recorder_that_stands_still_loses_nothing() {
    let _guard = needs_root!();
    let (place, mut shares) = (Place::new(), Command::new(fixture("framed_shares")));
    let mut command = place.record();
    command.args(["-a", "--count", "--flush", "500ms", "-F", "499", "-d", "6s"]);
    let (recorder, _shares) = (Running::start(&mut command), Running::quiet(shares.arg("7")));
    thread::sleep(Duration::from_secs(1));
    recorder.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(4));
    recorder.signal(Signal::CONT);
    let recorded = place.recorded(recorder.finish_within(Duration::from_secs(60)));
    let facts = recorded.facts();
    facts.assert_accounts_close();
    assert_eq!(facts.lost_samples(), 0.0, "{}", facts.at("/recording"));
    assert!(segments(&recorded) < 9.0, "{} segments", segments(&recorded));
    assert!(facts.number("/recording/ticks") > 1_000.0, "{}", facts.at("/recording"));
}

/// Flushes that take longer than the time between two of them: a recorder that runs for a twentieth of the time falls behind, and what it
/// takes then is all that was counted.
#[test]
fn flushes_that_take_too_long_lose_nothing() {
    let _guard = needs_root!();
    let (place, _storm) = (Place::new(), Running::quiet(&mut storm("9")));
    let mut command = place.record();
    command.args(["-a", "--count", "--flush", "100ms", "-F", "4999", "--max-cpu", "none", "-d", "6s"]);
    let recorder = Running::start(&mut command);
    wait_for(&place.path());
    for _ in 0..20 {
        recorder.signal(Signal::STOP);
        thread::sleep(Duration::from_millis(190));
        recorder.signal(Signal::CONT);
        thread::sleep(Duration::from_millis(10));
    }
    let recorded = place.recorded(recorder.finish_within(Duration::from_secs(60)));
    let facts = recorded.facts();
    facts.assert_accounts_close();
    assert_eq!(facts.lost_samples(), 0.0, "{}", facts.at("/recording"));
    assert!(segments(&recorded) < 50.0, "{} segments", segments(&recorded));
}

/// Thousands of processes at work, each of which is counted, named and mapped in each segment that has ticks of it.
#[test]
fn thousands_of_processes_are_counted() {
    let _guard = needs_root!();
    let place = Place::new();
    let mut many = Command::new(fixture("many_processes"));
    let _many = Running::quiet(many.args(["40", "5000"]));
    let mut command = place.record();
    command.args(["-a", "--count", "--flush", "2s", "-F", "1999", "--max-cpu", "none", "-d", "12s"]);
    let recorded = place.recorded(succeed(&mut command));
    let facts = recorded.facts();
    facts.assert_accounts_close();
    assert_eq!(facts.lost_samples(), 0.0, "{}", facts.at("/recording"));
    let processes = facts.at("/processes").as_array().unwrap().iter();
    let seen = processes.filter(|process| process["comm"] == "many_processes").count();
    assert!(seen > 3_000, "{seen} processes");
    let folded = recorded.folded();
    // The function that runs is known without frame pointers; it was mapped in each of them.
    let (worked, all) = (folded.share("many_processes;...;work"), folded.of_comm("many_processes"));
    assert!(worked > 0.3 && all > 5_000, "{worked} of {all}");
}

/// The preset for weeks counts; a rate of its own and a way to capture stacks go with it as with others.
#[test]
fn the_preset_for_weeks_counts() {
    let _guard = needs_root!();
    let place = Place::new();
    let mut command = place.record();
    command.args(["--preset", "monitor", "--"]).arg(fixture("framed_shares")).arg("2");
    let recorded = place.recorded(succeed(&mut command));
    let info = recorded.report(&["--info"]);
    assert!(info.contains("counted in the kernel: a sample is all ticks of a stack in 60 s"), "{info}");
    recorded.facts().assert_accounts_close();
}
