//! The perf events that a recording opens: clocks, and the dummy events whose rings carry the
//! process events. The only room that calls `perf_event_open`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `struct perf_event_attr` up to `config3` (Linux 6.3); the kernel accepts a longer struct than it
/// knows as long as the rest is zero. From include/uapi/linux/perf_event.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_kind: u32,
    config1: u64,
    config2: u64,
    branch_sample_type: u64,
    sample_regs_user: u64,
    sample_stack_user: u32,
    clock_id: i32,
    sample_regs_intr: u64,
    aux_watermark: u32,
    sample_max_stack: u16,
    reserved_2: u16,
    aux_sample_size: u32,
    reserved_3: u32,
    sig_data: u64,
    config3: u64,
}

const TYPE_SOFTWARE: u32 = 1;
const CONFIG_CPU_CLOCK: u64 = 0;
const CONFIG_DUMMY: u64 = 9;

const SAMPLE_TID: u64 = 1 << 1;
const SAMPLE_TIME: u64 = 1 << 2;

const READ_TIME_RUNNING: u64 = 1 << 1;

const DISABLED: u64 = 1 << 0;
const INHERIT: u64 = 1 << 1;
const MMAP: u64 = 1 << 8;
const COMM: u64 = 1 << 9;
const TASK: u64 = 1 << 13;
const WATERMARK: u64 = 1 << 14;
const SAMPLE_ID_ALL: u64 = 1 << 18;
const MMAP2: u64 = 1 << 23;
const COMM_EXEC: u64 = 1 << 24;
const USE_CLOCK_ID: u64 = 1 << 25;
const CGROUP: u64 = 1 << 32;
const BUILD_ID: u64 = 1 << 34;
const INHERIT_THREAD: u64 = 1 << 35;

/// What a clock event follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// One CPU, whatever runs there.
    Cpu(u32),
    /// One thread, without what it creates.
    OneThread(u32),
    /// One thread and what it creates.
    Thread {
        /// Thread id.
        tid: u32,
        /// Its child processes too, not only its threads.
        processes: bool,
    },
}

/// Opens a CPU clock that ticks every `period` nanoseconds; that of a CPU, once it is enabled.
pub(crate) fn open_clock(scope: Scope, period: u64) -> io::Result<OwnedFd> {
    let mut attributes =
        Attributes { kind: TYPE_SOFTWARE, config: CONFIG_CPU_CLOCK, sample_period: period, ..Attributes::default() };
    match scope {
        Scope::Cpu(cpu) => {
            // What it has to report goes to the ring of the process events, whose form it must have.
            attributes.sample_type = SAMPLE_TID | SAMPLE_TIME;
            attributes.flags = SAMPLE_ID_ALL | USE_CLOCK_ID | DISABLED;
            attributes.clock_id = libc::CLOCK_MONOTONIC;
            open(attributes, -1, cpu as i32)
        }
        Scope::OneThread(tid) => open(attributes, tid as i32, -1),
        Scope::Thread { tid, processes } => {
            attributes.flags |= INHERIT;
            if !processes {
                attributes.flags |= INHERIT_THREAD;
            }
            open(attributes, tid as i32, -1)
        }
    }
}

/// Opens a CPU clock of this thread alone, which ticks every `period` nanoseconds once it is enabled.
pub(crate) fn open_own_clock(period: u64) -> io::Result<OwnedFd> {
    let (kind, config, sample_period, flags) = (TYPE_SOFTWARE, CONFIG_CPU_CLOCK, period, DISABLED);
    open(Attributes { kind, config, sample_period, flags, ..Attributes::default() }, 0, -1)
}

/// Lets a clock tick that was opened without, or was disabled, and those that were inherited from it.
pub(crate) fn enable(clock: BorrowedFd<'_>) -> io::Result<()> {
    // _IO('$', 0)
    const PERF_EVENT_IOC_ENABLE: libc::c_ulong = 0x2400;
    switch(clock, PERF_EVENT_IOC_ENABLE)
}

/// Has a clock tick no more, nor those that were inherited from it.
pub(crate) fn disable(clock: BorrowedFd<'_>) -> io::Result<()> {
    // _IO('$', 1)
    const PERF_EVENT_IOC_DISABLE: libc::c_ulong = 0x2401;
    switch(clock, PERF_EVENT_IOC_DISABLE)
}

