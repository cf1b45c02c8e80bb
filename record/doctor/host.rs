//! What the host is like: its kernel, how it is locked and divided, and its limits.

use std::fs;

use rustix::thread::{CapabilitySet, capabilities};

use super::check::Check;
use crate::remedy::{Refused, locked_memory_limit, sysctl};
use crate::{cgroup, kernel};

/// The kernel, and where in it this process is.
pub(super) fn checks() -> Vec<Check> {
    let found = |refused: Option<Refused>, name, ok: String| match refused {
        Some(Refused { what, remedy }) => Check::fail(name, what, remedy),
        None => Check::ok(name, ok),
    };
    vec![
        found(kernel::too_old(), "kernel", format!("Linux {}; 5.15 or newer is needed", kernel::release())),
        found(kernel::no_types(), "kernel types", "the kernel describes its types (BTF)".to_owned()),
        lockdown(fs::read_to_string("/sys/kernel/security/lockdown").ok().as_deref()),
        Check::ok(
            "process ids",
            match kernel::own_process_ids() {
                None => "those of the host",
                Some(_) => "a container's own: -p takes these, and -a records the processes that have one",
            },
        ),
        user_ids(kernel::namespace("user")),
        seccomp(),
        cgroups(),
    ]
}

/// The mode in brackets, as in `none [integrity] confidentiality`.
fn lockdown(modes: Option<&str>) -> Check {
    const NAME: &str = "lockdown";
    let Some(modes) = modes else {
        return Check::ok(NAME, "not known (the kernel has none, or /sys/kernel/security is not mounted)");
    };
    match modes.split_once('[').and_then(|(_, rest)| rest.split_once(']')) {
        Some(("confidentiality", _)) => Check::fail(
            NAME,
            "confidentiality: BPF programs may not read stacks",
            "boot with lockdown=integrity (it is also set by some distributions under Secure Boot)",
        ),
        Some((mode, _)) => Check::ok(NAME, format!("{mode}: does not hinder")),
        None => Check::ok(NAME, "none"),
    }
}

/// PROC_USER_INIT_INO of include/linux/proc_ns.h.
const HOSTS_USER_IDS: u64 = 0xeffffffd;

fn user_ids(namespace: Option<u64>) -> Check {
    const NAME: &str = "user ids";
    match namespace {
        Some(HOSTS_USER_IDS) | None => Check::ok(NAME, "those of the host"),
        Some(_) => Check::note(
            NAME,
            "a user namespace's own: its rights do not hold for the kernel",
            "run profrec outside of the rootless container, as root of the host",
        ),
    }
}

fn seccomp() -> Check {
    const NAME: &str = "seccomp";
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let container = ["/.dockerenv", "/run/.containerenv"].iter().any(|path| fs::exists(path).unwrap_or(false));
    let place = if container { "; this is a container" } else { "" };
    match field("Seccomp:") {
        Some("2") => Check::ok(NAME, format!("system calls are filtered{place}: what is refused shows below")),
        _ => Check::ok(NAME, format!("no system call is filtered{place}")),
    }
}

fn cgroups() -> Check {
    const NAME: &str = "control groups";
    match cgroup::mount() {
        Ok(mount) => Check::ok(NAME, format!("version 2 at {}", mount.display())),
        Err(_none) => Check::note(NAME, "version 2 is not mounted: no --cgroup", "mount -t cgroup2 none DIRECTORY"),
    }
}

/// The kernel's settings, and what this user may lock.
pub(super) fn limits() -> Vec<Check> {
    vec![
        paranoid(&sysctl("perf_event_paranoid").unwrap_or_default()),
        setting("unprivileged_bpf_disabled", |_| None),
        setting("kptr_restrict", |_| None),
        setting("perf_event_max_sample_rate", |value| {
            (value < 1000)
                .then_some(("--preset dev is throttled", "sudo sysctl kernel.perf_event_max_sample_rate=100000"))
        }),
        setting("perf_cpu_time_max_percent", |_| None),
        setting("perf_event_max_stack", |value| {
            (value < 127)
                .then_some(("deeper chains of the kernel are cut", "sudo sysctl kernel.perf_event_max_stack=127"))
        }),
        locked_memory(),
    ]
}

/// Only Debian's kernels, and those like them, know values above 2; for others these are 2.
fn paranoid(value: &str) -> Check {
    const NAME: &str = "perf_event_paranoid";
    let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    if value.parse::<i32>().is_ok_and(|value| value > 2) && !held.contains(CapabilitySet::SYS_ADMIN) {
        let found = format!("{value}: Debian's kernels refuse perf events to all without CAP_SYS_ADMIN");
        return Check::note(NAME, found, "sudo sysctl kernel.perf_event_paranoid=2");
    }
    Check::ok(NAME, if value.is_empty() { "not known" } else { value })
}

/// A setting, with what is bad about some values.
fn setting(name: &'static str, judge: impl Fn(u64) -> Option<(&'static str, &'static str)>) -> Check {
    let value = sysctl(name);
    match (value.as_deref().and_then(|value| judge(value.parse().ok()?)), value) {
        (Some((what, remedy)), Some(value)) => Check::note(name, format!("{value}: {what}"), remedy),
        (_, Some(value)) => Check::ok(name, value),
        (_, None) => Check::ok(name, "not known"),
    }
}

fn locked_memory() -> Check {
    let limit = locked_memory_limit().map_or("no limit".to_owned(), |bytes| format!("{} KiB", bytes >> 10));
    let shared = sysctl("perf_event_mlock_kb").unwrap_or_default();
    Check::ok("locked memory", format!("perf_event_mlock_kb {shared} a CPU, and {limit} (ulimit -l)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the three modes one hides what is to be recorded.
    #[test]
    fn lockdown_is_judged() {
        assert!(lockdown(None).works() && lockdown(Some("[none] integrity confidentiality\n")).works());
        assert!(lockdown(Some("none [integrity] confidentiality\n")).works());
        assert!(!lockdown(Some("none integrity [confidentiality]\n")).works());
    }

    /// Rights in a user namespace are none for the kernel; recording is tried all the same.
    #[test]
    fn namespaces_are_judged() {
        assert!(user_ids(Some(HOSTS_USER_IDS)).is_ok() && !user_ids(Some(4_026_532_100)).is_ok());
        assert!(kernel::namespace("pid").is_some());
    }
}
