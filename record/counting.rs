//! When what was counted in the kernel is taken from there.

use std::time::{Duration, Instant};

use crate::count_sets::Sizes;
use crate::counts::Counts;
use crate::ring::RingFill;

/// How often the recorder looks at all, between two flushes: at process events, and at itself.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// The time of the next flush.
#[derive(Debug)]
pub(crate) struct Counting {
    every: Duration,
    taken: Instant,
    sizes: Sizes,
}

impl Counting {
    /// From now on, in maps of these sizes.
    pub(crate) fn new(every: Duration, sizes: Sizes) -> Self {
        Self { every, taken: Instant::now(), sizes }
    }

    /// How long there is to wait for the next flush.
    pub(crate) fn left(&self) -> Duration {
        self.every.saturating_sub(self.taken.elapsed())
    }

    /// Counts were taken: they are due again after the time that was asked for, also when one flush took longer. Gives how full the maps
    /// were.
    pub(crate) fn taken(&mut self, counts: &Counts) -> RingFill {
        self.taken += self.every;
        if self.left().is_zero() {
            self.taken = Instant::now();
        }
        counts.fill(self.sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flushes keep their rhythm; one that comes too late for the next one begins a new one.
    #[test]
    fn flushes_keep_their_rhythm() {
        let mut counting = Counting::new(Duration::from_secs(100), Sizes { stacks: 1, counts: 1 });
        assert!(counting.left() > Duration::from_secs(90));
        counting.taken = counting.taken.checked_sub(Duration::from_secs(130)).unwrap_or(counting.taken);
        assert!(counting.left().is_zero());
        counting.taken(&Counts::default());
        assert!(counting.left() > Duration::from_secs(60) && counting.left() <= Duration::from_secs(70));
        counting.taken = counting.taken.checked_sub(Duration::from_secs(500)).unwrap_or(counting.taken);
        counting.taken(&Counts::default());
        assert!(counting.left() > Duration::from_secs(90));
    }
}
