//! Notices that threads of the target end before their clocks tick, and has clocks of CPUs take over.
//!
//! The clock of a new thread starts with a whole period (attach.rs). What the thread has used of a period when it ends is seen by nobody: a server that
//! makes a thread for each request shows nothing of its requests, as long as one takes less than a period.
//!
//! The clocks themselves know how long they have run, with all that were inherited from them, also those that are gone. That less a period for each
//! tick is the CPU time that was not seen, to the nanosecond:
//!
//! ```text
//!   time of the clocks - period x ticks = what threads that ended had used of a period   what is to be noticed
//!                                       + what those that live have used of one          less than a period each
//!                                       + what ticks that did not come stand for         no more than that, for each end
//! ```
//!
//! It is asked for only after threads have ended, which process events tell anyway; so it costs nothing where none end. Counting short lives in these events
//! instead would not tell how much CPU time is concerned: a thread that lives for an hour may use a millisecond. `/proc/PID/stat` is as coarse as the
//! clock interrupt, leaves out children until they are waited for, and had to be read for each process.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::attach::{self, Clocks};
use crate::hotplug::Cpus;
use crate::sampler::Sampler;
use crate::stream::Stream;

/// Less unseen CPU time than so many ticks is not worth a change, as fewer ends of threads are not.
const LEAST: u64 = 10;
/// Nor is less than one in so many parts of all: what threads lack that live for 16 periods.
const PARTS: u64 = 32;
/// How long the clocks are not asked again: at first, and at most.
const PAUSE: Duration = Duration::from_millis(100);
const MOST_PAUSE: Duration = Duration::from_millis(1600);

/// What was used and seen so far, in nanoseconds of CPU time.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    used: u64,
    seen: u64,
    /// Threads that have ended.
    ends: u64,
}

impl Reading {
    fn take<W: Write>(sampler: &Sampler, stream: &Stream<W>) -> Result<Self> {
        // Ticks that come in between make it less, not more, that was not seen.
        let used = sampler.clock_time();
        let seen = sampler.accounts()?.all().ticks * sampler.period();
        Ok(Self { used, seen, ends: stream.threads_ended() })
    }

    /// What was used since another reading, and how much of it was not seen because threads ended. `alive` others are not at their ends, and a tick
    /// stands for `tick`.
    fn unseen_since(self, before: Self, alive: u64, tick: u64) -> (u64, u64) {
        let used = self.used.saturating_sub(before.used);
        let unseen = used.saturating_sub(self.seen.saturating_sub(before.seen));
        (used, unseen.saturating_sub(alive * tick).min((self.ends - before.ends) * tick))
    }
}

/// The judge.
#[derive(Debug)]
struct Judge {
    /// What is judged is what has happened since.
    before: Reading,
    asked: Instant,
    pause: Duration,
}

impl Judge {
    fn new(now: Instant) -> Self {
        Self { before: Reading::default(), asked: now, pause: PAUSE }
    }

    /// Whether so many threads have ended that the clocks should be asked.
    fn is_due(&mut self, ends: u64, now: Instant) -> bool {
        let is_due = ends - self.before.ends >= LEAST && now.saturating_duration_since(self.asked) >= self.pause;
        if is_due {
            (self.asked, self.pause) = (now, MOST_PAUSE.min(2 * self.pause));
        }
        is_due
    }

    /// Whether what was not seen is worth a change.
    fn is_much(&mut self, reading: Reading, alive: u64, tick: u64) -> bool {
        let (used, unseen) = reading.unseen_since(self.before, alive, tick);
        if is_much(used, unseen, tick) {
            return true;
        }
        if used >= PARTS * (LEAST + alive) * tick {
            // It would have been, had it been one part of so many. An hour in which nothing ended says nothing about the next second.
            self.before = reading;
        }
        false
    }
}

fn is_much(used: u64, unseen: u64, tick: u64) -> bool {
    unseen >= LEAST * tick && unseen >= used / PARTS
}

/// Looks after clocks that threads inherit.
pub(crate) struct ShortLives {
    /// None once the clocks were changed, or could not be.
    judge: Option<Judge>,
    started: Instant,
    /// What there is to say at the end.
    told: Option<String>,
}

impl ShortLives {
    /// For such clocks; `None` where there is nothing to notice.
    pub(crate) fn of(clocks: Clocks) -> Option<Self> {
        let started = Instant::now();
        clocks.are_inherited().then(|| Self { judge: Some(Judge::new(started)), started, told: None })
    }

