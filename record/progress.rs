//! The line on the terminal while a recording runs.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use crate::hybrid::tally::Ways;
use crate::meter::Health;
use crate::own_cost::online_cpus;
use crate::summary;

/// A line that is written over once a second, if anybody sees it.
pub(crate) struct Progress {
    visible: bool,
    quiet: bool,
    cpus: usize,
}

impl Progress {
    /// Nothing is shown when `quiet`, or when the standard error is not a terminal.
    pub(crate) fn new(quiet: bool) -> Self {
        Self { visible: !quiet && io::stderr().is_terminal(), quiet, cpus: online_cpus() }
    }

    /// Whether somebody sees it.
    pub(crate) fn is_visible(&self) -> bool {
        self.visible
    }

    /// Shows how far the recording is, how large its file is, how well the recorder is, and what a sample stands for.
    pub(crate) fn show(&self, health: &Health, bytes: u64, elapsed: Duration, weight: u32) {
        if self.visible {
            put(&format!("\r\x1b[K{}", line(health, bytes, elapsed, (self.cpus, weight))));
        }
    }

    /// Says something that stays.
    pub(crate) fn say(&self, text: &str) {
        self.clear();
        if !self.quiet {
            put(&format!("{text}\n"));
        }
    }

    /// Removes the line.
    pub(crate) fn clear(&self) {
        if self.visible {
            put("\r\x1b[K");
        }
    }
}

/// The line, of at most 100 columns: one that is longer could not be written over.
fn line(health: &Health, bytes: u64, elapsed: Duration, (cpus, weight): (usize, u32)) -> String {
    const COLUMNS: usize = 100;
    let (of_one, of_all) = health.cpu_percent(elapsed.as_nanos() as u64, cpus);
    let ticks = match health.ticks {
        0..10_000_000 => health.ticks.to_string(),
        many => format!("{:.1}M", many as f64 / 1e6),
    };
    let rate = if weight > 1 { format!("  1/{weight} of the rate") } else { String::new() };
    // Where ticks are counted, the delay is that until the next flush.
    let last = match health.ways {
        Some(Ways { all, sampled }) => format!("{sampled}/{all} sampled"),
        None => format!("delay {:.1} s", health.delays[1] as f64 / 1e9),
    };
    let mut line = format!(
        "{:.0} s  {ticks} ticks ({}){rate}  {}  CPU {of_one:.1}% ({of_all:.1}% of {cpus})  kernel {} {}% full  {last}",
        elapsed.as_secs_f64(),
        health.success(),
        summary::size(bytes),
        summary::size(health.kernel_memory),
        health.fullest,
    );
    line.truncate(COLUMNS);
    line
}

/// Writes to the standard error. That it went away, or that its disk is full, is no reason to stop recording.
pub(crate) fn put(text: &str) {
    let mut terminal = io::stderr().lock();
    let _gone = terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures of health are on the line, and a day on a large machine still fits a terminal of 100 columns.
    #[test]
    fn the_line_fits() {
        let delays = [312_000_000, 604_000_000, 611_000_000];
        let health = Health {
            ways: None,
            ticks: 1_234,
            lost: 12,
            kernel_memory: 9_300_000,
            fullest: 7,
            cpu: 400_000_000,
            delays,
        };
        let short = line(&health, 123_456, Duration::from_secs(20), (2, 1));
        assert_eq!(
            short,
            "20 s  1234 ticks (99.0%)  123.5 KB  CPU 2.0% (1.0% of 2)  kernel 9.3 MB 7% full  delay 0.6 s"
        );
        let slow = line(&health, 123_456, Duration::from_secs(20), (2, 8));
        assert!(slow.contains("(99.0%)  1/8 of the rate  123.5 KB"), "{slow}");
        let hybrid = Health { ways: Some(Ways { all: 203, sampled: 12 }), ..health };
        let hybrid = line(&hybrid, 123_456, Duration::from_secs(20), (2, 1));
        assert!(hybrid.ends_with("kernel 9.3 MB 7% full  12/203 sampled"), "{hybrid}");
        let day = Duration::from_secs(86_400);
        let health =
            Health { ticks: 123_456_789, kernel_memory: 61_700_000, fullest: 100, cpu: 1_800_000_000_000, ..health };
        let long = line(&health, 4_321_000_000, day, (64, 1));
        assert!(long.ends_with("delay 0.6 s"), "{long}");
    }
}
