//! Ticks that are lost are counted, and what follows them is as true as what was before.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::construction::assert_left_or_right;
use crate::programs::{Running, fixture, stderr};
use crate::recorded::Place;
use crate::rights::needs_root;

/// A recorder that stands still for a while loses ticks and says how many; parts of stacks that were lost with them are sent
/// again.
#[test]
fn a_recorder_that_was_stopped() {
    let _guard = needs_root!();
    let target = Running::start(Command::new(fixture("left_right")).arg("60"));
    let place = Place::new();
    let options = ["-F", "999", "--embed", "symbols", "--ring-size", "256k", "-d", "5s"];
    let recorder = Running::start(place.record().args(options).args(["-p", &target.pid()]));
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(700));
        recorder.signal(Signal::STOP);
        std::thread::sleep(Duration::from_millis(500));
        recorder.signal(Signal::CONT);
    }
    let output = recorder.finish_within(Duration::from_secs(10));
    assert!(output.status.success(), "{}", stderr(&output));
    let recorded = place.recorded(output);
    let facts = recorded.facts();
    let (expected, samples) = (facts.number("/recording/expected"), facts.number("/recording/samples"));
    assert_eq!(expected, samples + facts.lost_samples(), "{}", facts.at("/recording"));
    assert!(facts.lost_samples() > 100.0 && samples > 300.0, "{}", facts.at("/recording"));
    assert_left_or_right(&recorded);
}
