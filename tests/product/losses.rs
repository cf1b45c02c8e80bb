//! Ticks that are lost are counted, when and where they are, and what follows them is as true as what was before.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use profrec_format::{Loss, LossCause, Record, Recording};
use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};

use crate::construction::assert_left_or_right;
use crate::programs::{Running, fixture, run, stderr};
use crate::recorded::{Place, Recorded, record};
use crate::rights::{needs_root, skip};

/// Nanoseconds of CLOCK_MONOTONIC.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The losses that a recording tells, and how many samples it has.
fn losses(recorded: &Recorded) -> (Vec<Loss>, u64) {
    let file = std::fs::read(recorded.path()).unwrap();
    let recording = Recording::open(&file).unwrap();
    let records = recording.segments().iter().flat_map(|segment| segment.records().unwrap());
    let losses = records.filter_map(|record| match record {
        Record::Loss(loss) => Some(loss),
        _ => None,
    });
    (losses.collect(), recording.samples_found())
}

/// A recorder that stands still for a while loses ticks, and says to the tick how many, on which CPU and when that was; parts of
/// stacks that were lost with them are sent again.
#[test]
fn a_recorder_that_was_stopped() {
    let _guard = needs_root!();
    let target = Running::start(Command::new(fixture("left_right")).arg("60"));
    let place = Place::new();
    let options = ["-F", "999", "--embed", "symbols", "--ring-size", "256k", "-d", "5s"];
    let recorder = Running::start(place.record().args(options).args(["-p", &target.pid()]));
    let mut stops = Vec::new();
    for stop in [500, 1500] {
        std::thread::sleep(Duration::from_millis(1000));
        recorder.signal(Signal::STOP);
        let stopped = now();
        std::thread::sleep(Duration::from_millis(stop));
        stops.push((stopped, now()));
        recorder.signal(Signal::CONT);
    }
    let output = recorder.finish_within(Duration::from_secs(30));
    assert!(output.status.success(), "{}", stderr(&output));
    let recorded = place.recorded(output);
    let facts = recorded.facts();
    let (expected, samples) = (facts.number("/recording/expected"), facts.number("/recording/samples"));
    assert_eq!(expected, samples + facts.lost_samples(), "{}", facts.at("/recording"));
    facts.assert_accounts_close();
    assert!(facts.lost_samples() > 100.0 && samples > 100.0, "{}", facts.at("/recording"));
    assert_left_or_right(&recorded);

    let (losses, found) = losses(&recorded);
    let ring_full: Vec<_> = losses.into_iter().filter(|loss| loss.cause == LossCause::RingFull).collect();
    assert_eq!(found as f64, samples);
    assert_eq!(ring_full.iter().map(|loss| loss.count).sum::<u64>() as f64, facts.lost_samples());
    // What began while it stood still may end a little later: it has to wake up.
    let is_stopped = |loss: &&Loss| stops.iter().any(|(from, to)| (*from..=*to).contains(&loss.since));
    let while_stopped: u64 = ring_full.iter().filter(is_stopped).map(|loss| loss.count).sum();
    // On a machine that is very busy, the ring is also full at other times.
    assert!(while_stopped as f64 > facts.lost_samples() / 2.0, "{while_stopped}: {stops:?}\n{ring_full:?}");
    for loss in ring_full {
        let seconds = loss.time.checked_sub(loss.since).unwrap() as f64 / 1e9;
        assert!(loss.cpu.is_some() && loss.since > 0 && seconds < 1.1, "{loss:?}");
    }
}

/// Keeps all CPUs busy: one that was offline before may have no ticks while it sleeps, and what is missed before the first is not known.
fn no_cpu_sleeps() -> Vec<Running> {
    let cpus = std::thread::available_parallelism().unwrap().get();
    (0..cpus).map(|_| Running::start(Command::new(fixture("shares")).arg("30"))).collect()
}

