//! The recorder measures itself about once a second: what it costs, how full the ring is, how long samples take to the output.

use profrec_format::SelfMetrics;

use crate::delays::{Delays, Waiting};
use crate::hybrid::tally::Ways;
use crate::outcomes::Outcomes;
use crate::own_cost::{Memory, own_cpu_time};
use crate::ring::RingFill;

/// At least so long between two measurements. They are made at a look at the ring, and wake nobody.
const INTERVAL: u64 = 900_000_000;
/// While no samples come, so many measurements leave for the output together.
const TOGETHER: usize = 16;

/// What the meter is told at a measurement: all of it since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub(crate) time: u64,
    pub(crate) outcomes: Outcomes,
    /// Bytes and samples that have left for the output.
    pub(crate) bytes: u64,
    pub(crate) samples: u64,
    /// Ticks that these samples stand for.
    pub(crate) ticks: u64,
    /// Ticks that were lost.
    pub(crate) lost: u64,
    pub(crate) kernel_memory: u64,
}

/// Measures the recorder.
pub(crate) struct Meter {
    memory: Memory,
    /// At the measurement before.
    before: Reading,
    cpu_before: u64,
    ring: RingFill,
    /// The fullest that the ring was since the start, in percent.
    fullest: u64,
    waiting: Waiting,
    delays: Delays,
    /// Those of the measurements before.
    earlier_delays: Delays,
    /// Measurements that are not yet in the recording.
    measured: Vec<SelfMetrics>,
    last: SelfMetrics,
}

impl Meter {
    /// Measures from `start` on; what the recorder did before belongs to its first measurement.
    pub(crate) fn new(start: u64) -> Self {
        Self {
            memory: Memory::open(),
            before: Reading { time: start, ..Reading::default() },
            cpu_before: 0,
            ring: RingFill::default(),
            fullest: 0,
            waiting: Waiting::default(),
            delays: Delays::default(),
            earlier_delays: Delays::default(),
            measured: Vec::new(),
            last: SelfMetrics::default(),
        }
    }

    /// Notes what was found in the ring.
    pub(crate) fn look(&mut self, fill: RingFill) {
        self.ring = RingFill { bytes: fill.bytes, peak: self.ring.peak.max(fill.peak), size: fill.size };
        self.fullest = self.fullest.max((100 * fill.peak).div_ceil(fill.size.max(1)));
    }

    /// Notes a sample that waits.
    pub(crate) fn sample(&mut self, time: u64) {
        self.waiting.add(time);
    }

    /// Notes that what waited has left for the output.
    pub(crate) fn flushed(&mut self, now: u64) {
        self.waiting.leave(now, &mut self.delays);
    }

    /// Whether it is time for a measurement.
    pub(crate) fn is_due(&self, now: u64) -> bool {
        now.saturating_sub(self.before.time) >= INTERVAL
    }

    /// Makes a measurement.
    pub(crate) fn measure(&mut self, reading: Reading) {
        let cpu = own_cpu_time().as_nanos() as u64;
        let before = std::mem::replace(&mut self.before, reading);
        let delays = std::mem::take(&mut self.delays);
        let outcomes = reading.outcomes - before.outcomes;
        let samples = reading.samples.saturating_sub(before.samples);
        self.last = SelfMetrics {
            time: reading.time,
            interval: reading.time.saturating_sub(before.time),
            cpu: cpu - std::mem::replace(&mut self.cpu_before, cpu),
            bpf_time: outcomes.nanoseconds,
            bpf_runs: outcomes.captured,
            memory: self.memory.resident(),
            kernel_memory: reading.kernel_memory,
            ring_size: self.ring.size,
            ring_fill: self.ring.bytes,
            ring_peak: self.ring.peak,
            bytes: reading.bytes.saturating_sub(before.bytes),
            samples,
            lost: reading.lost.saturating_sub(before.lost),
            delay_median: delays.percentile(50),
            delay_p99: delays.percentile(99),
            delay_max: delays.longest(),
            outcomes: outcomes.told(reading.ticks.saturating_sub(before.ticks)).collect(),
        };
        self.ring.peak = 0;
        self.earlier_delays.absorb(&delays);
        self.measured.push(self.last.clone());
    }

    /// The measurements that are to be written: all when samples wait, and else only now and then.
    pub(crate) fn take_measured(&mut self) -> Vec<SelfMetrics> {
        if self.waiting.is_empty() && self.measured.len() < TOGETHER { Vec::new() } else { self.take_all() }
    }

    /// All measurements that are not yet in the recording.
    pub(crate) fn take_all(&mut self) -> Vec<SelfMetrics> {
        std::mem::take(&mut self.measured)
    }

    /// How well the recorder is, since its start.
    pub(crate) fn health(&self) -> Health {
        let mut delays = self.earlier_delays.clone();
        delays.absorb(&self.delays);
        Health {
            ways: None,
            ticks: self.before.ticks,
            lost: self.before.lost,
            kernel_memory: self.before.kernel_memory,
            fullest: self.fullest,
            cpu: self.cpu_before,
            delays: [delays.percentile(50), delays.percentile(99), delays.longest()],
        }
    }
}

