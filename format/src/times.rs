//! The times of samples, in steps of 1,024 ns: each as its distance from when its CPU's clock was due.

/// Nanoseconds in a step.
const STEP: u64 = 1024;
/// CPUs whose last tick is remembered; those of equal remainder share a place.
const PLACES: usize = 256;

/// The step at the end of which a time lies.
pub(crate) fn step(time: u64) -> u64 {
    time.div_ceil(STEP).min(u64::MAX / STEP)
}

/// The time at which a step ends.
pub(crate) fn time(step: u64) -> u64 {
    step.wrapping_mul(STEP)
}

/// A time as a recording keeps it.
#[cfg(test)]
pub(crate) fn kept(nanoseconds: u64) -> u64 {
    time(step(nanoseconds))
}

/// What both sides know of the ticks so far in a segment.
#[derive(Debug)]
pub(crate) struct Ticks {
    /// Steps from one tick of a CPU to its next, if nothing comes between.
    pub(crate) period: u64,
    /// The step of the sample before.
    pub(crate) before: u64,
    /// The step of each CPU's last sample; 0 when there is none.
    by_cpu: [u64; PLACES],
}

impl Default for Ticks {
    fn default() -> Self {
        Self { period: 0, before: 0, by_cpu: [0; PLACES] }
    }
}

impl Ticks {
    /// For a clock that ticks after so many nanoseconds.
    pub(crate) fn every(nanoseconds: u64) -> Self {
        Self { period: nanoseconds / STEP, ..Self::default() }
    }

    /// The step in which the next sample of a CPU is expected: a period after its last one, or with the sample before.
    pub(crate) fn due(&self, cpu: u32) -> u64 {
        match self.by_cpu[cpu as usize % PLACES] {
            0 => self.before,
            last => last.wrapping_add(self.period),
        }
    }

    /// Notes a sample.
    pub(crate) fn note(&mut self, cpu: u32, step: u64) {
        self.before = step;
        self.by_cpu[cpu as usize % PLACES] = step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times are rounded up to whole steps, once: the earliest and the latest are in range.
    #[test]
    fn times_are_rounded_once() {
        for (time, expected) in [(0, 0), (1, 1024), (1024, 1024), (1025, 2048), (u64::MAX, u64::MAX - 1023)] {
            assert_eq!(kept(time), expected);
            assert_eq!(kept(expected), expected);
        }
    }

    /// A CPU's tick is due a period after its last one, whatever other CPUs do; its first one is due at once.
    #[test]
    fn ticks_are_due_by_their_cpu() {
        let mut ticks = Ticks::every(10 * STEP);
        assert_eq!(ticks.due(0), 0);
        ticks.note(0, 100);
        assert_eq!((ticks.due(0), ticks.due(1)), (110, 100));
        ticks.note(1, 103);
        assert_eq!((ticks.due(0), ticks.due(1), ticks.due(2)), (110, 113, 103));
    }
}
