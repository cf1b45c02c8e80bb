//! How many processes are sampled, how many are only counted, and what was not sampled that should have been.

use std::collections::BTreeMap;

use rustc_hash::FxHashSet;

use super::owed::Program;

/// How many processes had ticks since the start, and how many of them had stacks copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ways {
    pub(crate) all: u64,
    pub(crate) sampled: u64,
}

/// What a process of the recording had until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Had {
    tick: bool,
    stack: bool,
}

/// The tally of a recording.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    ways: Ways,
    /// Programs that are counted although their chains break, because very many others are sampled.
    refused: FxHashSet<Program>,
    /// Their ticks, by CPU.
    not_sampled: BTreeMap<u32, u64>,
}

impl Tally {
    /// A process has a tick, perhaps with a copied stack.
    pub(crate) fn add(&mut self, had: &mut Had, stack: bool) {
        self.ways.all += u64::from(!std::mem::replace(&mut had.tick, true));
        self.ways.sampled += u64::from(stack && !std::mem::replace(&mut had.stack, true));
    }

    /// Ticks of a program were counted.
    pub(crate) fn counted(&mut self, program: Program, cpu: u32, ticks: u32) {
        if self.refused.contains(&program) {
            *self.not_sampled.entry(cpu).or_default() += u64::from(ticks);
        }
    }

    /// A program was judged: it should be sampled, and is not; or else it is, or its chains are whole.
    pub(crate) fn judged(&mut self, program: Program, is_refused: bool) {
        if is_refused {
            self.refused.insert(program);
        } else {
            self.refused.remove(&program);
        }
    }

    /// A process has ended or become another program.
    pub(crate) fn forget(&mut self, pid: u32) {
        self.refused.retain(|program| program.pid != pid);
    }

    /// How many processes there were.
    pub(crate) fn ways(&self) -> Ways {
        self.ways
    }

    /// By CPU, ticks that should have been sampled.
    pub(crate) fn not_sampled(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.not_sampled.iter().map(|(cpu, ticks)| (*cpu, *ticks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process is one, however many ticks it has.
    #[test]
    fn processes_are_told_once() {
        let (mut tally, [mut one, mut other]) = (Tally::default(), [Had::default(); 2]);
        tally.add(&mut one, false);
        tally.add(&mut other, false);
        tally.add(&mut one, true);
        tally.add(&mut one, true);
        assert_eq!(tally.ways(), Ways { all: 2, sampled: 1 });
    }

    /// Ticks of a program count as not sampled from when there was no room for it until there is, or need not be any, or it is another one.
    #[test]
    fn what_should_have_been_sampled() {
        let (program, mut tally) = (Program { pid: 7, exec: 1 }, Tally::default());
        let add = |tally: &mut Tally| {
            tally.counted(program, 3, 5);
            tally.counted(Program { pid: 8, exec: 1 }, 3, 5);
            tally.not_sampled().collect::<Vec<_>>()
        };
        assert_eq!(add(&mut tally), []);
        tally.judged(program, true);
        assert_eq!(add(&mut tally), [(3, 5)]);
        tally.judged(program, false);
        assert_eq!(add(&mut tally), [(3, 5)]);
        tally.judged(program, true);
        tally.forget(7);
        assert_eq!(add(&mut tally), [(3, 5)]);
    }
}
