//! What the recorder itself cost and achieved.

use serde::{Deserialize, Serialize};

use crate::outcome::Outcome;

/// The recorder in about a second. Amounts are of the `interval` that ends at `time`, sizes are what they are then; what the
/// recorder did not find out is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfMetrics {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub time: u64,
    /// Nanoseconds since the record before, or since the start.
    pub interval: u64,
    /// CPU time of the recorder, user and system, in nanoseconds.
    pub cpu: u64,
    /// Time spent in the BPF program on ticks that were captured, by all CPUs, in nanoseconds, as the program measures it itself.
    pub bpf_time: u64,
    /// Captured ticks, which `bpf_time` is of.
    pub bpf_runs: u64,
    /// Bytes of the recorder's memory that are resident.
    pub memory: u64,
    /// Bytes of kernel memory that its maps and rings take.
    pub kernel_memory: u64,
    /// Bytes of the ring between kernel and recorder.
    pub ring_size: u64,
    /// Bytes in it when the recorder last looked.
    pub ring_fill: u64,
    /// The most bytes that it found there in the interval.
    pub ring_peak: u64,
    /// Bytes that left for the output.
    pub bytes: u64,
    /// Samples that left for the output.
    pub samples: u64,
    /// Samples that were lost.
    pub lost: u64,
    /// Nanoseconds from a tick to when its sample left for the output: the median of these samples.
    pub delay_median: u64,
    /// The 99th percentile.
    pub delay_p99: u64,
    /// The longest.
    pub delay_max: u64,
    /// What became of ticks on all CPUs; those that happened.
    pub outcomes: Vec<(Outcome, u64)>,
}