/// All ticks of all CPUs have an outcome, those of others than the target too; and with those that did not come they are as many as
/// the clocks should have given in their time.
#[test]
fn all_ticks_have_an_outcome() {
    let _guard = needs_root!();
    let _busy = no_cpu_sleeps();
    let recorded = record(&[], &[&fixture("shares"), Path::new("2")]);
    let facts = recorded.facts();
    facts.assert_accounts_close();
    let ticks = |what: &str| facts.number(&format!("/recording/all_ticks/{what}"));
    let others =
        ["idle", "filtered"].map(|what| facts.at("/recording/all_ticks/outcomes")[what].as_f64().unwrap_or(0.0));
    assert!(others.iter().sum::<f64>() > 0.0, "{}", facts.at("/recording/all_ticks"));
    let missed: f64 = ["throttled", "late", "offline"].map(|cause| ticks(&format!("missed/{cause}"))).iter().sum();
    let cpus = facts.at("/recording/all_ticks/cpus").as_array().unwrap().len() as f64;
    let (given, due) = (ticks("total") + missed, ticks("by_clock"));
    // A period that was not over at the end is missing on each CPU; a clock that is set up again loses a little of one.
    assert!((given - due).abs() <= 3.0 * cpus + due / 100.0, "{given} of {due}: {}", facts.at("/recording/all_ticks"));
}

/// How often a clock may tick before the kernel stops it for a moment: lower, until the end of the test.
struct SampleRate(String);

impl SampleRate {
    const SYSCTL: &str = "/proc/sys/kernel/perf_event_max_sample_rate";

    /// `None` where it cannot be set.
    fn lower(rate: u32) -> Option<Self> {
        let before = std::fs::read_to_string(Self::SYSCTL).ok()?;
        std::fs::write(Self::SYSCTL, rate.to_string()).ok().map(|()| Self(before))
    }
}

impl Drop for SampleRate {
    fn drop(&mut self) {
        std::fs::write(Self::SYSCTL, self.0.trim()).unwrap();
    }
}

/// Where the kernel stops the clock because it ticks too often, the ticks that it did not give are told with that cause and no other, as many
/// as they are; and the summary says what helps.
#[test]
fn a_clock_that_is_throttled() {
    let _guard = needs_root!();
    let _busy = no_cpu_sleeps();
    let place = Place::new();
    let mut command = place.record();
    command.args(["-F", "4999", "--"]).arg(fixture("recursion")).arg("1.2");
    let output = {
        // Still more than the usual rates of other recorders here.
        let Some(_rate) = SampleRate::lower(2_000) else {
            skip("needs to set kernel.perf_event_max_sample_rate");
            return;
        };
        run(&mut command)
    };
    let said = stderr(&output);
    assert!(output.status.success() && said.contains("sysctl kernel.perf_event_max_sample_rate="), "{said}");
    let recorded = place.recorded(output);
    let facts = recorded.facts();
    facts.assert_accounts_close();
    let ticks = |what: &str| facts.number(&format!("/recording/all_ticks/{what}"));
    let (given, throttled, late) = (ticks("total"), ticks("missed/throttled"), ticks("missed/late"));
    // About 2,000 of 4,999 a second are given; a busy host is late with some, which cannot be told from those that were throttled.
    assert!(throttled > given / 2.0 && late < throttled / 4.0, "{}", facts.at("/recording/all_ticks"));
    let seconds = facts.number("/recording/duration_seconds");
    let cpus = facts.at("/recording/all_ticks/cpus").as_array().unwrap().len() as f64;
    let due = seconds * cpus * 4_999.0;
    assert!(((given + throttled + late) / due - 1.0).abs() < 0.1, "{due} due: {}", facts.at("/recording/all_ticks"));
    let (losses, _) = losses(&recorded);
    assert!(losses.iter().all(|loss| loss.cause != LossCause::RingFull), "{losses:?}");
    assert!(
        losses.iter().any(|loss| loss.cause == LossCause::Throttled && loss.cpu.is_some() && loss.since < loss.time)
    );
}
