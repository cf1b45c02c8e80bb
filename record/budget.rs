//! How fast and how deep to sample, so that recording costs no more than it may: what was spent goes in, what to change comes
//! out. Nothing here measures or changes anything by itself.
//!
//! ```text
//!   usual pace ─► deep stacks cut (where copying is a good part of the cost) ─► half the rate ─► a quarter ─► ...
//!              ◄─             one step back at a time, when that is affordable                             ◄─
//! ```
//!
//! Stacks are cut once: of those that were copied whole, both ends are left. Cutting more of them was measured, and is not worth it: 32 KiB
//! of both ends take 7 % from the cost of a rustc, and leave it no complete stack.
//!
//! What sampling costs is averaged over the looks since the last step, three seconds at most. What is paid once for each program (its
//! unwind information, its names) is spread over a minute, and takes no more than half the budget: a lower rate would not make it less.

use std::collections::VecDeque;
use std::time::Duration;

use profrec_format::{PaceReason, Sample};

/// No clock ticks less often.
const LONGEST_PERIOD: u64 = 1_000_000_000;
/// What is averaged, at most and at least.
const WINDOW: Duration = Duration::from_secs(3);
const LEAST_WINDOW: Duration = Duration::from_secs(1);
/// So long the cost of evidence is spread.
const SPREAD: Duration = Duration::from_secs(60);
/// A step back has to leave so much of the budget unused.
const HEADROOM: f64 = 0.2;
/// What one step back makes of the cost of sampling, at most.
const TWICE: f64 = 2.0;
/// How long a pace is kept before a step back: at first, and at most, for it grows with each step that was not affordable after all.
const PATIENCE: Duration = Duration::from_secs(5);
const MOST_PATIENCE: Duration = Duration::from_secs(160);
/// From this share of the cost on, what happens in the kernel is mostly the copying of deep stacks.
const COPYING: f64 = 0.3;

/// How samples are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Ticks that a sample stands for: a power of two.
    pub(crate) weight: u32,
    /// No deep stack is copied whole.
    pub(crate) cut: bool,
}

impl Pace {
    /// As the recorder was told.
    pub(crate) const USUAL: Self = Self { weight: 1, cut: false };
}

/// What was spent from one look to the next, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    /// On samples: less of them is less of it.
    pub(crate) sampling: u64,
    /// The part of it in the BPF programs.
    pub(crate) in_kernel: u64,
    /// On evidence about programs.
    pub(crate) evidence: u64,
}

/// A change of the pace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) pace: Pace,
    pub(crate) reason: PaceReason,
    /// What recording had cost, in millionths of the machine.
    pub(crate) cost: u32,
}

/// The controller.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Nanoseconds of CPU time that may be spent in a nanosecond.
    limit: f64,
    cpus: u32,
    most_weight: u32,
    stacks_can_be_cut: bool,
    pace: Pace,
    looks: VecDeque<(Duration, Spent)>,
    /// What was spent on evidence and is not yet paid off.
    debt: f64,
    /// Since the last step.
    since_step: Duration,
    patience: Duration,
    /// The last step was one back.
    went_back: bool,
    /// What this look shows is partly of the pace before.
    is_settling: bool,
}

impl Budget {
    /// For a limit in millionths of a machine with so many CPUs, and a clock of this period.
    pub(crate) fn new(limit: u32, cpus: u32, period: u64, stacks_can_be_cut: bool) -> Self {
        let slower = (LONGEST_PERIOD / period.max(1)).clamp(1, u64::from(Sample::MAX_WEIGHT));
        Self {
            limit: f64::from(limit) / 1e6 * f64::from(cpus),
            cpus,
            most_weight: 1 << slower.ilog2(),
            stacks_can_be_cut,
            pace: Pace::USUAL,
            looks: VecDeque::new(),
            debt: 0.0,
            since_step: Duration::ZERO,
            patience: PATIENCE,
            went_back: false,
            is_settling: true,
        }
    }

    /// Takes what was spent since the last look; gives the step that is to be made now. The first look, and that after a step, is not
    /// counted: it is of the start, or of the pace before.
    pub(crate) fn look(&mut self, elapsed: Duration, spent: Spent) -> Option<Step> {
        self.since_step += elapsed;
        self.debt += spent.evidence as f64;
        self.debt -= self.debt * (elapsed.as_secs_f64() / SPREAD.as_secs_f64()).min(1.0);
        if std::mem::take(&mut self.is_settling) {
            return None;
        }
        self.looks.push_back((elapsed, spent));
        while self.window() - self.looks.front().map_or(Duration::ZERO, |look| look.0) > WINDOW {
            self.looks.pop_front();
        }
        let evidence = self.debt / SPREAD.as_nanos() as f64;
        let (allowed, sampling) = (self.limit - evidence.min(self.limit / 2.0), self.rate(|spent| spent.sampling));
        let (pace, reason) = if sampling > allowed {
            // A burst that costs twice what it may is not looked at twice.
            let is_sure = self.window() >= LEAST_WINDOW || sampling > 2.0 * allowed;
            (self.slower(sampling / allowed).filter(|_| is_sure)?, PaceReason::TooCostly)
        } else {
            let is_affordable = sampling * TWICE <= allowed * (1.0 - HEADROOM);
            let is_sure = self.window() >= LEAST_WINDOW && self.since_step >= self.patience;
            (self.faster().filter(|_| is_affordable && is_sure)?, PaceReason::Affordable)
        };
        self.change(pace, reason);
        let cost = (sampling + evidence) / f64::from(self.cpus) * 1e6;
        Some(Step { pace, reason, cost: cost.min(f64::from(u32::MAX)) as u32 })
    }

