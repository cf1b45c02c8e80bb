//! A recording in parts, or of bounded size: each file is a whole recording, and together they have every tick once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use profrec_format::{Recording, StopReason, Totals};
use rustix::process::Signal;

use crate::folded::Folded;
use crate::killed::times;
use crate::programs::{Running, fixture, profrec, profrec_report, run, stderr, stdout, succeed};
use crate::recorded::Place;
use crate::rights::needs_root;

/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A file of a recording, read.
pub(crate) struct Part {
    path: PathBuf,
    pub(crate) start: u64,
    pub(crate) totals: Totals,
    /// Of its samples, ascending.
    pub(crate) times: Vec<u64>,
}

impl Part {
    /// Reads a file that has to be whole: closed, undamaged, its equation closed, and its times within its start and end.
    pub(crate) fn read(path: &Path) -> Self {
        let name = path.display();
        let bytes = fs::read(path).unwrap();
        let recording = Recording::open(&bytes).unwrap();
        assert!(recording.damage().is_empty(), "{name}: {:?}", recording.damage());
        let totals = recording.totals().unwrap_or_else(|| panic!("{name} was not closed")).clone();
        let (start, times) = (recording.header().start_monotonic, times(&recording));
        let lost: u64 = totals.lost.iter().filter(|(cause, _)| cause.is_samples()).map(|(_, count)| count).sum();
        assert_eq!(totals.expected, totals.samples + lost, "{name}: {totals:?}");
        assert_eq!(totals.samples, times.len() as u64, "{name}");
        // Ticks of different CPUs reach the recorder a little out of order.
        let disorder = 20_000_000;
        assert!(
            times.first().is_none_or(|first| *first + disorder >= start),
            "{name} has a sample of before its start"
        );
        assert!(times.last().is_none_or(|last| *last <= totals.end_monotonic), "{name} has a sample of after its end");
        let check = succeed(Command::new(profrec_report()).arg("--check").arg(path));
        assert!(stdout(&check).starts_with("whole: "), "{name}: {}", stdout(&check));
        Self { path: path.to_owned(), start, totals, times }
    }

    /// How long it is.
    pub(crate) fn seconds(&self) -> f64 {
        (self.totals.end_monotonic - self.start) as f64 / 1e9
    }

    /// Its stacks.
    pub(crate) fn folded(&self) -> Folded {
        Folded::parse(&stdout(&succeed(Command::new(profrec_report()).arg(&self.path).arg("--folded"))))
    }
}

/// The numbered files beside the place of a recording, ascending.
pub(crate) fn files(place: &Place) -> Vec<PathBuf> {
    let folder = place.path().with_file_name(".");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(".prof"));
    files.sort();
    files
}

/// What these are; all have to be whole.
pub(crate) fn parts(place: &Place) -> Vec<Part> {
    files(place).iter().map(|path| Part::read(path)).collect()
}

fn numbers(place: &Place) -> Vec<u64> {
    let number = |path: &PathBuf| path.to_string_lossy().rsplit('.').nth(1).unwrap().parse().unwrap();
    files(place).iter().map(number).collect()
}

/// A process of one thread with deep stacks.
pub(crate) fn busy() -> Running {
    Running::start(Command::new(fixture("left_right")).arg("120"))
}

/// Many short processes, of which a recording of the machine has much to tell.
fn storm() -> Running {
    Running::start(Command::new("sh").args(["-c", "while :; do /bin/true; done"]))
}

/// It ended well.
pub(crate) fn assert_success(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    assert!(!stderr(output).contains("panicked"), "{}", stderr(output));
}

/// Waits until something is so.
pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LONG, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The parts of a rotated recording follow each other without a gap; each stands alone, down to its deep stacks; and together they have each
/// tick that the kernel has counted, once, or tell where it was lost. SIGUSR1 begins a part at once.
#[test]
fn no_tick_is_lost_or_doubled_between_parts() {
    let _guard = needs_root!();
    let (target, place) = (busy(), Place::new());
    let options = ["-F", "999", "--rotate", "1s", "--embed", "symbols", "-d", "4s", "--ring-size", "256k"];
    let recorder = Running::start(place.record().args(options).args(["-p", &target.pid()]));
    wait_until("a part", || files(&place).len() >= 2);
    recorder.signal(Signal::USR1);
    thread::sleep(Duration::from_millis(300));
    // Ticks are lost while nobody takes them.
    recorder.signal(Signal::STOP);
    thread::sleep(Duration::from_millis(700));
    recorder.signal(Signal::CONT);
    let output = recorder.finish_within(LONG);
    assert_success(&output);
    let parts = parts(&place);
    assert!(parts.len() >= 3, "{} parts:\n{}", parts.len(), stderr(&output));
    for pair in parts.windows(2) {
        assert_eq!(pair[0].totals.end_monotonic, pair[1].start, "there is time between two parts");
        assert_eq!(pair[0].totals.stop, StopReason::Cut);
    }
    assert_eq!(parts.last().unwrap().totals.stop, StopReason::Duration);
    let mut all: Vec<u64> = parts.iter().flat_map(|part| part.times.iter().copied()).collect();
    let samples = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), samples, "the target has one thread, and two samples of it at once");
    let expected: u64 = parts.iter().map(|part| part.totals.expected).sum();
    let told = format!("expected {expected} = {samples} written + {} lost", expected - samples as u64);
    assert!(stderr(&output).contains(&told), "not `{told}`:\n{}", stderr(&output));
    let merged = place.path().with_extension("all");
    let paths: Vec<_> = parts.iter().map(|part| &part.path).collect();
    succeed(Command::new(profrec_report()).arg("--merge").args(paths).arg("-o").arg(&merged));
    let merged = Part::read(&merged);
    assert_eq!((merged.totals.samples, merged.totals.expected), (samples as u64, expected));
    for part in parts.iter().filter(|part| part.times.len() > 50) {
        let folded = part.folded();
        let both_ways = ["left", "right"].map(|side| vec![side; 400].join(";"));
        let known = folded.stacks().filter(|frames| {
            let text = frames.join(";");
            both_ways.iter().any(|levels| text.contains(levels.as_str()))
        });
        assert!(known.count() > 0, "{} has none of the stacks that the target has", part.path.display());
    }
}