    /// Changes the clocks when that is worth it. Gives what there is to say about it.
    pub(crate) fn look<W: Write>(
        &mut self,
        cpus: &mut Cpus,
        sampler: &mut Sampler,
        stream: &mut Stream<W>,
    ) -> Result<Option<String>> {
        let Some(judge) = &mut self.judge else { return Ok(None) };
        if !judge.is_due(stream.threads_ended(), Instant::now()) {
            return Ok(None);
        }
        let reading = Reading::take(sampler, stream)?;
        let (alive, tick) = (stream.threads_alive(), sampler.longest_period());
        if !judge.is_much(reading, alive, tick) {
            return Ok(None);
        }
        self.judge = None;
        let (_, unseen) = reading.unseen_since(Reading::default(), alive, tick);
        let missing = in_words(reading.used, unseen);
        let changed = attach::change_to_cpus(sampler, stream);
        let said = match changed {
            Ok(()) => {
                cpus.change_clocks(Clocks::FilteredCpus);
                self.told = Some(format!("until {:.1} s, {missing}", self.started.elapsed().as_secs_f64()));
                format!("profrec: {missing}: from now on, there is a clock on each CPU instead")
            }
            Err(error) => {
                self.told = Some(missing.clone());
                format!("profrec: {missing}. That goes on: {error:#}\n  what helps: a higher rate (-F), or -a")
            }
        };
        Ok(Some(said))
    }

    /// What there is to say at the end, when the clocks have stopped.
    pub(crate) fn last_words<W: Write>(&self, sampler: &Sampler, stream: &Stream<W>) -> Result<Option<String>> {
        if self.judge.is_none() {
            return Ok(self.told.clone());
        }
        let (reading, tick) = (Reading::take(sampler, stream)?, sampler.longest_period());
        let (used, unseen) = reading.unseen_since(Reading::default(), stream.threads_alive(), tick);
        let missing = || format!("{}: more is seen by a higher rate (-F), or in a longer time", in_words(used, unseen));
        Ok(is_much(used, unseen, tick).then(missing))
    }
}

fn in_words(used: u64, unseen: u64) -> String {
    let ms = |nanoseconds: u64| nanoseconds as f64 / 1e6;
    format!(
        "{:.0} of {:.0} ms of CPU time were not seen, for threads ended before their clocks ticked",
        ms(unseen),
        ms(used)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: u64 = 10;

    /// So many threads of a length have come, run and ended, four at a time and beside one that has run all the time: what is read then.
    fn after(threads: u64, length: u64) -> Reading {
        let beside = threads * length / 4;
        let used = beside + threads * length;
        let seen = (beside / TICK + threads * (length / TICK)) * TICK;
        Reading { used, seen, ends: threads }
    }

    /// How many threads of a length have ended when they are noticed, if they are.
    fn noticed(length: u64) -> Option<u64> {
        let mut judge = Judge::new(Instant::now());
        (1..10_000).find(|threads| judge.is_much(after(*threads, length), 5, TICK))
    }

    /// Threads that are shorter than a period are noticed soon, those that lose some of a long life later, and those whose ends are
    /// nothing never.
    #[test]
    fn threads_are_noticed_that_lose_much_of_their_lives() {
        assert_eq!([noticed(9), noticed(5)], [Some(16), Some(29)]);
        assert!(noticed(25).is_some());
        assert_eq!([noticed(10), noticed(605)], [None, None], "of the first, all is seen");
    }

    /// What threads have used of a period that live on is not lost.
    #[test]
    fn threads_that_live_lose_nothing() {
        let mut judge = Judge::new(Instant::now());
        let young = Reading { used: 64 * 9, seen: 0, ends: 64 };
        assert!(!judge.is_much(young, 64, TICK) && judge.is_much(young, 0, TICK));
    }

    /// Ticks that did not come, because a machine was busy, are no threads that ended.
    #[test]
    fn late_ticks_are_no_ends() {
        let mut judge = Judge::new(Instant::now());
        assert!(!judge.is_much(Reading { used: 1_000, seen: 500, ends: 9 }, 1, TICK));
        assert!(judge.is_much(Reading { used: 1_000, seen: 500, ends: 10 }, 1, TICK));
    }

    /// However long it was quiet before, the next seconds count.
    #[test]
    fn a_quiet_hour_hides_nothing() {
        let mut judge = Judge::new(Instant::now());
        let hour = Reading { used: 1_000_000, seen: 1_000_000, ends: 10 };
        assert!(!judge.is_much(hour, 1, TICK));
        let more = after(40, 5);
        let (used, seen, ends) = (hour.used + more.used, hour.seen + more.seen, hour.ends + more.ends);
        assert!(judge.is_much(Reading { used, seen, ends }, 1, TICK));
        assert!(!Judge::new(Instant::now()).is_much(Reading { used, seen, ends }, 1, TICK));
    }

    /// The clocks are asked when threads have ended, and ever more seldom as long as nothing comes of it.
    #[test]
    fn clocks_are_asked_seldom() {
        let start = Instant::now();
        let mut judge = Judge::new(start);
        let mut asked = |ends| {
            let due = |ms: &u64| judge.is_due(ends, start + Duration::from_millis(*ms));
            (0..20_000).step_by(50).filter(due).count()
        };
        assert_eq!([asked(LEAST - 1), asked(LEAST)], [0, 4 + (20_000 - 1_500) / 1_600]);
    }
}
