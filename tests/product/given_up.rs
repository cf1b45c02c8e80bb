//! What the recorder gives up of its rights once it is attached, and what its command keeps.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::least_privilege::{NOBODY, assert_complete};
use crate::programs::{Running, fixture, stderr, stdout, succeed};
use crate::recorded::Place;
use crate::rights::needs_root;

const SYS_PTRACE: u64 = 1 << 19;
const READING: u64 = SYS_PTRACE | 1 << 2 | 1 << 40;
const KILL: u64 = 1 << 5;

/// A line of /proc/PID/task/TID/status.
fn status(task: &Path, name: &str) -> String {
    let status = fs::read_to_string(task.join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

fn tasks(pid: &str) -> Vec<PathBuf> {
    let folder = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut tasks: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    tasks.sort();
    tasks
}

/// Waits until the recorder has given up its rights, which it does last.
pub(crate) fn wait_for(recorder: &Running) -> Vec<PathBuf> {
    let start = Instant::now();
    while status(&tasks(&recorder.pid())[0], "NoNewPrivs") != "1" {
        assert!(start.elapsed() < Duration::from_secs(60), "the recorder keeps its rights");
        std::thread::sleep(Duration::from_millis(10));
    }
    // Its last act is to set the capabilities, a few instructions later.
    std::thread::sleep(Duration::from_millis(100));
    tasks(&recorder.pid())
}

/// Once it is attached, no thread of a recorder that root started has more than it needs: that is to read files, or nothing, and
/// to end its command.
#[test]
fn rights_are_given_up() {
    let _guard = needs_root!();
    let target = Running::start(Command::new("sleep").arg("60"));
    let none: &[&str] = &["--embed", "none"];
    let script = ["--", "sleep", "60"];
    for (arguments, kept) in [
        (&["-a"][..], READING),
        (&["-p", &target.pid()], READING),
        (&[none, &["-a"]].concat(), SYS_PTRACE),
        (&[none, &["-p", &target.pid()]].concat(), 0),
        (&[none, &script].concat(), KILL),
    ] {
        let place = Place::new();
        let recorder = Running::start(place.record().args(["-F", "9"]).args(arguments));
        for task in wait_for(&recorder) {
            let is_main = task.ends_with(recorder.pid());
            for (set, expected) in [("CapEff", kept), ("CapPrm", kept), ("CapInh", 0), ("CapBnd", 0), ("CapAmb", 0)] {
                let found = u64::from_str_radix(&status(&task, set), 16).unwrap();
                let expected = if is_main { expected } else { 0 };
                assert_eq!(found, expected, "{arguments:?}: {set} of {}", status(&task, "Name"));
            }
            assert_eq!(status(&task, "NoNewPrivs"), "1", "{arguments:?}: {}", status(&task, "Name"));
        }
        recorder.signal(rustix::process::Signal::INT);
        let output = recorder.finish_within(Duration::from_secs(60));
        assert_eq!(output.status.code(), Some(if arguments.contains(&"--") { 143 } else { 0 }), "{}", stderr(&output));
    }
}

fn own_rights(output: &Output) -> String {
    let lines = stdout(output);
    let found: Vec<&str> = lines.lines().filter(|line| line.starts_with("Cap") || line.starts_with("Uid")).collect();
    assert_eq!(found.len(), 6, "{lines}");
    found.join("\n")
}

/// A recorded command has all the rights that it has without the recorder, whoever the recorder works for; the file belongs to
/// that account, and so do all threads of the recorder.
#[test]
fn a_command_keeps_its_rights() {
    let _guard = needs_root!();
    let alone = own_rights(&succeed(Command::new("cat").arg("/proc/self/status")));
    for user in [&[][..], &["--user", "nobody"]] {
        let place = Place::new();
        let recorded = succeed(place.record().args(["-q"]).args(user).args(["--", "cat", "/proc/self/status"]));
        assert_eq!(own_rights(&recorded), alone, "{user:?}");
        assert_eq!(fs::metadata(place.path()).unwrap().uid(), if user.is_empty() { 0 } else { 65534 });
    }
}

/// `--user` is the account of all threads, also without any right that reading takes; the recording is as good as another.
#[test]
fn another_account() {
    let _guard = needs_root!();
    let target = Running::start(Command::new(fixture("recursion")).arg("60"));
    let place = Place::new();
    let without_rights = ["--embed", "none", "--user", "nobody", "-d", "0.5", "-p", &target.pid()];
    let output = succeed(place.record().args(["-F", "999"]).args(without_rights));
    assert_complete(&place.recorded(output).facts());
    let place = Place::new();
    let recorder = Running::start(place.record().args(["-F", "999", "--user", "nobody", "-p", &target.pid()]));
    for task in wait_for(&recorder) {
        for ids in ["Uid", "Gid"] {
            assert_eq!(status(&task, ids), [NOBODY; 4].join("\t"), "{}", status(&task, "Name"));
        }
        assert_eq!(status(&task, "Groups"), "");
    }
    std::thread::sleep(Duration::from_millis(500));
    recorder.signal(rustix::process::Signal::INT);
    let output = recorder.finish_within(Duration::from_secs(60));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_complete(&place.recorded(output).facts());
}
