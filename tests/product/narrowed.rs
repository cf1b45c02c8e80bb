//! Targets that are chosen by what they are: control group, name, user, thread. Of everything else on the machine, and
//! there always is something that uses the CPU, nothing is recorded.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::folded::Folded;
use crate::programs::{Running, fixture, run, stderr, stdout, succeed};
use crate::recorded::{Place, Recorded};
use crate::rights::{needs_root, skip};

fn recorded(arguments: &[&str]) -> Recorded {
    let place = Place::new();
    let output = succeed(place.record().args(["-q", "-F", "999", "-d", "0.7"]).args(arguments));
    place.recorded(output)
}

fn record(arguments: &[&str]) -> Folded {
    recorded(arguments).folded()
}

/// All samples, and there are some, are of these.
fn assert_only(folded: &Folded, comms: &[&str]) {
    let found: BTreeSet<&str> = folded.stacks().map(|frames| frames[0].as_str()).collect();
    assert!(found.iter().eq(comms), "{found:?}\n{folded}");
}

fn start(name: &str) -> Running {
    Running::start(Command::new(fixture(name)).arg("60"))
}

/// A control group that is removed with the test.
struct Group(PathBuf);

impl Group {
    fn new(path: &Path) -> Self {
        fs::create_dir(path).unwrap();
        Self(path.to_owned())
    }

    fn take(&self, process: &Running) {
        fs::write(self.0.join("cgroup.procs"), process.pid()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The process in it has been told to end, which takes a moment.
        for _ in 0..1000 {
            match fs::remove_dir(&self.0) {
                Ok(()) => return,
                Err(_busy) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}

/// Where control groups of version 2 are, if a new one can be made there.
fn groups() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    Some(line.split(' ').nth(4)?.into())
}

/// A control group and those below it, by either spelling; what is beside it stays out.
#[test]
fn a_control_group() {
    let _guard = needs_root!();
    let Some(groups) = groups() else {
        return skip("needs control groups of version 2");
    };
    let name = format!("profrec-test-{}", std::process::id());
    let outer = Group::new(&groups.join(&name));
    let inner = Group::new(&outer.0.join("inner"));
    let beside = Group::new(&groups.join(format!("{name}-beside")));
    // Declared last, so that they end first.
    let [one, two, other] = ["recursion", "alloca", "tail_call"].map(start);
    outer.take(&one);
    inner.take(&two);
    beside.take(&other);
    assert_only(&record(&["--cgroup", &format!("/{name}")]), &["alloca", "recursion"]);
    assert_only(&record(&["--cgroup", inner.0.to_str().unwrap()]), &["alloca"]);
    let both = ["--cgroup", inner.0.to_str().unwrap(), "--cgroup", beside.0.to_str().unwrap()];
    assert_only(&record(&both), &["alloca", "tail_call"]);
    // All that is given must be met.
    assert_only(&record(&["-a", "--cgroup", &name, "--comm", "recursion"]), &["recursion"]);
}

/// A service that restarts gets a new control group in the place of the old one: it goes on being recorded.
#[test]
fn a_control_group_that_is_made_again() {
    let _guard = needs_root!();
    let Some(groups) = groups() else {
        return skip("needs control groups of version 2");
    };
    let path = groups.join(format!("profrec-test-again-{}", std::process::id()));
    let before = Group::new(&path);
    let first = start("recursion");
    before.take(&first);
    let place = Place::new();
    let recorder = Running::start(place.record().args(["-q", "-F", "999", "--cgroup", path.to_str().unwrap()]));
    std::thread::sleep(Duration::from_millis(700));
    drop(first);
    drop(before);
    let after = Group::new(&path);
    let second = start("alloca");
    after.take(&second);
    std::thread::sleep(Duration::from_millis(1500));
    recorder.signal(rustix::process::Signal::INT);
    let output = recorder.finish_within(Duration::from_secs(60));
    drop(second);
    assert_only(&place.recorded(output).folded(), &["alloca", "recursion"]);
}

/// A group that is not there, a file, and a folder elsewhere are refused with what helps.
#[test]
fn no_control_group() {
    let _guard = needs_root!();
    if groups().is_none() {
        return skip("needs control groups of version 2");
    }
    for wrong in ["/no/such/group", "cgroup.procs", "../../.."] {
        let place = Place::new();
        let output = run(place.record().args(["--cgroup", wrong]));
        assert_eq!(output.status.code(), Some(1), "{wrong}");
        assert!(stderr(&output).contains("control group"), "{}", stderr(&output));
        assert!(!place.path().exists());
    }
}

/// Without version 2, the message says so and names other ways. (Another /proc/self/mountinfo is shown to the
/// recorder, in a mount namespace of its own.)
#[test]
fn only_control_groups_of_version_1() {
    let _guard = needs_root!();
    let script = "grep -v cgroup2 /proc/self/mountinfo > $1/mounts && mount --bind $1/mounts /proc/$$/mountinfo \
                  && exec $2 record -o $1/it.prof --cgroup /x";
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]).arg(folder.path()).arg(crate::programs::profrec());
    let message = stderr(&run(&mut command));
    assert!(message.contains("version 2") && message.contains("--comm"), "{message}");
}

/// A process by its name, with all its threads; a thread by its own name; either of several names. A piece of a name is
/// none.
#[test]
fn names() {
    let _guard = needs_root!();
    let [_threads, _other] = ["threads", "alloca"].map(start);
    std::thread::sleep(Duration::from_millis(200));
    // The first thread hardly works.
    let folded = record(&["--comm", "threads"]);
    let found = ["one", "three", "threads"].map(|comm| folded.of_comm(comm));
    assert!(found[0] > 0 && found[1] > 0 && found.iter().sum::<u64>() == folded.samples(), "{folded}");
    assert_only(&record(&["--comm", "three", "--comm", "alloca"]), &["alloca", "three"]);
    assert_only(&record(&["--comm", "thre", "--comm", "alloca"]), &["alloca"]);
}

/// Of a command and its children those with a name, each from its first tick.
#[test]
fn a_name_among_the_children_of_a_command() {
    let _guard = needs_root!();
    let script =
        format!("for i in 1 2 3; do {} 0.4; {} 0.1; done", fixture("recursion").display(), fixture("alloca").display());
    let place = Place::new();
    let output = succeed(place.record().args(["-q", "-F", "999", "--comm", "recursion", "--", "sh", "-c", &script]));
    let folded = place.recorded(output).folded();
    assert_only(&folded, &["recursion"]);
    assert!(folded.samples() > 10 && folded.share("recursion;...;main;...") > 0.8, "{folded}");
}

/// A user by name and by number: of two users' programs with one name the right one; what is asked of names and of
/// users must both be met.
#[test]
fn users() {
    let _guard = needs_root!();
    let mut as_nobody = Command::new("setpriv");
    as_nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups", "cat", "/dev/zero"]);
    let (nobody, root) = (Running::quiet(&mut as_nobody), start("alloca"));
    std::thread::sleep(Duration::from_millis(100));
    for user in ["nobody", "65534"] {
        let recorded = recorded(&["--uid", user]);
        let all = recorded.facts().number("/recording/samples");
        let of_it = recorded.report(&["--folded", "--pid", &nobody.pid()]);
        assert!(all > 20.0 && Folded::parse(&of_it).samples() as f64 == all, "{of_it}");
    }
    assert_only(&record(&["-p", &root.pid(), "--uid", "root"]), &["alloca"]);
    assert_eq!(record(&["-p", &root.pid(), "--uid", "nobody"]).samples(), 0);
}

/// The threads of a process: ids and names.
fn threads(pid: &str) -> Vec<(String, String)> {
    let folder = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let threads = folder.map(|entry| {
        let path = entry.unwrap().path();
        let name = fs::read_to_string(path.join("comm")).unwrap();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), name.trim_end().to_owned())
    });
    threads.collect()
}

