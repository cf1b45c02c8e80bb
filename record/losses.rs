//! What a recording lacks, by cause and CPU, and when it was lost.

use std::collections::BTreeMap;

use profrec_format::{Loss, LossCause, Lost};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::outcomes::{Account, Accounts, LostSecond, Outcomes};

/// What was lost so far; the recording says all of it but what is not written.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    counts: BTreeMap<(LossCause, Option<u32>), u64>,
    /// Ticks that did not fit into the ring, by CPU and second, as far as they are told.
    seconds: FxHashMap<(u32, u64), u64>,
    /// CPUs whose clock was stopped since their missed ticks were told.
    throttled: FxHashSet<u32>,
    /// CPUs that went, and how many ticks those had that came back, until the next.
    offline: FxHashMap<u32, Option<u64>>,
    /// When the counters were read last.
    looked: u64,
}

impl Losses {
    /// Adds a loss.
    pub(crate) fn add(&mut self, loss: &Loss) {
        self.add_count(loss.cause, loss.cpu, loss.count);
    }

    fn add_count(&mut self, cause: LossCause, cpu: Option<u32>, count: u64) {
        *self.counts.entry((cause, cpu)).or_default() += count;
    }

    /// Notes that the kernel has stopped a CPU's clock: what it misses is told with that cause.
    pub(crate) fn throttle(&mut self, cpu: u32) {
        self.throttled.insert(cpu);
    }

    /// Notes that a CPU is gone: what its clock misses from now on is told with that cause.
    pub(crate) fn offline(&mut self, cpu: u32) {
        self.offline.insert(cpu, None);
    }

    /// Notes that a CPU has a clock again: the first tick shows what was missed.
    pub(crate) fn online(&mut self, cpu: u32, accounts: &Accounts) {
        if let Some(back) = self.offline.get_mut(&cpu) {
            *back = Some(accounts.0.get(cpu as usize).map_or(0, |account| account.outcomes.ticks));
        }
    }

    /// Whether ticks did not fit into the ring that are not told yet.
    pub(crate) fn is_ring_full(&self, accounts: &Accounts) -> bool {
        accounts.by_cpu().any(|(cpu, account)| account.outcomes.ring_full > self.of(LossCause::RingFull, cpu))
    }

    /// What the counters, read at `now`, say of losses that is not told yet, to be recorded. `seconds` are those in which the ring
    /// was full.
    pub(crate) fn look(
        &mut self,
        accounts: &Accounts,
        seconds: &[(u32, LostSecond)],
        now: u64,
        period: u64,
    ) -> Vec<Loss> {
        let mut new = Vec::new();
        for (cpu, account) in accounts.by_cpu() {
            self.ring_full(cpu, account, seconds, &mut new);
            let Outcomes { no_scratch, counts_full, .. } = account.outcomes;
            for (cause, counted) in [(LossCause::NoScratch, no_scratch), (LossCause::CountsFull, counts_full)] {
                let count = counted.saturating_sub(self.of(cause, cpu));
                self.tell(Loss { since: self.looked, cpu: Some(cpu), ..Loss::at(now, cause, count) }, &mut new);
            }
            self.missed(cpu, account, (now, period), &mut new);
        }
        self.looked = now;
        new
    }

    fn ring_full(&mut self, cpu: u32, account: &Account, seconds: &[(u32, LostSecond)], new: &mut Vec<Loss>) {
        let mut untold = account.outcomes.ring_full.saturating_sub(self.of(LossCause::RingFull, cpu));
        if untold == 0 {
            return;
        }
        let mut of_cpu: Vec<_> = seconds.iter().filter(|(of, _)| *of == cpu).map(|(_, second)| second).collect();
        of_cpu.sort_unstable_by_key(|second| second.second);
        let first = of_cpu.first().map_or(self.looked, |second| second.first.max(self.looked));
        let mut timed = Vec::new();
        for second in of_cpu {
            let told = self.seconds.entry((cpu, second.second)).or_default();
            // The counters go on while they are read.
            let count = second.count.saturating_sub(*told).min(untold);
            *told += count;
            untold -= count;
            let since = second.first.max(self.looked).min(second.last);
            timed.push(Loss { since, cpu: Some(cpu), ..Loss::at(second.last, LossCause::RingFull, count) });
        }
        // More than a minute ago, or just now.
        let rest = Loss { since: self.looked, cpu: Some(cpu), ..Loss::at(first, LossCause::RingFull, untold) };
        for loss in [rest].into_iter().chain(timed) {
            self.tell(loss, new);
        }
        let is_there = |of, number| seconds.iter().any(|(cpu, second)| (*cpu, second.second) == (of, number));
        self.seconds.retain(|(of, number), _| *of != cpu || is_there(*of, *number));
    }

