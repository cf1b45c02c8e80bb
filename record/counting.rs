//! When what was counted in the kernel is taken from there.

use std::time::{Duration, Instant};

use crate::count_sets::Sizes;
use crate::counts::Counts;
use crate::ring::RingFill;

/// How often the recorder looks at all, between two flushes: at process events, at CPUs, at control groups.
pub(crate) const LOOK: Duration = Duration::from_secs(1);
/// How often it measures itself, when nobody watches.
pub(crate) const MEASUREMENT: Duration = Duration::from_secs(5);

/// The time of the next flush.
#[derive(Debug)]
pub(crate) struct Counting {
    every: Duration,
    taken: Instant,
    sizes: Sizes,
    /// How full the maps were when they were taken last.
    fill: RingFill,
}

impl Counting {
    /// From now on, in maps of these sizes.
    pub(crate) fn new(every: Duration, sizes: Sizes) -> Self {
        Self { every, taken: Instant::now(), sizes, fill: RingFill::default() }
    }

    /// How long there is to wait for the next flush.
    pub(crate) fn left(&self) -> Duration {
        self.every.saturating_sub(self.taken.elapsed())
    }

    /// Counts were taken. They are due again in the rhythm that was asked for; when they were taken early, or too late for the next time,
    /// from now on.
    pub(crate) fn taken(&mut self, counts: &Counts) {
        let now = Instant::now();
        let in_rhythm = self.taken + self.every;
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

    /// Flushes keep their rhythm; one that comes early, or too late for the next one, begins a new one.
    #[test]
    fn flushes_keep_their_rhythm() {
        let mut counting = Counting::new(Duration::from_secs(100), Sizes { stacks: 1, counts: 1 });
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
}