/// One thread of a process: its brothers stay out.
#[test]
fn a_thread() {
    let _guard = needs_root!();
    let target = start("threads");
    std::thread::sleep(Duration::from_millis(200));
    let all = threads(&target.pid());
    let (three, _) = all.iter().find(|(_, name)| name == "three").unwrap();
    let folded = record(&["-t", three]);
    assert_only(&folded, &["three"]);
    assert!(folded.share("three;...;three_parts;spin_three") > 0.95, "{folded}");
}

/// Prints the id of a thread that works until a line comes, in a process that goes on working, with this many idle threads.
const THREADS: &str = "
import sys, threading
idle, over = int(sys.argv[1]), threading.Event()
for _ in range(idle):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
def work():
    while not over.is_set():
        sum(range(1000))
worker = threading.Thread(target=work, daemon=True)
worker.start()
threading.Thread(target=lambda: (sys.stdin.readline(), over.set()), daemon=True).start()
print(worker.native_id, *(thread.native_id for thread in threading.enumerate() if thread not in (worker, threading.main_thread())), flush=True)
while True:
    sum(range(1000))
";

/// More threads than get clocks of their own are filtered on all CPUs; those of the process that are not given
/// stay out. The recording ends with the threads, not with their process.
#[test]
fn threads_that_end_before_their_process() {
    let _guard = needs_root!();
    for idle in [1, 80] {
        let (mut child, ids) = python(idle);
        let (worker, place) = (ids.split(' ').next().unwrap().to_owned(), Place::new());
        // The idle ones never end: they count only for the way it is done.
        let chosen = if idle == 1 { worker.clone() } else { ids.trim().replace(' ', ",") };
        let recorder = Running::start(place.record().args([
            "-q",
            "-F",
            "999",
            "-d",
            if idle == 1 { "60" } else { "0.7" },
            "-t",
            &chosen,
        ]));
        std::thread::sleep(Duration::from_millis(700));
        if idle == 1 {
            std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"over\n").unwrap();
        }
        let output = recorder.finish_within(Duration::from_secs(40));
        assert!(output.status.success() && child.try_wait().unwrap().is_none(), "{}", stderr(&output));
        child.kill().unwrap();
        child.wait().unwrap();
        let recorded = place.recorded(output);
        let all = recorded.facts().number("/recording/samples");
        let of_it = Folded::parse(&recorded.report(&["--folded", "--tid", &worker]));
        assert!(all > 20.0 && of_it.samples() as f64 == all, "{all} samples, of the thread\n{of_it}");
    }
}

fn python(idle: u32) -> (std::process::Child, String) {
    let mut command = Command::new("python3");
    command.args(["-c", THREADS, &idle.to_string()]);
    let mut child = command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.as_mut().unwrap()), &mut line).unwrap();
    (child, line)
}

/// A thread that is not there is named.
#[test]
fn a_dead_thread() {
    let _guard = needs_root!();
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let output = run(Place::new().record().args(["-t", &child.id().to_string()]));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&format!("no thread {}", child.id())), "{}{}", stderr(&output), stdout(&output));
}
