//! A recorder with a small budget slows down, and what its recording says of shares and CPU time stays right.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use profrec_format::{Pace, PaceReason, Record, Recording, Sample};

use crate::parts::files;
use crate::programs::{Running, fixture, profrec_report, run, stderr, stdout, succeed};
use crate::recorded::{Facts, Place};
use crate::rights::needs_root;

const RATE: f64 = 4999.0;
/// A small part of what sampling costs at that rate.
const SMALL: [&str; 5] = ["-F", "4999", "--max-cpu", "0.2%", "-d"];

/// What a recording says of the shares of two functions.
struct Outcome {
    facts: Facts,
    /// Ticks of each.
    ticks: [f64; 2],
    samples: Vec<(u64, u32)>,
}

impl Outcome {
    fn of(place: &Place, functions: [&str; 2]) -> Self {
        let file = fs::read(place.path()).unwrap();
        let recording = Recording::open(&file).unwrap();
        let samples: Vec<_> = samples(&recording).iter().map(|sample| (sample.time, sample.weight)).collect();
        let json = stdout(&run(Command::new(profrec_report()).arg(place.path()).arg("--json")));
        let facts = Facts::parse(&json);
        let ticks = functions.map(|name| {
            let found = facts.at("/functions").as_array().unwrap().iter().find(|function| function["name"] == name);
            found.map_or(0.0, |function| function["total"].as_f64().unwrap())
        });
        Self { facts, ticks, samples }
    }

    /// The recorder slowed down in the middle, and says so; the equation closes.
    fn assert_slowed(&self) {
        let steps = self.facts.at("/recording/pace").as_array().unwrap();
        assert!(!steps.is_empty() && steps[0]["reason"] == PaceReason::TooCostly.name(), "{steps:?}");
        let heavy = self.samples.iter().filter(|(_, weight)| *weight > 1).count();
        // How many is for the machine to say; what they are worth is for the sampling error.
        assert!(heavy > 2 && self.samples.len() - heavy > 50, "{heavy} of {}", self.samples.len());
        let sum: u64 = self.samples.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let number = |name: &str| self.facts.number(&format!("/recording/{name}"));
        assert_eq!((number("ticks"), number("samples")), (sum as f64, self.samples.len() as f64));
        assert_eq!(number("expected"), sum as f64 + self.facts.lost_samples());
        let note = self.facts.at("/notes").to_string();
        assert!(note.contains("the recorder slowed down to cost no more than 0.2% of the machine"), "{note}");
    }

    /// Four times the error that samples of these weights have, as a part of so many ticks.
    fn sampling_error(&self, ticks: f64) -> f64 {
        let squares: f64 = self.samples.iter().map(|(_, weight)| f64::from(*weight).powi(2)).sum();
        4.0 * squares.sqrt() / ticks
    }
}

fn samples(recording: &Recording<'_>) -> Vec<Sample> {
    let mut found = Vec::new();
    for segment in recording.segments() {
        let mut samples = segment.samples();
        while let Some(sample) = samples.next().unwrap() {
            found.push(sample.clone());
        }
    }
    found
}

/// The CPU seconds of a shell's children so far, for each time that it printed `times`.
fn cpu_seconds(printed: &str) -> Vec<f64> {
    let seconds = |time: &str| {
        let (minutes, seconds) = time.trim_end_matches('s').split_once('m').unwrap();
        minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
    };
    let lines: Vec<_> = printed.lines().collect();
    lines.chunks(2).map(|lines| lines[1].split_whitespace().map(seconds).sum()).collect()
}

/// Samples exceed CPU time by up to a tenth where the hypervisor takes some of it.
fn assert_is_cpu_time(ticks: f64, seconds: f64, error: f64) {
    let ratio = ticks / RATE / seconds;
    assert!(
        (0.93 - error..1.12 + error).contains(&ratio),
        "{ticks} ticks are {ratio:.3} times {seconds} s of CPU time"
    );
}

/// Two programs, one after the other: the first is sampled at the full rate, the second at a fraction of it. Without weights nearly all
/// samples would be of the first. Each has the ticks of its CPU time.
#[test]
fn cpu_time_stays_right_when_the_rate_falls() {
    let _guard = needs_root!();
    let place = Place::new();
    let shares = fixture("shares");
    let script = format!("{0} 1.5 100; times; {0} 2.5 0; times", shares.display());
    let output = run(place.record_frugally().args(SMALL).args(["60s", "--", "sh", "-c", &script]));
    assert!(output.status.success(), "{}", stderr(&output));
    let summary = stderr(&output);
    for words in ["times less often than 4999 Hz, for", "from now on at", "(or none) keeps the rate"] {
        assert!(summary.contains(words), "{words} is not in {summary}");
    }
    let outcome = Outcome::of(&place, ["alpha", "beta"]);
    outcome.assert_slowed();
    let seconds = cpu_seconds(&stdout(&output));
    let seconds = [seconds[0], seconds[1] - seconds[0]];
    for (ticks, seconds) in outcome.ticks.into_iter().zip(seconds) {
        assert_is_cpu_time(ticks, seconds, outcome.sampling_error(ticks));
    }
}

