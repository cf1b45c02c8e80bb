//! Keeps the recorder within its budget while it runs: measures what it costs, and has the clocks and the copies of stacks changed as
//! the budget says.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Result;
use profrec_format::Pace as PaceRecord;

use crate::args::{CallGraph, RecordArgs};
use crate::budget::{Budget, Pace, Spent};
use crate::interrupt::Interrupts;
use crate::own_cost::{own_cpu_time, thread_cpu_time};
use crate::sampler::Sampler;
use crate::slowed::Slowed;
use crate::stream::{Stream, now};

/// What was spent so far, in nanoseconds.
#[derive(Clone, Copy, Default)]
struct Meter {
    /// By the thread that takes the samples.
    thread: Duration,
    /// By all threads.
    process: Duration,
    in_kernel: u64,
    ticks: u64,
}

/// Keeps within the budget.
pub(crate) struct Frugality {
    /// None when recording may cost what it does.
    budget: Option<Budget>,
    limit: u32,
    period: u64,
    /// Ticks are counted: what the recorder does itself, at a flush, is not less with fewer of them.
    counts: bool,
    looked: Instant,
    before: Meter,
    /// What an interrupt costs: how to measure it, and nanoseconds, once that is done.
    interrupts: Option<Interrupts>,
    interrupt: u64,
    slowed: Slowed,
}

impl Frugality {
    /// For what the command line says, on so many CPUs.
    pub(crate) fn new(args: &RecordArgs, cpus: u32) -> Self {
        let (limit, period, copies) = (args.max_cpu(), args.period(), args.call_graph() == CallGraph::Dwarf);
        Self {
            budget: limit.map(|limit| Budget::new(limit, cpus, period, copies)),
            limit: limit.unwrap_or(0),
            period,
            counts: args.counts_every().is_some(),
            looked: Instant::now(),
            before: Meter::default(),
            interrupts: limit.map(|_| Interrupts::open()),
            interrupt: 0,
            slowed: Slowed::new(limit.unwrap_or(0), period),
        }
    }

    /// Looks at what was spent since the last look, and makes the step that the budget asks for. Gives what there is to say about it.
    pub(crate) fn look<W: Write>(&mut self, sampler: &mut Sampler, stream: &mut Stream<W>) -> Result<Option<String>> {
        let Some(budget) = &mut self.budget else { return Ok(None) };
        let elapsed = self.looked.elapsed();
        self.looked += elapsed;
        // Not at the start: everybody waits for that.
        if let Some(interrupts) = self.interrupts.take() {
            self.interrupt = interrupts.measure();
        }
        let meter = Meter::read(sampler)?;
        let spent = meter.since(self.before, self.interrupt, self.counts);
        self.before = meter;
        let Some(step) = budget.look(elapsed, spent) else { return Ok(None) };
        let time = now();
        sampler.set_pace(step.pace, self.period)?;
        let (whole_stack, stack_size) = sampler.stacks(step.pace);
        let Pace { weight, cut } = step.pace;
        let (cost, limit, reason) = (step.cost, self.limit, step.reason);
        stream.change_pace(PaceRecord { time, weight, whole_stack, stack_size, cost, limit, reason })?;
        Ok(self.slowed.step(Pace { weight, cut }, cost, Instant::now()))
    }

    /// What a sample stands for now.
    pub(crate) fn weight(&self) -> u32 {
        self.slowed.pace.weight
    }

    /// What was done to keep within the budget, in words; `None` when nothing had to be.
    pub(crate) fn slowed(&self) -> Option<String> {
        self.slowed.text(Instant::now())
    }
}

impl Meter {
    fn read(sampler: &Sampler) -> Result<Self> {
        let outcomes = sampler.accounts()?.all();
        let (in_kernel, ticks) = (outcomes.nanoseconds, outcomes.interrupts);
        Ok(Self { thread: thread_cpu_time(), process: own_cpu_time(), in_kernel, ticks })
    }

    /// What was spent since another time. What the recorder itself does with counts is done as often when there are fewer ticks.
    fn since(self, before: Self, interrupt: u64, counts: bool) -> Spent {
        let thread = self.thread.saturating_sub(before.thread);
        let others = self.process.saturating_sub(before.process).saturating_sub(thread);
        let in_kernel = self.in_kernel - before.in_kernel;
        let interrupts = (self.ticks - before.ticks) * interrupt;
        let (thread, others) = (thread.as_nanos() as u64, others.as_nanos() as u64);
        let (of_ticks, of_programs) = if counts { (0, thread + others) } else { (thread, others) };
        Spent { sampling: of_ticks + in_kernel + interrupts, in_kernel, evidence: of_programs }
    }
}
