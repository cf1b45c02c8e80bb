//! Who may record here. Tests that record need root and BPF; elsewhere they are skipped, and
//! say so on the terminal, whatever the test runner captures.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Recordings are made one at a time, so that shares and latencies are not each other's.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Leaves the test visibly unless recording is possible here; else gives the guard that keeps
/// other recordings out.
macro_rules! needs_root {
    () => {
        match $crate::rights::to_record() {
            Ok(guard) => guard,
            Err(reason) => {
                $crate::rights::skip(&reason);
                return;
            }
        }
    };
}
pub(crate) use needs_root;

/// The right to record, or the reason why there is none.
pub(crate) fn to_record() -> Result<MutexGuard<'static, ()>, String> {
    if !is_root() {
        return Err("needs root".to_owned());
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Err("needs a kernel with BTF".to_owned());
    }
    // In a container, root is often without these; bits as in linux/capability.h.
    let (sys_admin, perfmon, bpf) = (1 << 21, 1u64 << 38, 1u64 << 39);
    let held = effective_capabilities();
    if held & sys_admin == 0 && held & (perfmon | bpf) != perfmon | bpf {
        return Err("needs CAP_BPF and CAP_PERFMON".to_owned());
    }
    Ok(ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Whether this is root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn effective_capabilities() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

/// Tells on the terminal that the running test is skipped, and counts it for `make test`.
pub(crate) fn skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("skipped: {}: {reason}\n", thread.name().unwrap_or("a test"));
    // Not eprint: that would be captured.
    io::stderr().write_all(line.as_bytes()).unwrap();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("skipped");
    OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(line.as_bytes()).unwrap();
}
