//! Every process, however short, wherever its program is, and whatever becomes of it: names, mappings, build-ids.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::folded::Folded;
use crate::programs::{Running, copy_program, fixture, profrec_report, run, stderr, stdout, succeed, wait_for};
use crate::recorded::{Place, Recorded, record};
use crate::rights::needs_root;

/// Records the whole machine while a shell that was there before, and has not run since, does this.
fn while_a_shell_does(script: &str, rate: &str) -> Recorded {
    let folder = tempfile::tempdir().unwrap();
    let (go, done) = (folder.path().join("go"), folder.path().join("done"));
    succeed(Command::new("mkfifo").arg(&go));
    // Its children are gone when they are looked at, but it is not: it waits for a second word.
    let script = format!("read word < {0}; {script}; : > {1}; read word < {0}", go.display(), done.display());
    let _shell = Running::start(Command::new("/bin/sh").args(["-c", &script]));
    let place = Place::new();
    let recorder = Running::start(place.record().args(["-q", "-a", "-F", rate, "--embed", "symbols"]));
    wait_for(&place.path());
    // From then on, what ticked waits up to 300 ms until it is looked at.
    std::thread::sleep(Duration::from_secs(1));
    fs::write(&go, "go\n").unwrap();
    wait_for(&done);
    recorder.signal(Signal::INT);
    let output = recorder.finish_within(Duration::from_secs(30));
    assert!(output.status.success(), "{}", stderr(&output));
    place.recorded(output)
}

/// Stacks of threads of this name with a frame that is in no module.
fn outside_modules(folded: &Folded, comm: &str) -> Vec<String> {
    let outside = |stack: &&[String]| stack[0] == comm && stack.iter().any(|frame| frame.starts_with("[unknown]"));
    folded.stacks().filter(outside).map(|stack| stack.join(";")).collect()
}

/// Of processes that last for a millisecond, and are long gone when their samples are read, all have their names and their programs.
#[test]
fn a_storm_of_processes() {
    let _guard = needs_root!();
    let recorded = while_a_shell_does("i=0; while [ $i -lt 600 ]; do /bin/true; i=$((i+1)); done", "999");
    let folded = recorded.folded();
    assert!(folded.of_comm("true") > 30, "{folded}");
    assert_eq!(outside_modules(&folded, "true"), [""; 0]);
    let facts = recorded.facts();
    assert_eq!(facts.number("/recording/lost_events/process_events"), 0.0);
    let modules = facts.at("/modules").as_array().unwrap();
    let program = modules.iter().find(|module| module["name"] == "true").unwrap();
    assert!(program["build_id"].is_string(), "{program}");
}

/// A child that never becomes another program has what its parent has, also when that was never sampled before, and it is gone
/// before anybody can ask.
#[test]
fn a_child_of_a_process_that_was_never_seen() {
    let _guard = needs_root!();
    let count = "j=0; while [ $j -lt 40000 ]; do j=$((j+1)); done";
    let recorded = while_a_shell_does(&format!("({count})"), "299");
    let folded = recorded.folded();
    assert!(folded.of_comm("sh") > 3, "{folded}");
    assert_eq!(outside_modules(&folded, "sh"), [""; 0]);
}

/// A process that was there before, has never run since, and ends soon after its first tick, has the name that it had.
#[test]
fn a_process_that_wakes_to_end() {
    let _guard = needs_root!();
    let folder = tempfile::tempdir().unwrap();
    let (go, shell) = (folder.path().join("go"), folder.path().join("sleeper"));
    succeed(Command::new("mkfifo").arg(&go));
    copy_program(&fs::canonicalize("/bin/sh").unwrap(), &shell);
    let script = format!("read word < {}; j=0; while [ $j -lt 4000 ]; do j=$((j+1)); done", go.display());
    let sleeper = Running::start(Command::new(&shell).args(["-c", &script]));
    let place = Place::new();
    let recorder = Running::start(place.record().args(["-q", "-a", "-F", "999", "--embed", "none"]));
    wait_for(&place.path());
    std::thread::sleep(Duration::from_secs(1));
    fs::write(&go, "go\n").unwrap();
    sleeper.finish_within(Duration::from_secs(30));
    recorder.signal(Signal::INT);
    let output = recorder.finish_within(Duration::from_secs(30));
    assert!(output.status.success(), "{}", stderr(&output));
    let folded = place.recorded(output).folded();
    assert!(folded.of_comm("sleeper") > 0, "{folded}");
}

/// Records a running process for a second.
fn record_running(pid: &str) -> Recorded {
    let place = Place::new();
    let output = succeed(place.record().args(["-q", "-F", "999", "-d", "1s", "--embed", "symbols", "-p", pid]));
    place.recorded(output)
}

/// A fixture's program under another path.
fn copied(name: &str, folder: &Path) -> PathBuf {
    let path = folder.join(name);
    copy_program(&fixture(name), &path);
    path
}

