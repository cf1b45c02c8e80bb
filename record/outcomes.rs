//! What became of the ticks, as the BPF program counts it on each CPU.

use std::ops::Sub;

use profrec_format::Outcome;

/// Counters of the BPF program; OUTCOMES in bpf/accounts.h.
const COUNTERS: usize = 20;

/// Declares counters that are summed and compared, each with its number in `enum outcome` of bpf/accounts.h.
macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $number:literal $field:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(crate) struct $name {
            $($(#[$field_doc])* pub(crate) $field: u64,)*
        }

        impl $name {
            /// Takes them from where the BPF program puts them.
            fn new(counters: &[u64; COUNTERS]) -> Self {
                Self { $($field: counters[$number],)* }
            }

            fn combine(self, other: Self, with: impl Fn(u64, u64) -> u64) -> Self {
                Self { $($field: with(self.$field, other.$field),)* }
            }
        }
    };
}

counters! {
    /// What became of ticks, each counted as often as it stands for a period of the clock, and what was remarkable about those that were
    /// captured, each counted once.
    Outcomes {
        0 sent,
        1 ring_full,
        2 filtered,
        3 idle,
        4 no_scratch,
        5 no_user_side,
        6 stacks_cut,
        7 unreadable_pages,
        8 stacks_switched,
        /// Spent in the kernel on the ticks that were sent or did not fit into the ring.
        9 nanoseconds,
        /// All, whatever became of them.
        10 ticks,
        /// Ticks that the clock did not give.
        11 missed,
        /// Interrupts of clocks, whatever they stand for.
        15 interrupts,
        /// Interrupts that were captured, for the ring had no room or took them.
        16 captured,
        /// Ticks that could not be counted, because the map of counts was full.
        17 counts_full,
        /// Stacks that have no id, because others have their places, or because their map was full.
        18 stacks_collided,
        19 stacks_full,
    }
}

impl Outcomes {
    /// Ticks that hit the target.
    pub(crate) fn expected(&self) -> u64 {
        self.sent + self.ring_full + self.no_scratch + self.counts_full
    }

    /// What a recording tells of them, besides losses; `written` of them are in it.
    pub(crate) fn told(&self, written: u64) -> impl Iterator<Item = (Outcome, u64)> {
        let all = [
            (Outcome::Written, written),
            (Outcome::Idle, self.idle),
            (Outcome::Filtered, self.filtered),
            (Outcome::NoUserSide, self.no_user_side),
            (Outcome::StackCut, self.stacks_cut),
            (Outcome::PagesUnreadable, self.unreadable_pages),
            (Outcome::StackSwitched, self.stacks_switched),
            (Outcome::StackCollided, self.stacks_collided),
            (Outcome::StacksFull, self.stacks_full),
        ];
        all.into_iter().filter(|(_, count)| *count > 0)
    }
}

impl Sub for Outcomes {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        self.combine(before, u64::saturating_sub)
    }
}

/// The counters of one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) outcomes: Outcomes,
    /// When missed ticks were noticed last.
    pub(crate) missed_until: u64,
    /// When the next tick is due; 0 before the first, and where clocks follow threads.
    pub(crate) due: u64,
    /// What its last tick stood for.
    pub(crate) weight: u64,
}

impl Account {
    /// Puts counters in their places.
    fn new(counters: [u64; COUNTERS]) -> Self {
        let outcomes = Outcomes::new(&counters);
        let [.., missed_until, due, weight, _, _, _, _, _] = counters;
        Self { outcomes, missed_until, due, weight }
    }

    /// Counts the ticks that were due until `end`, when the clock was stopped, and did not come.
    fn miss_until(&mut self, end: u64, period: u64) {
        let own = period * self.weight;
        if self.due > 0 && own > 0 && end >= self.due + own {
            self.outcomes.missed += (end - self.due) / own * self.weight;
            self.missed_until = end;
        }
    }
}

/// The counters of all CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accounts(pub(crate) Vec<Account>);

impl Accounts {
    /// Reads `struct counters` of each CPU.
    pub(crate) fn of_cpus(cpus: &[Vec<u8>]) -> Self {
        let account = |bytes: &Vec<u8>| {
            let mut counters = [0; COUNTERS];
            counters.iter_mut().zip(bytes.as_chunks().0).for_each(|(to, from)| *to = u64::from_le_bytes(*from));
            Account::new(counters)
        };
        Self(cpus.iter().map(account).collect())
    }

    /// All CPUs together.
    pub(crate) fn all(&self) -> Outcomes {
        let outcomes = self.0.iter().map(|account| account.outcomes);
        outcomes.fold(Outcomes::default(), |sum, cpu| sum.combine(cpu, u64::wrapping_add))
    }

    /// Each CPU that had a tick, with its number.
    pub(crate) fn by_cpu(&self) -> impl Iterator<Item = (u32, &Account)> {
        (0..).zip(&self.0).filter(|(_, account)| account.outcomes.ticks > 0)
    }

    /// Counts the ticks that were due until `end`, when the clocks were stopped, and did not come.
    pub(crate) fn miss_until(&mut self, end: u64, period: u64) {
        self.0.iter_mut().for_each(|account| account.miss_until(end, period));
    }
}

/// Ticks that did not fit into the ring in about a second; `struct lost_second` in bpf/accounts.h.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LostSecond {
    /// Which one; 0 for none.
    pub(crate) second: u64,
    /// How many.
    pub(crate) count: u64,
    /// When the first one was.
    pub(crate) first: u64,
    /// When the last one was.
    pub(crate) last: u64,
}

impl LostSecond {
    /// Reads the struct.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (words, _) = bytes.as_chunks::<8>();
        let words: &[[u8; 8]; 4] = words.first_chunk()?;
        let [second, count, first, last] = words.map(u64::from_le_bytes);
        Some(Self { second, count, first, last })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Counters are found where the BPF program puts them, and sums and differences are of each.
    #[test]
    fn counters_are_where_the_bpf_program_puts_them() {
        let counted: Vec<u8> = (1..=COUNTERS as u64).flat_map(u64::to_le_bytes).collect();
        let accounts = Accounts::of_cpus(&[counted.clone(), vec![0; 8 * COUNTERS], counted]);
        let account = accounts.0[0];
        let Outcomes { sent, ring_full, filtered, idle, no_scratch, .. } = account.outcomes;
        assert_eq!([sent, ring_full, filtered, idle, no_scratch], [1, 2, 3, 4, 5]);
        assert_eq!(
            [account.outcomes.ticks, account.outcomes.missed, account.missed_until, account.due],
            [11, 12, 13, 14]
        );
        assert_eq!(accounts.all() - account.outcomes, account.outcomes);
        assert_eq!(accounts.by_cpu().map(|(cpu, _)| cpu).collect::<Vec<_>>(), [0, 2]);
    }

    /// A CPU that was gone at the end has missed ticks since then; one whose next tick is not yet late has not.
    #[test]
    fn ticks_that_did_not_come_at_the_end() {
        let ticked = |due| Account {
            outcomes: Outcomes { ticks: 1, ..Outcomes::default() },
            due,
            weight: 1,
            ..Account::default()
        };
        let mut accounts = Accounts(vec![ticked(100), ticked(191), Account::default()]);
        accounts.miss_until(200, 10);
        assert_eq!(accounts.0.iter().map(|account| account.outcomes.missed).collect::<Vec<_>>(), [10, 0, 0]);
    }
}
