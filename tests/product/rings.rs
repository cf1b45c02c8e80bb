//! The flight recorder: the last seconds are in memory, and are written out on demand, at the end, and by triggers. And what disks and folders do to
//! it, and to parts.

use std::fs;
use std::os::unix::fs::chown;
use std::process::Command;
use std::thread;
use std::time::Duration;

use profrec_format::StopReason;
use rustix::process::Signal;

use crate::killed::{count, now};
use crate::parts::{LONG, Part, assert_success, busy, files, parts, wait_until};
use crate::programs::{Running, fixture, profrec, profrec_report, run, stderr, stdout};
use crate::recorded::Place;
use crate::rights::needs_root;

/// A flight recorder writes its last seconds at SIGUSR1, goes on, and writes them again at the end. What it writes is of the time that it
/// says, and nothing is on the disk before.
#[test]
fn a_ring_is_written_on_demand_and_at_the_end() {
    let _guard = needs_root!();
    let (target, place) = (busy(), Place::new());
    let options = ["-F", "999", "--ring", "2s", "--embed", "symbols", "-d", "60s"];
    let started = now();
    let recorder = Running::start(place.record().args(options).args(["-p", &target.pid()]));
    thread::sleep(Duration::from_millis(3800));
    assert!(files(&place).is_empty());
    let asked = now();
    recorder.signal(Signal::USR1);
    wait_until("a file", || fs::metadata(place.path().with_extension("000001.prof")).is_ok());
    thread::sleep(Duration::from_millis(500));
    recorder.signal(Signal::INT);
    let output = recorder.finish_within(LONG);
    assert_success(&output);
    let [first, second] = &parts(&place)[..] else { panic!("{:?}\n{}", files(&place), stderr(&output)) };
    assert!(first.totals.end_monotonic >= asked && second.totals.end_monotonic > first.totals.end_monotonic);
    assert_eq!((first.totals.stop, second.totals.stop), (StopReason::Cut, StopReason::Interrupted));
    for part in [first, second] {
        assert!(part.seconds() >= 1.9, "{} s of the 2 that were asked for", part.seconds());
        assert!(part.totals.samples > 50 && part.folded().stacks().any(|frames| frames.len() > 400));
    }
    // On a machine that is busy, parts become longer than they should.
    let before = first.start.saturating_sub(started) as f64 / 1e9;
    assert!(before > 0.5, "parts that are too old were written, too: from {before} s on, {} s", first.seconds());
    // What both have is the same.
    let (from, to) = (second.start + 20_000_000, first.totals.end_monotonic - 20_000_000);
    assert_eq!(count(&first.times, from, to), count(&second.times, from, to));
    for word in ["SIGUSR1", "000001.prof", "000002.prof", "a minute"] {
        assert!(stderr(&output).contains(word), "`{word}` is not in the summary:\n{}", stderr(&output));
    }
}

/// A terminal that goes away is an end like others: the ring is written out. With nohup the recorder goes on. And SIGUSR1 does no harm to a
/// recorder that has neither parts nor a ring: it says so, and goes on.
#[test]
fn other_signals() {
    let _guard = needs_root!();
    let target = busy();
    let places = [("default", Place::new()), ("ignore", Place::new())];
    let start = |(how, place): &(&str, Place)| {
        let mut command = Command::new("env");
        command.arg(format!("--{how}-signal=HUP")).arg(profrec()).args(place.record().get_args());
        Running::start(command.args(["--ring", "5s", "-d", "2s", "-p", &target.pid()]))
    };
    let recorders: Vec<_> = places.iter().map(start).collect();
    let plain = Place::new();
    let asked = Running::start(plain.record().args(["-d", "2s", "-p", &target.pid()]));
    thread::sleep(Duration::from_millis(900));
    asked.signal(Signal::USR1);
    recorders.iter().for_each(|recorder| recorder.signal(Signal::HUP));
    let stops = [StopReason::Interrupted, StopReason::Duration];
    for ((recorder, (_, place)), stop) in recorders.into_iter().zip(&places).zip(stops) {
        assert_success(&recorder.finish_within(LONG));
        assert_eq!(parts(place).iter().map(|part| part.totals.stop).collect::<Vec<_>>(), [stop]);
    }
    let output = asked.finish_within(LONG);
    assert_success(&output);
    assert!(stderr(&output).contains("nothing was done"), "{}", stderr(&output));
    assert_eq!(Part::read(&plain.path()).totals.stop, StopReason::Duration);
}

