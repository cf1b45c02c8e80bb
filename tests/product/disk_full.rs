//! A disk that takes no more, or has gone: the recording ends with a clear message, and nothing that was on the disk is lost.
//!
//! What was on the disk is known from `failing_writes`, a library that is preloaded into the recorder: it keeps a copy of
//! all that the disk has taken, and lets chosen writes fail.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;

use profrec_format::Recording;
use profrec_format::raw::{RawFrame, RawRecording};

use crate::programs::{Running, fixture, profrec, profrec_report, run, stderr, stdout, succeed};
use crate::recorded::{Facts, Place};
use crate::rights::{needs_root, skip};

const IO_ERROR: &str = "5";
const DISK_FULL: &str = "28";

/// A recording whose disk fails.
struct Failing {
    place: Place,
    command: Command,
}

/// What came of it.
struct Failed {
    place: Place,
    output: Output,
    /// The file; empty when there is none.
    file: Vec<u8>,
    /// What the disk has taken.
    taken: Vec<u8>,
}

/// The frames of records and samples, up to the first that is not whole.
fn frames(file: &[u8]) -> Vec<RawFrame> {
    let frames = RawRecording::take_apart(file).map(|raw| raw.frames).unwrap_or_default();
    frames.into_iter().filter(|frame| [1, 6].contains(&frame.kind)).collect()
}

impl Failing {
    /// Records `pid`, with the disk failing as `faults` say: variables of `failing_writes`.
    fn new(pid: &str, faults: &[(&str, &str)]) -> Self {
        let place = Place::new();
        let mut command = place.record();
        command.args(["-F", "999", "-d", "20s", "-p", pid]);
        command.env("LD_PRELOAD", fixture("libfailing_writes.so")).envs(faults.iter().copied());
        Self { place, command }.with_copy()
    }

    fn with_copy(mut self) -> Self {
        self.command.env("WRITTEN", self.copy());
        self
    }

    fn copy(&self) -> PathBuf {
        self.place.path().with_extension("taken")
    }

    fn run(mut self) -> Failed {
        let output = run(&mut self.command);
        let file = fs::read(self.place.path()).unwrap_or_default();
        let taken = fs::read(self.copy()).unwrap_or_default();
        Failed { place: self.place, output, file, taken }
    }
}

impl Failed {
    /// It ended with status 1 and these words; all that the disk had taken is in the file, and nothing else; and the report
    /// reads it. Says whether the file was closed.
    fn judge(&self, words: &[&str]) -> bool {
        let message = stderr(&self.output);
        assert_eq!(self.output.status.code(), Some(1), "{message}");
        for word in words.iter().chain(&["it.prof"]) {
            assert!(message.contains(word), "`{word}` is not in the message:\n{message}");
        }
        assert!(!message.contains("panicked"), "{message}");
        let (kept, taken) = (frames(&self.file), frames(&self.taken));
        assert_eq!(kept.len(), taken.len(), "{message}");
        assert!(kept == taken, "what is in the file is not what was written:\n{message}");
        if taken.is_empty() {
            assert!(!self.place.path().exists(), "a recording of nothing was left behind:\n{message}");
            return false;
        }
        self.is_read(&message)
    }

    fn is_read(&self, message: &str) -> bool {
        let samples: u32 = frames(&self.taken).iter().filter(|frame| frame.kind == 6).map(|frame| frame.items).sum();
        if samples > 0 {
            assert!(message.contains(&format!(" {samples} samples were written")), "{samples}:\n{message}");
        }
        let closed = Recording::open(&self.file).unwrap().totals().is_some();
        let check = run(Command::new(profrec_report()).arg("--check").arg(self.place.path()));
        assert_eq!(check.status.code(), Some(if closed { 0 } else { 3 }), "{}\n{message}", stdout(&check));
        assert!(samples == 0 || closed || message.contains("its end may be missing"), "{message}");
        if closed {
            let info = stdout(&succeed(Command::new(profrec_report()).arg("--info").arg(self.place.path())));
            assert!(info.contains("nothing more could be written"), "{info}");
            let json = stdout(&succeed(Command::new(profrec_report()).arg("--json").arg(self.place.path())));
            Facts::parse(&json).assert_accounts_close();
        }
        closed
    }
}

fn busy() -> Running {
    Running::start(Command::new(fixture("recursion")).arg("100"))
}