/// The stacks are those of the fixture, and its module has the fixture's build-id.
fn assert_is_no_frame_pointers(recorded: &Recorded) {
    let folded = recorded.folded();
    let (share, stacks) = (folded.share("no_frame_pointe;...;main;outer;middle;spin"), &folded);
    assert!(share > 0.95 && folded.samples() > 20, "{share:.3}\n{stacks}");
    let facts = recorded.facts();
    let modules = facts.at("/modules").as_array().unwrap().iter();
    let mut build_ids = modules.filter(|module| module["self"].as_u64() > Some(20)).map(|module| &module["build_id"]);
    let notes = stdout(&succeed(Command::new("readelf").arg("-n").arg(fixture("no_frame_pointers"))));
    assert!(build_ids.any(|build_id| notes.contains(build_id.as_str().unwrap_or("none"))), "{notes}");
}

/// A program that was deleted while it ran, and one in whose place another one stands now, are what was started.
#[test]
fn a_program_that_was_deleted_or_replaced() {
    let _guard = needs_root!();
    for replaced in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let program = copied("no_frame_pointers", folder.path());
        let target = Running::start(Command::new(&program).arg("60"));
        if replaced {
            fs::rename(copied("recursion", folder.path()), &program).unwrap();
        } else {
            fs::remove_file(&program).unwrap();
        }
        assert_is_no_frame_pointers(&record_running(&target.pid()));
    }
}

/// A program that was never on a disk.
#[test]
fn a_program_in_memory() {
    let _guard = needs_root!();
    let script = "import os, sys; f = os.memfd_create('no_frame_pointers'); \
                  os.write(f, open(sys.argv[1], 'rb').read()); os.execve(f, ['no_frame_pointe', '1'], {})";
    let recorded = record(
        &["--embed", "symbols"],
        &[Path::new("python3"), Path::new("-c"), Path::new(script), &fixture("no_frame_pointers")],
    );
    let folded = recorded.folded();
    let spinning = folded.stacks().filter(|stack| stack.ends_with(&["outer", "middle", "spin"].map(str::to_owned)));
    assert!(spinning.count() > 0, "{folded}");
}

/// In namespaces of its own, a program is at a path that nobody outside sees, has another process id there, and another user.
#[test]
fn a_program_in_namespaces() {
    let _guard = needs_root!();
    let folder = tempfile::tempdir().unwrap();
    let inside = "mount -t tmpfs none $0 && cp $1 $0/no_frame_pointers && exec $0/no_frame_pointers 60";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--user", "--map-root-user", "sh", "-c", inside]);
    let parent = Running::start(command.arg(folder.path()).arg(fixture("no_frame_pointers")));
    let children = format!("/proc/{0}/task/{0}/children", parent.pid());
    let mut pid = String::new();
    for _ in 0..1_000 {
        pid = fs::read_to_string(&children).unwrap_or_default().trim().to_owned();
        let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        if program.ends_with("no_frame_pointers") {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!folder.path().join("no_frame_pointers").exists(), "it is to be seen from inside alone");
    assert_is_no_frame_pointers(&record_running(&pid));
    succeed(Command::new("kill").args(["-KILL", &pid]));
}

/// Where a recorder sees another clock than the kernel, samples still meet the events of their time.
#[test]
fn a_recorder_in_a_time_namespace() {
    let _guard = needs_root!();
    let place = Place::new();
    let mut command = Command::new("unshare");
    command.args(["--time", "--monotonic", "100000", "--fork"]);
    let recorder = place.record();
    command.arg(recorder.get_program()).args(recorder.get_args());
    command.args(["-q", "-F", "999", "--embed", "symbols", "--"]).arg(fixture("fork_exec")).arg("1");
    let recorded = place.recorded(succeed(&mut command));
    let folded = recorded.folded();
    let shares =
        ["fork_exec;...;main;before_exec;spin", "after_exec;...;main;after_exec;spin"].map(|stack| folded.share(stack));
    assert!(shares.iter().all(|share| *share > 0.3), "{shares:?}\n{folded}");
    let middle = Folded::parse(&recorded.report(&["--folded", "--time", "0.2..0.8"])).samples();
    assert!(middle as f64 > 0.3 * folded.samples() as f64, "{middle}\n{folded}");
}

/// In the middle of an exec, a thread has no user side any more: nothing is shown of the program before, at addresses of nobody.
#[test]
fn counted_processes_between_two_programs() {
    let _guard = needs_root!();
    let script = "end=$(($(date +%s) + 4)); while [ $(date +%s) -lt $end ]; do /bin/true; sed -n 1p /dev/null; done";
    let words = ["sh", "-c", script].map(Path::new);
    let recorded = record(&["--count", "--flush", "1s", "-F", "4999", "--max-cpu", "none"], &words);
    let folded = recorded.folded();
    let is_unknown = |frame: &String| frame.starts_with("[unknown]");
    let unknown = folded.stacks().filter(|frames| frames.iter().any(is_unknown)).count();
    assert!(folded.samples() > 1_000 && unknown < 5, "{unknown} stacks\n{folded}");
}

/// In a container with process ids of its own, a recorder knows processes by the ids that it sees; in one inside of that, they have others
/// again. Of the machine's other processes it records none.
#[test]
fn a_recorder_in_a_container() {
    let _guard = needs_root!();
    let outside = Running::start(Command::new(fixture("alloca")).arg("60"));
    let place = Place::new();
    let recorder = place.record();
    let words: Vec<_> = recorder.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let profrec = format!("{} {} -q -F 999 --embed symbols --force", recorder.get_program().display(), words.join(" "));
    let in_container = |script: String| {
        let container = ["--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c"];
        succeed(Command::new("unshare").args(container).arg(script));
        let report = succeed(Command::new(profrec_report()).arg(place.path()).arg("--folded"));
        Folded::parse(&stdout(&report))
    };
    let (fork_exec, recursion) = (fixture("fork_exec"), fixture("recursion"));
    let running = format!("{} 60 & sleep 0.2; ", recursion.display());
    let command = in_container(format!("{profrec} -- {} 1", fork_exec.display()));
    assert!(command.share("fork_exec;...;main;before_exec;spin") > 0.3, "{command}");
    assert!(command.share("after_exec;...;main;after_exec;spin") > 0.3, "{command}");
    let nested = in_container(format!("{profrec} -- unshare --pid --fork {} 0.5", recursion.display()));
    let running_one = in_container(format!("{running} {profrec} -d 1s -p $!"));
    let all = in_container(format!("{running} {profrec} -d 1s -a"));
    let stack = format!("recursion;...;main;{};spin", ["descend"; 20].join(";"));
    for (folded, least) in [(&nested, 0.5), (&running_one, 0.95), (&all, 0.5)] {
        assert!(folded.share(&stack) > least, "{folded}");
    }
    assert_eq!(all.of_comm("alloca"), 0, "{} is outside\n{all}", outside.pid());
}

/// Where `/proc` is that of the machine, it has other ids than those that a recorder in a container sees, and what it says would be of other
/// processes: that is refused.
#[test]
fn another_proc_than_the_recorders_own() {
    let _guard = needs_root!();
    let place = Place::new();
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child"]).arg(place.record().get_program()).args(["record", "-a", "-o"]);
    let output = run(command.arg(place.path()));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("mount -t proc proc /proc"), "{}", stderr(&output));
    assert!(!place.path().exists());
}

