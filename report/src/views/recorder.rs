//! The recorder over time: what it cost and how well it kept up.

use std::fmt::Write;

use serde::Serialize;

use crate::ledger::grouped;
use crate::measurements::{Measurement, Measurements, Spread};

/// Rows of the table, unless `--limit` says otherwise.
pub const ROWS: usize = 40;

/// A table of at most `limit` rows (0: one for each measurement), and below it what is usual and what was worst.
pub fn view(measurements: &Measurements, limit: usize, cpus: u32) -> String {
    let Some(total) = measurements.total() else {
        return "the recorder did not measure itself here: it is older, or the recording is shorter than a second\n"
            .to_owned();
    };
    let mut text = String::new();
    let heading =
        ["to s", "CPU %", "BPF %", "memory", "ring %", "written/s", "samples/s", "lost", "delay s", "99 %", "longest"];
    let rows = measurements.in_steps(limit).iter().map(row).collect::<Vec<_>>();
    for row in std::iter::once(heading.map(str::to_owned)).chain(rows) {
        let cells: Vec<String> = row.iter().map(|cell| format!("{cell:>9}")).collect();
        // Writing to a string cannot fail; so below.
        let _ = writeln!(text, "{}", cells.join(" "));
    }
    text.push('\n');
    for (what, figure, unit) in FIGURES {
        let Spread { median, p99, peak } = measurements.spread(figure);
        let _ = writeln!(text, "{what:<17} median {median:.2}, 99 % {p99:.2}, peak {peak:.2} {unit}");
    }
    let together = total.cpu_percent() + total.bpf_percent();
    let _ = writeln!(
        text,
        "{:<17} {:.2} s + {:.2} s in the BPF program: {together:.2} % of one CPU, {:.2} % of {cpus}",
        "all together",
        total.cpu_seconds,
        total.bpf_seconds,
        together / f64::from(cpus.max(1))
    );
    let _ = writeln!(
        text,
        "{:<17} {} of maps and rings; the ring has {}",
        "kernel memory",
        size(total.kernel_memory as f64),
        size(total.ring_size as f64)
    );
    let _ = writeln!(
        text,
        "{:<17} {} written, {} lost: {}",
        "samples",
        grouped(total.samples),
        grouped(total.lost),
        success(&total)
    );
    text
}

/// A figure by its name, and what it is counted in.
type Figure = (&'static str, fn(&Measurement) -> f64, &'static str);

const FIGURES: [Figure; 6] = [
    ("own CPU", Measurement::cpu_percent, "% of one CPU"),
    ("BPF program", Measurement::bpf_percent, "% of one CPU"),
    ("memory", |one| one.memory as f64 / 1e6, "MB"),
    ("ring", Measurement::ring_percent, "% full"),
    ("written", |one| one.per_second(one.bytes as f64) / 1e3, "KB/s"),
    ("tick to output", |one| one.delay_p99_seconds, "s (of each second's 99th percentile)"),
];

fn row(one: &Measurement) -> [String; 11] {
    let of_samples = |seconds: f64| if one.samples == 0 { "-".to_owned() } else { format!("{seconds:.2}") };
    [
        format!("{:.1}", one.seconds),
        format!("{:.2}", one.cpu_percent()),
        format!("{:.2}", one.bpf_percent()),
        size(one.memory as f64),
        format!("{:.0}", one.ring_percent()),
        size(one.per_second(one.bytes as f64)),
        format!("{:.0}", one.per_second(one.samples as f64)),
        grouped(one.lost),
        of_samples(one.delay_median_seconds),
        of_samples(one.delay_p99_seconds),
        of_samples(one.delay_max_seconds),
    ]
}

/// How many of the target's ticks are samples, in percent: all only when it is all.
fn success(total: &Measurement) -> String {
    let all = total.ticks.saturating_add(total.lost);
    match total.lost {
        _ if all == 0 => "none was due".to_owned(),
        0 => "100 % of the target's ticks are samples".to_owned(),
        _ => {
            let percent = (total.ticks as f64 * 100.0 / all as f64).min(99.9);
            format!("{percent:.1} % of the target's ticks are samples")
        }
    }
}

fn size(bytes: f64) -> String {
    match bytes {
        0.0..1e4 => format!("{bytes:.0} B"),
        1e4..1e6 => format!("{:.1} KB", bytes / 1e3),
        _ => format!("{:.1} MB", bytes / 1e6),
    }
}

/// The same for scripts.
#[derive(Serialize)]
pub struct Recorder {
    /// All together; `None` when nothing was measured.
    total: Option<Measurement>,
    cpu_percent: Spread,
    bpf_percent: Spread,
    memory: Spread,
    ring_percent: Spread,
    bytes_per_second: Spread,
    delay_p99_seconds: Spread,
    /// In steps of equal numbers of measurements.
    steps: Vec<Measurement>,
}

impl Recorder {
    /// With at most `limit` steps; 0 for one for each measurement.
    pub fn new(measurements: &Measurements, limit: usize) -> Self {
        Self {
            total: measurements.total(),
            cpu_percent: measurements.spread(Measurement::cpu_percent),
            bpf_percent: measurements.spread(Measurement::bpf_percent),
            memory: measurements.spread(|one| one.memory as f64),
            ring_percent: measurements.spread(Measurement::ring_percent),
            bytes_per_second: measurements.spread(|one| one.per_second(one.bytes as f64)),
            delay_p99_seconds: measurements.spread(|one| one.delay_p99_seconds),
            steps: measurements.in_steps(limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a recorder that slowed down, a sample that was written is as many of the target's ticks as it stands for.
    #[test]
    fn success_ignored_weights() {
        let slowed = Measurement { samples: 100, ticks: 400, lost: 100, ..Measurement::default() };
        assert_eq!(success(&slowed), "80.0 % of the target's ticks are samples");
    }
}
