//! What was lost, added up by cause.

use std::collections::BTreeMap;

use profrec_format::{LossCause, Record, Totals};

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

    /// Ticks that were lost: samples, each as often as it stands for a tick.
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

/// Ticks that samples stand for of which only the number is known: as many each as the others of their recording.
pub fn ticks_of(samples: u64, totals: Option<&Totals>) -> u64 {
    let Some(totals) = totals.filter(|totals| totals.samples > 0) else { return samples };
    let ticks = u128::from(samples) * u128::from(totals.ticks()) / u128::from(totals.samples);
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// The losses that were noticed while recording, as records tell of them.
pub fn noticed(records: &[Record]) -> impl Iterator<Item = (LossCause, u64)> + '_ {
    records.iter().filter_map(|record| match record {
        Record::Loss(loss) => Some((loss.cause, loss.count)),
        _ => None,
    })
}
