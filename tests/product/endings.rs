//! However a recording ends, its file is finished, and the status tells what ended.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::programs::{Running, fixture, profrec, run, stderr, succeed};
use crate::recorded::{Place, Recorded};
use crate::rights::needs_root;

/// The file was finished: the totals are there, and the equation closes.
fn assert_closed(recorded: &Recorded) {
    let facts = recorded.facts();
    let (expected, samples) = (facts.number("/recording/expected"), facts.number("/recording/samples"));
    assert_eq!(expected, samples + facts.lost_samples(), "{}", facts.at("/recording"));
    facts.assert_accounts_close();
    assert_eq!(facts.at("/recording/closed"), true, "{}", facts.at("/recording"));
    assert_eq!(facts.at("/recording/damage").as_array().map(Vec::len), Some(0), "{}", facts.at("/recording"));
}

/// The time that a process of one thread has spent on a CPU.
fn cpu_seconds(pid: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

fn spinning(seconds: &str) -> Running {
    Running::start(Command::new(fixture("no_frame_pointers")).arg(seconds))
}

/// `-d` ends a recording in time, and the target goes on.
#[test]
fn the_duration() {
    let _guard = needs_root!();
    let target = spinning("60");
    let place = Place::new();
    let (start, cpu_before) = (Instant::now(), cpu_seconds(&target.pid()));
    let output = succeed(place.record().args(["-F", "999", "-p", &target.pid(), "-d", "1s"]));
    let (took, cpu) = (start.elapsed(), cpu_seconds(&target.pid()) - cpu_before);
    assert!((0.9..3.0).contains(&took.as_secs_f64()), "{took:?} instead of a second");
    let recorded = place.recorded(output);
    assert_closed(&recorded);
    let duration = recorded.facts().number("/recording/duration_seconds");
    assert!((0.9..1.5).contains(&duration), "{duration} seconds were recorded");
    let samples = recorded.facts().number("/recording/samples");
    // The target also ran while the recorder started and ended; and steal time counts as samples.
    assert!((0.6..1.15).contains(&(samples / 999.0 / cpu)), "{samples} samples for {cpu} seconds on the CPU");
    succeed(Command::new("kill").args(["-0", &target.pid()]));
}

/// The summary closes the equation, and names the next command.
#[test]
fn the_summary() {
    let _guard = needs_root!();
    let place = Place::new();
    let output = succeed(place.record().arg("--").arg(fixture("no_frame_pointers")).arg("0.2"));
    let summary = stderr(&output);
    for word in ["written", "lost", "profrec report"] {
        assert!(summary.contains(word), "`{word}` is not in the summary:\n{summary}");
    }
}

/// `-q` is silent.
#[test]
fn silence() {
    let _guard = needs_root!();
    let output = succeed(Place::new().record().args(["-q", "--", "true"]));
    assert_eq!(stderr(&output), "");
    assert!(output.stdout.is_empty());
}

/// SIGINT and SIGTERM finish the file, long before the duration is over.
#[test]
fn signals() {
    let _guard = needs_root!();
    for signal in [Signal::INT, Signal::TERM] {
        let target = spinning("60");
        let place = Place::new();
        let recorder = Running::start(place.record().args(["-F", "999", "-p", &target.pid(), "-d", "60s"]));
        std::thread::sleep(Duration::from_millis(1000));
        recorder.signal(signal);
        let output = recorder.finish_within(Duration::from_secs(5));
        assert_eq!(output.status.code(), Some(0), "{signal:?}: {}", stderr(&output));
        let recorded = place.recorded(output);
        assert_closed(&recorded);
        assert!(recorded.facts().number("/recording/samples") > 100.0);
    }
}

/// A process that ends while it is recorded ends the recording.
#[test]
fn the_target_ends() {
    let _guard = needs_root!();
    let target = spinning("1");
    let place = Place::new();
    let recorder = Running::start(place.record().args(["-p", &target.pid(), "-d", "60s"]));
    // The test is the target's parent: until it is waited for, the target is a zombie.
    target.finish_within(Duration::from_secs(5));
    let output = recorder.finish_within(Duration::from_secs(5));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_closed(&place.recorded(output));
}

/// The command's exit status is the recorder's, also when a signal ended it.
#[test]
fn the_status_of_the_command() {
    let _guard = needs_root!();
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143)] {
        let place = Place::new();
        let output = run(place.record().args(["-q", "--", "sh", "-c", script]));
        assert_eq!(output.status.code(), Some(status), "{script}: {}", stderr(&output));
        assert_closed(&place.recorded(output));
    }
}

/// Whoever ends a recorder whose recording is over, and which waits for its command, ends the command.
#[test]
fn a_signal_while_the_command_goes_on() {
    let _guard = needs_root!();
    for signal in [Signal::INT, Signal::TERM] {
        let place = Place::new();
        let recorder = Running::start(place.record().args(["-d", "300ms", "--", "sleep", "60"]));
        std::thread::sleep(Duration::from_secs(3));
        recorder.signal(signal);
        let output = recorder.finish_within(Duration::from_secs(5));
        assert_eq!(output.status.code(), Some(128 + Signal::TERM.as_raw()), "{}", stderr(&output));
        assert!(stderr(&output).contains("profrec report"), "{}", stderr(&output));
        assert_closed(&place.recorded(output));
    }
}

/// A recording tells what a process does: only its owner may read it.
#[test]
fn the_mode_of_the_file() {
    let _guard = needs_root!();
    let place = Place::new();
    succeed(place.record().args(["-q", "--", "true"]));
    assert_eq!(place.path().metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

/// Without `-o` the file has a name of its own in the current folder.
#[test]
fn the_default_name() {
    let _guard = needs_root!();
    let folder = tempfile::tempdir().unwrap();
    succeed(Command::new(profrec()).args(["record", "-q", "--", "true"]).current_dir(folder.path()));
    let names: Vec<_> = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        names.len() == 1 && Path::new(&names[0]).extension().is_some_and(|extension| extension == "prof"),
        "{names:?}"
    );
}
