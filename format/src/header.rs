//! What a recording says first and last: how it was made, and what it holds in all.

use serde::{Deserialize, Serialize};

use crate::loss::LossCause;
use crate::outcome::Outcome;
use crate::variants::numbered;

/// The processor architecture of the recorded machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Arch {
    /// x86-64, System V ABI.
    #[default]
    X86_64,
    /// aarch64, little-endian.
    Aarch64,
}

impl Arch {
    /// The name that `uname -m` prints.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }
}

/// How user stacks were captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "u32", into = "u32")]
#[non_exhaustive]
pub enum CallGraph {
    /// Registers and filtered stack memory, for unwinding with call frame information.
    #[default]
    Dwarf,
    /// The kernel walked the frame pointers.
    FramePointer,
    /// Not at all.
    None,
    /// In a way that this version does not know.
    Other(u32),
}

numbered!(CallGraph { 0 Dwarf, 1 FramePointer, 2 None });

/// How a recording was made. Stored at its very start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the recorder that wrote it.
    pub recorder: String,
    /// The recorded machine's architecture.
    pub arch: Arch,
    /// The recorded machine's name.
    pub host: String,
    /// Its kernel, as `uname -r` prints it.
    pub kernel: String,
    /// Bytes in a page of memory.
    pub page_size: u32,
    /// CPUs that were online at the start.
    pub cpus: u32,
    /// The recorder's command line; of a recorded command the name alone, without its arguments.
    pub command_line: Vec<String>,
    /// The perf event that was the clock, such as `cpu-clock`.
    pub event: String,
    /// Nanoseconds between two ticks of one clock.
    pub period: u64,
    /// How user stacks were captured.
    pub call_graph: CallGraph,
    /// Upper bound of the bytes copied from each end of a stack.
    pub stack_size: u32,
    /// CLOCK_MONOTONIC at the start, in nanoseconds: the clock of every time in the file.
    pub start_monotonic: u64,
    /// CLOCK_REALTIME at the same instant, in nanoseconds since 1970.
    pub start_realtime: u64,
    /// Times in which nothing was recorded, between recordings that were merged: first and last nanosecond of
    /// CLOCK_MONOTONIC, ascending.
    pub gaps: Vec<(u64, u64)>,
    /// Its stacks were unwound after it was recorded, and are no longer in it.
    pub scrubbed: bool,
    /// More about the recorded machine.
    pub machine: Machine,
    /// Nanoseconds between two flushes of counts, when ticks were counted in the kernel: a sample stands for all ticks of one stack,
    /// thread name, program and CPU in that time, and has the time and the thread of the first. 0 where ticks were not counted.
    pub counted_every: u64,
}

impl Header {
    /// Whether ticks of some processes were counted in the kernel, and others sampled.
    pub fn is_hybrid(&self) -> bool {
        self.counted_every > 0 && self.call_graph == CallGraph::Dwarf
    }
}

/// What a machine is. Of a recording that does not tell, everything is empty or 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu_model: String,
    /// CPUs that are there or may be added, as the kernel lists them, such as `0-7`.
    pub cpus_possible: String,
    /// CPUs that were online at the start, in the same form.
    pub cpus_online: String,
    /// Bytes of memory.
    pub memory: u64,
    /// How the kernel was built, as `uname -v` prints it.
    pub kernel_build: String,
    /// What the kernel's clocks count with, such as `tsc`.
    pub clock_source: String,
    /// Nanoseconds since 1970 at which the machine was started, by its clock at the start of the recording.
    pub boot_realtime: u64,
    /// Nanoseconds that it has been suspended for since: CLOCK_MONOTONIC stood still.
    pub suspended: u64,
}

/// What ended a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "u32", into = "u32")]
#[non_exhaustive]
pub enum StopReason {
    /// SIGINT or SIGTERM.
    #[default]
    Interrupted,
    /// The time asked for was over.
    Duration,
    /// The recorded processes ended.
    TargetEnded,
    /// Nothing more could be written.
    WriteFailed,
    /// Nobody knows: the recorder did not get to close the recording that this one was made of.
    NotClosed,
    /// It was cut off here; the recording went on.
    Cut,
    /// It had become as large as it may.
    SizeReached,
    /// For a reason that this version does not know.
    Other(u32),
}

numbered!(StopReason { 0 Interrupted, 1 Duration, 2 TargetEnded, 3 WriteFailed, 4 NotClosed, 5 Cut, 6 SizeReached });

/// What a recording holds in all. Stored at its very end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// CLOCK_MONOTONIC at the end, in nanoseconds.
    pub end_monotonic: u64,
    /// What ended it.
    pub stop: StopReason,
    /// Ticks of the clock that hit the target: those that the samples in the file stand for, and those that were lost.
    pub expected: u64,
    /// Samples in the file.
    pub samples: u64,
    /// What was lost, by cause: ticks, or other things.
    pub lost: Vec<(LossCause, u64)>,
    /// CPU time of the recorder, user and system, in nanoseconds.
    pub recorder_cpu: u64,
    /// Time spent in the BPF program on ticks that were captured, in nanoseconds, as the program measures it itself: what the kernel
    /// does before and after it, about a microsecond a tick, is not in it.
    pub bpf_time: u64,
    /// Captured ticks, which `bpf_time` is of.
    pub bpf_runs: u64,
    /// What the samples in the file stand for together, in ticks. Earlier versions had none; see [`Totals::ticks`].
    pub weight: u64,
    /// Ticks of the clock, by CPU, whatever became of them; empty when that is not known. On each CPU they are the `outcomes` that are
    /// ticks and the `lost_by_cpu` that are samples.
    pub ticks: Vec<(u32, u64)>,
    /// What became of ticks that were not lost, by CPU.
    pub outcomes: Vec<(u32, Outcome, u64)>,
    /// What was lost, by CPU, as far as that is known.
    pub lost_by_cpu: Vec<(u32, LossCause, u64)>,
    /// Nanoseconds for which the clocks were running, all together; 0 when that is not known. Divided by the period, it is
    /// how often they should have ticked.
    pub clock_time: u64,
}

impl Totals {
    /// Ticks that the samples in the file stand for: `expected` is these and the lost ones.
    pub fn ticks(&self) -> u64 {
        if self.weight == 0 { self.samples } else { self.weight }
    }
}
