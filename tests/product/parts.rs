//! A recording in parts, of bounded size, or of its last seconds: each file is a whole recording, and together they have every tick once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use profrec_format::{DamageKind, Recording, StopReason, Totals};
use rustix::process::Signal;

use crate::folded::Folded;
use crate::killed::{MOST_LOST, Random, TO_ATTACH, count, now, seed, times};
use crate::programs::{Running, fixture, profrec, profrec_report, run, stderr, stdout, succeed};
use crate::recorded::Place;
use crate::rights::needs_root;

const LONG: Duration = Duration::from_secs(20);

/// A file of a recording, read.
struct Part {
    path: PathBuf,
    start: u64,
    totals: Totals,
    times: Vec<u64>,
}

impl Part {
    /// Reads a file that has to be whole: closed, undamaged, its equation closed, and its times within its start and end.
    fn read(path: &Path) -> Self {
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

    fn seconds(&self) -> f64 {
        (self.totals.end_monotonic - self.start) as f64 / 1e9
    }

    fn folded(&self) -> Folded {
        Folded::parse(&stdout(&succeed(Command::new(profrec_report()).arg(&self.path).arg("--folded"))))
    }
}

/// The numbered files beside the place of a recording, ascending.
fn files(place: &Place) -> Vec<PathBuf> {
    let folder = place.path().with_file_name(".");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(".prof"));
    files.sort();
    files
}

fn parts(place: &Place) -> Vec<Part> {
    files(place).iter().map(|path| Part::read(path)).collect()
}

fn numbers(place: &Place) -> Vec<u64> {
    let number = |path: &PathBuf| path.to_string_lossy().rsplit('.').nth(1).unwrap().parse().unwrap();
    files(place).iter().map(number).collect()
}

fn busy() -> Running {
    Running::start(Command::new(fixture("left_right")).arg("120"))
}

/// Many short processes, of which a recording of the machine has much to tell.
fn storm() -> Running {
    Running::start(Command::new("sh").args(["-c", "while :; do /bin/true; done"]))
}

fn assert_success(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    assert!(!stderr(output).contains("panicked"), "{}", stderr(output));
}

/// Waits until something is so.
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LONG, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The parts of a rotated recording follow each other without a gap; each stands alone, down to its deep stacks; and together they have each
/// tick that the kernel has counted, once. SIGUSR1 begins a part at once.
#[test]
fn no_tick_is_lost_or_doubled_between_parts() {
    let _guard = needs_root!();
    let (target, place) = (busy(), Place::new());
    let options = ["-F", "999", "--rotate", "1s", "--embed", "symbols", "-d", "4s"];
    let recorder = Running::start(place.record().args(options).args(["-p", &target.pid()]));
    wait_until("a part", || files(&place).len() >= 2);
    recorder.signal(Signal::USR1);
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
    let told = format!("expected {samples} = {samples} written + 0 lost");
    assert!(stderr(&output).contains(&told), "not `{told}`:\n{}", stderr(&output));
    let merged = place.path().with_extension("all");
    let paths: Vec<_> = parts.iter().map(|part| &part.path).collect();
    succeed(Command::new(profrec_report()).arg("--merge").args(paths).arg("-o").arg(&merged));
    let merged = Part::read(&merged);
    assert_eq!((merged.totals.samples, merged.totals.expected), (samples as u64, samples as u64));
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
    let options = ["-a", "-F", "9999", "--rotate", "1h", "--max-size", "512k", "-d", "60s"];
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
    assert!((200 << 10..=512 << 10).contains(&most), "{most} bytes");
    let parts = parts(&place);
    assert!(parts.len() >= 2, "parts of an eighth: {:?}", numbers(&place));
    assert!(parts.windows(2).all(|pair| pair[0].totals.end_monotonic == pair[1].start));
}