/// Runs these all at once.
fn all(failing: Vec<Failing>) -> Vec<Failed> {
    thread::scope(|scope| {
        let running: Vec<_> = failing.into_iter().map(|one| scope.spawn(|| one.run())).collect();
        running.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

/// Whichever write fails: on a disk that has gone, on one that is full for ever, on one that has room again a moment later,
/// and on one that takes a part of a frame before.
#[test]
fn each_write_in_turn() {
    let _guard = needs_root!();
    let target = busy();
    let gone: &[(&str, &str)] = &[("FAIL_ERRNO", IO_ERROR), ("FAIL_CUT", "1"), ("FAIL_TAKES", "70")];
    let full: &[(&str, &str)] = &[("FAIL_ERRNO", DISK_FULL), ("FAIL_TAKES", "30")];
    let moment: &[(&str, &str)] = &[("FAIL_ERRNO", DISK_FULL), ("FAIL_TAKES", "60"), ("FAIL_COUNT", "1")];
    let kinds = [(gone, "error", false), (full, "disk", false), (moment, "No space left on device", true)];
    let cases: Vec<_> = (1..=7).flat_map(|write| kinds.iter().map(move |kind| (write, kind))).collect();
    let failing = |(write, (faults, ..)): &(i32, &(&[(&str, &str)], _, _))| {
        let at = write.to_string();
        let faults: Vec<_> = faults.iter().copied().chain([("FAIL_AT", at.as_str())]).collect();
        Failing::new(&target.pid(), &faults)
    };
    let failed = all(cases.iter().map(failing).collect());
    for ((write, (_, word, can_be_closed)), one) in cases.iter().zip(&failed) {
        // Without a whole header there is nothing to say about room.
        let words: &[&str] = if *write > 1 { &[word, "recording has ended"] } else { &[] };
        let closed = one.judge(words);
        assert_eq!(closed, *can_be_closed && *write > 2, "write {write}: {}", stderr(&one.output));
    }
}

/// Small disks that fill up, down to one that is too small for the header.
#[test]
fn small_disks() {
    let _guard = needs_root!();
    const SCRIPT: &str = r#"mount -t tmpfs -o size=$1 none "$2" || exit 99; file=$2/it.prof out=$3; shift 3
        "$@" -o "$file"; status=$?; test ! -e "$file" || cp "$file" "$out"; exit $status"#;
    let target = busy();
    let disk = tempfile::tempdir().unwrap();
    let long = "./".repeat(2100);
    let on_disk = |kilobytes: u32| {
        let Failing { place, command } = Failing::new(&target.pid(), &[]);
        let mut small = Command::new("unshare");
        small.args(["--mount", "sh", "-c", SCRIPT, "sh", &format!("{kilobytes}k")]).arg(disk.path()).arg(place.path());
        small.arg("env").arg(format!("LD_PRELOAD={}", fixture("libfailing_writes.so").display())).arg(profrec());
        small.args(command.get_args().filter(|word| *word != "-o" && *word != place.path())).args(["-F", "9999"]);
        if kilobytes == 4 {
            // A longer header: it tells the command line. The last of two options counts.
            small.arg("-o").arg(format!("/tmp/{long}it.prof"));
        }
        Failing { place, command: small }.with_copy()
    };
    let failed = all([4, 8, 12, 16, 24, 32].into_iter().map(on_disk).collect());
    if failed.iter().any(|one| one.output.status.code() == Some(99)) {
        return skip("needs the right to mount");
    }
    for one in &failed {
        one.judge(&["No space left on device"]);
    }
    let with_samples = failed.iter().filter(|one| frames(&one.file).iter().any(|frame| frame.kind == 6));
    assert!(with_samples.count() >= 3, "most of these disks were too small for any sample");
}

/// A file that may not become larger is an error as others are, not a sudden end.
#[test]
fn a_limit_on_files() {
    let _guard = needs_root!();
    let target = busy();
    let Failing { place, mut command } = Failing::new(&target.pid(), &[]);
    command.args(["-F", "9999"]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 8; exec \"$@\"", "sh"]).arg(profrec()).args(command.get_args());
    let output = run(&mut limited);
    let (file, message) = (fs::read(place.path()).unwrap_or_default(), stderr(&output));
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("ulimit"), "{message}");
    assert!(file.is_empty() || Recording::open(&file).unwrap().damage().is_empty());
}

/// With `--sync` the disk is asked, and what it says counts; without, it is not asked.
#[test]
fn the_disk_is_asked() {
    let _guard = needs_root!();
    let target = busy();
    let faults = [("FAIL_SYNC", "1"), ("FAIL_ERRNO", IO_ERROR)];
    let mut failing = Failing::new(&target.pid(), &faults);
    failing.command.args(["--sync", "-d", "2s"]);
    failing.run().judge(&["Input/output error"]);
    let mut unasked = Failing::new(&target.pid(), &faults);
    unasked.command.args(["-d", "1s"]);
    succeed(&mut unasked.command);
}

/// A command goes on to its own end when its recording could not; the status says that the recording failed.
#[test]
fn the_command_goes_on() {
    let _guard = needs_root!();
    let place = Place::new();
    let proof = place.path().with_file_name("ran to its end");
    let script = format!("{} 1.5; touch '{}'", fixture("recursion").display(), proof.display());
    let mut command = place.record();
    command.env("LD_PRELOAD", fixture("libfailing_writes.so")).env("FAIL_AT", "3");
    let output = run(command.args(["-F", "999", "--", "sh", "-c", &script]));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("recording has ended"), "{}", stderr(&output));
    assert!(proof.exists(), "the command was ended with its recording");
}