/// Threads that have inherited their clocks keep the old period, whatever happens to the clock of their creator (and the kernel
/// exchanges the clocks of threads when it switches between them): their shares and their CPU time are what they are.
#[test]
fn inherited_clocks_stay_right() {
    let _guard = needs_root!();
    let place = Place::new();
    let gate = place.path().with_file_name("gate");
    succeed(Command::new("mkfifo").arg(&gate));
    let inner = format!("read go < {}; exec {} 4", gate.display(), fixture("threads").display());
    let script = format!("sh -c '{inner}' & echo $!; wait; times");
    let mut shell = Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut printed = BufReader::new(shell.stdout.take().unwrap());
    let mut pid = String::new();
    printed.read_line(&mut pid).unwrap();
    let mut recorder = place.record_frugally();
    let recorder = recorder.args(SMALL).args(["60s", "-p", pid.trim()]).stderr(Stdio::piped()).spawn().unwrap();
    while !place.path().exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(700));
    fs::write(&gate, "go\n").unwrap();
    let mut times = String::new();
    printed.read_to_string(&mut times).unwrap();
    assert!(shell.wait().unwrap().success());
    let recorded = recorder.wait_with_output().unwrap();
    assert!(recorded.status.success(), "{}", stderr(&recorded));
    let outcome = Outcome::of(&place, ["three_parts", "one_part"]);
    outcome.assert_slowed();
    let ticks = outcome.ticks[0] + outcome.ticks[1];
    let (share, error) = (outcome.ticks[0] / ticks, outcome.sampling_error(ticks));
    assert!((share - 0.75).abs() < 0.05 + error / 2.0, "{share:.3}, expected 0.75, give or take {error:.3}");
    assert_is_cpu_time(ticks, cpu_seconds(&times)[0], error);
}

/// Parts of a recording that was slowed down, and what a flight recorder has written of one, each say what their samples stand for, though
/// that was decided before they began; and the equation of each closes in ticks.
#[test]
fn parts_say_what_their_samples_stand_for() {
    let _guard = needs_root!();
    let target = Running::start(Command::new(fixture("shares")).args(["60", "0"]));
    for (kind, least) in [(["--rotate", "1s"], 2), (["--ring", "2s"], 1)] {
        let place = Place::new();
        let output = run(place.record_frugally().args(SMALL).arg("6s").args(kind).args(["-p", &target.pid()]));
        assert!(output.status.success(), "{}", stderr(&output));
        let files = files(&place);
        assert!(files.len() >= least, "{files:?}");
        for path in &files {
            assert_says_its_weights(path);
        }
        let last = fs::read(files.last().unwrap()).unwrap();
        let last = Recording::open(&last).unwrap();
        let heavy = samples(&last).iter().filter(|sample| sample.weight > 1).count();
        let paces: Vec<_> = records(&last).filter_map(|record| pace(&record)).collect();
        assert!(heavy > 0 && !paces.is_empty(), "{kind:?}: {heavy} of {}", samples(&last).len());
        assert!(kind[0] == "--ring" || paces[0].reason == PaceReason::GoesOn, "{paces:?}");
    }
}

fn records(recording: &Recording<'_>) -> impl Iterator<Item = Record> {
    recording.segments().iter().flat_map(|segment| segment.records().unwrap())
}

fn pace(record: &Record) -> Option<Pace> {
    if let Record::Pace(pace) = record { Some(*pace) } else { None }
}

fn assert_says_its_weights(path: &Path) {
    let file = fs::read(path).unwrap();
    let recording = Recording::open(&file).unwrap();
    let totals = recording.totals().unwrap();
    let told: Vec<u32> = records(&recording).filter_map(|record| pace(&record)).map(|pace| pace.weight).collect();
    let weights: Vec<u32> = samples(&recording).iter().map(|sample| sample.weight).collect();
    let untold: Vec<_> = weights.iter().filter(|weight| **weight > 1 && !told.contains(weight)).collect();
    assert!(untold.is_empty(), "{}: {untold:?} are not among {told:?}", path.display());
    let ticks: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let lost: u64 = totals.lost.iter().filter(|(cause, _)| cause.is_samples()).map(|(_, count)| count).sum();
    assert_eq!((totals.ticks(), totals.expected), (ticks, ticks + lost), "{}: {totals:?}", path.display());
}

/// Without a budget the rate is what was asked for, whatever that costs.
#[test]
fn no_budget_no_slowing() {
    let _guard = needs_root!();
    let place = Place::new();
    let arguments =
        ["-F", "4999", "--max-cpu", "none", "--", fixture("shares").to_str().unwrap(), "2"].map(str::to_owned);
    let output = run(place.record_frugally().args(arguments));
    assert!(output.status.success() && !stderr(&output).contains("less often"), "{}", stderr(&output));
    let outcome = Outcome::of(&place, ["alpha", "beta"]);
    assert_eq!(outcome.facts.at("/recording/pace").as_array().unwrap().len(), 0);
    assert!(outcome.samples.iter().all(|(_, weight)| *weight == 1));
}
