//! Which samples a report is about, as they are read. What is in their stacks is for `refine`.

use profrec_format::{Part, Sample};

use crate::world::Instant;

/// Which samples are counted. An empty list lets everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SampleFilter {
    /// Process ids.
    pub pids: Vec<u32>,
    /// Thread ids.
    pub tids: Vec<u32>,
    /// Thread names.
    pub comms: Vec<String>,
    /// Cgroups, by their paths, with those inside of them.
    pub cgroups: Vec<String>,
    /// CPU numbers.
    pub cpus: Vec<u32>,
    /// Samples from here on, in nanoseconds after the start of the recording.
    pub from: Option<u64>,
    /// Samples before this, in nanoseconds after the start of the recording.
    pub to: Option<u64>,
    /// Where the tick hit.
    pub side: Side,
    /// Of their stacks, only what is before the first guessed frame.
    pub strict: bool,
    /// Whether the samples of each CPU are counted by themselves.
    pub keep_cpus: bool,
    /// Whether the samples of each cgroup are counted by themselves.
    pub keep_cgroups: bool,
}

/// Where the tick of a sample hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    /// Anywhere.
    #[default]
    Both,
    /// In the kernel; the user frames that led there are shown too.
    KernelOnly,
    /// In user code.
    UserOnly,
}

impl SampleFilter {
    /// The part of a recording that holds all samples that are counted.
    pub fn part(&self) -> Part {
        Part { from: self.from, to: self.to, pids: self.pids.clone(), ..Part::default() }
    }

    /// Whether a sample is counted. `start` is the time at which the recording started.
    pub fn lets_through(&self, sample: &Sample, instant: Instant<'_>, start: u64) -> bool {
        allows(&self.pids, &sample.pid)
            && allows(&self.tids, &sample.tid)
            && allows(&self.cpus, &sample.cpu)
            && (self.comms.is_empty() || self.comms.iter().any(|allowed| allowed == instant.comm))
            && (self.cgroups.is_empty() || self.cgroups.iter().any(|allowed| is_in(instant.cgroup, allowed)))
            && self.covers(sample.time.saturating_sub(start))
            && self.side.includes(sample)
    }

    fn covers(&self, elapsed: u64) -> bool {
        self.from.is_none_or(|from| from <= elapsed) && self.to.is_none_or(|to| elapsed < to)
    }
}

impl Side {
    fn includes(self, sample: &Sample) -> bool {
        match self {
            Self::Both => true,
            Self::KernelOnly => !sample.kernel_chain.is_empty(),
            Self::UserOnly => sample.kernel_chain.is_empty(),
        }
    }
}

/// Whether a cgroup is the one at `path`, or inside of it.
fn is_in(cgroup: &str, path: &str) -> bool {
    let path = path.trim_end_matches('/');
    cgroup.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn allows(list: &[u32], number: &u32) -> bool {
    list.is_empty() || list.contains(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address_space::AddressSpace;

    fn passes(filter: &SampleFilter) -> bool {
        let (space, cgroup) = (AddressSpace::default(), "/docker/0a1".into());
        let instant =
            Instant { space: &space, comm: "worker", kernel_thread: false, cgroup: &cgroup, between_programs: false };
        filter.lets_through(&sample(), instant, 1_000)
    }

    fn sample() -> Sample {
        Sample { time: 1_500, pid: 10, tid: 11, cpu: 2, kernel_chain: vec![1], ..Sample::default() }
    }

    /// A filter that names nothing lets everything through.
    #[test]
    fn empty_filter_lets_everything_through() {
        assert!(passes(&SampleFilter::default()));
    }

    /// Every criterion by itself can refuse a sample, and the end of a time range is exclusive.
    #[test]
    fn every_criterion_refuses() {
        let refused = [
            SampleFilter { pids: vec![9], ..SampleFilter::default() },
            SampleFilter { tids: vec![9], ..SampleFilter::default() },
            SampleFilter { cpus: vec![9], ..SampleFilter::default() },
            SampleFilter { comms: vec!["main".into()], ..SampleFilter::default() },
            SampleFilter { cgroups: vec!["/docker/0a".into(), "/system.slice".into()], ..SampleFilter::default() },
            SampleFilter { from: Some(501), ..SampleFilter::default() },
            SampleFilter { to: Some(500), ..SampleFilter::default() },
            SampleFilter { side: Side::UserOnly, ..SampleFilter::default() },
        ];
        for filter in refused {
            assert!(!passes(&filter), "{filter:?}");
        }
    }

    /// All criteria together let the sample through that meets them all.
    #[test]
    fn all_criteria_met() {
        let filter = SampleFilter {
            pids: vec![10],
            tids: vec![11],
            comms: vec!["worker".into()],
            cgroups: vec!["/x".into(), "/docker/".into()],
            cpus: vec![2],
            from: Some(500),
            to: Some(501),
            side: Side::KernelOnly,
            strict: false,
            keep_cpus: false,
            keep_cgroups: false,
        };
        assert!(passes(&filter));
    }
}
