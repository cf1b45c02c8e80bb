//! What the options of a recording come to, with the defaults of those that are not given.

use std::time::Duration;

use super::{CallGraph, Embed, HowToCount, Preset, RecordArgs};
use crate::amounts::MaxCpu;
use crate::count_sets::Sizes;

impl RecordArgs {
    /// How often counts are written, when ticks are counted in the kernel.
    pub(crate) fn counts_every(&self) -> Option<Duration> {
        const USUAL: Duration = Duration::from_secs(10);
        // So few ticks are not worth a segment of their own more often.
        const RARE: Duration = Duration::from_secs(60);
        let for_weeks = self.preset == Some(Preset::Monitor);
        let implied = for_weeks && self.call_graph.is_none();
        (self.count.is_some() || implied).then(|| self.flush.unwrap_or(if for_weeks { RARE } else { USUAL }))
    }

    /// How many stacks and counts there is room for.
    pub(crate) fn count_sizes(&self) -> Sizes {
        Sizes { stacks: self.stack_entries.unwrap_or(16 << 10), counts: self.count_entries.unwrap_or(32 << 10) }
    }

    /// Of ticks of processes whose stacks frame pointers do not lead through, one in so many is a sample; `None` when these are counted, or
    /// all ticks are sampled.
    pub(crate) fn samples_every(&self) -> Option<u32> {
        (self.count == Some(HowToCount::Hybrid)).then(|| self.sample_every.unwrap_or(10))
    }

    /// Stacks up to this depth are copied whole.
    pub(crate) fn whole_stack(&self) -> u32 {
        self.whole_stack.unwrap_or(512 << 10)
    }

    /// Bytes copied from each end of a stack that is deeper.
    pub(crate) fn stack_size(&self) -> u32 {
        self.stack_size.unwrap_or(64 << 10)
    }

    /// Bytes of the ring between kernel and recorder.
    pub(crate) fn ring_size(&self) -> u32 {
        self.ring_size.unwrap_or(8 << 20)
    }

    /// Whether stacks are copied, be it only those of some processes.
    pub(crate) fn copies_stacks(&self) -> bool {
        self.counts_every().is_none() || self.samples_every().is_some()
    }

    /// How user stacks are captured.
    pub(crate) fn call_graph(&self) -> CallGraph {
        let default = if !self.copies_stacks() { CallGraph::Fp } else { CallGraph::Dwarf };
        self.call_graph.unwrap_or(default)
    }

    /// What evidence is embedded. Where each flush would have it again, only what is asked for.
    pub(crate) fn embed(&self) -> Embed {
        self.embed.unwrap_or(if self.copies_stacks() { Embed::Unwind } else { Embed::None })
    }

    /// Names of code that is made at run time are embedded: nobody can fetch them later.
    pub(crate) fn names_run_time_code(&self) -> bool {
        self.embed != Some(Embed::None)
    }

    /// Only some of what the target does is recorded.
    pub(crate) fn is_narrowed(&self) -> bool {
        !self.cgroups.is_empty() || !self.comms.is_empty() || !self.users.is_empty()
    }

    /// What recording may cost, in millionths of the machine. Who looks closely on a machine of their own may spend more.
    pub(crate) fn max_cpu(&self) -> Option<u32> {
        let default = if self.preset == Some(Preset::Dev) { 50_000 } else { 10_000 };
        self.max_cpu.unwrap_or(MaxCpu(Some(default))).0
    }

    /// Nanoseconds between two samples of a CPU.
    pub(crate) fn period(&self) -> u64 {
        const SECOND: u64 = 1_000_000_000;
        if let Some(interval) = self.interval {
            return u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(SECOND / 10_000);
        }
        let preset = self.preset.map(|preset| match preset {
            Preset::Dev => 999,
            Preset::Prod => 99,
            Preset::Monitor => 10,
        });
        SECOND / self.frequency.or(preset).unwrap_or(99)
    }
}
