//! The accounts of ticks of recordings that are carried over whole. Of a part of a recording they are not known.

use std::collections::BTreeMap;

use profrec_format::{LossCause, Outcome, Totals};

/// The ticks of all recordings so far.
#[derive(Default)]
pub(super) struct Ticks {
    sums: Sums,
    /// Some recording does not tell of its ticks.
    is_unknown: bool,
}

#[derive(Default)]
struct Sums {
    ticks: BTreeMap<u32, u64>,
    outcomes: BTreeMap<(u32, Outcome), u64>,
    lost: BTreeMap<(u32, LossCause), u64>,
    clock_time: u64,
}

impl Ticks {
    /// Adds those of a recording; without totals it was not closed.
    pub(super) fn add(&mut self, totals: Option<&Totals>) {
        let Some(totals) = totals.filter(|totals| !totals.ticks.is_empty() || totals.expected == 0) else {
            self.is_unknown = true;
            return;
        };
        let Sums { ticks, outcomes, lost, clock_time } = &mut self.sums;
        totals.ticks.iter().for_each(|&(cpu, count)| add(ticks, cpu, count));
        totals.outcomes.iter().for_each(|&(cpu, outcome, count)| add(outcomes, (cpu, outcome), count));
        totals.lost_by_cpu.iter().for_each(|&(cpu, cause, count)| add(lost, (cpu, cause), count));
        *clock_time = clock_time.saturating_add(totals.clock_time);
    }

    /// Puts them into the totals of what was `written`, by CPU: what was there and is not any more could not be read.
    pub(super) fn put(self, written: &BTreeMap<u32, u64>, totals: Totals) -> Totals {
        let Sums { ticks, mut outcomes, mut lost, clock_time } = self.sums;
        if self.is_unknown || ticks.is_empty() {
            return totals;
        }
        for (&(cpu, _), count) in outcomes.iter_mut().filter(|((_, outcome), _)| *outcome == Outcome::Written) {
            let left = written.get(&cpu).copied().unwrap_or(0);
            let unreadable = count.saturating_sub(left);
            *count = left;
            if unreadable > 0 {
                add(&mut lost, (cpu, LossCause::Unreadable), unreadable);
            }
        }
        Totals {
            ticks: ticks.into_iter().collect(),
            outcomes: outcomes.into_iter().map(|((cpu, outcome), count)| (cpu, outcome, count)).collect(),
            lost_by_cpu: lost.into_iter().map(|((cpu, cause), count)| (cpu, cause, count)).collect(),
            clock_time,
            ..totals
        }
    }
}

fn add<K: Ord>(sums: &mut BTreeMap<K, u64>, key: K, count: u64) {
    let sum = sums.entry(key).or_default();
    *sum = sum.saturating_add(count);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Accounts;

    fn totals(written: u64) -> Totals {
        Totals {
            expected: written + 2,
            ticks: vec![(0, written + 2), (1, 5)],
            outcomes: vec![(0, Outcome::Written, written), (1, Outcome::Idle, 5)],
            lost_by_cpu: vec![(0, LossCause::RingFull, 2)],
            clock_time: 1_000,
            ..Totals::default()
        }
    }

    /// The accounts of a sum close, with what could not be read as a loss of its CPU.
    #[test]
    fn sums_close() {
        let mut ticks = Ticks::default();
        ticks.add(Some(&totals(10)));
        ticks.add(Some(&totals(20)));
        ticks.add(Some(&Totals::default()));
        let sum = ticks.put(&BTreeMap::from([(0, 27)]), Totals::default());
        let accounts = Accounts::of(&sum, 100);
        assert_eq!((accounts.wrong(), accounts.by_clock, accounts.all().ticks), (vec![], Some(20), 44));
        assert_eq!(sum.lost_by_cpu, [(0, LossCause::RingFull, 4), (0, LossCause::Unreadable, 3)]);
    }

    /// Where one recording does not know, the sum does not either.
    #[test]
    fn what_is_not_known_is_not_made_up() {
        for other in [None, Some(&Totals { expected: 3, ..Totals::default() })] {
            let mut ticks = Ticks::default();
            ticks.add(Some(&totals(10)));
            ticks.add(other);
            assert_eq!(ticks.put(&BTreeMap::new(), Totals::default()), Totals::default());
        }
    }
}
