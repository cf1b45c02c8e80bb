//! What happened to processes: they came, changed their program, mapped code, and went.

use serde::{Deserialize, Serialize};

use super::ModuleId;

/// A process as it is at `time`. It opens an empty address space; the mappings that follow it fill it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub time: u64,
    /// Process id.
    pub pid: u32,
    /// Process id of its parent, 0 when unknown.
    pub parent: u32,
    /// Name of its main thread (the kernel's `comm`).
    pub comm: String,
    /// A kernel thread: it has no user stack.
    pub kernel_thread: bool,
    /// Path of its cgroup as its host shows it, such as `/system.slice/nginx.service`; empty when unknown. A process that was
    /// gone before it could be asked has its parent's. When a process is moved, a second definition tells.
    pub cgroup: String,
}

/// The name of a thread from `time` on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub time: u64,
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// The thread's name (the kernel's `comm`).
    pub comm: String,
}

/// `PERF_RECORD_FORK`: when `pid` differs from `parent`, the new process starts with a copy of
/// its parent's address space.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub time: u64,
    /// Process id of the new task.
    pub pid: u32,
    /// Thread id of the new task.
    pub tid: u32,
    /// Process id of the creator.
    pub parent: u32,
    /// Thread id of the creator.
    pub parent_tid: u32,
}

/// `PERF_RECORD_COMM` with the exec flag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub time: u64,
    /// Process id.
    pub pid: u32,
    /// The new name.
    pub comm: String,
}

/// `PERF_RECORD_EXIT`; the process ends when its last thread does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub time: u64,
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
}

/// An executable mapping in a process's address space.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub time: u64,
    /// Process id.
    pub pid: u32,
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// Offset in the module of the byte at `start`.
    pub offset: u64,
    /// What is mapped.
    pub module: ModuleId,
}
