//! `profrec doctor`: what it finds on this host, and on hosts that lack something.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

use crate::programs::{copy_program, profrec, repository, run, stderr, stdout};
use crate::rights::{is_root, needs_root, skip};

/// The checks of `--json`; the exit status says the same as `works`.
fn checks(output: &Output) -> Vec<Value> {
    let text = stdout(output);
    let found: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}\n{}", stderr(output)));
    assert_eq!(output.status.code(), Some(if found["works"] == true { 0 } else { 1 }), "{text}");
    found["checks"].as_array().unwrap().clone()
}

fn of_name<'a>(checks: &'a [Value], name: &str) -> &'a Value {
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no check of {name} in {checks:?}"))
}

fn doctor(command: &mut Command) -> Vec<Value> {
    checks(&run(command.args(["doctor", "--json"])))
}

/// Where the tests can record, the doctor says that recording works, and has tried it; text and JSON have the same checks
/// in the same order, under each other.
#[test]
fn a_host_that_can_be_recorded() {
    let _guard = needs_root!();
    let checks = doctor(&mut Command::new(profrec()));
    for name in ["kernel", "BPF programs", "clock of a CPU", "clock of a thread", "process events", "disk"] {
        assert_eq!(of_name(&checks, name)["verdict"], "ok", "{checks:?}");
    }
    let output = run(Command::new(profrec()).arg("doctor"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let names: Vec<&str> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
    let width = names.iter().map(|name| name.len()).max().unwrap();
    let lines =
        text.lines().filter(|line| ["  ok    ", "  note  ", "  FAIL  "].iter().any(|mark| line.starts_with(mark)));
    let shown: Vec<&str> = lines.map(|line| line[8..8 + width].trim_end()).collect();
    assert_eq!(shown, names);
    assert!(text.trim_end().lines().last().unwrap().starts_with("Recording works"), "{text}");
}

/// A user without rights has the exact command, and a remedy for each thing that is in the way; the exit status is 1.
#[test]
fn a_user_without_rights() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let recorder = folder.path().join("profrec");
    copy_program(profrec(), &recorder);
    let mut command = Command::new(&recorder);
    if is_root() {
        if !run(Command::new("sh").args(["-c", "command -v setpriv"])).status.success() {
            return skip("needs setpriv");
        }
        command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]).arg(&recorder);
    }
    let checks = doctor(command.current_dir(folder.path()));
    for name in ["rights", "BPF programs"] {
        let check = of_name(&checks, name);
        let remedy = check["remedy"].as_str().unwrap();
        assert!(check["verdict"] == "fail" && remedy.contains("sudo setcap cap_bpf,cap_perfmon"), "{check}");
        assert!(remedy.ends_with(recorder.to_str().unwrap()), "{check}");
    }
    assert_eq!(of_name(&checks, "disk")["verdict"], "ok");
}

/// Runs a script in new namespaces, as root, with the recorder as `$0`.
fn unshared(namespaces: &[&str], script: &str) -> Output {
    run(Command::new("unshare").args(namespaces).args(["sh", "-c", script]).arg(profrec()))
}

/// In a container with process ids of its own, the doctor says which ids count. (That it records is tested in `processes`.)
#[test]
fn process_ids_of_a_container() {
    let _guard = needs_root!();
    let checks = checks(&unshared(&["--pid", "--fork", "--mount-proc"], "$0 doctor --json"));
    let check = of_name(&checks, "process ids");
    assert!(check["verdict"] == "ok" && check.to_string().contains("a container's own"), "{check}");
}

/// Settings that cost something are noted with the command that sets them, as Debian's `perf_event_paranoid` for those who are not
/// root. (Other values are shown in a mount namespace of its own.)
#[test]
fn settings_that_hinder() {
    let _guard = needs_root!();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display();
    let script = format!(
        "for setting in perf_event_paranoid=3 perf_event_max_sample_rate=50 perf_event_max_stack=16; do \
             echo ${{setting#*=}} > {place}/x-$setting && mount --bind {place}/x-$setting /proc/sys/kernel/${{setting%=*}} || exit 3; \
         done; setpriv --bounding-set=-sys_admin --inh-caps=-all $0 doctor --json"
    );
    let checks = checks(&unshared(&["--mount"], &script));
    for (name, remedy) in [
        ("perf_event_paranoid", "sudo sysctl kernel.perf_event_paranoid=2"),
        ("perf_event_max_sample_rate", "sudo sysctl kernel.perf_event_max_sample_rate=100000"),
        ("perf_event_max_stack", "sudo sysctl kernel.perf_event_max_stack=127"),
    ] {
        let check = of_name(&checks, name);
        assert!(check["verdict"] == "note" && check["remedy"] == remedy, "{check}");
    }
    // Root without that one right records all the same: this kernel is not Debian's.
    assert_eq!(of_name(&checks, "clock of a CPU")["verdict"], "ok");
}

/// A place that cannot be written to is in the way.
#[test]
fn a_place_that_cannot_be_written_to() {
    let checks = checks(&run(Command::new(profrec()).args(["doctor", "--json", "-o", "/no/such/folder/it.prof"])));
    let check = of_name(&checks, "disk");
    assert!(check["verdict"] == "fail" && check["remedy"].as_str().unwrap().contains("-o"), "{check}");
}

/// docs/doctor.md explains every check, and no other.
#[test]
fn the_documentation_has_all_checks() {
    let _guard = needs_root!();
    let text = fs::read_to_string(repository().join("docs/doctor.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let mut documented: Vec<&str> = rows.map(|(name, _)| name).collect();
    let checks = doctor(&mut Command::new(profrec()));
    let mut names: Vec<&str> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
    documented.sort_unstable();
    names.sort_unstable();
    assert_eq!(documented, names);
}
