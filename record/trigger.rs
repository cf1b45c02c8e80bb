//! When a flight recorder writes out by itself: `--trigger 'cpu>90% for 5s'`.
//!
//! ```text
//!   trigger = what sign number [for TIME]       what = cpu (with %), load       sign = > or <
//! ```

use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::amounts::parse_duration;

/// How long something has to be true when nothing else is said.
const AT_ONCE: Duration = Duration::from_secs(1);
const EXAMPLE: &str = "expected something like 'cpu>90% for 5s' or 'load>8 for 1m'";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// CPU time of the target, in percent of a CPU; of the whole machine, in percent of all CPUs.
    Cpu,
    /// The load average of the last minute.
    Load,
}

/// A condition that is true for a time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trigger {
    pub(crate) measure: Measure,
    above: bool,
    level: f64,
    hold: Duration,
    /// As it was typed.
    text: String,
}

impl FromStr for Trigger {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text.find(['>', '<']).ok_or_else(|| format!("{EXAMPLE}: there is no > or <"))?;
        let (what, rest) = (text[..at].trim(), &text[at + 1..]);
        let (number, hold) = match rest.split_once(" for ") {
            Some((number, time)) => (number.trim(), parse_duration(time.trim())?),
            None => (rest.trim(), AT_ONCE),
        };
        let (measure, number) = match (what, number.strip_suffix('%')) {
            ("cpu", Some(number)) => (Measure::Cpu, number),
            ("cpu", None) => return Err(format!("{EXAMPLE}: cpu needs a %, such as cpu>90%")),
            ("load", None) => (Measure::Load, number),
            ("load", Some(_)) => return Err(format!("{EXAMPLE}: load has no %")),
            _ => return Err(format!("{EXAMPLE}: '{what}' is neither cpu nor load")),
        };
        let level: Option<f64> = number.trim().parse().ok().filter(|level: &f64| level.is_finite() && *level >= 0.0);
        let level = level.ok_or_else(|| format!("{EXAMPLE}: '{number}' is not a number"))?;
        if hold < AT_ONCE {
            return Err("a trigger looks once a second: expected at least 'for 1s'".to_owned());
        }
        Ok(Self { measure, above: text.as_bytes()[at] == b'>', level, hold, text: text.to_owned() })
    }
}

/// A trigger while it is watched. It fires once, and then not before it has been false and the ring holds nothing of before.
pub(crate) struct Watched {
    trigger: Trigger,
    /// The ring's time.
    ring: Duration,
    /// Since when it is true.
    since: Option<Instant>,
    fired: Option<Instant>,
    /// It has been false since it fired.
    armed: bool,
}

impl Watched {
    /// Ready to fire.
    pub(crate) fn new(trigger: Trigger, ring: Duration) -> Self {
        Self { trigger, ring, since: None, fired: None, armed: true }
    }

    /// What it looks at.
    pub(crate) fn measure(&self) -> Measure {
        self.trigger.measure
    }

    /// Says, in words, that it fires, when it does. `value` is of the time from one instant to another.
    pub(crate) fn look(&mut self, value: f64, (from, to): (Instant, Instant)) -> Option<String> {
        let Trigger { above, level, hold, .. } = self.trigger;
        if if above { value <= level } else { value >= level } {
            (self.since, self.armed) = (None, true);
            return None;
        }
        let since = *self.since.get_or_insert(from);
        let is_early = self.fired.is_some_and(|fired| to.saturating_duration_since(fired) < self.ring);
        if !self.armed || is_early || to.saturating_duration_since(since) < hold {
            return None;
        }
        (self.fired, self.armed) = (Some(to), false);
        let unit = if self.trigger.measure == Measure::Cpu { "%" } else { "" };
        Some(format!("--trigger '{}', at {value:.1}{unit}", self.trigger.text))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The few forms there are, blanks or not.
    #[test]
    fn triggers_are_read() {
        let read = |text: &str| text.parse::<Trigger>().map(|it| (it.measure, it.above, it.level, it.hold.as_secs()));
        assert_eq!(read("cpu>90% for 5s"), Ok((Measure::Cpu, true, 90.0, 5)));
        assert_eq!(read(" cpu > 250.5 %  for  2m "), Ok((Measure::Cpu, true, 250.5, 120)));
        assert_eq!(read("cpu<5%"), Ok((Measure::Cpu, false, 5.0, 1)));
        assert_eq!(read("load>8 for 1m"), Ok((Measure::Load, true, 8.0, 60)));
    }

    /// Whatever else is typed is refused with what is wrong, and with an example.
    #[test]
    fn other_triggers_are_refused() {
        let wrong =
            ["cpu", "cpu>90", "load>8%", "mem>5%", ">5%", "cpu>%", "cpu>x% for 5s", "cpu>-1%", "cpu>>9%", "é>1"];
        for text in wrong.into_iter().chain(["cpu=90%", "cpu>90%for 5s", "cpu>90% for", "load>1e999", ""]) {
            let error = text.parse::<Trigger>().unwrap_err();
            assert!(error.contains("cpu>90% for 5s"), "{text}: {error}");
        }
        for text in ["cpu>90% for 5", "cpu>90% for 5s"] {
            assert!(text.parse::<Trigger>().is_ok());
        }
        for text in ["cpu>90% for 10ms", "cpu>90% for x", "cpu>90% for 5 apples"] {
            assert!(text.parse::<Trigger>().is_err(), "{text}");
        }
    }

    /// It fires when it was true long enough, once; and again only after it was false and a ring's time has gone by.
    #[test]
    fn a_trigger_fires_once() {
        let start = Instant::now();
        let fires = |watched: &mut Watched, second: u64, value: f64| {
            let at = |second| start + Duration::from_secs(second);
            watched.look(value, (at(second), at(second + 1))).is_some()
        };
        let mut watched = Watched::new("cpu>90% for 3s".parse().unwrap(), Duration::from_secs(20));
        let fired = |watched: &mut Watched, values: std::ops::Range<u64>, value| -> Vec<u64> {
            values.filter(|second| fires(watched, *second, value)).collect()
        };
        assert_eq!(fired(&mut watched, 0..2, 95.0), []);
        assert_eq!(fired(&mut watched, 2..3, 90.0), [], "equal is not above");
        assert_eq!(fired(&mut watched, 3..30, 95.0), [5]);
        assert_eq!(fired(&mut watched, 30..31, 1.0), []);
        assert_eq!(fired(&mut watched, 31..40, 95.0), [33]);
        assert_eq!(fired(&mut watched, 40..41, 1.0), []);
        assert_eq!(fired(&mut watched, 41..60, 95.0), [53], "the ring's time was not over");
        let mut below = Watched::new("cpu<10%".parse().unwrap(), Duration::from_secs(20));
        assert_eq!(fired(&mut below, 0..3, 10.0), []);
        assert_eq!(fired(&mut below, 3..9, 9.9), [3]);
    }
}
