//! The target does not notice that it is recorded: no signal, no tracer, no write into its memory.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::programs::{Running, fixture, stdout, succeed};
use crate::recorded::Place;
use crate::rights::needs_root;

/// What the fixture noticed.
struct Noticed(String);

impl Noticed {
    fn number(&self, what: &str) -> u64 {
        let line = self.0.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(' '));
        line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {what}: {}", self.0))
    }

    /// Voluntary context switches beside those of its waits: page faults and a busy machine make some.
    fn other_switches(&self) -> u64 {
        self.number("voluntary").saturating_sub(self.number("waits"))
    }

    fn assert_undisturbed(&self) {
        for what in ["interrupted", "signals", "tracer", "changed"] {
            assert_eq!(self.number(what), 0, "{}", self.0);
        }
        assert!(self.number("waits") > 10, "{}", self.0);
    }
}

fn start() -> Running {
    Running::start(Command::new(fixture("undisturbed")).arg("2"))
}

fn noticed(target: Running) -> Noticed {
    Noticed(stdout(&target.finish_within(Duration::from_secs(60))))
}

/// A program that watches for signals, interrupted system calls, tracers and changes of its memory notices nothing of two
/// recorders, one that follows it and one of the whole machine, and is put to sleep no more often than without.
#[test]
fn the_target_does_not_notice() {
    let _guard = needs_root!();
    let alone = noticed(start());
    alone.assert_undisturbed();
    let target = start();
    let (one, all) = (Place::new(), Place::new());
    let of_machine = Running::start(all.record().args(["-q", "-F", "999", "-a", "-d", "1s"]));
    let recorded = succeed(one.record().args(["-q", "-F", "999", "-p", &target.pid()]));
    of_machine.finish_within(Duration::from_secs(30));
    let watched = noticed(target);
    watched.assert_undisturbed();
    let (before, after) = (alone.other_switches(), watched.other_switches());
    assert!(after <= before + 50 + watched.number("waits") / 4, "{}\n{}", alone.0, watched.0);
    assert!(one.recorded(recorded).facts().number("/recording/samples") > 10.0);
}

/// The program that watches would have noticed a signal, and a system call that it interrupts.
#[test]
fn the_target_would_notice() {
    let target = start();
    std::thread::sleep(Duration::from_millis(500));
    for _ in 0..20 {
        target.signal(Signal::WINCH);
        std::thread::sleep(Duration::from_millis(10));
    }
    let noticed = noticed(target);
    assert!(noticed.number("signals") > 0 && noticed.number("interrupted") > 0, "{}", noticed.0);
}
