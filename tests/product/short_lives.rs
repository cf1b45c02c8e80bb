//! Threads and children that end before a clock of theirs would tick: a recording of a running process notices, and sees them.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::Signal;

use crate::folded::Folded;
use crate::given_up;
use crate::programs::{Running, fixture, stderr, succeed};
use crate::recorded::{Place, Recorded};
use crate::rights::needs_root;

const NOTICED: &str = "threads ended before their clocks ticked: from now on, there is a clock on each CPU instead";

/// Records a process that works as much in many short threads, or children, as in one that stays. The first of them comes when the recorder has given
/// up its rights, and `before` was done to it.
fn record_short_after(before: impl FnOnce(&Running), of: &[&str], how: &[&str]) -> (Recorded, Output) {
    let target = Running::start(Command::new(fixture("short_threads")).arg("60").args(of));
    std::thread::sleep(Duration::from_millis(200));
    let place = Place::new();
    let recorder = Running::start(place.record().args(["-d", "5s", "-p", &target.pid()]).args(how));
    given_up::wait_for(&recorder);
    before(&recorder);
    target.signal(Signal::USR1);
    let output = recorder.finish_within(Duration::from_secs(60));
    assert!(output.status.success(), "{}", stderr(&output));
    (place.recorded(output.clone()), output)
}

fn record_short(of: &[&str], how: &[&str]) -> (Recorded, Output) {
    record_short_after(|_| (), of, how)
}

fn assert_halves(recorded: &Recorded, output: &Output) {
    let said = stderr(output);
    assert!(said.contains(NOTICED), "{said}");
    let folded = recorded.folded();
    let (long, short) = (folded.share("...;spin_long"), folded.share("...;spin_short"));
    assert!(folded.samples() > 60 && long > 0.25 && short > 0.25, "{long} {short}\n{folded}");
    let facts = recorded.facts();
    assert_eq!(facts.number("/recording/expected"), facts.number("/recording/ticks") + facts.lost_samples());
    facts.assert_accounts_close();
}

/// Half of the work is in threads that are a fraction of a period each: half of the samples are theirs. The rights that clocks of CPUs take are given up
/// by then.
#[test]
fn short_threads_of_a_running_process_are_seen() {
    let _guard = needs_root!();
    let (recorded, output) = record_short(&[], &["-F", "99"]);
    assert_halves(&recorded, &output);
    // Of what other processes did meanwhile, nothing is there.
    assert_eq!(recorded.folded().of_comm("short_threads"), recorded.folded().samples());
}

/// The same of children, which the kernel follows from the change on.
#[test]
fn short_children_of_a_running_process_are_seen() {
    let _guard = needs_root!();
    let (recorded, output) = record_short(&["children"], &["-F", "99"]);
    assert_halves(&recorded, &output);
    let processes = recorded.report(&["--by", "process", "--limit", "0"]);
    assert!(processes.lines().filter(|line| line.contains("short_threads (")).count() > 10, "{processes}");
}

/// The same when ticks are counted, and of threads alone when children are left out.
#[test]
fn short_threads_are_counted() {
    let _guard = needs_root!();
    let (recorded, output) = record_short(&[], &["-F", "99", "--count", "--flush", "500ms", "--no-inherit"]);
    assert!(stderr(&output).contains(NOTICED), "{}", stderr(&output));
    recorded.facts().assert_accounts_close();
    let folded = recorded.folded();
    assert!(folded.samples() > 60, "{folded}");
}

/// A recorder that cannot start clocks of CPUs, here because it may have only one more open file, says so, and those of threads go on.
#[test]
fn clocks_of_threads_go_on_where_others_cannot_start() {
    let _guard = needs_root!();
    let take_files = |recorder: &Running| {
        let folder = format!("/proc/{}/fd", recorder.pid());
        let unused = (0..).find(|number| !Path::new(&folder).join(number.to_string()).is_symlink());
        let limit = format!("--nofile={}:", unused.unwrap_or(0) + 1);
        succeed(Command::new("prlimit").args([&limit, "--pid", &recorder.pid()]));
    };
    let (recorded, output) = record_short_after(take_files, &[], &["-F", "99", "--embed", "none", "--no-inherit"]);
    let said = stderr(&output);
    assert!(said.contains("That goes on: ") && !said.contains(NOTICED), "{said}");
    let late = Folded::parse(&recorded.report(&["--folded", "--time", "3s..5s"]));
    assert!(late.samples() > 10 && late.share("...;spin_long") > 0.5, "{late}\n{said}");
    recorded.facts().assert_accounts_close();
}

/// A process whose threads stay keeps its clocks, which do not tick where it does not run.
#[test]
fn threads_that_stay_keep_their_clocks() {
    let _guard = needs_root!();
    let target = Running::start(Command::new(fixture("threads")).arg("60"));
    std::thread::sleep(Duration::from_millis(200));
    let place = Place::new();
    let output = succeed(place.record().args(["-F", "499", "-d", "2s", "-p", &target.pid()]));
    let said = stderr(&output);
    let facts = place.recorded(output).facts();
    assert!(!said.contains("before their clocks ticked"), "{said}");
    assert!(facts.at("/recording/all_ticks/outcomes").get("idle").is_none(), "{}", facts.at("/recording"));
}
