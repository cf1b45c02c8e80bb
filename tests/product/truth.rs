//! The recorded stacks against a debugger's: what gdb sees at some instant must be among them.

use std::process::Command;

use crate::programs::{Running, fixture, run, stdout, succeed};
use crate::recorded::Place;
use crate::rights::{needs_root, skip};

/// Programs whose frames gdb and a profiler tell alike. Not here: tail calls, where gdb shows
/// frames that are gone; what has no names; what gdb cannot walk.
const PROGRAMS: [&str; 12] = [
    "no_frame_pointers",
    "recursion",
    "inlining",
    "signal_handler",
    "signal_stack",
    "alloca",
    "giant_frame",
    "no_cfi",
    "static_program",
    "static_pie",
    "noreturn",
    "dlopen",
];

/// What gdb sees in a running process, root first: the functions of the fixture itself.
fn backtrace(pid: &str) -> Vec<String> {
    let mut gdb = Command::new("gdb");
    gdb.args(["-p", pid, "-batch", "-nx", "-ex", "set style enabled off", "-ex", "backtrace"]);
    let text = stdout(&run(&mut gdb));
    let mut names: Vec<String> = text.lines().filter_map(function_of).collect();
    names.reverse();
    names
}

/// The function of a line such as `#2  0x000055e6 in middle () at programs/recursion.c:8`.
fn function_of(line: &str) -> Option<String> {
    let frame = line.strip_prefix('#')?.split_once(' ')?.1.trim_start();
    let place = if frame.starts_with("0x") { frame.split_once(" in ")?.1 } else { frame };
    let name = place.split_once(" (")?.0;
    // libc's functions have several names each; the C library is not what is tested here.
    let own = line.contains(" at programs/") || !line.contains(" at ");
    (own && !name.starts_with('_') && !name.starts_with('<') && !name.starts_with('?')).then(|| name.to_owned())
}

fn contains_in_order(frames: &[String], names: &[String]) -> bool {
    let mut frames = frames.iter();
    names.iter().all(|name| frames.any(|frame| frame == name))
}

/// At three instants of each program, gdb's stack is among the recorded ones.
#[test]
fn gdb_sees_the_same_stacks() {
    let _guard = needs_root!();
    if run(Command::new("sh").args(["-c", "command -v gdb"])).stdout.is_empty() {
        return skip("needs gdb");
    }
    for name in PROGRAMS {
        let target = Running::start(Command::new(fixture(name)).arg("60"));
        std::thread::sleep(std::time::Duration::from_millis(200));
        let place = Place::new();
        let arguments = ["-q", "-F", "999", "-d", "500ms", "-p"];
        let output = succeed(place.record().args(arguments).arg(target.pid()));
        let folded = place.recorded(output).folded();
        // The look at the clock between two turns takes a ten thousandth of the time: gdb may meet it, half a second of samples need not.
        let instants = std::iter::repeat_with(|| backtrace(&target.pid()));
        let instants = instants.take(20).filter(|names| names.last().is_none_or(|name| name != "time_is_left"));
        let mut compared = 0;
        for names in instants.take(3) {
            compared += 1;
            assert!(names.len() > 1, "{name}: gdb told only {names:?}");
            let found = folded.stacks().any(|frames| contains_in_order(frames, &names));
            assert!(found, "{name}: gdb sees {names:?}\n{folded}");
        }
        assert_eq!(compared, 3, "{name}: gdb met little but the look at the clock");
    }
}
