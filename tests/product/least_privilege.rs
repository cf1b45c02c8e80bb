//! The recorder with few rights.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::given_up::wait_for;
use crate::programs::{
    Running, copy_program, fixture, profrec, profrec_report, repository, run, stderr, stdout, succeed,
};
use crate::recorded::{Facts, Place};
use crate::rights::{needs_root, skip};

pub(crate) const NOBODY: &str = "65534";

/// Leaves the test visibly unless recording is possible here, also as others; else gives the guard that keeps other recordings out.
macro_rules! needs_setpriv {
    () => {{
        let guard = needs_root!();
        if !has("setpriv") {
            return skip("needs setpriv");
        }
        guard
    }};
}

/// A folder in which everybody may write, with the recorder and a program that everybody may run.
struct Public(tempfile::TempDir);

impl Public {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        copy_program(profrec(), &folder.path().join("profrec"));
        copy_program(&fixture("recursion"), &folder.path().join("recursion"));
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What the report says of the recording `it.prof`, and removes it.
    fn facts(&self) -> Facts {
        let facts =
            Facts::parse(&stdout(&succeed(Command::new(profrec_report()).arg(self.path("it.prof")).arg("--json"))));
        fs::remove_file(self.path("it.prof")).unwrap();
        facts
    }

    /// `profrec record -o it.prof`, run by nobody with these capabilities.
    fn record_as_nobody(&self, recorder: &str, capabilities: &str) -> Command {
        let mut command = as_nobody(capabilities);
        command.arg(self.path(recorder)).args(["record", "-F", "999", "-o"]).arg(self.path("it.prof"));
        command.current_dir(self.0.path());
        command
    }
}

fn as_nobody(capabilities: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]);
    command.args([format!("--inh-caps=-all{capabilities}"), format!("--ambient-caps=-all{capabilities}")]);
    command
}

pub(crate) fn assert_complete(facts: &Facts) {
    assert!(facts.number("/recording/samples") > 20.0 && facts.share("complete") > 0.9, "{}", facts.at("/stacks"));
}

fn has(program: &str) -> bool {
    run(Command::new("sh").args(["-c", &format!("PATH=$PATH:/usr/sbin command -v {program}")])).status.success()
}

/// Of a plain user, with two capabilities, complete stacks of: a command, a process of the same user, and one of root whose
/// program everybody may read.
#[test]
fn a_plain_user_with_two_capabilities() {
    let _guard = needs_setpriv!();
    let public = Public::new();
    let own = Running::start(as_nobody("").arg(public.path("recursion")).arg("60"));
    let roots = Running::start(Command::new(public.path("recursion")).arg("60"));
    std::thread::sleep(Duration::from_millis(200));
    let record = || public.record_as_nobody("profrec", ",+bpf,+perfmon");
    succeed(record().arg("--").arg(public.path("recursion")).arg("0.5"));
    assert_complete(&public.facts());
    succeed(record().args(["-d", "0.5", "-p", &own.pid()]));
    assert_complete(&public.facts());
    succeed(record().args(["-d", "0.5", "-p", &roots.pid()]));
    // Before Linux 6.15 the places of its code are not to be had so.
    let facts = public.facts();
    if kernel_version() >= (6, 15) {
        assert_complete(&facts);
    }
    assert!(facts.number("/recording/samples") > 20.0);
}

fn kernel_version() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// The capabilities that the service's file hands down, as setpriv writes them.
fn services_capabilities() -> String {
    let unit = fs::read_to_string(repository().join("packaging/profrec.service")).unwrap();
    let setting = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_lowercase();
    assert_eq!(setting("AmbientCapabilities="), setting("CapabilityBoundingSet="));
    setting("AmbientCapabilities=").split(' ').map(|name| format!(",+{}", name.strip_prefix("cap_").unwrap())).collect()
}

/// With the service's five capabilities, stacks are complete also of another user's program that nobody else may read, and that was
/// deleted while it ran; with two of them they are not, so the others are needed.
#[test]
fn the_services_capabilities() {
    let _guard = needs_setpriv!();
    let public = Public::new();
    let secret = public.path("secret");
    copy_program(&fixture("no_frame_pointers"), &secret);
    fs::set_permissions(&secret, Permissions::from_mode(0o700)).unwrap();
    let target = Running::start(Command::new(&secret).arg("60"));
    std::thread::sleep(Duration::from_millis(200));
    fs::remove_file(&secret).unwrap();
    let complete = |capabilities: &str| {
        succeed(public.record_as_nobody("profrec", capabilities).args(["-d", "0.5", "-p", &target.pid()]));
        public.facts()
    };
    assert_complete(&complete(&services_capabilities()));
    let facts = complete(",+bpf,+perfmon");
    assert!(facts.number("/recording/samples") > 20.0 && facts.share("complete") < 0.5, "{}", facts.at("/stacks"));
}

/// systemd finds nothing wrong with the service's file, and little exposure.
#[test]
fn the_services_file() {
    if !has("systemd-analyze") {
        return skip("needs systemd-analyze");
    }
    let folder = tempfile::tempdir().unwrap();
    let unit = fs::read_to_string(repository().join("packaging/profrec.service")).unwrap();
    let path = folder.path().join("profrec.service");
    // The program is looked for where it is installed.
    fs::write(&path, unit.replace("/usr/local/bin/profrec", profrec().to_str().unwrap())).unwrap();
    let output = succeed(Command::new("systemd-analyze").arg("verify").arg(&path));
    assert_eq!(stderr(&output), "");
    succeed(Command::new("systemd-analyze").args(["security", "--offline=yes", "--threshold=20"]).arg(&path));
}

