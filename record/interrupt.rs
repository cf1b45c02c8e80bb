//! What the interrupt of a clock costs besides the BPF program: that sees nothing of how it is entered and left, which is 1 or 2 us
//! on a machine of its own and 7 us and more in a virtual one. So it is measured, once: this thread looks at the time again and again
//! while a clock without a program interrupts it, and sees the interrupts as gaps.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::perf_event;

/// Between two interrupts while measuring.
const PERIOD: u64 = 100_000;
/// So many gaps are enough, and fewer than the others say nothing.
const ENOUGH: usize = 24;
const FEWEST: usize = 10;
/// It takes no longer, when others run meanwhile.
const PATIENCE: Duration = Duration::from_millis(20);
/// What is taken for it where it cannot be measured, in nanoseconds.
const UNKNOWN: u64 = 3_000;
/// No interrupt costs more, and none less: what is shorter is a look at the time.
const MOST: u64 = 50_000;
const LEAST: u64 = 500;

/// A clock of this thread that does not run yet.
pub(crate) struct Interrupts {
    clock: Option<OwnedFd>,
}

impl Interrupts {
    /// To be opened while the recorder has the rights for that.
    pub(crate) fn open() -> Self {
        Self { clock: perf_event::open_own_clock(PERIOD).ok() }
    }

    /// Nanoseconds that an interrupt costs, when the same thread asks.
    pub(crate) fn measure(&self) -> u64 {
        match &self.clock {
            Some(clock) if perf_event::enable(clock.as_fd()).is_ok() => cost(gaps()),
            _ => UNKNOWN,
        }
    }
}

/// How long what comes between two looks at the time takes.
fn gaps() -> Vec<u64> {
    // Memory that is touched for the first time would be a gap, too.
    let mut gaps = vec![0; ENOUGH];
    gaps.clear();
    let start = Instant::now();
    let mut before = Duration::ZERO;
    while before < PATIENCE && gaps.len() < ENOUGH {
        let elapsed = start.elapsed();
        let gap = (elapsed - before).as_nanos() as u64;
        if gap >= LEAST {
            gaps.push(gap);
        }
        before = elapsed;
    }
    gaps
}

/// The usual gap: what is much longer is not an interrupt, but others that ran.
fn cost(mut gaps: Vec<u64>) -> u64 {
    gaps.sort_unstable();
    match gaps.get(gaps.len() / 2) {
        Some(usual) if gaps.len() >= FEWEST => (*usual).min(MOST),
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The usual gap counts, not the time when another thread ran.
    #[test]
    fn the_usual_gap_is_the_cost() {
        assert_eq!(cost([7_200, 7_000, 6_800].repeat(9)), 7_000);
        assert_eq!(cost([&[7_000; 20][..], &[4_000_000; 5]].concat()), 7_000);
    }

    /// Where there is too little to judge by, something is assumed, and never more than can be.
    #[test]
    fn too_little_to_judge_by() {
        assert_eq!(cost(Vec::new()), UNKNOWN);
        assert_eq!(cost(vec![7_000; 5]), UNKNOWN);
        assert_eq!(cost(vec![4_000_000; 50]), MOST);
    }
}