    /// What is less costly: shorter copies where these are a good part of the cost, else so low a rate that the cost falls by the factor.
    fn slower(&self, factor: f64) -> Option<Pace> {
        let Pace { weight, cut } = self.pace;
        let copying = self.rate(|spent| spent.in_kernel) >= COPYING * self.rate(|spent| spent.sampling);
        if self.stacks_can_be_cut && !cut && copying && weight == 1 {
            return Some(Pace { weight, cut: true });
        }
        let times = (factor.clamp(1.0, f64::from(self.most_weight)).ceil() as u32).max(2).next_power_of_two();
        let slower = weight.saturating_mul(times).min(self.most_weight);
        (slower > weight).then_some(Pace { weight: slower, cut })
    }

    /// One step back.
    fn faster(&self) -> Option<Pace> {
        match self.pace {
            Pace { weight: 1, cut: false } => None,
            Pace { weight: 1, cut: true } => Some(Pace::USUAL),
            Pace { weight, cut } => Some(Pace { weight: weight / 2, cut }),
        }
    }

    fn change(&mut self, pace: Pace, reason: PaceReason) {
        let back = reason == PaceReason::Affordable;
        if self.went_back && !back {
            // A step back that is taken back soon was one too many: the next one waits longer.
            let is_soon = self.since_step < 2 * self.patience;
            self.patience = if is_soon { (2 * self.patience).min(MOST_PATIENCE) } else { PATIENCE };
        }
        (self.pace, self.went_back, self.since_step, self.is_settling) = (pace, back, Duration::ZERO, true);
        self.looks.clear();
    }

    fn window(&self) -> Duration {
        self.looks.iter().map(|look| look.0).sum()
    }

