//! What the recorder measured of itself, about once a second, brought to as many steps as one can read.

use profrec_format::{Outcome, Record, Recording, SelfMetrics};
use serde::Serialize;

/// What was measured in a time. Amounts are sums over it, sizes the largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Measurement {
    /// Seconds from the start of the recording to its end.
    pub seconds: f64,
    /// How long it is.
    pub interval_seconds: f64,
    /// CPU time of the recorder.
    pub cpu_seconds: f64,
    /// CPU time in its BPF program, on all CPUs.
    pub bpf_seconds: f64,
    /// Ticks that the BPF time is of.
    pub bpf_runs: u64,
    /// Resident memory of the recorder, in bytes.
    pub memory: u64,
    /// Kernel memory of its maps and rings, in bytes.
    pub kernel_memory: u64,
    /// Size of the ring between kernel and recorder, in bytes.
    pub ring_size: u64,
    /// Bytes in it when the recorder looked last.
    pub ring_fill: u64,
    /// The most bytes that it found there.
    pub ring_peak: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Samples written.
    pub samples: u64,
    /// Ticks that these stand for: more, where the recorder had to slow down.
    pub ticks: u64,
    /// Ticks lost.
    pub lost: u64,
    /// From tick to output: the median; of several measurements, the mean of medians by samples.
    pub delay_median_seconds: f64,
    /// The 99th percentile; of several measurements, the largest.
    pub delay_p99_seconds: f64,
    /// The longest.
    pub delay_max_seconds: f64,
}

impl Measurement {
    fn new(metrics: &SelfMetrics, start: u64) -> Self {
        let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
        Self {
            seconds: seconds(metrics.time.saturating_sub(start)),
            interval_seconds: seconds(metrics.interval),
            cpu_seconds: seconds(metrics.cpu),
            bpf_seconds: seconds(metrics.bpf_time),
            bpf_runs: metrics.bpf_runs,
            memory: metrics.memory,
            kernel_memory: metrics.kernel_memory,
            ring_size: metrics.ring_size,
            ring_fill: metrics.ring_fill,
            ring_peak: metrics.ring_peak,
            bytes: metrics.bytes,
            samples: metrics.samples,
            ticks: ticks(metrics),
            lost: metrics.lost,
            delay_median_seconds: seconds(metrics.delay_median),
            delay_p99_seconds: seconds(metrics.delay_p99),
            delay_max_seconds: seconds(metrics.delay_max),
        }
    }

    /// Adds one that follows.
    fn absorb(&mut self, next: &Self) {
        let weighted = |one: &Self| one.delay_median_seconds * one.samples as f64;
        let samples = self.samples.saturating_add(next.samples);
        *self = Self {
            seconds: next.seconds,
            interval_seconds: self.interval_seconds + next.interval_seconds,
            cpu_seconds: self.cpu_seconds + next.cpu_seconds,
            bpf_seconds: self.bpf_seconds + next.bpf_seconds,
            bpf_runs: self.bpf_runs.saturating_add(next.bpf_runs),
            memory: self.memory.max(next.memory),
            kernel_memory: self.kernel_memory.max(next.kernel_memory),
            ring_size: self.ring_size.max(next.ring_size),
            ring_fill: next.ring_fill,
            ring_peak: self.ring_peak.max(next.ring_peak),
            bytes: self.bytes.saturating_add(next.bytes),
            samples,
            ticks: self.ticks.saturating_add(next.ticks),
            lost: self.lost.saturating_add(next.lost),
            delay_median_seconds: (weighted(self) + weighted(next)) / (samples as f64).max(1.0),
            delay_p99_seconds: self.delay_p99_seconds.max(next.delay_p99_seconds),
            delay_max_seconds: self.delay_max_seconds.max(next.delay_max_seconds),
        };
    }

    /// An amount of the interval, for each second of it.
    pub fn per_second(&self, amount: f64) -> f64 {
        if self.interval_seconds > 0.0 { amount / self.interval_seconds } else { 0.0 }
    }

    /// The recorder's CPU time in percent of one CPU.
    pub fn cpu_percent(&self) -> f64 {
        self.per_second(self.cpu_seconds) * 100.0
    }

    /// The time in its BPF program in percent of one CPU.
    pub fn bpf_percent(&self) -> f64 {
        self.per_second(self.bpf_seconds) * 100.0
    }

    /// The fullest that the ring was, in percent.
    pub fn ring_percent(&self) -> f64 {
        if self.ring_size == 0 { 0.0 } else { self.ring_peak as f64 * 100.0 / self.ring_size as f64 }
    }
}

/// All that a recording tells, in the order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measurements(Vec<Measurement>);

/// Measurements that are kept one by one: twelve days of them. Of longer recordings, two become one.
const KEPT: usize = 1 << 20;
/// Shorter ones, such as the last, say nothing of what is usual.
const SHORT: f64 = 0.5;

impl Measurements {
    /// Reads those that are in a part of the recording: from a time on and before another, in nanoseconds from its start.
    pub fn gather(recording: &Recording<'_>, from: Option<u64>, to: Option<u64>) -> Self {
        let start = recording.header().start_monotonic;
        let mut all = Self::default();
        for segment in recording.segments() {
            // A segment that cannot be read has none; whoever shows the recording says that it is damaged.
            let mut found: Vec<_> = segment.records().unwrap_or_default().into_iter().filter_map(metrics).collect();
            found.sort_by_key(|metrics| metrics.time);
            let is_asked_for = |metrics: &&SelfMetrics| {
                let time = metrics.time.saturating_sub(start);
                from.is_none_or(|from| from <= time) && to.is_none_or(|to| time < to)
            };
            found.iter().filter(is_asked_for).for_each(|metrics| all.add(Measurement::new(metrics, start)));
        }
        all
    }

