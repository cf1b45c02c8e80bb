//! How long samples take from their tick to the output: counted in steps of a sixteenth of an octave, so that the memory is fixed
//! and a figure is right to 5 %.

/// Steps in an octave.
const STEPS: u32 = 16;
const PLACES: usize = (64 * STEPS) as usize;
/// Ticks that wait are remembered one by one up to so many; of more, every second, fourth, and so on.
const WAITING: usize = 2048;

/// Delays in nanoseconds, and how often each was.
#[derive(Clone, Debug)]
pub(crate) struct Delays {
    counts: Box<[u64; PLACES]>,
    longest: u64,
}

impl Default for Delays {
    fn default() -> Self {
        Self { counts: Box::new([0; PLACES]), longest: 0 }
    }
}

impl Delays {
    fn add(&mut self, delay: u64, count: u64) {
        self.counts[place(delay)] += count;
        self.longest = self.longest.max(delay);
    }

    /// Adds those of another time.
    pub(crate) fn absorb(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts.iter()).for_each(|(count, other)| *count += other);
        self.longest = self.longest.max(other.longest);
    }

    /// The delay that so many percent do not exceed; 0 without any.
    pub(crate) fn percentile(&self, percent: u64) -> u64 {
        let all: u64 = self.counts.iter().sum();
        let mut left = (all * percent).div_ceil(100);
        for (place, count) in self.counts.iter().enumerate() {
            if *count > 0 && *count >= left {
                return end_of(place).min(self.longest);
            }
            left -= count;
        }
        0
    }

    /// The longest; 0 without any.
    pub(crate) fn longest(&self) -> u64 {
        self.longest
    }
}

/// The place of a delay: its highest bit and the four bits that follow.
fn place(delay: u64) -> usize {
    let delay = delay.max(u64::from(STEPS));
    let octave = delay.ilog2();
    let step = (delay >> (octave - STEPS.ilog2())) as u32 & (STEPS - 1);
    (octave * STEPS + step) as usize
}

/// The longest delay that has this place.
fn end_of(place: usize) -> u64 {
    let (octave, step) = (place as u32 / STEPS, place as u32 % STEPS);
    // Places below those of 16 ns are never used.
    let shift = octave.saturating_sub(STEPS.ilog2());
    (u64::from(STEPS + step) << shift) + ((1 << shift) - 1)
}

/// The ticks of samples that wait to be written.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    times: Vec<u64>,
    /// Of so many, one is remembered.
    every: u64,
    count: u64,
    first: u64,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { times: Vec::new(), every: 1, count: 0, first: u64::MAX }
    }
}

impl Waiting {
    /// Adds a tick.
    pub(crate) fn add(&mut self, time: u64) {
        self.first = self.first.min(time);
        if self.count.is_multiple_of(self.every) {
            if self.times.len() == WAITING {
                let mut odd = false;
                self.times.retain(|_| {
                    odd = !odd;
                    odd
                });
                self.every *= 2;
            }
            self.times.push(time);
        }
        self.count += 1;
    }

    /// Whether there is any.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Counts all of them as written at `now`.
    pub(crate) fn leave(&mut self, now: u64, delays: &mut Delays) {
        for time in self.times.drain(..) {
            delays.add(now.saturating_sub(time), self.every);
        }
        if self.count > 0 {
            delays.longest = delays.longest.max(now.saturating_sub(self.first));
        }
        (self.every, self.count, self.first) = (1, 0, u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every delay has one place, whose end is at most a sixteenth beyond it.
    #[test]
    fn places_are_narrow() {
        for delay in (4..63).flat_map(|octave| [1 << octave, (1 << octave) + 1, (3 << octave) / 2, (2 << octave) - 1]) {
            let end = end_of(place(delay));
            assert!(end >= delay && end - delay <= delay / 16, "{delay}: {end}");
            assert_eq!(place(end), place(delay), "{delay}");
        }
        assert!(place(u64::MAX) < PLACES);
    }

    /// Percentiles are those of the delays, and the longest is exact, also of more samples than are remembered one by one.
    #[test]
    fn percentiles_of_many() {
        let (mut waiting, mut delays) = (Waiting::default(), Delays::default());
        (1..=100_000).for_each(|time| waiting.add(time * 1_000));
        waiting.leave(100_001_000, &mut delays);
        let near = |percent, expected: u64| {
            let found = delays.percentile(percent);
            assert!(found.abs_diff(expected) < expected / 14, "{percent}: {found}");
        };
        near(50, 50_000_000);
        near(99, 99_000_000);
        assert_eq!((delays.longest(), waiting.is_empty()), (100_000_000, true));
        assert_eq!(Delays::default().percentile(99), 0);
    }
}