    fn missed(&mut self, cpu: u32, account: &Account, (now, period): (u64, u64), new: &mut Vec<Loss>) {
        let told = [LossCause::Late, LossCause::Throttled, LossCause::Offline].map(|cause| self.of(cause, cpu));
        let count = account.outcomes.missed.saturating_sub(told.iter().sum());
        let cause = match () {
            () if self.throttled.contains(&cpu) => LossCause::Throttled,
            () if self.offline.contains_key(&cpu) => LossCause::Offline,
            () => LossCause::Late,
        };
        if count > 0 {
            self.throttled.remove(&cpu);
        }
        self.offline.retain(|of, back| *of != cpu || back.is_none_or(|ticks| ticks == account.outcomes.ticks));
        let time = account.missed_until.min(now);
        let since = time.saturating_sub(count.saturating_mul(period)).max(self.looked);
        self.tell(Loss { since: since.min(time), cpu: Some(cpu), ..Loss::at(time, cause, count) }, new);
    }

    fn tell(&mut self, loss: Loss, new: &mut Vec<Loss>) {
        if loss.count > 0 {
            self.add(&loss);
            new.push(loss);
        }
    }

    /// Counts as lost what a CPU sent and is not in the output, when nothing more can be written.
    pub(crate) fn not_written(&mut self, cpu: u32, account: &Account, written: u64) {
        let malformed = self.of(LossCause::Malformed, cpu);
        let count = account.outcomes.sent.saturating_sub(written + malformed);
        if count > 0 {
            self.add_count(LossCause::NotWritten, Some(cpu), count);
        }
    }

    fn of(&self, cause: LossCause, cpu: u32) -> u64 {
        self.counts.get(&(cause, Some(cpu))).copied().unwrap_or(0)
    }

    /// By cause, those that happened.
    pub(crate) fn by_cause(&self) -> Vec<(LossCause, u64)> {
        let mut sums: BTreeMap<LossCause, u64> = BTreeMap::new();
        for ((cause, _), count) in &self.counts {
            *sums.entry(*cause).or_default() += count;
        }
        sums.into_iter().collect()
    }

    /// By CPU and cause, where the CPU is known.
    pub(crate) fn by_cpu(&self) -> Vec<(u32, LossCause, u64)> {
        let mut all: Vec<_> =
            self.counts.iter().filter_map(|((cause, cpu), count)| Some(((*cpu)?, *cause, *count))).collect();
        all.sort_unstable();
        all
    }

