//! What the recorder itself costs.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// User and system time of this thread so far.
pub(crate) fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// User and system time of the recorder so far.
pub(crate) fn own_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// CPUs that the machine has.
pub(crate) fn online_cpus() -> usize {
    // SAFETY: the call takes a number and gives a number.
    let cpus = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(cpus).unwrap_or(1).max(1)
}

/// The recorder's resident memory, read again and again.
pub(crate) struct Memory(Option<File>);

impl Memory {
    /// Opens `/proc/self/statm`.
    pub(crate) fn open() -> Self {
        Self(File::open("/proc/self/statm").ok())
    }

    /// Bytes that are resident, its mapping of the ring included; 0 where `/proc` does not tell.
    pub(crate) fn resident(&self) -> u64 {
        let mut text = [0; 128];
        let length = self.0.as_ref().and_then(|file| file.read_at(&mut text, 0).ok()).unwrap_or(0);
        resident_pages(&text[..length]).unwrap_or(0) * rustix::param::page_size() as u64
    }
}

/// The second number of `statm`.
fn resident_pages(statm: &[u8]) -> Option<u64> {
    std::str::from_utf8(statm).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Bytes of kernel memory of a BPF map, as the kernel tells them; 0 where it does not.
pub(crate) fn locked_memory(map: BorrowedFd<'_>) -> u64 {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", map.as_raw_fd())).unwrap_or_default();
    let number = info.lines().find_map(|line| line.strip_prefix("memlock:"));
    number.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The recorder's own memory is more than a page and less than this machine has; what is no such file tells nothing.
    #[test]
    fn resident_memory_is_read() {
        let resident = Memory::open().resident();
        assert!((1 << 16..1 << 40).contains(&resident), "{resident}");
        assert_eq!(resident_pages(b"7 x"), None);
        assert_eq!(resident_pages(b""), None);
    }
}
