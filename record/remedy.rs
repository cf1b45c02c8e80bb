//! Says what helps when the kernel refuses what a recording needs.

use std::env;
use std::fmt;
use std::fs;
use std::io;

use anyhow::Error;
use rustix::process::{Resource, getrlimit};

use crate::rights;

/// What was refused, and what helps.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Without an end mark.
    pub(crate) what: String,
    /// A command where there is one.
    pub(crate) remedy: String,
}

impl Refused {
    pub(crate) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}\n  what helps: {}\n  `profrec doctor` checks the whole host", self.what, self.remedy)
    }
}

impl std::error::Error for Refused {}

/// The command that gives this program all rights that it can use.
pub(crate) fn give_capabilities() -> String {
    let program = env::current_exe().map_or_else(|_| "$(which profrec)".to_owned(), |path| path.display().to_string());
    format!("sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search,cap_checkpoint_restore=ep {program}")
}

/// The two ways to have rights.
pub(crate) fn become_able() -> String {
    format!("run it as root (sudo), or once: {}", give_capabilities())
}

/// The BPF system call was refused.
pub(crate) fn bpf() -> Error {
    let what = "no rights to load BPF programs: CAP_BPF and CAP_PERFMON are needed";
    Refused::new(what, become_able()).into()
}

/// There is no BPF system call.
pub(crate) fn no_bpf() -> Error {
    let what = "the kernel has no bpf system call, or a container's seccomp filter hides it";
    Refused::new(what, "in a container: --security-opt seccomp=unconfined, or run profrec on the host").into()
}

/// An event could not be opened.
pub(crate) fn perf(error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => {}
        Some(libc::EMFILE) => {
            let what = "too many open files: each clock, and each CPU's process events, take one";
            return Refused::new(what, "ulimit -n 65536").into();
        }
        _ => return Error::new(error).context("opening a perf event (perf_event_open)"),
    }
    let paranoid = sysctl("perf_event_paranoid").unwrap_or_default();
    let what = format!("no rights to open perf events (kernel.perf_event_paranoid is {paranoid})");
    let remedy = if !rights::may_open_events() {
        become_able()
    } else if paranoid.parse::<i32>().is_ok_and(|value| value > 2) {
        "sudo sysctl kernel.perf_event_paranoid=2".to_owned()
    } else {
        "in a container: --security-opt seccomp=unconfined, or run profrec on the host".to_owned()
    };
    Refused::new(what, remedy).into()
}

/// A perf ring of so many bytes on each of so many CPUs could not be mapped.
pub(crate) fn ring(error: io::Error, bytes: usize, cpus: usize) -> Error {
    if error.raw_os_error() != Some(libc::EPERM) {
        return Error::new(error).context("mapping the ring for process events");
    }
    let allowed = sysctl("perf_event_mlock_kb").unwrap_or_default();
    let limit = locked_memory_limit().map_or("unlimited".to_owned(), |bytes| format!("{} KiB", bytes >> 10));
    let kib = bytes.div_ceil(1 << 10);
    // Twice what it takes now: whoever else shares the limit is there already.
    let wanted = allowed.parse().unwrap_or(0).max(kib) * 2;
    let what = format!(
        "no more memory may be locked for the rings of process events: {kib} KiB on each of {cpus} CPUs are needed, and \
         all recordings of a user share {allowed} KiB a CPU (kernel.perf_event_mlock_kb) and {limit} (ulimit -l)"
    );
    Refused::new(what, format!("sudo sysctl kernel.perf_event_mlock_kb={wanted}, or raise `ulimit -l`")).into()
}

/// A number below /proc/sys/kernel, as text.
pub(crate) fn sysctl(name: &str) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?.trim().to_owned())
}

/// Bytes that this process may lock; `None` for no limit.
pub(crate) fn locked_memory_limit() -> Option<u64> {
    getrlimit(Resource::Memlock).current
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn refused(error: &Error) -> &Refused {
        error.downcast_ref().unwrap()
    }

    /// A ring that may not be locked names the limits and a value that suffices; other errors stay what they are.
    #[test]
    fn locked_memory_names_its_limits() {
        let error = ring(io::Error::from_raw_os_error(libc::EPERM), 260 << 10, 8);
        assert!(refused(&error).what.contains("260 KiB on each of 8 CPUs"));
        assert!(refused(&error).remedy.contains("sudo sysctl kernel.perf_event_mlock_kb="));
        assert!(error.to_string().contains("profrec doctor"));
        assert!(ring(io::Error::from_raw_os_error(libc::ENOMEM), 1, 1).downcast_ref::<Refused>().is_none());
    }

    /// Rights are asked for where they are missing, and files where these are.
    #[test]
    fn perf_events_name_what_helps() {
        let error = perf(io::Error::from_raw_os_error(libc::EACCES));
        assert!(refused(&error).what.contains("perf_event_paranoid is "));
        let error = perf(io::Error::from_raw_os_error(libc::EMFILE));
        assert!(refused(&error).remedy.contains("ulimit -n"));
        assert!(perf(io::Error::from_raw_os_error(libc::EINVAL)).downcast_ref::<Refused>().is_none());
    }
}