/// A trigger writes the ring out when it is true, once; one that is never true does not. `-a` measures the machine.
#[test]
fn a_trigger_writes_once() {
    let _guard = needs_root!();
    let _busy = busy();
    let target = busy();
    let record = |place: &Place, triggers: &[&str]| {
        let mut command = place.record();
        command.args(["--ring", "30s", "-d", "3s"]).args(triggers.iter().flat_map(|trigger| ["--trigger", trigger]));
        command
    };
    let places = [Place::new(), Place::new(), Place::new()];
    let pid = target.pid();
    let of_process = Running::start(record(&places[0], &["cpu>1% for 1s", "load>9999999"]).args(["-p", &pid]));
    let of_machine = Running::start(record(&places[1], &["cpu>1% for 1s"]).arg("-a"));
    let never = Running::start(record(&places[2], &["cpu>90000% for 1s", "cpu<0%"]).args(["-p", &pid]));
    for (recorder, place, count) in [(of_process, &places[0], 2), (of_machine, &places[1], 2), (never, &places[2], 1)] {
        let output = recorder.finish_within(LONG);
        assert_success(&output);
        assert_eq!(parts(place).len(), count, "{}", stderr(&output));
        assert_eq!(stderr(&output).matches("--trigger 'cpu>1% for 1s', at ").count(), count - 1, "{}", stderr(&output));
    }
}

/// A disk that is full for a moment.
#[test]
fn a_full_disk() {
    let _guard = needs_root!();
    let target = busy();
    let pid = &target.pid();
    thread::scope(|scope| {
        scope.spawn(|| does_not_end_a_ring(pid));
        scope.spawn(|| ends_a_rotation(pid));
    });
}

/// Records `pid`, with a disk that is full at one write.
fn failing(place: &Place, pid: &str, write: &str) -> Command {
    let mut command = place.record();
    command.args(["-F", "999", "-d", "60s", "-p", pid]).env("LD_PRELOAD", fixture("libfailing_writes.so"));
    command.envs([("FAIL_AT", write), ("FAIL_COUNT", "1"), ("FAIL_ERRNO", "28"), ("FAIL_TAKES", "30")]);
    command
}

/// It is told once, and the recorder goes on: the next file is whole. The status tells of the failure.
fn does_not_end_a_ring(pid: &str) {
    let place = Place::new();
    let recorder = Running::start(failing(&place, pid, "3").args(["--ring", "10s"]));
    thread::sleep(Duration::from_millis(1500));
    recorder.signal(Signal::USR1);
    wait_until("the first file", || !files(&place).is_empty());
    thread::sleep(Duration::from_millis(700));
    recorder.signal(Signal::INT);
    let output = recorder.finish_within(LONG);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(stderr(&output).matches("No space left on device").count(), 1, "{}", stderr(&output));
    let parts = parts(&place);
    let last = parts.last().unwrap();
    assert_eq!(last.totals.stop, StopReason::Interrupted);
    assert!(last.seconds() > 1.5 && last.totals.samples > 50);
    assert!(parts[..parts.len() - 1].iter().all(|part| part.totals.stop == StopReason::WriteFailed));
}

/// In the second part or later, it ends the recording with a message; what was written of all parts can be read, and the first is
/// whole.
fn ends_a_rotation(pid: &str) {
    let place = Place::new();
    let output = run(failing(&place, pid, "18").args(["--rotate", "1s"]));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("recording has ended"), "{}", stderr(&output));
    assert!(files(&place).len() >= 2, "{:?}", files(&place));
    Part::read(&files(&place)[0]);
    for path in files(&place) {
        let check = run(Command::new(profrec_report()).arg("--check").arg(&path));
        assert!(matches!(check.status.code(), Some(0 | 3)), "{}: {}", path.display(), stdout(&check));
    }
}

/// A folder that vanishes ends a rotation, and fails a ring, with a message and status 1.
#[test]
fn a_folder_that_vanishes() {
    let _guard = needs_root!();
    let target = busy();
    thread::scope(|scope| {
        for kind in [["--rotate", "1s"], ["--ring", "5s"]] {
            let pid = target.pid();
            scope.spawn(move || {
                let place = Place::new();
                let folder = place.path().with_file_name("inner");
                fs::create_dir(&folder).unwrap();
                let mut command = Command::new(profrec());
                command.args(["record", "-d", "1500ms", "-p", &pid, "-o"]).arg(folder.join("it.prof")).args(kind);
                let recorder = Running::start(&mut command);
                thread::sleep(Duration::from_millis(700));
                fs::remove_dir_all(&folder).unwrap();
                let output = recorder.finish_within(LONG);
                let text = stderr(&output);
                assert_eq!(output.status.code(), Some(1), "{kind:?}: {text}");
                assert!(text.contains("No such file") && !text.contains("panicked"), "{kind:?}: {text}");
            });
        }
    });
}

/// In a folder of another user, root goes on creating files though it has given up its other rights.
#[test]
fn a_folder_of_somebody_else() {
    let _guard = needs_root!();
    const NOBODY: u32 = 65_534;
    let target = busy();
    for kind in [["--rotate", "1h"], ["--ring", "1h"]] {
        let place = Place::new();
        let folder = place.path().with_file_name("inner");
        fs::create_dir(&folder).unwrap();
        chown(&folder, Some(NOBODY), None).unwrap();
        let mut command = Command::new(profrec());
        command.args(["record", "-d", "1s", "-p", &target.pid(), "-o"]).arg(folder.join("it.prof")).args(kind);
        let output = Running::start(&mut command).finish_within(LONG);
        assert!(output.status.success(), "{kind:?}: {}", stderr(&output));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "{kind:?}: {}", stderr(&output));
    }
}
