//! A recording through a pipe: to the report, and to a reader that goes away.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::programs::{Running, fixture, profrec, run, stderr, stdout, succeed};
use crate::rights::needs_root;

fn busy() -> Running {
    Running::start(Command::new(fixture("no_frame_pointers")).arg("60"))
}

/// `profrec record -o - | profrec report -`, as over ssh.
#[test]
fn from_the_recorder_to_the_report() {
    let _guard = needs_root!();
    let target = busy();
    let profrec = profrec().display();
    let script = format!("{profrec} record -q -F 999 -d 1s -p {} -o - | {profrec} report --folded -", target.pid());
    let text = stdout(&succeed(Command::new("sh").args(["-c", &script])));
    assert!(text.contains(";main;outer;middle;spin;"), "{text}");
    let script = format!("{profrec} record -q -F 999 -d 1s -p {} -o - | {profrec} report --check -", target.pid());
    let text = stdout(&succeed(Command::new("sh").args(["-c", &script])));
    assert!(text.starts_with("whole"), "{text}");
}

/// What the recorded command prints is not in the middle of the recording.
#[test]
fn the_command_prints_elsewhere() {
    let _guard = needs_root!();
    let folder = tempfile::tempdir().unwrap();
    let command = ["record", "-q", "-o", "-", "--", "sh", "-c", "echo printed; true"];
    let output = succeed(Command::new(profrec()).args(command));
    assert_eq!(stderr(&output), "printed\n");
    let path = folder.path().join("it.prof");
    fs::write(&path, &output.stdout).unwrap();
    let check = succeed(Command::new(profrec()).args(["report", "--check"]).arg(&path));
    assert!(stdout(&check).starts_with("whole"), "{}", stdout(&check));
}

/// A reader that goes away ends the recording, with a word and status 1, also when there is nothing to write; the
/// target goes on.
#[test]
fn the_reader_goes_away() {
    let _guard = needs_root!();
    for target in [busy(), Running::start(Command::new("sleep").arg("60"))] {
        let mut command = Command::new(profrec());
        command.args(["record", "-q", "-F", "999", "--max-cpu", "none", "-o", "-", "-p", &target.pid()]);
        let mut recorder = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut reader = recorder.stdout.take().unwrap();
        reader.read_exact(&mut [0; 100]).unwrap();
        drop(reader);
        let start = Instant::now();
        let output = recorder.wait_with_output().unwrap();
        assert!(start.elapsed() < Duration::from_secs(3), "it went on for {:?}", start.elapsed());
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains("reader of the recording has gone"), "{}", stderr(&output));
        succeed(Command::new("kill").args(["-0", &target.pid()]));
    }
}

/// A reader that is there and does not read keeps nobody from ending the recording: neither Ctrl-C nor the time that was given.
#[test]
fn the_reader_does_not_read() {
    let _guard = needs_root!();
    let target = busy();
    for (duration, signal) in [("600s", true), ("1s", false)] {
        let mut command = Command::new(profrec());
        // More than a pipe takes: the code of the whole machine, and its names.
        command.args(["record", "-q", "-a", "-F", "4999", "--max-cpu", "none", "--embed", "symbols", "-o", "-"]);
        command.args(["-d", duration]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut recorder = command.spawn().unwrap();
        let reader = recorder.stdout.take().unwrap();
        // Of a machine that does little, little is recorded.
        rustix::pipe::fcntl_setpipe_size(&reader, 4096).unwrap();
        std::thread::sleep(Duration::from_millis(2_500));
        if signal {
            succeed(Command::new("kill").args(["-INT", &recorder.id().to_string()]));
        }
        let start = Instant::now();
        let output = recorder.wait_with_output().unwrap();
        assert!(start.elapsed() < Duration::from_secs(60), "it went on for {:?}", start.elapsed());
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains("its reader does not read"), "{}", stderr(&output));
        drop(reader);
    }
    succeed(Command::new("kill").args(["-0", &target.pid()]));
}

/// When there is nobody to be told either, it is still an end and no accident.
#[test]
fn nobody_listens() {
    let _guard = needs_root!();
    let target = busy();
    let folder = tempfile::tempdir().unwrap();
    let status = folder.path().join("status");
    let (profrec, pid) = (profrec().display(), target.pid());
    let script =
        format!("{{ {profrec} record -F 999 -p {pid} -o -; echo $? > '{}'; }} 2>&1 | head -c 10", status.display());
    run(Command::new("sh").args(["-c", &script]));
    let start = Instant::now();
    while fs::read(&status).unwrap_or_default().is_empty() && start.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(fs::read_to_string(status).unwrap(), "1\n");
}
