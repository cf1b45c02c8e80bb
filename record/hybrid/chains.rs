//! How many of the counted chains of each process end in start code: whose do not are broken.

use rustc_hash::{FxHashMap, FxHashSet};

use super::owed::Program;
use crate::evidence::CodeOffset;

/// Ticks that it takes to judge.
const ENOUGH: u64 = 20;
/// Percent of the chains that end in start code at least, where frame pointers lead through.
const WHOLE: u64 = 90;
/// Places that are remembered: 2 MB. Places of a process that are not known yet: ticks at more of them do not count.
const MOST_PLACES: usize = 64 << 10;
const MOST_UNKNOWN: usize = 256;

/// The chains of all processes since each was judged last.
#[derive(Debug, Default)]
pub(crate) struct Chains {
    /// Places that were asked for, and those of them that are in start code and in other code.
    asked: FxHashSet<CodeOffset>,
    start_code: FxHashSet<CodeOffset>,
    other_code: FxHashSet<CodeOffset>,
    /// Places that are to be asked for.
    new: Vec<CodeOffset>,
    by_pid: FxHashMap<u32, OfProcess>,
}

/// The chains of a process, in ticks.
#[derive(Debug)]
struct OfProcess {
    program: Program,
    /// Those that end in start code.
    whole: u64,
    /// All of which it is known where they end.
    all: u64,
    /// By the place of the outermost frame, those of which it is not.
    unknown: Vec<(CodeOffset, u64)>,
}

impl Chains {
    /// Adds ticks of a program whose chain has its outermost frame at a place; one that is in no module has none.
    pub(crate) fn add(&mut self, program: Program, outermost: Option<CodeOffset>, ticks: u64) {
        let is_known = outermost.map_or(Some(false), |place| self.is_start_code(place));
        let new = || OfProcess { program, whole: 0, all: 0, unknown: Vec::new() };
        let process = self.by_pid.entry(program.pid).or_insert_with(new);
        if process.program != program {
            *process = new();
        }
        match (is_known, outermost) {
            (Some(is_start_code), _) => process.add(is_start_code, ticks),
            (None, Some(place)) => {
                process.add_unknown(place, ticks);
                if self.asked.insert(place) {
                    self.new.push(place);
                }
            }
            (None, None) => {}
        }
    }

    fn is_start_code(&self, place: CodeOffset) -> Option<bool> {
        let is_start_code = self.start_code.contains(&place);
        (is_start_code || self.other_code.contains(&place)).then_some(is_start_code)
    }

    /// Places of which it is to be found out whether they are in start code.
    pub(crate) fn take_new(&mut self) -> Vec<CodeOffset> {
        if self.asked.len() >= MOST_PLACES {
            (self.asked, self.start_code, self.other_code) = Default::default();
        }
        std::mem::take(&mut self.new)
    }

    /// Nobody could be asked about these places: their next ticks ask again.
    pub(crate) fn ask_again(&mut self, places: &[CodeOffset]) {
        places.iter().for_each(|place| _ = self.asked.remove(place));
    }

    /// That was found out.
    pub(crate) fn learn(&mut self, place: CodeOffset, is_start_code: bool) {
        if is_start_code { &mut self.start_code } else { &mut self.other_code }.insert(place);
    }

    /// Forgets a process that has ended or become another program.
    pub(crate) fn forget(&mut self, pid: u32) {
        self.by_pid.remove(&pid);
    }

    /// Judges the processes of which enough is known, anew each time; gives them, and whether their chains are broken.
    pub(crate) fn take_judged(&mut self) -> Vec<(Program, bool)> {
        let mut processes = std::mem::take(&mut self.by_pid);
        let mut judged = Vec::new();
        processes.retain(|_, process| {
            for (place, ticks) in std::mem::take(&mut process.unknown) {
                match self.is_start_code(place) {
                    Some(is_start_code) => process.add(is_start_code, ticks),
                    None => process.unknown.push((place, ticks)),
                }
            }
            let is_judged = process.all >= ENOUGH;
            if is_judged {
                judged.push((process.program, process.is_broken()));
            }
            !is_judged
        });
        self.by_pid = processes;
        judged
    }
}

impl OfProcess {
    /// Whether too few chains are whole, by more than three standard deviations: a process is judged again and again, and sampled once it
    /// was found broken, be it by chance.
    fn is_broken(&self) -> bool {
        let missing = (WHOLE * self.all).saturating_sub(100 * self.whole);
        missing.saturating_mul(missing) > 9 * WHOLE * (100 - WHOLE) * self.all
    }

    fn add(&mut self, is_start_code: bool, ticks: u64) {
        self.all += ticks;
        self.whole += if is_start_code { ticks } else { 0 };
    }

    fn add_unknown(&mut self, place: CodeOffset, ticks: u64) {
        if let Some((_, known)) = self.unknown.iter_mut().find(|(known, _)| *known == place) {
            *known += ticks;
        } else if self.unknown.len() < MOST_UNKNOWN {
            self.unknown.push((place, ticks));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Option<CodeOffset> = Some((1, 0x10));
    const OTHER: Option<CodeOffset> = Some((1, 0x20));

    fn chains() -> Chains {
        let mut chains = Chains::default();
        chains.learn((1, 0x10), true);
        chains.learn((1, 0x20), false);
        chains
    }

    /// A process is judged once there are enough ticks of it whose ends are known, and anew then.
    #[test]
    fn enough_has_to_be_known() {
        let (program, mut chains) = (Program { pid: 7, exec: 1 }, chains());
        chains.add(program, OTHER, ENOUGH - 1);
        chains.add(program, Some((2, 0)), ENOUGH);
        assert_eq!((chains.take_judged(), chains.take_new()), (vec![], vec![(2, 0)]));
        chains.ask_again(&[(2, 0)]);
        chains.add(program, Some((2, 0)), 1);
        assert_eq!(chains.take_new(), [(2, 0)]);
        chains.learn((2, 0), false);
        assert_eq!(chains.take_judged(), [(program, true)]);
        assert_eq!(chains.take_judged(), []);
    }

    /// Chains that end in no module are broken; a few broken ones do no harm, nor some more when they may be so by chance.
    #[test]
    fn most_chains_have_to_be_whole() {
        let few = [(13, 6, false), (13, 7, true), (100, 12, false), (100, 25, true)];
        for (whole, outside, is_broken) in few.into_iter().chain([(100_000, 9_000, false), (100_000, 12_000, true)]) {
            let (program, mut chains) = (Program { pid: 7, exec: 1 }, chains());
            chains.add(program, START, whole);
            chains.add(program, None, outside);
            assert_eq!(chains.take_judged(), (whole + outside >= ENOUGH).then_some((program, is_broken)).as_slice());
        }
    }

    /// Another program of the process is judged by its own chains.
    #[test]
    fn another_program_is_judged_by_itself() {
        let (program, mut chains) = (Program { pid: 7, exec: 1 }, chains());
        chains.add(program, OTHER, ENOUGH);
        chains.add(Program { exec: 2, ..program }, START, ENOUGH);
        assert_eq!(chains.take_judged(), [(Program { exec: 2, ..program }, false)]);
        chains.add(program, OTHER, ENOUGH);
        chains.forget(7);
        assert_eq!(chains.take_judged(), []);
    }
}
