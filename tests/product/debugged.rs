//! A target that a debugger has: it is recorded as any other, and neither of the two gets in the other's way.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::programs::{Running, fixture, stderr, stdout, succeed, wait_for};
use crate::recorded::Place;
use crate::rights::{needs_root, skip};

/// The process that a debugger has started.
fn debugged(debugger: &Running) -> String {
    let children = format!("/proc/{0}/task/{0}/children", debugger.pid());
    for _ in 0..3_000 {
        for pid in fs::read_to_string(&children).unwrap_or_default().split_whitespace() {
            let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            // Stopped in its tracks: gdb has it, and it has come to the breakpoint.
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            if program.ends_with("recursion") && status.contains("(tracing stop)") && has_libc(pid) {
                return pid.to_owned();
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("gdb starts nothing");
}

fn has_libc(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default().contains("/libc.so")
}

/// A target that stands at a breakpoint, and then runs on under gdb, has complete stacks; gdb sees no stop but its own, the stack
/// that it saw before, and the end of the program.
#[test]
fn a_target_under_gdb() {
    let _guard = needs_root!();
    if Command::new("gdb").arg("--version").output().is_err() {
        skip("needs gdb");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    succeed(Command::new("mkfifo").arg(&go));
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-ex", "break spin", "-ex", "run", "-ex", "bt 3"]);
    gdb.args([
        "-ex",
        &format!("shell read word < {}", go.display()),
        "-ex",
        "bt 3",
        "-ex",
        "delete",
        "-ex",
        "continue",
    ]);
    let gdb = Running::start(gdb.arg("--args").arg(fixture("recursion")).arg("2.5"));
    let target = debugged(&gdb);
    let place = Place::new();
    let recorder = Running::start(place.record().args(["-F", "999", "--embed", "symbols", "-p", &target]));
    wait_for(&place.path());
    std::thread::sleep(Duration::from_millis(300));
    assert!(fs::read_to_string(format!("/proc/{target}/status")).unwrap().contains("(tracing stop)"));
    fs::write(&go, "go\n").unwrap();
    let output = recorder.finish_within(Duration::from_secs(60));
    assert!(output.status.success(), "{}", stderr(&output));
    let recorded = place.recorded(output);
    let folded = recorded.folded();
    let stack = format!("recursion;...;main;{};spin", ["descend"; 20].join(";"));
    assert!(folded.share(&stack) > 0.95 && folded.samples() > 50, "{folded}");
    assert!(recorded.facts().share("complete") > 0.98, "{}", recorded.facts().at("/stacks"));

    let seen = stdout(&gdb.finish_within(Duration::from_secs(60)));
    assert_eq!(seen.matches("#0  spin").count(), 2, "{seen}");
    assert_eq!(seen.matches("\nBreakpoint 1, ").count(), 1, "{seen}");
    assert!(!seen.contains("received signal") && seen.contains("exited normally"), "{seen}");
}