/// A flight recorder writes its last seconds at SIGUSR1, goes on, and writes them again at the end. What it writes is of the time that it
/// says, and nothing is on the disk before.
#[test]
fn a_ring_is_written_on_demand_and_at_the_end() {
    let _guard = needs_root!();
    let (target, place) = (busy(), Place::new());
    let options = ["-F", "999", "--ring", "2s", "--embed", "symbols", "-d", "60s"];
    let recorder = Running::start(place.record().args(options).args(["-p", &target.pid()]));
    thread::sleep(Duration::from_millis(3500));
    assert!(files(&place).is_empty());
    let asked = now();
    recorder.signal(Signal::USR1);
    wait_until("a file", || fs::metadata(place.path().with_extension("000001.prof")).is_ok());
    thread::sleep(Duration::from_millis(800));
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
    assert!(first.seconds() < 3.4, "parts that are too old were written, too: {} s", first.seconds());
    // What both have is the same.
    let (from, to) = (second.start + 20_000_000, first.totals.end_monotonic - 20_000_000);
    assert_eq!(count(&first.times, from, to), count(&second.times, from, to));
    for word in ["SIGUSR1", "000001.prof", "000002.prof", "a minute"] {
        assert!(stderr(&output).contains(word), "`{word}` is not in the summary:\n{}", stderr(&output));
    }
}

/// A terminal that goes away is an end like others: the ring is written out. With nohup the recorder goes on.
#[test]
fn the_terminal_goes_away() {
    let _guard = needs_root!();
    let target = busy();
    let places = [("default", Place::new()), ("ignore", Place::new())];
    let start = |(how, place): &(&str, Place)| {
        let mut command = Command::new("env");
        command.arg(format!("--{how}-signal=HUP")).arg(profrec()).args(place.record().get_args());
        Running::start(command.args(["--ring", "5s", "-d", "3s", "-p", &target.pid()]))
    };
    let recorders: Vec<_> = places.iter().map(start).collect();
    thread::sleep(Duration::from_millis(1200));
    recorders.iter().for_each(|recorder| recorder.signal(Signal::HUP));
    let stops = [StopReason::Interrupted, StopReason::Duration];
    for ((recorder, (_, place)), stop) in recorders.into_iter().zip(&places).zip(stops) {
        assert_success(&recorder.finish_within(LONG));
        assert_eq!(parts(place).iter().map(|part| part.totals.stop).collect::<Vec<_>>(), [stop]);
    }
}

