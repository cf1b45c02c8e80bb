//! What became of the ticks of the clock: on each CPU, *ticks = samples written + lost + idle + of other processes*.

use std::collections::BTreeMap;

use profrec_format::{LossCause, Lost, Outcome, Totals};

use crate::losses::Losses;

/// The ticks of one CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuAccount {
    /// All of them, as they were counted when they came.
    pub ticks: u64,
    /// What became of them, and what was remarkable about their samples.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// What was lost there.
    pub lost: Losses,
}

impl CpuAccount {
    /// How many had an outcome.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or(0)
    }

    /// Whether its ticks are those that had an outcome and those that were lost.
    pub fn closes(&self) -> bool {
        let ticks = self.outcomes.iter().filter(|(outcome, _)| outcome.is_tick()).map(|(_, count)| *count);
        let sum = ticks.fold(u128::from(self.lost.samples()), |sum, count| sum + u128::from(count));
        sum == u128::from(self.ticks)
    }

    fn add(&mut self, outcome: Outcome, count: u64) {
        let sum = self.outcomes.entry(outcome).or_default();
        *sum = sum.saturating_add(count);
    }
}

/// The ticks of a recording; nothing when it does not tell of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// By CPU.
    pub cpus: BTreeMap<u32, CpuAccount>,
    /// How often the clocks should have ticked in the time that they were running; `None` when that is not known.
    pub by_clock: Option<u64>,
}

impl Accounts {
    /// What a recording tells at its end; `period` is that of its clock.
    pub fn of(totals: &Totals, period: u64) -> Self {
        let mut cpus: BTreeMap<u32, CpuAccount> = BTreeMap::new();
        for &(cpu, ticks) in &totals.ticks {
            cpus.entry(cpu).or_default().ticks = ticks;
        }
        if !cpus.is_empty() {
            for &(cpu, outcome, count) in &totals.outcomes {
                cpus.entry(cpu).or_default().add(outcome, count);
            }
            for &(cpu, cause, count) in &totals.lost_by_cpu {
                cpus.entry(cpu).or_default().lost.add([(cause, count)]);
            }
        }
        let by_clock = totals.clock_time.checked_div(period).filter(|ticks| *ticks > 0);
        Self { cpus, by_clock }
    }

    /// Whether the recording tells what became of its ticks.
    pub fn are_known(&self) -> bool {
        !self.cpus.is_empty()
    }

    /// All CPUs together.
    pub fn all(&self) -> CpuAccount {
        let mut all = CpuAccount::default();
        for cpu in self.cpus.values() {
            all.ticks = all.ticks.saturating_add(cpu.ticks);
            cpu.outcomes.iter().for_each(|(outcome, count)| all.add(*outcome, *count));
            all.lost.add(cpu.lost.by_cause());
        }
        all
    }

    /// CPUs whose account does not close.
    pub fn wrong(&self) -> Vec<u32> {
        self.cpus.iter().filter(|(_, account)| !account.closes()).map(|(cpu, _)| *cpu).collect()
    }

    /// CPUs that have other samples in the recording than their account says. `found` are those of all of it.
    pub fn differing(&self, found: &BTreeMap<u32, u64>) -> Vec<u32> {
        let written = |cpu| self.cpus.get(&cpu).map_or(0, |account| account.of(Outcome::Written));
        let cpus = self.cpus.keys().chain(found.keys().filter(|cpu| !self.cpus.contains_key(cpu)));
        cpus.copied().filter(|cpu| written(*cpu) != found.get(cpu).copied().unwrap_or(0)).collect()
    }

