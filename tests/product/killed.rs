//! A recorder that is killed at any instant: what it recorded more than a second before is in its file.
//!
//! Two hundred recorders and one more record the same busy process at the same rate. The two hundred are killed, each at a random
//! instant; the other ends well, and tells which ticks of the process's clock there were.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use profrec_format::{DamageKind, Recording};
use rustix::process::Signal;

use crate::parts::{LONG, Part, assert_success, files};
use crate::programs::{Running, fixture, profrec_report, run, stdout};
use crate::recorded::Place;
use crate::rights::needs_root;

const KILLS: usize = 200;
const AT_ONCE: usize = 20;
/// The longest life of a recorder.
const LONGEST: Duration = Duration::from_millis(3000);
/// A recorder that lives longer is not killed before it has begun its file.
const AT_LEAST_BEGUN: Duration = Duration::from_secs(1);
/// What a kill may cost: the second that is promised. A busy machine adds what it keeps the recorder from.
const MOST_LOST: u64 = 1_000_000_000;
/// What it kept it from before is over.
const JUST_THEN: Duration = Duration::from_millis(1200);
/// An attached clock may tick this much later than the recording's header says.
const TO_ATTACH: u64 = 300_000_000;

/// A recorder that was killed, and its file right before and after.
struct Killed {
    place: Place,
    life: Duration,
    death: Death,
    before: Vec<u8>,
    after: Vec<u8>,
}

/// A recorder's end, and how long the machine ran others when the recorder could have run.
#[derive(Clone, Copy)]
struct Death {
    /// CLOCK_MONOTONIC, as the samples' times are.
    at: u64,
    /// Just then, in nanoseconds.
    waited: u64,
    /// Since its start.
    waited_in_all: u64,
}

impl Death {
    /// Lets a recorder live for so long, does what is to be done right before its end, and kills it.
    fn after<T>(life: Duration, recorder: Running, before: impl FnOnce() -> T) -> (Self, T) {
        let pid = recorder.pid();
        thread::sleep(life.saturating_sub(JUST_THEN));
        let waited_before = waited(&pid);
        thread::sleep(life.min(JUST_THEN));
        let done = before();
        let at = now();
        recorder.signal(Signal::KILL);
        // Only when it runs again, to die, does the kernel know how long it has waited for that.
        while !is_dead(&pid) {
            thread::sleep(Duration::from_millis(1));
        }
        let waited_in_all = waited(&pid);
        recorder.finish_within(Duration::from_secs(10));
        (Self { at, waited: waited_in_all - waited_before, waited_in_all }, done)
    }

    /// What is older has to be in the file.
    fn safe(self) -> u64 {
        self.at - MOST_LOST - self.waited
    }

    /// When the clock ticks, of a recording that starts then.
    fn attached(self, start: u64) -> u64 {
        start + TO_ATTACH + self.waited_in_all
    }
}

/// Nanoseconds for which a process, its first thread, waited for a CPU; 0 where the kernel does not count that.
fn waited(pid: &str) -> u64 {
    let counted = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    counted.split_whitespace().nth(1).map_or(0, |nanoseconds| nanoseconds.parse().unwrap())
}

/// Whether nothing is left of a process but its number.
fn is_dead(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')').is_some_and(|(_, state)| state.starts_with(" Z"))
}

pub(crate) fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A recorder of `pid`, at a rate at which a tenth of a second has several samples.
fn recorder(place: &Place, pid: &str) -> Running {
    Running::start(place.record().args(["-q", "-F", "199", "-p", pid]))
}

fn kill_after(life: Duration, pid: &str) -> Killed {
    let place = Place::new();
    let (death, before) = Death::after(life, recorder(&place, pid), || {
        if life >= AT_LEAST_BEGUN {
            wait_for_a_beginning(&place);
        }
        fs::read(place.path()).unwrap_or_default()
    });
    let after = fs::read(place.path()).unwrap_or_default();
    Killed { place, life, death, before, after }
}

