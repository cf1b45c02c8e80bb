//! How many of the counted chains of each process end in start code: whose do not are broken.

use rustc_hash::FxHashMap;

use super::owed::Program;
use crate::evidence::CodeOffset;

/// Ticks that it takes to judge.
const ENOUGH: u64 = 20;
/// Percent of the chains that end in start code at least, where frame pointers lead through.
const WHOLE: u64 = 90;
/// Places that are remembered: 2 MB.
const MOST_PLACES: usize = 64 << 10;

/// The chains of all processes since each was judged last.
#[derive(Debug, Default)]
pub(crate) struct Chains {
    /// Whether places are in start code, once that is known.
    places: FxHashMap<CodeOffset, Option<bool>>,
    /// Places that were not asked for.
    new: Vec<CodeOffset>,
    by_pid: FxHashMap<u32, OfProcess>,
}

/// The chains of a process.
#[derive(Debug)]
struct OfProcess {
    program: Program,
    /// Ticks by the place of the outermost frame; those that are in no module have none.
    ticks: FxHashMap<Option<CodeOffset>, u64>,
}

impl Chains {
    /// Adds ticks of a program whose chain has its outermost frame at a place.
    pub(crate) fn add(&mut self, program: Program, outermost: Option<CodeOffset>, ticks: u64) {
        let new = || OfProcess { program, ticks: FxHashMap::default() };
        let known = self.by_pid.entry(program.pid).or_insert_with(new);
        if known.program != program {
            *known = new();
        }
        *known.ticks.entry(outermost).or_default() += ticks;
        let Some(place) = outermost else { return };
        if self.places.len() >= MOST_PLACES {
            self.places = FxHashMap::default();
        }
        let new = &mut self.new;
        self.places.entry(place).or_insert_with(|| {
            new.push(place);
            None
        });
    }

    /// Places of which it is to be found out whether they are in start code.
    pub(crate) fn take_new(&mut self) -> Vec<CodeOffset> {
        std::mem::take(&mut self.new)
    }

    /// That was found out.
    pub(crate) fn learn(&mut self, place: CodeOffset, is_start_code: bool) {
        self.places.insert(place, Some(is_start_code));
    }

    /// Forgets a process that has ended or become another program.
    pub(crate) fn forget(&mut self, pid: u32) {
        self.by_pid.remove(&pid);
    }

    /// Judges the processes of which enough is known, anew each time; gives those whose chains are broken.
    pub(crate) fn take_broken(&mut self) -> Vec<Program> {
        let places = &self.places;
        let mut broken = Vec::new();
        self.by_pid.retain(|_, process| {
            let known = |place: &Option<CodeOffset>| place.map_or(Some(false), |place| places.get(&place).copied()?);
            let (mut all, mut whole) = (0, 0);
            for (place, ticks) in &process.ticks {
                let Some(is_start_code) = known(place) else { continue };
                all += ticks;
                whole += if is_start_code { *ticks } else { 0 };
            }
            if all < ENOUGH {
                return true;
            }
            if 100 * whole < WHOLE * all {
                broken.push(process.program);
            }
            false
        });
        broken
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
        assert_eq!((chains.take_broken(), chains.take_new()), (vec![], vec![(2, 0)]));
        chains.learn((2, 0), false);
        assert_eq!(chains.take_broken(), [program]);
        assert_eq!(chains.take_broken(), []);
    }

    /// Chains that end in no module are broken; a few broken ones do no harm.
    #[test]
    fn most_chains_have_to_be_whole() {
        for (outside, is_broken) in [(9, false), (12, true)] {
            let (program, mut chains) = (Program { pid: 7, exec: 1 }, chains());
            chains.add(program, START, 100);
            chains.add(program, None, outside);
            assert_eq!(!chains.take_broken().is_empty(), is_broken);
        }
    }

    /// Another program of the process is judged by its own chains.
    #[test]
    fn another_program_is_judged_by_itself() {
        let (program, mut chains) = (Program { pid: 7, exec: 1 }, chains());
        chains.add(program, OTHER, ENOUGH);
        chains.add(Program { exec: 2, ..program }, START, ENOUGH);
        assert_eq!(chains.take_broken(), []);
        chains.add(program, OTHER, ENOUGH);
        chains.forget(7);
        assert_eq!(chains.take_broken(), []);
    }
}
