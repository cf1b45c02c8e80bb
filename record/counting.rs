//! When what was counted in the kernel is taken from there.

use std::time::{Duration, Instant};

use crate::args::RecordArgs;
use crate::count_sets::Sizes;
use crate::counts::Counts;
use crate::ring::RingFill;

/// How often the recorder looks at all, between two flushes: at process events, at CPUs, at control groups.
pub(crate) const LOOK: Duration = Duration::from_secs(1);
/// How often it measures itself, when nobody watches.
pub(crate) const MEASUREMENT: Duration = Duration::from_secs(10);
/// When counts are taken first, where it is to be judged by them whom to sample. Each time after that is twice as long, up to the rhythm.
const FIRST: Duration = Duration::from_secs(1);

/// The time of the next flush.
#[derive(Debug)]
pub(crate) struct Counting {
    every: Duration,
    /// How long it is from the last flush to the next one: as `every`, but for the first few.
    interval: Duration,
    taken: Instant,
    sizes: Sizes,
    /// How full the maps were when they were taken last.
    fill: RingFill,
}

impl Counting {
    /// What is asked for, from now on; `None` when ticks are not counted.
    pub(crate) fn of(args: &RecordArgs) -> Option<Self> {
        let every = args.counts_every()?;
        let interval = if args.samples_every().is_some() { every.min(FIRST) } else { every };
        Some(Self { every, interval, taken: Instant::now(), sizes: args.count_sizes(), fill: RingFill::default() })
    }

    /// The sizes of the maps.
    pub(crate) fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// How long there is to wait for the next flush.
    pub(crate) fn left(&self) -> Duration {
        self.interval.saturating_sub(self.taken.elapsed())
    }

    /// Counts were taken. They are due again in the rhythm that was asked for; when they were taken early, or too late for the next time,
    /// from now on.
    pub(crate) fn taken(&mut self, counts: &Counts) {
        let now = Instant::now();
        let in_rhythm = self.taken + self.interval;
        self.interval = self.every.min(2 * self.interval);
        self.taken = if in_rhythm > now || in_rhythm + self.every <= now { now } else { in_rhythm };
        self.fill = counts.fill(self.sizes);
    }

    /// How full the maps were when they were taken last.
    pub(crate) fn fill(&self) -> RingFill {
        self.fill
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(every: u64, interval: u64) -> Counting {
        let [every, interval] = [every, interval].map(Duration::from_secs);
        let sizes = Sizes { stacks: 1, counts: 1 };
        Counting { every, interval, taken: Instant::now(), sizes, fill: RingFill::default() }
    }

    /// Flushes keep their rhythm; one that comes early, or too late for the next one, begins a new one.
    #[test]
    fn flushes_keep_their_rhythm() {
        let mut counting = counting(100, 100);
        assert!(counting.left() > Duration::from_secs(90));
        counting.taken = counting.taken.checked_sub(Duration::from_secs(130)).unwrap_or(counting.taken);
        assert!(counting.left().is_zero());
        counting.taken(&Counts::default());
        assert!(counting.left() > Duration::from_secs(60) && counting.left() <= Duration::from_secs(70));
        for _early in 0..3 {
            counting.taken(&Counts::default());
            assert!(counting.left() > Duration::from_secs(90) && counting.left() <= Duration::from_secs(100));
        }
        counting.taken = counting.taken.checked_sub(Duration::from_secs(500)).unwrap_or(counting.taken);
        counting.taken(&Counts::default());
        assert!(counting.left() > Duration::from_secs(90));
    }

    /// Where it is to be judged whom to sample, the first flush comes soon, however long the rhythm is, and the next ones later and later.
    #[test]
    fn the_first_flushes_come_soon() {
        let mut counting = counting(10, 1);
        let mut seconds = Vec::new();
        for _ in 0..6 {
            seconds.push(counting.left().as_secs_f64().ceil());
            counting.taken(&Counts::default());
        }
        assert_eq!(seconds, [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]);
    }
}