    /// Nanoseconds in a nanosecond, on average over the window.
    fn rate(&self, of: impl Fn(&Spent) -> u64) -> f64 {
        let spent: u64 = self.looks.iter().map(|look| of(&look.1)).sum();
        spent as f64 / (self.window().as_nanos() as f64).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOOK: Duration = Duration::from_millis(600);
    const CPUS: u32 = 2;
    /// 1 % of two CPUs.
    const LIMIT: u32 = 10_000;
    /// 1 kHz.
    const PERIOD: u64 = 1_000_000;

    /// A machine where sampling at the usual pace costs so many nanoseconds in a microsecond, of which so many percent are for the
    /// copying of stacks, which a cut halves.
    #[derive(Clone, Copy)]
    struct Machine {
        cost: u64,
        copying: u64,
    }

    impl Machine {
        fn spent(self, pace: Pace) -> Spent {
            let all = self.cost * LOOK.as_micros() as u64;
            let copying = all * self.copying / 100;
            let in_kernel = (copying >> u32::from(pace.cut)) / u64::from(pace.weight);
            Spent { sampling: (all - copying) / u64::from(pace.weight) + in_kernel, in_kernel, evidence: 0 }
        }

        /// Share of the limit at a pace.
        fn load(self, pace: Pace) -> f64 {
            self.spent(pace).sampling as f64 / (LOOK.as_nanos() as f64 * 0.01 * f64::from(CPUS))
        }
    }

    fn budget() -> Budget {
        Budget::new(LIMIT, CPUS, PERIOD, true)
    }

    /// The steps of so many seconds on a machine.
    fn run(budget: &mut Budget, machine: Machine, seconds: u64) -> Vec<Step> {
        let looks = Duration::from_secs(seconds).as_millis() / LOOK.as_millis();
        (0..looks).filter_map(|_| budget.look(LOOK, machine.spent(budget.pace))).collect()
    }

    /// What costs less than it may is left alone.
    #[test]
    fn what_is_affordable_is_left_alone() {
        assert_eq!(run(&mut budget(), Machine { cost: 19, copying: 50 }, 600), []);
    }

    /// A burst of many times the limit is caught within four seconds.
    #[test]
    fn a_burst_is_caught() {
        let (mut budget, burst) = (budget(), Machine { cost: 300, copying: 10 });
        run(&mut budget, Machine { cost: 5, copying: 10 }, 60);
        let steps = run(&mut budget, burst, 4);
        assert!(burst.load(budget.pace) <= 1.0, "{steps:?}");
    }

    /// Shorter copies come first where copying is what costs, and not where it is not.
    #[test]
    fn shorter_copies_come_first() {
        let mut budget_of_copies = budget();
        let steps = run(&mut budget_of_copies, Machine { cost: 26, copying: 60 }, 60);
        assert_eq!(steps.iter().map(|step| step.pace).collect::<Vec<_>>(), [Pace { weight: 1, cut: true }]);
        let steps = run(&mut budget(), Machine { cost: 26, copying: 20 }, 60);
        assert_eq!(steps.iter().map(|step| step.pace).collect::<Vec<_>>(), [Pace { weight: 2, cut: false }]);
    }

    /// When the load has gone, the usual pace comes back, by and by.
    #[test]
    fn the_usual_pace_comes_back() {
        let mut budget = budget();
        run(&mut budget, Machine { cost: 500, copying: 50 }, 30);
        assert!(budget.pace.weight >= 8 && budget.pace.cut, "{:?}", budget.pace);
        let steps = run(&mut budget, Machine { cost: 4, copying: 50 }, 120);
        assert_eq!(budget.pace, Pace::USUAL);
        let is_gradual = steps.windows(2).all(|pair| pair[0].pace.weight / pair[1].pace.weight <= 2);
        assert!(is_gradual && steps.iter().all(|step| step.reason == PaceReason::Affordable), "{steps:?}");
    }

    /// What starts with the recording, and evidence that is gathered once, do not lower the rate for ever, nor to nothing.
    #[test]
    fn evidence_is_paid_off() {
        let (mut budget, machine) = (budget(), Machine { cost: 8, copying: 10 });
        let start = Spent { sampling: 20_000_000, in_kernel: 0, evidence: 3_000_000_000 };
        assert_eq!(budget.look(LOOK, start), None);
        run(&mut budget, machine, 600);
        assert_eq!(budget.pace, Pace::USUAL);
        let endless = Spent { evidence: LOOK.as_nanos() as u64, ..machine.spent(Pace::USUAL) };
        for _ in 0..1_000 {
            budget.look(LOOK, Spent { evidence: endless.evidence, ..machine.spent(budget.pace) });
        }
        assert_eq!(budget.pace.weight, 1);
    }

    /// A load that comes and goes makes for fewer and fewer steps: patience grows.
    #[test]
    fn patience_grows() {
        let mut budget = budget();
        let mut counts = Vec::new();
        for _ in 0..5 {
            let steps = (0..12).map(|_| {
                run(&mut budget, Machine { cost: 30, copying: 0 }, 5).len()
                    + run(&mut budget, Machine { cost: 2, copying: 0 }, 9).len()
            });
            counts.push(steps.sum::<usize>());
        }
        assert!(counts[4] < counts[0], "{counts:?}");
    }

    proptest! {
        /// Whatever sampling costs, after a minute it costs no more than it may, or the clock is as slow as can be; from then
        /// on nothing changes; and the pace is no slower than four times what is needed.
        #[test]
        fn a_constant_load_settles(cost in 0u64..20_000, copying in 0u64..90) {
            let (mut budget, machine) = (budget(), Machine { cost, copying });
            run(&mut budget, machine, 60);
            let pace = budget.pace;
            prop_assert!(machine.load(pace) <= 1.0 || pace.weight == budget.most_weight);
            prop_assert_eq!(run(&mut budget, machine, 300), []);
            let faster = Pace { weight: (pace.weight / 4).max(1), ..pace };
            prop_assert!(pace.weight <= 2 || machine.load(faster) > 0.8, "{:?} {}", pace, machine.load(faster));
        }

        /// What costs more is never sampled faster.
        #[test]
        fn more_cost_is_no_higher_rate(cost in 0u64..5_000, more in 0u64..5_000) {
            let settled = |cost| {
                let mut budget = budget();
                run(&mut budget, Machine { cost, copying: 10 }, 120);
                budget.pace.weight
            };
            prop_assert!(settled(cost) <= settled(cost + more));
        }

        /// A load that is noisy by a tenth makes for a few steps at most, not for one after the other.
        #[test]
        fn noise_is_no_oscillation(cost in 1u64..2_000, noise in proptest::collection::vec(0u64..20, 500)) {
            let mut budget = budget();
            let steps = noise.iter().filter(|noise| {
                let machine = Machine { cost: cost * (90 + **noise), copying: 10 };
                let spent = machine.spent(budget.pace);
                let spent = Spent { sampling: spent.sampling / 100, in_kernel: spent.in_kernel / 100, evidence: 0 };
                budget.look(LOOK, spent).is_some()
            });
            let steps = steps.count();
            prop_assert!(steps <= 8, "{} steps", steps);
        }

        /// Any numbers at all give a pace that is possible.
        #[test]
        fn any_numbers(limit: u32, cpus in 1u32..10_000, period: u64, looks: Vec<(u32, u64, u64, u64)>) {
            let mut budget = Budget::new(limit, cpus, period, true);
            for (elapsed, sampling, in_kernel, evidence) in looks {
                // Sums of a window fit.
                let spent = Spent { sampling: sampling >> 8, in_kernel: in_kernel >> 8, evidence };
                if let Some(step) = budget.look(Duration::from_micros(elapsed.into()), spent) {
                    prop_assert!(step.pace.weight.is_power_of_two());
                    prop_assert!(step.pace.weight <= 1 || u64::from(step.pace.weight).saturating_mul(period) <= LONGEST_PERIOD);
                }
            }
        }
    }
}
