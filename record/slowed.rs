//! What is said of a recorder that slows down: who asks for a rate is told when it is not kept, why, for how long, and what would keep it.

use std::time::{Duration, Instant};

use crate::budget::Pace;

/// The steps so far.
pub(crate) struct Slowed {
    /// Millionths of the machine.
    limit: u32,
    /// Nanoseconds between two ticks of the rate that was asked for.
    period: u64,
    pub(crate) pace: Pace,
    since: Instant,
    /// How long the rate was not the one that was asked for.
    below: Duration,
    /// The least that was sampled.
    slowest: Pace,
    steps: u32,
    /// What that rate would have cost, in millionths of the machine.
    full_cost: u32,
}

impl Slowed {
    /// No step yet.
    pub(crate) fn new(limit: u32, period: u64) -> Self {
        let (pace, slowest) = (Pace::USUAL, Pace::USUAL);
        Self { limit, period, pace, since: Instant::now(), below: Duration::ZERO, slowest, steps: 0, full_cost: 0 }
    }

    /// A step to another pace, after recording had cost so many millionths of the machine; gives what to say of one that is slower than all before.
    pub(crate) fn step(&mut self, to: Pace, cost: u32, now: Instant) -> Option<String> {
        self.full_cost = self.full_cost.max(cost.saturating_mul(self.pace.weight));
        self.below = self.below(now);
        (self.pace, self.since) = (to, now);
        self.steps += 1;
        let is_slowest = to.weight > self.slowest.weight;
        self.slowest = Pace { weight: to.weight.max(self.slowest.weight), cut: to.cut || self.slowest.cut };
        is_slowest.then(|| {
            format!(
                "profrec: sampling at {} Hz costs about {} of the machine, and may cost {} (--max-cpu): from now on at {} Hz, each sample \
                 counts {} times; {}",
                self.rate(1),
                percent(self.full_cost),
                percent(self.limit),
                self.rate(to.weight),
                to.weight,
                self.remedy(),
            )
        })
    }

    /// All of it; `None` when there was no step.
    pub(crate) fn text(&self, now: Instant) -> Option<String> {
        let cut = if self.slowest.cut { "copied less of deep stacks" } else { "" };
        let limit = percent(self.limit);
        match self.slowest.weight {
            _ if self.steps == 0 => None,
            1 => Some(format!("{cut}, to cost at most {limit} of the machine (--max-cpu none: whatever it costs)")),
            weight => Some(format!(
                "{cut}{}sampled up to {weight} times less often than {} Hz, for {:.1} s: that costs about {} of the machine, and may cost {limit}\n  \
                 shares and sums stay right, with fewer samples; {}",
                if cut.is_empty() { "" } else { " and " },
                self.rate(1),
                self.below(now).as_secs_f64(),
                percent(self.full_cost),
                self.remedy(),
            )),
        }
    }

    fn below(&self, now: Instant) -> Duration {
        let is_below = self.pace.weight > 1;
        self.below + if is_below { now.saturating_duration_since(self.since) } else { Duration::ZERO }
    }

    /// Ticks in a second when each stands for so many.
    fn rate(&self, weight: u32) -> String {
        let rate = 1e9 / (self.period.max(1) as f64 * f64::from(weight));
        if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
    }

    /// What would keep the rate, with a quarter to spare, in whole percents.
    fn remedy(&self) -> String {
        let enough = (f64::from(self.full_cost) * 1.25 / 1e4).ceil();
        format!("--max-cpu {enough}% (or none) keeps the rate")
    }
}

/// Millionths as percents, with no more digits than they have.
fn percent(millionths: u32) -> String {
    let percent = f64::from(millionths) / 1e4;
    if percent < 10.0 { format!("{} %", (percent * 100.0).round() / 100.0) } else { format!("{percent:.0} %") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Who asks for a rate is told once that it is not kept, what it costs, and what would keep it; and at the end for how long it was not.
    #[test]
    fn a_rate_that_is_not_kept_is_told() {
        let mut slowed = Slowed::new(10_000, 1_001_001);
        let start = slowed.since;
        let pace = |weight, cut| Pace { weight, cut };
        assert_eq!(slowed.text(start), None);
        assert_eq!(slowed.step(pace(1, true), 21_000, start), None);
        let end = start + Duration::from_secs(2);
        assert_eq!(
            slowed.text(end).unwrap(),
            "copied less of deep stacks, to cost at most 1 % of the machine (--max-cpu none: whatever it costs)"
        );
        let said = slowed.step(pace(8, true), 20_000, start + Duration::from_secs(1)).unwrap();
        for words in [
            "at 999 Hz costs about 2.1 % of the machine, and may cost 1 %",
            "at 125 Hz, each sample counts 8 times",
            "--max-cpu 3%",
        ] {
            assert!(said.contains(words), "{said}");
        }
        assert_eq!(slowed.step(pace(4, true), 1_000, end), None);
        assert_eq!(slowed.step(pace(8, true), 4_000, end), None);
        let text = slowed.text(end + Duration::from_secs(1)).unwrap();
        assert!(
            text.contains("copied less of deep stacks and sampled up to 8 times less often than 999 Hz, for 2.0 s"),
            "{text}"
        );
        assert!(text.contains("may cost 1 %") && text.contains("--max-cpu 3% (or none) keeps the rate"), "{text}");
    }
}
