//! What the running kernel is, and whether it can run the BPF programs.

use std::fs;

use crate::remedy::Refused;

/// The first with the BPF helper `bpf_task_pt_regs`.
const OLDEST: (u32, u32) = (5, 15);
/// The kernel's own types.
pub(crate) const TYPES: &str = "/sys/kernel/btf/vmlinux";

/// Its release, as `uname -r` prints it.
pub(crate) fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The first two numbers of its release; zeros where there are none.
pub(crate) fn version() -> (u32, u32) {
    parse_version(&release())
}

/// Why it is too old, if it is.
pub(crate) fn too_old() -> Option<Refused> {
    (version() < OLDEST).then(|| {
        let what =
            format!("kernel {} is too old: profrec needs Linux 5.15 (the BPF helper bpf_task_pt_regs)", release());
        Refused::new(what, "a newer kernel: all large distributions have one")
    })
}

/// That its types are missing, if they are.
pub(crate) fn no_types() -> Option<Refused> {
    (!fs::exists(TYPES).unwrap_or(false)).then(|| {
        Refused::new(
            format!("the kernel's type information is missing ({TYPES})"),
            "a kernel built with CONFIG_DEBUG_INFO_BTF=y, as all large distributions build theirs; in a container, mount /sys",
        )
    })
}

/// PROC_PID_INIT_INO of include/linux/proc_ns.h: the number of the host's own namespace of process ids, always.
const HOSTS_PROCESS_IDS: u64 = 0xeffffffc;

/// The namespace of process ids that this process is in, when it is not the host's. `None` also where /proc is not mounted.
pub(crate) fn own_process_ids() -> Option<u64> {
    namespace("pid").filter(|number| *number != HOSTS_PROCESS_IDS)
}

/// The number of a namespace of this process.
pub(crate) fn namespace(kind: &str) -> Option<u64> {
    let link = fs::read_link(format!("/proc/self/ns/{kind}")).ok()?;
    link.to_str()?.split_once('[')?.1.strip_suffix(']')?.parse().ok()
}

fn parse_version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(['.', '-', '+']).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distributions append to the numbers, and release candidates have two of them.
    #[test]
    fn versions_are_read() {
        assert_eq!(parse_version("6.1.0-18-amd64"), (6, 1));
        assert_eq!(parse_version("7.0-rc1"), (7, 0));
        assert_eq!(parse_version("5.15+"), (5, 15));
        assert_eq!(parse_version("unknown"), (0, 0));
    }
}
