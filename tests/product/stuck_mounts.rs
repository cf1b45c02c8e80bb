//! Programs on a file system that does not answer, as on a network mount whose server is gone: the recorder goes on without their files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::programs::{Running, fixture, profrec_report, repository, run, stderr, wait_for};
use crate::recorded::Place;
use crate::rights::{needs_root, skip};

/// A file system with one program.
struct FileSystem {
    folder: TempDir,
    server: Running,
}

impl FileSystem {
    fn with(program: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = repository().join("tests/product/stuck_file_system.py");
        let server = Running::start(Command::new("python3").arg(script).arg(folder.path()).arg(program));
        let file_system = Self { folder, server };
        wait_for(&file_system.program());
        file_system
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("program")
    }

    fn answer(&self, answers: bool) {
        self.server.signal(if answers { Signal::USR2 } else { Signal::USR1 });
        std::thread::sleep(Duration::from_millis(100));
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        self.answer(true);
        run(Command::new("umount").arg("--lazy").arg(self.folder.path()));
    }
}

fn wait_until_closed(recording: &Path) {
    let start = Instant::now();
    while !run(Command::new(profrec_report()).arg("--check").arg(recording)).status.success() {
        assert!(start.elapsed() < Duration::from_secs(60), "the recording is not closed");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Of a program whose file system does not answer, the samples are recorded and its file is not there, which is told; others have theirs. The
/// recording ends when it should.
#[test]
fn a_program_on_a_file_system_that_does_not_answer() {
    let _guard = needs_root!();
    if !Path::new("/dev/fuse").exists() {
        return skip("needs /dev/fuse");
    }
    let file_system = FileSystem::with(&fixture("recursion"));
    let stuck = Running::start(Command::new(file_system.program()).arg("60"));
    let other = Running::start(Command::new(fixture("alloca")).arg("60"));
    std::thread::sleep(Duration::from_millis(500));
    file_system.answer(false);
    let place = Place::new();
    let targets = format!("{},{}", stuck.pid(), other.pid());
    let recorder = Running::start(place.record().args(["-F", "999", "-d", "2s", "--embed", "symbols", "-p", &targets]));
    wait_until_closed(&place.path());
    // A question that was asked is waited for by the kernel, whoever asked it.
    file_system.answer(true);
    let output = recorder.finish_within(Duration::from_secs(30));
    assert!(stderr(&output).contains("does not answer"), "{}", stderr(&output));
    let recorded = place.recorded(output);
    let folded = recorded.folded();
    assert!(folded.of_comm("program") > 100, "{folded}");
    assert!(folded.share("alloca;...;main;...;spin") > 0.2, "{folded}");
    let duration = recorded.facts().number("/recording/duration_seconds");
    assert!((1.9..10.0).contains(&duration), "{duration} seconds");
    assert!(fs::exists(file_system.program()).unwrap());
}