    /// The ticks that did not hit the target and those that did not come, in words: ` of 2,019 ticks (...)`; of a recording that tells of
    /// the latter alone, as a cut: ` (...)`. Nothing when there are none.
    pub fn others(&self, lost: &Losses, grouped: impl Fn(u64) -> String) -> String {
        let all = self.all();
        let others = [(Outcome::Idle, "idle"), (Outcome::Filtered, "of other processes")];
        let others = others.iter().map(|(outcome, what)| (all.of(*outcome), *what)).filter(|(count, _)| *count > 0);
        let others: Vec<_> = others.map(|(count, what)| format!("{} {what}", grouped(count))).collect();
        let missed = lost.by_cause().filter(|(cause, count)| cause.lost() == Lost::Ticks && *count > 0);
        let missed: Vec<_> =
            missed.map(|(cause, count)| format!("{} more {}", grouped(count), did_not_come(cause))).collect();
        let parts: Vec<_> =
            [others.join(", "), missed.join(", ")].into_iter().filter(|part| !part.is_empty()).collect();
        if parts.is_empty() {
            return String::new();
        }
        if !self.are_known() {
            return format!(" ({})", parts.join("; "));
        }
        format!(" of {} ticks ({})", grouped(all.ticks), parts.join("; "))
    }
}

fn did_not_come(cause: LossCause) -> &'static str {
    match cause {
        LossCause::Throttled => "did not come: throttled",
        LossCause::Offline => "did not come: CPU offline",
        _ => "did not come: late",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals() -> Totals {
        Totals {
            ticks: vec![(0, 100), (3, 12)],
            outcomes: vec![
                (0, Outcome::Written, 50),
                (0, Outcome::Idle, 30),
                (0, Outcome::NoUserSide, 7),
                (3, Outcome::Filtered, 12),
            ],
            lost_by_cpu: vec![(0, LossCause::RingFull, 20), (0, LossCause::Late, 5)],
            clock_time: 120_000,
            ..Totals::default()
        }
    }

    /// Remarks and ticks that never came are no part of a CPU's ticks; an outcome of a later version is.
    #[test]
    fn accounts_close_by_cpu() {
        let mut totals = totals();
        let accounts = Accounts::of(&totals, 1_000);
        assert_eq!((accounts.wrong(), accounts.by_clock), (vec![], Some(120)));
        totals.outcomes.push((3, Outcome::Other(88), 1));
        assert_eq!(Accounts::of(&totals, 1_000).wrong(), [3]);
        totals.ticks[1].1 += 1;
        assert_eq!(Accounts::of(&totals, 0).wrong(), Vec::<u32>::new());
    }

    /// The samples in the recording are those that the account of their CPU says.
    #[test]
    fn samples_are_compared() {
        let accounts = Accounts::of(&totals(), 1_000);
        assert_eq!(accounts.differing(&BTreeMap::from([(0, 50)])), Vec::<u32>::new());
        assert_eq!(accounts.differing(&BTreeMap::from([(0, 49), (7, 1)])), [0, 7]);
    }

    /// Ticks of others are told, and a recording that does not know of them tells none.
    #[test]
    fn others_in_words() {
        let mut lost = Losses::default();
        lost.add([(LossCause::RingFull, 20), (LossCause::Late, 5)]);
        let words = Accounts::of(&totals(), 1_000).others(&lost, |count| count.to_string());
        assert_eq!(words, " of 112 ticks (30 idle, 12 of other processes; 5 more did not come: late)");
        assert_eq!(Accounts::default().others(&Losses::default(), |count| count.to_string()), "");
    }

    /// A cut and a recording that was not closed do not know of all ticks, but of those that did not come.
    #[test]
    fn missed_ticks_of_cuts_were_hidden() {
        let mut lost = Losses::default();
        lost.add([(LossCause::Late, 5)]);
        assert_eq!(Accounts::default().others(&lost, |count| count.to_string()), " (5 more did not come: late)");
    }

    /// Numbers without end in a hostile recording do not overflow.
    #[test]
    fn sums_do_not_overflow() {
        let outcomes =
            vec![(0, Outcome::Written, u64::MAX), (0, Outcome::Written, u64::MAX), (1, Outcome::Idle, u64::MAX)];
        let totals = Totals { ticks: vec![(0, u64::MAX), (1, u64::MAX)], outcomes, ..Totals::default() };
        let all = Accounts::of(&totals, 1).all();
        assert_eq!((all.ticks, all.of(Outcome::Written)), (u64::MAX, u64::MAX));
    }
}
