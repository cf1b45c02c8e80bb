//! How much CPU the target uses, for triggers.

use std::fs;
use std::time::{Duration, Instant};

use crate::proc_maps;
use crate::trigger::{Measure, Trigger, Watched};

/// Measures once a second, and tells when a trigger fires.
pub(crate) struct Triggers {
    watched: Vec<Watched>,
    whose: Whose,
    started: Instant,
    /// The last measure, and when it was.
    last: Option<(Instant, Used)>,
}

/// Whose CPU time is measured.
pub(crate) enum Whose {
    /// That of all.
    Machine,
    /// That of these processes; of their children too, when `true`.
    Processes(Vec<u32>, bool),
}

/// CPU time that was used, and time in which it could be, so far.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Used {
    busy: f64,
    total: f64,
}

impl Triggers {
    /// Nothing is measured when there are no triggers.
    pub(crate) fn new(triggers: &[Trigger], ring: Duration, whose: Whose) -> Self {
        let watched = triggers.iter().map(|trigger| Watched::new(trigger.clone(), ring)).collect();
        Self { watched, whose, started: Instant::now(), last: None }
    }

    /// Looks, if it is time; says why when a trigger fires.
    pub(crate) fn look(&mut self) -> Option<String> {
        const EACH: Duration = Duration::from_secs(1);
        let now = Instant::now();
        if self.watched.is_empty() || self.last.is_some_and(|(last, _)| now.saturating_duration_since(last) < EACH) {
            return None;
        }
        let used = self.used(now);
        let (from, before) = self.last.replace((now, used))?;
        let cpu = percent(before, used);
        let load = load(&fs::read_to_string("/proc/loadavg").unwrap_or_default());
        let looks = self.watched.iter_mut().filter_map(|watched| {
            let value = if watched.measure() == Measure::Cpu { cpu } else { load };
            watched.look(value?, (from, now))
        });
        // All look, whoever fires.
        looks.collect::<Vec<_>>().into_iter().next()
    }

    fn used(&self, now: Instant) -> Used {
        match &self.whose {
            Whose::Machine => machine(&fs::read_to_string("/proc/stat").unwrap_or_default()),
            Whose::Processes(pids, children) => {
                let mut all = pids.clone();
                if *children {
                    all.extend(proc_maps::descendants(pids));
                }
                let stats = all.iter().map(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default());
                let ticks: u64 = stats.map(|stat| process(&stat, *children)).sum();
                Used {
                    busy: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
                    total: now.saturating_duration_since(self.started).as_secs_f64(),
                }
            }
        }
    }
}

/// What was used between two measures, of what could be; `None` when they say nothing.
fn percent(before: Used, after: Used) -> Option<f64> {
    let total = after.total - before.total;
    (total > 0.0).then(|| ((after.busy - before.busy) / total * 100.0).max(0.0))
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal; guests are in user.
fn machine(stat: &str) -> Used {
    let line = stat.lines().next().unwrap_or_default();
    let times: Vec<f64> = line.split_ascii_whitespace().skip(1).take(8).filter_map(|time| time.parse().ok()).collect();
    let total: f64 = times.iter().sum();
    Used { busy: total - times.iter().skip(3).take(2).sum::<f64>(), total }
}

/// Clock ticks that a process has used, by its `/proc/PID/stat`; with those of the children that it has waited for, when
/// asked.
fn process(stat: &str, children: bool) -> u64 {
    // The name, in brackets, can hold anything.
    let Some((_, fields)) = stat.rsplit_once(')') else { return 0 };
    let times = fields.split_ascii_whitespace().skip(11).take(if children { 4 } else { 2 });
    times.filter_map(|time| time.parse::<u64>().ok()).sum()
}

/// The load of the last minute.
fn load(loadavg: &str) -> Option<f64> {
    loadavg.split(' ').next()?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Idle and waiting for the disk are not busy; a text that says nothing fires nothing.
    #[test]
    fn the_machine_is_measured() {
        let before = machine("cpu  100 0 50 800 50 0 0 0 7 0\ncpu0 1 2 3");
        assert_eq!(before, Used { busy: 150.0, total: 1000.0 });
        assert_eq!(percent(before, machine("cpu  160 0 80 900 60 0 0 0 7 0\n")), Some(45.0));
        assert_eq!(percent(before, before), None);
        assert_eq!(percent(machine(""), machine("cpu x")), None);
        assert_eq!(load("1.50 0.9 0.1 2/300 4711\n"), Some(1.5));
        assert_eq!(load(""), None);
    }

    /// A process is found by its last bracket, whatever its name; children count when asked for.
    #[test]
    fn a_process_is_measured() {
        let stat = "7 (a) R 1) S 1 7 7 0 -1 4194304 100 0 0 0 30 4 500 6000 20 0 1 0 99";
        assert_eq!((process(stat, false), process(stat, true)), (34, 6534));
        assert_eq!(process("", true), 0);
        let own = fs::read_to_string("/proc/self/stat").unwrap();
        let busy = Instant::now();
        while busy.elapsed() < Duration::from_millis(60) {}
        assert!(process(&fs::read_to_string("/proc/self/stat").unwrap(), false) > process(&own, false));
    }
}