    fn add(&mut self, measurement: Measurement) {
        if self.0.len() >= KEPT {
            self.0 = self.in_steps(KEPT / 2);
        }
        self.0.push(measurement);
    }

    /// Those that were made, or what is left of very many.
    pub fn all(&self) -> &[Measurement] {
        &self.0
    }

    /// At most so many, each of as many as the others; 0 for all there are.
    pub fn in_steps(&self, most: usize) -> Vec<Measurement> {
        let together = if most == 0 { 1 } else { self.0.len().div_ceil(most).max(1) };
        self.0.chunks(together).filter_map(sum).collect()
    }

    /// All of them as one.
    pub fn total(&self) -> Option<Measurement> {
        sum(&self.0)
    }

    /// Of a figure: what it is usually, at worst in 99 of 100, and at worst.
    pub fn spread(&self, figure: impl Fn(&Measurement) -> f64) -> Spread {
        let long: Vec<_> = self.0.iter().filter(|one| one.interval_seconds >= SHORT).collect();
        let used = if long.is_empty() { self.0.iter().collect() } else { long };
        let mut figures: Vec<f64> = used.into_iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            let place = (figures.len() * percent).div_ceil(100).saturating_sub(1);
            figures.get(place).copied().unwrap_or(0.0)
        };
        Spread { median: at(50), p99: at(99), peak: at(100) }
    }
}

/// How a figure is spread over the measurements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Half of them are no larger.
    pub median: f64,
    /// 99 of 100 are no larger.
    pub p99: f64,
    /// The largest.
    pub peak: f64,
}

fn sum(measurements: &[Measurement]) -> Option<Measurement> {
    let (first, rest) = measurements.split_first()?;
    let mut sum = *first;
    rest.iter().for_each(|next| sum.absorb(next));
    Some(sum)
}

/// Ticks that the samples of a measurement stand for; older recorders did not tell, and wrote one sample a tick.
fn ticks(metrics: &SelfMetrics) -> u64 {
    let written = metrics.outcomes.iter().filter(|(outcome, _)| *outcome == Outcome::Written).map(|(_, count)| *count);
    written.reduce(u64::saturating_add).unwrap_or(metrics.samples)
}

fn metrics(record: Record) -> Option<SelfMetrics> {
    match record {
        Record::SelfMetrics(metrics) => Some(metrics),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use profrec_format::{Header, Totals, Writer};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn measured(count: u64) -> Vec<u8> {
        let header = Header { start_monotonic: SECOND, ..Header::default() };
        let mut writer = Writer::create(Vec::new(), &header).unwrap();
        for number in 1..=count {
            let metrics = SelfMetrics {
                time: (1 + number) * SECOND,
                interval: SECOND,
                cpu: number * 10_000_000,
                memory: 1_000 - number,
                samples: number,
                lost: 1,
                delay_median: number * SECOND,
                delay_max: number * SECOND,
                ..SelfMetrics::default()
            };
            writer.record(&Record::SelfMetrics(metrics)).unwrap();
        }
        writer.finish(&Totals::default()).unwrap()
    }

    fn gathered(count: u64, from: Option<u64>, to: Option<u64>) -> Measurements {
        let bytes = measured(count);
        Measurements::gather(&Recording::open(&bytes).unwrap(), from, to)
    }

    /// Steps are sums of amounts and the largest of sizes, and none is left out.
    #[test]
    fn steps_are_sums() {
        let all = gathered(10, None, None);
        let steps = all.in_steps(4);
        assert_eq!(steps.iter().map(|step| step.samples).collect::<Vec<_>>(), [1 + 2 + 3, 4 + 5 + 6, 7 + 8 + 9, 10]);
        assert_eq!((steps[0].seconds, steps[0].memory, steps[0].lost), (3.0, 999, 3));
        assert!((steps[0].cpu_percent() - 2.0).abs() < 1e-9 && steps[1].delay_max_seconds == 6.0);
        assert!((steps[0].delay_median_seconds - 14.0 / 6.0).abs() < 1e-9);
        assert_eq!((all.in_steps(0).len(), all.total().unwrap().samples), (10, 55));
        assert_eq!((gathered(0, None, None).total(), gathered(0, None, None).in_steps(5).len()), (None, 0));
    }

    /// Only measurements of the time that was asked for.
    #[test]
    fn a_part_of_the_time() {
        let part = gathered(10, Some(3 * SECOND), Some(5 * SECOND));
        assert_eq!(part.all().iter().map(|one| one.samples).collect::<Vec<_>>(), [3, 4]);
    }

    /// Median, 99th percentile and peak are those of the measurements that are long enough to mean something.
    #[test]
    fn spreads_leave_out_short_measurements() {
        let mut all = gathered(100, None, None);
        all.add(Measurement { interval_seconds: 0.01, cpu_seconds: 1.0, ..Measurement::default() });
        let Spread { median, p99, peak } = all.spread(Measurement::cpu_percent);
        for (found, expected) in [(median, 50.0), (p99, 99.0), (peak, 100.0)] {
            assert!((found - expected).abs() < 1e-9, "{found}");
        }
    }

    /// Measurements without end are brought together, and none is dropped.
    #[test]
    fn measurements_without_end() {
        let mut all = Measurements::default();
        (0..KEPT + 10).for_each(|_| all.add(Measurement { samples: 1, ..Measurement::default() }));
        assert!(all.all().len() <= KEPT);
        assert_eq!(all.total().unwrap().samples, KEPT as u64 + 10);
    }
}