    /// Lost samples.
    pub(crate) fn samples(&self) -> u64 {
        self.counts.iter().filter(|((cause, _), _)| cause.lost() == Lost::Samples).map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1 << 30;

    fn lossy(ring_full: u64, missed: u64) -> Account {
        let outcomes = Outcomes { ticks: 1_000, ring_full, missed, ..Outcomes::default() };
        Account { outcomes, missed_until: 9 * SECOND + 9, due: 0, weight: 1 }
    }

    fn second(second: u64, count: u64) -> LostSecond {
        LostSecond { second, count, first: second * SECOND + 3, last: second * SECOND + 7 }
    }

    /// A recorder that stood still tells what was lost meanwhile second by second and CPU by CPU, and nothing twice.
    #[test]
    fn losses_are_told_at_their_time() {
        let mut losses = Losses { looked: 2 * SECOND + 5, ..Losses::default() };
        let accounts = Accounts(vec![Account::default(), lossy(30, 0)]);
        let new = losses.look(&accounts, &[(1, second(4, 10)), (1, second(2, 20))], 9 * SECOND, 1);
        let told: Vec<_> = new.iter().map(|loss| (loss.since, loss.time, loss.cpu, loss.count)).collect();
        assert_eq!(
            told,
            [(2 * SECOND + 5, 2 * SECOND + 7, Some(1), 20), (4 * SECOND + 3, 4 * SECOND + 7, Some(1), 10)]
        );
        assert_eq!(losses.look(&accounts, &[], 9 * SECOND + 1, 1), []);
        let accounts = Accounts(vec![Account::default(), lossy(33, 0)]);
        assert!(losses.is_ring_full(&accounts));
        let new = losses.look(&accounts, &[(1, second(4, 10)), (1, second(2, 20)), (1, second(9, 3))], 10 * SECOND, 1);
        assert_eq!(new.iter().map(|loss| loss.count).collect::<Vec<_>>(), [3]);
        assert!(!losses.is_ring_full(&accounts));
        assert_eq!((losses.samples(), losses.by_cpu()), (33, vec![(1, LossCause::RingFull, 33)]));
    }

    /// What was lost longer ago than seconds are kept is told all the same, as since the look before.
    #[test]
    fn losses_of_long_ago_are_told() {
        let mut losses = Losses { looked: SECOND, ..Losses::default() };
        let new = losses.look(&Accounts(vec![lossy(100, 0)]), &[(0, second(200, 40))], 201 * SECOND, 1);
        let told: Vec<_> = new.iter().map(|loss| (loss.since, loss.time, loss.count)).collect();
        assert_eq!(told, [(SECOND, 200 * SECOND + 3, 60), (200 * SECOND + 3, 200 * SECOND + 7, 40)]);
    }

    /// Ticks that a stopped clock did not give have that cause, later ones another, and they are no samples.
    #[test]
    fn missed_ticks_have_their_cause() {
        let mut losses = Losses { looked: 9 * SECOND, ..Losses::default() };
        losses.throttle(0);
        let new = losses.look(&Accounts(vec![lossy(0, 5)]), &[], 10 * SECOND, 1);
        assert_eq!(
            new,
            [Loss { since: 9 * SECOND + 4, cpu: Some(0), ..Loss::at(9 * SECOND + 9, LossCause::Throttled, 5) }]
        );
        let new = losses.look(&Accounts(vec![lossy(0, 6)]), &[], 11 * SECOND, 1);
        assert_eq!(new.iter().map(|loss| (loss.cause, loss.count)).collect::<Vec<_>>(), [(LossCause::Late, 1)]);
        assert_eq!((losses.samples(), losses.look(&Accounts(vec![lossy(0, 6)]), &[], 12 * SECOND, 1).len()), (0, 0));
    }

    /// What a CPU misses while it is gone has that cause until its new clock has ticked; what it misses then has another one. A CPU whose clock
    /// stays dead misses for that all the time.
    #[test]
    fn ticks_of_a_cpu_that_goes_and_comes() {
        let mut losses = Losses::default();
        let ticked = |ticks, missed| {
            let account = lossy(0, missed);
            Accounts(vec![Account { outcomes: Outcomes { ticks, ..account.outcomes }, ..account }])
        };
        let causes = |losses: &mut Losses, ticks, missed| -> Vec<_> {
            let new = losses.look(&ticked(ticks, missed), &[], 10 * SECOND, 1);
            new.iter().map(|loss| (loss.cause, loss.count)).collect()
        };
        assert_eq!(causes(&mut losses, 10, 2), [(LossCause::Late, 2)]);
        losses.offline(0);
        assert_eq!(causes(&mut losses, 10, 2), []);
        assert_eq!(causes(&mut losses, 10, 5), [(LossCause::Offline, 3)]);
        losses.online(0, &ticked(10, 5));
        assert_eq!(causes(&mut losses, 10, 5), []);
        assert_eq!(causes(&mut losses, 11, 40), [(LossCause::Offline, 35)]);
        assert_eq!(causes(&mut losses, 12, 41), [(LossCause::Late, 1)]);
    }

    /// What a CPU sent and the output refused is lost on that CPU; what was malformed is not lost twice.
    #[test]
    fn what_is_not_written_is_lost() {
        let mut losses = Losses::default();
        losses.add(&Loss { cpu: Some(2), ..Loss::at(1, LossCause::Malformed, 1) });
        let sent = Account { outcomes: Outcomes { sent: 10, ..Outcomes::default() }, ..Account::default() };
        losses.not_written(2, &sent, 6);
        assert_eq!(losses.by_cause(), [(LossCause::Malformed, 1), (LossCause::NotWritten, 3)]);
    }
}
