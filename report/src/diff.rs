//! Two profiles side by side: functions by the change of their share. A share is samples of the
//! function per samples of its own recording, so neither length nor rate of the recordings counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::profile::{By, Profile};
use crate::refine::LeftOut;

/// What changed between two profiles.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diff {
    /// The first recording.
    pub before: Side,
    /// The second recording.
    pub after: Side,
    /// What is compared.
    pub by: By,
    /// Every function of both, or what stands in their place, the largest change of self share first.
    pub changes: Vec<Change>,
}

/// What one of the two recordings is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Side {
    /// Samples that are compared.
    pub samples: u64,
    /// Samples that are left out for their stacks.
    pub left_out: LeftOut,
    /// Length in seconds.
    pub seconds: f64,
    /// Ticks in a second of CPU time.
    pub frequency: f64,
    /// CPU time that the samples stand for.
    pub cpu_seconds: f64,
}

/// One function in both recordings: samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub name: Arc<str>,
    /// The name of its module.
    pub module: Arc<str>,
    /// Self samples in the first.
    pub self_before: u64,
    /// Self samples in the second.
    pub self_after: u64,
    /// Total samples in the first.
    pub total_before: u64,
    /// Total samples in the second.
    pub total_after: u64,
}

/// Whether a function is in both recordings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// In both.
    Both,
    /// Only in the second.
    New,
    /// Only in the first.
    Vanished,
}

impl Status {
    /// A stable name, used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::New => "new",
            Self::Vanished => "vanished",
        }
    }
}

impl Change {
    /// Whether the function is in both recordings.
    pub fn status(&self) -> Status {
        match (self.total_before, self.total_after) {
            (0, _) => Status::New,
            (_, 0) => Status::Vanished,
            _ => Status::Both,
        }
    }
}

impl Diff {
    /// Compares two profiles. Functions are the same when their names and those of their modules are.
    pub fn compare(before: &Profile, after: &Profile) -> Self {
        let mut changes: BTreeMap<(Arc<str>, Arc<str>), Change> = BTreeMap::new();
        for function in before.by_name() {
            let change = entry(&mut changes, &function.name, &function.module);
            change.self_before += function.self_samples;
            change.total_before += function.total_samples;
        }
        for function in after.by_name() {
            let change = entry(&mut changes, &function.name, &function.module);
            change.self_after += function.self_samples;
            change.total_after += function.total_samples;
        }
        let mut diff = Self { before: side(before), after: side(after), by: before.by, changes: Vec::new() };
        let mut changes: Vec<Change> = changes.into_values().collect();
        let size = |change: &Change| (diff.self_delta(change).abs(), diff.total_delta(change).abs());
        // The sort is stable: equal changes stay in the order of their names.
        changes.sort_by(|a, b| {
            let ((a_self, a_total), (b_self, b_total)) = (size(a), size(b));
            b_self.total_cmp(&a_self).then(b_total.total_cmp(&a_total))
        });
        diff.changes = changes;
        diff
    }

    /// The largest changes: at most `limit` of them (0: all), and none whose self share changed by less than `min_percent` points.
    pub fn shown(&self, limit: usize, min_percent: f64) -> Vec<&Change> {
        let limit = if limit == 0 { usize::MAX } else { limit };
        let is_large = |change: &&Change| self.self_delta(change).abs() * 100.0 >= min_percent;
        self.changes.iter().filter(is_large).take(limit).collect()
    }

    /// Change of the self share, from -1 to 1.
    pub fn self_delta(&self, change: &Change) -> f64 {
        share(change.self_after, self.after.samples) - share(change.self_before, self.before.samples)
    }

    /// Change of the total share, from -1 to 1.
    pub fn total_delta(&self, change: &Change) -> f64 {
        share(change.total_after, self.after.samples) - share(change.total_before, self.before.samples)
    }
}

/// Samples as a share of all; 0 of nothing.
pub fn share(samples: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { samples as f64 / all as f64 }
}

fn entry<'m>(
    changes: &'m mut BTreeMap<(Arc<str>, Arc<str>), Change>,
    name: &Arc<str>,
    module: &Arc<str>,
) -> &'m mut Change {
    changes.entry((name.clone(), module.clone())).or_insert_with(|| Change {
        name: name.clone(),
        module: module.clone(),
        self_before: 0,
        self_after: 0,
        total_before: 0,
        total_after: 0,
    })
}

fn side(profile: &Profile) -> Side {
    Side {
        samples: profile.samples,
        left_out: profile.ledger.left_out.clone(),
        seconds: profile.facts.seconds(),
        frequency: profile.facts.frequency(),
        cpu_seconds: profile.facts.cpu_seconds(profile.samples),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::tests::sample_profile;

    /// The same profile twice as long is no change.
    #[test]
    fn length_is_no_change() {
        let before = sample_profile();
        let mut after = sample_profile();
        after.samples *= 2;
        after.counts.iter_mut().for_each(|count| count.samples *= 2);
        let diff = Diff::compare(&before, &after);
        assert!(diff.changes.iter().all(|change| diff.self_delta(change).abs() < 1e-12));
    }

    /// Against nothing, every function is new, and nothing divides by zero.
    #[test]
    fn against_nothing_everything_is_new() {
        let diff = Diff::compare(&Profile::default(), &sample_profile());
        assert!(diff.changes.iter().all(|change| change.status() == Status::New));
        assert_eq!(&*diff.changes[0].name, "work");
        assert!((diff.self_delta(&diff.changes[0]) - 0.6).abs() < 1e-12);
    }
}