/// When process events were lost, what became another program meanwhile is known rightly again with its next sample.
#[test]
fn what_is_known_after_process_events_were_lost() {
    let _guard = needs_root!();
    let folder = tempfile::tempdir().unwrap();
    let (go, done) = (folder.path().join("go"), folder.path().join("done"));
    // 2,500 processes fill the rings of two CPUs; of many CPUs, that of the one they are held on.
    let storm = "i=0; while [ $i -lt 2500 ]; do /bin/true; i=$((i+1)); done";
    let busy = format!("until [ -e {} ]; do :; done", go.display());
    let script = format!("{busy}; taskset -cp 0 $$ >&2; {storm}; : > {}; exec $0 60", done.display());
    let _target = Running::start(Command::new("/bin/sh").args(["-c", &script]).arg(fixture("recursion")));
    let place = Place::new();
    let recorder = Running::start(place.record().args(["-q", "-a", "-F", "299", "--embed", "symbols"]));
    wait_for(&place.path());
    std::thread::sleep(Duration::from_millis(500));
    recorder.signal(Signal::STOP);
    fs::write(&go, "").unwrap();
    wait_for(&done);
    std::thread::sleep(Duration::from_millis(500));
    recorder.signal(Signal::CONT);
    std::thread::sleep(Duration::from_millis(500));
    // The kernel tells of what it lost on a CPU with the next event there.
    succeed(Command::new("taskset").args(["-c", "0", "/bin/true"]));
    std::thread::sleep(Duration::from_millis(1_000));
    recorder.signal(Signal::INT);
    let output = recorder.finish_within(Duration::from_secs(30));
    assert!(output.status.success(), "{}", stderr(&output));
    let recorded = place.recorded(output);
    assert!(recorded.facts().number("/recording/lost_events/process_events") > 0.0, "the rings were large enough");
    let last = recorded.facts().number("/recording/duration_seconds") - 1.0;
    let folded =
        Folded::parse(&recorded.report(&["--folded", "--comm", "recursion", "--time", &format!("{last:.1}..")]));
    assert!(folded.samples() > 3, "{folded}");
    assert!(folded.share(&format!("recursion;...;main;{};spin", ["descend"; 20].join(";"))) > 0.9, "{folded}");
}