/// Recorders start one behind the other on a busy machine.
fn wait_for_a_beginning(place: &Place) {
    for _ in 0..300 {
        if fs::metadata(place.path()).is_ok_and(|file| file.len() > 0) {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("{} does not begin", place.path().display());
}

/// The times of all samples, ascending.
pub(crate) fn times(recording: &Recording<'_>) -> Vec<u64> {
    let mut times = Vec::new();
    for segment in recording.segments() {
        let mut samples = segment.samples();
        while let Some(sample) = samples.next().unwrap() {
            times.push(sample.time);
        }
    }
    times.sort_unstable();
    times
}

pub(crate) fn count(times: &[u64], from: u64, to: u64) -> usize {
    times.partition_point(|time| *time < to).saturating_sub(times.partition_point(|time| *time < from))
}

impl Killed {
    /// What is wrong with what it has left. `ticks` are those that there were.
    fn judge(&self, ticks: &[u64]) -> Result<(), String> {
        if !self.after.starts_with(&self.before) {
            return Err("bytes that were in the file are not there any more".to_owned());
        }
        let folder = self.place.path().with_file_name(".");
        if fs::read_dir(folder).unwrap().count() > 1 {
            return Err("there is another file beside it".to_owned());
        }
        let recording = match Recording::open(&self.after) {
            Ok(recording) => recording,
            // Killed before it recorded anything.
            Err(_) if self.after.is_empty() && self.life < AT_LEAST_BEGUN => return Ok(()),
            Err(error) => return Err(format!("not readable: {error}")),
        };
        if recording.damage().iter().any(|damage| damage.kind != DamageKind::Truncated) {
            return Err(format!("damaged: {:?}", recording.damage()));
        }
        let found = times(&recording);
        self.nothing_is_missing(&found, self.death.attached(recording.header().start_monotonic), ticks)?;
        self.is_told_by_check(found.len())
    }

    fn nothing_is_missing(&self, found: &[u64], attached: u64, ticks: &[u64]) -> Result<(), String> {
        let first = found.first().copied().unwrap_or(attached);
        let last = found.last().copied().unwrap_or(attached);
        // The two clocks do not tick at the same instants: one tick may lie between.
        let missing = count(ticks, last + 1, self.death.safe());
        if missing > 2 {
            let [before, waited] =
                [self.death.at - last, self.death.waited].map(|nanoseconds| nanoseconds as f64 / 1e9);
            return Err(format!(
                "its last sample is {before:.2} s older than the kill ({waited:.2} s of it waiting for a CPU): {missing} are missing"
            ));
        }
        let (expected, samples) = (count(ticks, first, last), found.len());
        if samples.abs_diff(expected) > 3 + expected / 50 {
            return Err(format!("{samples} samples instead of {expected} up to its last"));
        }
        Ok(())
    }

    /// `--check` says that it was not closed, and how much there is.
    fn is_told_by_check(&self, samples: usize) -> Result<(), String> {
        let check = run(Command::new(profrec_report()).arg("--check").arg(self.place.path()));
        let text = stdout(&check);
        if check.status.code() != Some(3) || !text.starts_with(&format!("not closed: {samples} samples")) {
            return Err(format!("--check: {}: {text}", check.status));
        }
        Ok(())
    }

    /// So does every report.
    fn is_told_by_report(&self) -> Result<(), String> {
        let recording = Recording::open(&self.after).map_err(|error| error.to_string())?;
        let samples = recording.samples_found();
        let report = run(Command::new(profrec_report()).args(["--limit", "1"]).arg(self.place.path()));
        let text = stdout(&report);
        if !text.contains("not closed") || !text.contains(&format!(" s, {samples} samples recovered")) {
            return Err(format!("the report: {}: {text}", report.status));
        }
        Ok(())
    }
}

/// Random numbers (xorshift64*), the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % limit
    }
}

fn seed() -> u64 {
    match std::env::var("PROFREC_SEED") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64,
    }
}

/// Killed at 200 random instants of their first seconds, recorders leave files that are whole up to a second before, and
/// the report says of each that it was not closed and how much was recovered.
#[test]
fn at_two_hundred_random_instants() {
    let _guard = needs_root!();
    let seed = seed();
    let mut random = Random(seed | 1);
    let lives: Vec<_> =
        (0..KILLS).map(|_| Duration::from_millis(50 + random.below(LONGEST.as_millis() as u64 - 50))).collect();
    let target = Running::start(Command::new(fixture("no_frame_pointers")).arg("120"));
    let pid = target.pid();
    let place = Place::new();
    let witness = recorder(&place, &pid);
    thread::sleep(Duration::from_millis(500));
    let (next, killed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(life) = lives.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let one = kill_after(*life, &pid);
                    killed.lock().unwrap().push(one);
                }
            });
        }
    });
    witness.signal(Signal::INT);
    assert!(witness.finish_within(Duration::from_secs(10)).status.success());
    let bytes = fs::read(place.path()).unwrap();
    let whole = Recording::open(&bytes).unwrap();
    assert!(whole.totals().is_some_and(|totals| totals.expected == totals.samples), "{:?}", whole.totals());
    let ticks = times(&whole);
    let killed = killed.into_inner().unwrap();
    assert_eq!(killed.len(), KILLS);
    let few = killed.iter().filter(|one| !one.after.is_empty()).step_by(10);
    let judged = killed.iter().map(|one| (one.life, one.judge(&ticks)));
    let judged = judged.chain(few.map(|one| (one.life, one.is_told_by_report())));
    let judged = judged.filter_map(|(life, judged)| Some((life, judged.err()?)));
    let failures: Vec<_> = judged.map(|(life, error)| format!("killed after {life:?}: {error}")).collect();
    assert!(failures.is_empty(), "PROFREC_SEED={seed}: {} of {KILLS}:\n{}", failures.len(), failures.join("\n"));
    let with_samples = killed.iter().filter(|one| Recording::open(&one.after).is_ok_and(|it| it.samples_found() > 0));
    assert!(with_samples.count() > KILLS / 3, "hardly a recorder lived long enough to flush anything");
}