fn switch(clock: BorrowedFd<'_>, request: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the two requests take no memory.
    let result = unsafe { libc::ioctl(clock.as_raw_fd(), request, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Changes the period of a clock, which starts anew. Clocks that were inherited from it keep theirs.
pub(crate) fn set_period(clock: BorrowedFd<'_>, period: u64) -> io::Result<()> {
    // _IOW('$', 4, __u64)
    const PERF_EVENT_IOC_PERIOD: libc::c_ulong = 0x4008_2404;
    // SAFETY: the kernel reads a number of 64 bits, which outlives the call.
    let result = unsafe { libc::ioctl(clock.as_raw_fd(), PERF_EVENT_IOC_PERIOD, &raw const period) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Nanoseconds for which a clock was running, with all clocks that were inherited from it; 0 when the kernel does not say.
pub(crate) fn clock_time(clock: BorrowedFd<'_>) -> u64 {
    let mut count = [0; 8];
    match rustix::io::read(clock, &mut count) {
        Ok(8) => u64::from_le_bytes(count),
        _ => 0,
    }
}

/// Nanoseconds for which the process events of a CPU were told; 0 when the kernel does not say. It stands still once the CPU was offline.
/// The CPU is interrupted for it.
pub(crate) fn process_events_time(event: BorrowedFd<'_>) -> u64 {
    // The count, then the time.
    let mut both = [0; 16];
    match rustix::io::read(event, &mut both) {
        Ok(16) => both.last_chunk().map_or(0, |time| u64::from_le_bytes(*time)),
        _ => 0,
    }
}

/// Has what an event reports, such as that it is throttled, go to the ring of another event of its CPU.
pub(crate) fn report_to(event: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<()> {
    const IOC_SET_OUTPUT: libc::c_ulong = 0x2405;
    // SAFETY: the call takes two descriptors, which are open, and no memory.
    let result = unsafe { libc::ioctl(event.as_raw_fd(), IOC_SET_OUTPUT, other.as_raw_fd()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Opens an event that counts nothing and reports what happens to the processes on one CPU, and new control groups if they are asked for.
/// Each time that `wake_bytes` have been written to its ring, it is readable.
/// Without `build_ids` for kernels before 5.12, which refuse them with EINVAL.
pub(crate) fn open_process_events(
    cpu: u32,
    (build_ids, cgroups): (bool, bool),
    wake_bytes: u32,
) -> io::Result<OwnedFd> {
    let attributes = Attributes {
        kind: TYPE_SOFTWARE,
        config: CONFIG_DUMMY,
        sample_type: SAMPLE_TID | SAMPLE_TIME,
        read_format: READ_TIME_RUNNING,
        flags: MMAP
            | MMAP2
            | COMM
            | COMM_EXEC
            | TASK
            | SAMPLE_ID_ALL
            | USE_CLOCK_ID
            | WATERMARK
            | if build_ids { BUILD_ID } else { 0 }
            | if cgroups { CGROUP } else { 0 },
        // The ring is read whenever a later sample is about to be used; that alone would be too late when processes storm.
        wakeup_events: wake_bytes,
        clock_id: libc::CLOCK_MONOTONIC,
        ..Attributes::default()
    };
    open(attributes, -1, cpu as i32)
}

fn open(mut attributes: Attributes, pid: i32, cpu: i32) -> io::Result<OwnedFd> {
    const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 1 << 3;
    const NO_GROUP: i32 = -1;
    attributes.size = size_of::<Attributes>() as u32;
    // SAFETY: `attributes` outlives the call and its `size` is that of the struct.
    let result = unsafe {
        libc::syscall(libc::SYS_perf_event_open, &raw const attributes, pid, cpu, NO_GROUP, PERF_FLAG_FD_CLOEXEC)
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The struct has the size that the kernel calls PERF_ATTR_SIZE_VER8: no field is missing.
    #[test]
    fn attributes_have_the_size_of_the_abi() {
        assert_eq!(size_of::<Attributes>(), 136);
    }
}