/// So many files stay as are to be kept, those of an earlier run included; numbers go on, and files that somebody else has deleted are no
/// trouble. A part ends by its size, too.
#[test]
fn the_oldest_are_deleted() {
    let _guard = needs_root!();
    let (_storm, place) = (storm(), Place::new());
    let record =
        |options: &[&str]| Running::start(place.record().args(["-a", "-F", "9999", "--keep", "2"]).args(options));
    let first = record(&["--rotate", "1s", "-d", "60s"]);
    wait_until("a third part", || numbers(&place).last() >= Some(&3));
    fs::remove_file(&files(&place)[0]).unwrap();
    first.signal(Signal::INT);
    assert_success(&first.finish_within(LONG));
    let last = *numbers(&place).last().unwrap();
    assert!(numbers(&place).len() <= 2 && last >= 3, "{:?}", numbers(&place));
    let second = record(&["--rotate", "64kB", "-d", "60s"]);
    wait_until("two parts of another run", || numbers(&place).first() > Some(&last) && files(&place).len() == 2);
    second.signal(Signal::INT);
    let output = second.finish_within(LONG);
    assert_success(&output);
    assert!(stderr(&output).contains("; deleted: "), "{}", stderr(&output));
    let parts = parts(&place);
    assert_eq!(parts.len(), 2);
    let bytes = fs::metadata(&parts[0].path).unwrap().len();
    assert!((64 << 10..2 << 20).contains(&bytes), "{bytes} bytes");
}

/// A recording of limited size ends before it is larger: closed, with status 0 and the reason in it.
#[test]
fn a_size_is_not_exceeded() {
    let _guard = needs_root!();
    let (_storm, place) = (storm(), Place::new());
    let output = run(place.record().args(["-a", "-F", "9999", "--max-size", "300k", "-d", "60s"]));
    assert_success(&output);
    assert!(stderr(&output).contains("--max-size was reached"), "{}", stderr(&output));
    let bytes = fs::metadata(place.path()).unwrap().len();
    assert!((150 << 10..=300 << 10).contains(&bytes), "{bytes} bytes");
    let part = Part::read(&place.path());
    assert_eq!(part.totals.stop, StopReason::SizeReached);
    assert!(part.totals.samples > 100);
    let info = stdout(&succeed(Command::new(profrec_report()).arg("--info").arg(place.path())));
    assert!(info.contains("ended when it had the size asked for"), "{info}");
}

/// With parts, a size is that of all files together, at any moment; the recording goes on, for the oldest make room.
#[test]
fn a_size_of_all_parts() {
    let _guard = needs_root!();
    let (_storm, place) = (storm(), Place::new());
    let options = ["-a", "-F", "9999", "--rotate", "1h", "--max-size", "1MB", "-d", "60s"];
    let recorder = Running::start(place.record().args(options));
    let (start, mut most) = (Instant::now(), 0);
    while numbers(&place).first() < Some(&2) {
        // A file that is deleted meanwhile counts nothing.
        let sizes = files(&place).into_iter().filter_map(|path| Some(fs::metadata(path).ok()?.len()));
        most = most.max(sizes.sum());
        assert!(start.elapsed() < LONG, "no file was deleted: {:?}", numbers(&place));
        thread::sleep(Duration::from_millis(5));
    }
    recorder.signal(Signal::TERM);
    assert_success(&recorder.finish_within(LONG));
    assert!((400 << 10..=1 << 20).contains(&most), "{most} bytes");
    let parts = parts(&place);
    assert!(parts.windows(2).all(|pair| pair[0].totals.end_monotonic == pair[1].start));
}

/// What contradicts itself is wrong usage, with a message that tells what to type.
#[test]
fn contradictions() {
    let cases: [(&[&str], &str); 8] = [
        (&["--rotate", "10m", "-o", "-"], "give a file with -o"),
        (&["--ring", "10s", "-o", "-"], "give a file with -o"),
        (&["--rotate", "10M"], "10m (minutes)"),
        (&["--keep", "2"], "--rotate or --ring"),
        (&["--trigger", "cpu>90%"], "--ring"),
        (&["--ring", "60s", "--trigger", "cpu>90"], "cpu>90% for 5s"),
        (&["--ring", "60s", "--rotate", "10m"], "cannot be used with"),
        (&["--rotate", "1m", "--max-size", "100k"], "512k"),
    ];
    for (options, words) in cases {
        let output = run(Command::new(profrec()).args(["record", "-a"]).args(options));
        assert_eq!(output.status.code(), Some(2), "{options:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(words), "{options:?}: not `{words}`:\n{}", stderr(&output));
    }
}