/// Killed at random instants, a rotated recording has lost nothing that is older than a second: all parts but the last are whole, the last can
/// be read, and together they have the ticks that a recorder beside them has.
#[test]
fn between_parts() {
    let _guard = needs_root!();
    const KILLS: usize = 16;
    let seed = seed();
    let mut random = Random(seed | 1);
    let lives: Vec<_> = (0..KILLS).map(|_| Duration::from_millis(1000 + random.below(2000))).collect();
    let target = Running::start(Command::new(fixture("no_frame_pointers")).arg("120"));
    let pid = target.pid();
    let place = Place::new();
    let witness = Running::start(place.record().args(["-q", "-F", "199", "-p", &pid]));
    thread::sleep(Duration::from_millis(500));
    let killed: Vec<_> = thread::scope(|scope| {
        let kills = lives.iter().map(|life| scope.spawn(|| kill_parts_after(*life, &pid))).collect::<Vec<_>>();
        kills.into_iter().map(|kill| kill.join().unwrap()).collect()
    });
    witness.signal(Signal::INT);
    assert_success(&witness.finish_within(LONG));
    let ticks = Part::read(&place.path()).times;
    let judged =
        killed.iter().zip(&lives).map(|((place, death), life)| (life, judge_parts(&files(place), *death, &ticks)));
    let failures: Vec<_> =
        judged.filter_map(|(life, judged)| Some(format!("after {life:?}: {}", judged.err()?))).collect();
    assert!(failures.is_empty(), "PROFREC_SEED={seed}: {}", failures.join("\n"));
    let several = killed.iter().filter(|(place, _)| files(place).len() > 1).count();
    assert!(several > 1, "hardly a recorder came to its second part");
}

fn kill_parts_after(life: Duration, pid: &str) -> (Place, Death) {
    let place = Place::new();
    let recorder = Running::start(place.record().args(["-q", "-F", "199", "--rotate", "1s", "-p", pid]));
    let (death, ()) = Death::after(life, recorder, || ());
    (place, death)
}

/// What is wrong with the parts of a recorder that was killed. `ticks` are those that there were.
fn judge_parts(files: &[PathBuf], death: Death, ticks: &[u64]) -> Result<(), String> {
    let (mut found, mut start) = (Vec::new(), None);
    for (number, path) in files.iter().enumerate() {
        let bytes = fs::read(path).unwrap();
        let is_last = number + 1 == files.len();
        let recording = match Recording::open(&bytes) {
            Ok(recording) => recording,
            // Killed before its header.
            Err(_) if is_last && bytes.is_empty() => continue,
            Err(error) => return Err(format!("part {number} is not readable: {error}")),
        };
        // The last but one may be about to be closed when the last has begun.
        let may_be_open = number + 2 >= files.len();
        if recording.totals().is_none() && !may_be_open {
            return Err(format!("part {number} of {} was not closed", files.len()));
        }
        if recording.damage().iter().any(|damage| damage.kind != DamageKind::Truncated) {
            return Err(format!("part {number} is damaged: {:?}", recording.damage()));
        }
        start.get_or_insert(recording.header().start_monotonic);
        found.extend(times(&recording));
    }
    let attached = start.map_or(death.at, |start| death.attached(start));
    let (first, last) = (found.first().copied().unwrap_or(attached), found.last().copied().unwrap_or(attached));
    let missing = count(ticks, last + 1, death.safe());
    if missing > 2 {
        return Err(format!("{missing} ticks are missing at the end"));
    }
    let (expected, samples) = (count(ticks, first, last), found.len());
    if samples.abs_diff(expected) > 3 + expected / 50 {
        return Err(format!("{samples} samples instead of {expected} up to its last"));
    }
    Ok(())
}
