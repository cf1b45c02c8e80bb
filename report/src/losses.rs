//! What was lost, added up by cause.

use std::collections::BTreeMap;

use profrec_format::{LossCause, Record};

/// How much was lost by which cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses(BTreeMap<LossCause, u64>);

impl Losses {
    /// Adds losses. A cause that lost nothing is listed, too.
    pub fn add(&mut self, losses: impl IntoIterator<Item = (LossCause, u64)>) {
        for (cause, count) in losses {
            let sum = self.0.entry(cause).or_default();
            *sum = sum.saturating_add(count);
        }
    }

    /// Samples that were lost.
    pub fn samples(&self) -> u64 {
        self.by_cause().filter(|(cause, _)| cause.is_samples()).fold(0, |sum, (_, count)| sum.saturating_add(count))
    }

    /// What was lost by one cause.
    pub fn of(&self, cause: LossCause) -> u64 {
        self.0.get(&cause).copied().unwrap_or_default()
    }

    /// Each cause with its count, in the order of the causes.
    pub fn by_cause(&self) -> impl Iterator<Item = (LossCause, u64)> + '_ {
        self.0.iter().map(|(&cause, &count)| (cause, count))
    }
}

/// The losses that were noticed while recording, as records tell of them.
pub fn noticed(records: &[Record]) -> impl Iterator<Item = (LossCause, u64)> + '_ {
    records.iter().filter_map(|record| match record {
        Record::Loss(loss) => Some((loss.cause, loss.count)),
        _ => None,
    })
}