/// A trigger writes the ring out when it is true, once; one that is never true does not. `-a` measures the machine.
#[test]
fn a_trigger_writes_once() {
    let _guard = needs_root!();
    let _busy = busy();
    let target = busy();
    let record = |place: &Place, triggers: &[&str]| {
        let mut command = place.record();
        command
            .args(["--ring", "30s", "-d", "3500ms"])
            .args(triggers.iter().flat_map(|trigger| ["--trigger", trigger]));
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

/// SIGUSR1 does no harm to a recorder that has neither parts nor a ring: it says so, and goes on.
#[test]
fn a_request_that_means_nothing() {
    let _guard = needs_root!();
    let (target, place) = (busy(), Place::new());
    let recorder = Running::start(place.record().args(["-d", "1s", "-p", &target.pid()]));
    thread::sleep(Duration::from_millis(700));
    recorder.signal(Signal::USR1);
    let output = recorder.finish_within(LONG);
    assert_success(&output);
    assert!(stderr(&output).contains("nothing was done"), "{}", stderr(&output));
    assert_eq!(Part::read(&place.path()).totals.stop, StopReason::Duration);
}

/// A disk that is full when the ring is written is told once, and the recorder goes on: the next file is whole. The status tells of the failure.
#[test]
fn a_full_disk_does_not_end_a_ring() {
    let _guard = needs_root!();
    let (target, place) = (busy(), Place::new());
    let mut command = place.record();
    command.args(["-F", "999", "--ring", "10s", "-d", "60s", "-p", &target.pid()]);
    command.env("LD_PRELOAD", fixture("libfailing_writes.so"));
    // One write fails, a frame of the first file.
    command.envs([("FAIL_AT", "3"), ("FAIL_COUNT", "1"), ("FAIL_ERRNO", "28"), ("FAIL_TAKES", "30")]);
    let recorder = Running::start(&mut command);
    thread::sleep(Duration::from_millis(1500));
    recorder.signal(Signal::USR1);
    wait_until("the first file", || !files(&place).is_empty());
    thread::sleep(Duration::from_millis(1000));
    recorder.signal(Signal::INT);
    let output = recorder.finish_within(LONG);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(stderr(&output).matches("No space left on device").count(), 1, "{}", stderr(&output));
    let parts = parts(&place);
    let last = parts.last().unwrap();
    assert_eq!(last.totals.stop, StopReason::Interrupted);
    assert!(last.seconds() > 2.0 && last.totals.samples > 50);
    assert!(parts[..parts.len() - 1].iter().all(|part| part.totals.stop == StopReason::WriteFailed));
}

/// A disk that takes no more for a moment, somewhere in the second part or later, ends a rotated recording with a message; of all parts what was
/// written can be read, and the first is whole.
#[test]
fn a_full_disk_ends_a_rotation() {
    let _guard = needs_root!();
    let (target, place) = (busy(), Place::new());
    let mut command = place.record();
    command.args(["-F", "999", "--rotate", "1s", "-d", "60s", "-p", &target.pid()]);
    command.env("LD_PRELOAD", fixture("libfailing_writes.so"));
    let output = run(command.envs([("FAIL_AT", "24"), ("FAIL_COUNT", "1"), ("FAIL_ERRNO", "28")]));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("recording has ended"), "{}", stderr(&output));
    assert!(files(&place).len() >= 2);
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
                command.args(["record", "-d", "2s", "-p", &pid, "-o"]).arg(folder.join("it.prof")).args(kind);
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

/// Killed at random instants, a rotated recording has lost nothing that is older than a second: all parts but the last are whole, the last can
/// be read, and together they have the ticks that a recorder beside them has.
#[test]
fn killed_between_parts() {
    let _guard = needs_root!();
    const KILLS: usize = 16;
    let seed = seed();
    let mut random = Random(seed | 1);
    let lives: Vec<_> = (0..KILLS).map(|_| Duration::from_millis(1000 + random.below(3000))).collect();
    let target = Running::start(Command::new(fixture("no_frame_pointers")).arg("120"));
    let pid = target.pid();
    let place = Place::new();
    let witness = Running::start(place.record().args(["-q", "-F", "199", "-p", &pid]));
    thread::sleep(Duration::from_millis(500));
    let killed: Vec<_> = thread::scope(|scope| {
        let kills = lives.iter().map(|life| scope.spawn(|| kill_after(*life, &pid))).collect::<Vec<_>>();
        kills.into_iter().map(|kill| kill.join().unwrap()).collect()
    });
    witness.signal(Signal::INT);
    assert_success(&witness.finish_within(LONG));
    let ticks = Part::read(&place.path()).times;
    let judged = killed.iter().zip(&lives).map(|((place, at), life)| (life, judge(&files(place), *at, &ticks)));
    let failures: Vec<_> =
        judged.filter_map(|(life, judged)| Some(format!("after {life:?}: {}", judged.err()?))).collect();
    assert!(failures.is_empty(), "PROFREC_SEED={seed}: {}", failures.join("\n"));
    let several = killed.iter().filter(|(place, _)| files(place).len() > 1).count();
    assert!(several > 1, "hardly a recorder came to its second part");
}

fn kill_after(life: Duration, pid: &str) -> (Place, u64) {
    let place = Place::new();
    let recorder = Running::start(place.record().args(["-q", "-F", "199", "--rotate", "1s", "-p", pid]));
    thread::sleep(life);
    let at = now();
    recorder.signal(Signal::KILL);
    recorder.finish_within(Duration::from_secs(10));
    (place, at)
}

/// What is wrong with the parts of a recorder that was killed `at` that time. `ticks` are those that there were.
fn judge(files: &[PathBuf], at: u64, ticks: &[u64]) -> Result<(), String> {
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
    let attached = start.map_or(at, |start| start + TO_ATTACH);
    let (first, last) = (found.first().copied().unwrap_or(attached), found.last().copied().unwrap_or(attached));
    let missing = count(ticks, last + 1, at - MOST_LOST);
    if missing > 2 {
        return Err(format!("{missing} ticks are missing at the end"));
    }
    let (expected, samples) = (count(ticks, first, last), found.len());
    if samples.abs_diff(expected) > 3 + expected / 50 {
        return Err(format!("{samples} samples instead of {expected} up to its last"));
    }
    Ok(())
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