/// The figures that tell how well the recorder is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Health {
    /// How many processes are sampled and counted, where it is either.
    pub(crate) ways: Option<Ways>,
    /// Ticks that the samples in the output stand for, and ticks that were lost: the first is how much of the target's ticks succeeded.
    pub(crate) ticks: u64,
    pub(crate) lost: u64,
    /// Bytes of maps and rings in the kernel.
    pub(crate) kernel_memory: u64,
    /// The fullest that the ring was, or the maps of counts, in percent.
    pub(crate) fullest: u64,
    /// CPU time of the recorder in nanoseconds.
    pub(crate) cpu: u64,
    /// Nanoseconds from a tick to the output: median, 99th percentile, longest.
    pub(crate) delays: [u64; 3],
}

impl Health {
    /// Samples written of ticks that hit the target, in percent: 100 and 0 only when it is exactly that.
    pub(crate) fn success(&self) -> String {
        let all = self.ticks + self.lost;
        if self.lost == 0 {
            return "100%".to_owned();
        }
        let percent = self.ticks as f64 * 100.0 / all as f64;
        format!("{:.1}%", if self.ticks > 0 { percent.clamp(0.1, 99.9) } else { 0.0 })
    }

    /// The delays in words: `0.31/0.60/0.61 s`.
    pub(crate) fn delay(&self, digits: usize) -> String {
        let [median, p99, longest] = self.delays.map(|nanoseconds| nanoseconds as f64 / 1e9);
        format!("{median:.digits$}/{p99:.digits$}/{longest:.digits$} s")
    }

    /// Own CPU time in percent of one CPU and of `cpus`.
    pub(crate) fn cpu_percent(&self, nanoseconds: u64, cpus: usize) -> (f64, f64) {
        let one = self.cpu as f64 * 100.0 / nanoseconds.max(1) as f64;
        (one, one / cpus.max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(time: u64, sent: u64, samples: u64) -> Reading {
        let outcomes = Outcomes { sent, ticks: sent, nanoseconds: 5 * sent, idle: 2 * sent, ..Outcomes::default() };
        Reading {
            time,
            outcomes,
            bytes: 10 * samples,
            samples,
            ticks: samples,
            lost: sent - samples,
            kernel_memory: 99,
        }
    }

    /// A measurement has what happened since the one before, sizes as they are, and the most that was in the ring meanwhile.
    #[test]
    fn measurements_are_differences() {
        let mut meter = Meter::new(1_000);
        meter.look(RingFill { bytes: 7, peak: 70, size: 100 });
        meter.look(RingFill { bytes: 5, peak: 5, size: 100 });
        meter.sample(3_000);
        meter.flushed(4_000);
        assert!(!meter.is_due(900_000_999) && meter.is_due(900_001_000));
        meter.measure(reading(11_000, 4, 3));
        meter.measure(reading(31_000, 10, 7));
        let [first, second] = &meter.take_all()[..] else { unreachable!("two measurements") };
        assert_eq!((first.interval, first.samples, first.lost, first.bytes, first.bpf_time), (10_000, 3, 1, 30, 20));
        assert_eq!((first.ring_fill, first.ring_peak, first.delay_max), (5, 70, 1_000));
        assert_eq!(
            (second.interval, second.samples, second.lost, second.bytes, second.bpf_time),
            (20_000, 4, 2, 40, 30)
        );
        assert_eq!((second.ring_peak, second.delay_max, second.kernel_memory), (0, 0, 99));
        let health = meter.health();
        assert_eq!((health.success(), health.delays[2]), ("70.0%".to_owned(), 1_000));
        assert_eq!(health.fullest, 70);
        assert_eq!(health.cpu_percent(1_000_000, 2).0, health.cpu as f64 / 10_000.0);
    }

    /// While there are no samples, measurements wait for company; with samples, none waits.
    #[test]
    fn measurements_of_an_idle_time_leave_together() {
        let mut meter = Meter::new(0);
        (1..TOGETHER as u64).for_each(|time| meter.measure(reading(time, 0, 0)));
        assert_eq!(meter.take_measured(), []);
        meter.measure(reading(TOGETHER as u64, 0, 0));
        assert_eq!(meter.take_measured().len(), TOGETHER);
        meter.measure(reading(99, 0, 0));
        meter.sample(5);
        assert_eq!(meter.take_measured().len(), 1);
    }

    /// All is said of all samples, and nothing of none: not when one of many is missing.
    #[test]
    fn success_is_all_only_when_it_is_all() {
        let success = |ticks, lost| Health { ticks, lost, ..Health::default() }.success();
        assert_eq!([success(5, 0), success(99_999, 1), success(1, 99_999)], ["100%", "99.9%", "0.1%"]);
        assert_eq!([success(0, 0), success(0, 3)], ["100%", "0.0%"]);
    }
}