/// A ring that may not be locked is refused with the settings that count: a second recording of a user whose first has used what
/// all may lock.
#[test]
fn locked_memory_is_used_up() {
    const USER: &str = "64998";
    let _guard = needs_setpriv!();
    let setting = fs::read_to_string("/proc/sys/kernel/perf_event_mlock_kb").unwrap();
    if !(260..520).contains(&setting.trim().parse::<u32>().unwrap()) {
        return skip("needs perf_event_mlock_kb to be for one recording, and not for two");
    }
    let public = Public::new();
    let script = "ulimit -l 0; exec setpriv --reuid $0 --regid $0 --clear-groups --inh-caps=-all,+bpf,+perfmon \
                  --ambient-caps=-all,+bpf,+perfmon $1/profrec record -F 9 -a -d 20s -o $1/$2.prof";
    let record = |name: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script, USER]).arg(public.0.path()).arg(name);
        command
    };
    let first = Running::start(&mut record("first"));
    wait_for(&first);
    let output = run(&mut record("second"));
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    for words in ["260 KiB", "perf_event_mlock_kb", "ulimit -l", "profrec doctor"] {
        assert!(message.contains(words), "{message}");
    }
}

/// One capability is not enough, and the message names both, and the doctor.
#[test]
fn a_plain_user_with_one_capability() {
    let _guard = needs_setpriv!();
    let public = Public::new();
    for capability in [",+bpf", ",+perfmon"] {
        let output = run(public.record_as_nobody("profrec", capability).args(["-a", "-d", "1s"]));
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{message}");
        for word in ["CAP_BPF", "CAP_PERFMON", "profrec doctor"] {
            assert!(message.contains(word), "{capability}: {message}");
        }
        assert!(!public.path("it.prof").exists());
    }
}

/// A recorder that has the capabilities from its file records for a plain user; the command gains none of them.
#[test]
fn a_recorder_with_file_capabilities() {
    let _guard = needs_setpriv!();
    if !has("setcap") {
        return skip("needs setcap");
    }
    let public = Public::new();
    let recorder = public.path("profrec");
    let mut setcap = Command::new("sh");
    setcap.args(["-c", "PATH=$PATH:/usr/sbin setcap cap_bpf,cap_perfmon=ep $0"]).arg(recorder);
    if !run(&mut setcap).status.success() {
        return skip("needs a file system with file capabilities");
    }
    let script = "grep -E '^Cap(Prm|Eff|Amb)|^NoNewPrivs' /proc/self/status; exec ./recursion 0.5";
    let output = succeed(public.record_as_nobody("profrec", "").args(["--", "sh", "-c", script]));
    assert_eq!(stdout(&output).matches("\t0000000000000000\n").count(), 3, "{}", stdout(&output));
    assert!(stdout(&output).contains("NoNewPrivs:\t0"));
    assert_complete(&public.facts());
    let own = Running::start(as_nobody("").arg(public.path("recursion")).arg("60"));
    std::thread::sleep(Duration::from_millis(200));
    succeed(public.record_as_nobody("profrec", "").args(["-d", "0.5", "-p", &own.pid()]));
    assert_complete(&public.facts());
}

/// Parts go on in a folder of another user, for root and for that user; where the account of `--user` may not create them, it is said at
/// the start.
#[test]
fn parts_without_rights() {
    let _guard = needs_root!();
    for (owner, user, status) in [(65534, &[][..], 0), (65534, &["--user", "nobody"], 0), (0, &["--user", "nobody"], 1)]
    {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(folder.path(), Some(owner), None).unwrap();
        let mut command = Command::new(profrec());
        command
            .args(["record", "-F", "99", "--rotate", "1s", "-d", "2.5", "-a", "-o"])
            .arg(folder.path().join("it.prof"));
        let output = run(command.args(user));
        assert_eq!(output.status.code(), Some(status), "{owner} {user:?}: {}", stderr(&output));
        let parts = fs::read_dir(folder.path()).unwrap().count();
        match status {
            0 => assert!(parts >= 2, "{owner} {user:?}: {}", stderr(&output)),
            _ => assert!(parts == 0 && stderr(&output).contains("--user may not create files"), "{}", stderr(&output)),
        }
    }
}

/// Who cannot become another user is told so, before anything is written; an account that is not there is named.
#[test]
fn no_other_account() {
    let _guard = needs_setpriv!();
    let public = Public::new();
    let output = run(public.record_as_nobody("profrec", ",+bpf,+perfmon").args(["--user", "root", "-a"]));
    assert!(output.status.code() == Some(1) && stderr(&output).contains("sudo"), "{}", stderr(&output));
    assert!(!public.path("it.prof").exists());
    let place = Place::new();
    let output = run(place.record().args(["--user", "no-such-user", "-a"]));
    assert!(output.status.code() == Some(1) && stderr(&output).contains("no-such-user"), "{}", stderr(&output));
    assert!(!place.path().exists());
}
