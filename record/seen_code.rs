//! The code that a segment has shown, by module and offset: each place is asked evidence for once.

use rustc_hash::FxHashSet;

use crate::evidence::CodeOffset;
use crate::modules::Modules;
use crate::process::{Mapped, Process};

/// What the current segment has shown.
#[derive(Default)]
pub(crate) struct SeenCode {
    seen: FxHashSet<CodeOffset>,
    new: Vec<CodeOffset>,
    /// Process and address in code that was made at run time.
    seen_at_run_time: FxHashSet<(u32, u64)>,
    new_at_run_time: Vec<(u32, u64)>,
}

impl SeenCode {
    /// Code addresses that a sample of a process has shown.
    pub(crate) fn note(&mut self, (pid, process): (u32, &Process), addresses: &[u64], modules: &Modules) {
        self.note_each((pid, process), addresses.iter().copied(), modules);
    }

    fn note_each(&mut self, (pid, process): (u32, &Process), addresses: impl Iterator<Item = u64>, modules: &Modules) {
        // Neighbours on a stack mostly are in one mapping.
        let mut last: Option<(&Mapped, bool)> = None;
        for address in addresses {
            let find = || process.find(address).map(|mapped| (mapped, modules.is_run_time_code(mapped.module)));
            last = last.filter(|(mapped, _)| mapped.contains(address)).or_else(find);
            if let Some((mapped, is_made_at_run_time)) = last {
                let offset = (mapped.module, (address - mapped.start).wrapping_add(mapped.offset));
                if is_made_at_run_time && self.seen_at_run_time.insert((pid, address)) {
                    self.new_at_run_time.push((pid, address));
                }
                if self.seen.insert(offset) {
                    self.new.push(offset);
                }
            }
        }
    }

    /// Of code addresses, those of code that nobody finds in a file later: there is no other evidence of these processes' code.
    pub(crate) fn note_without_file(&mut self, (pid, process): (u32, &Process), addresses: &[u64], modules: &Modules) {
        let in_no_file = |address: &u64| {
            process
                .find(*address)
                .is_some_and(|mapped| modules.is_run_time_code(mapped.module) || modules.is_vdso(mapped.module))
        };
        self.note_each((pid, process), addresses.iter().copied().filter(in_no_file), modules);
    }

    /// How many places there are of code that nobody has asked evidence for.
    pub(crate) fn new_places(&self) -> usize {
        self.new.len() + self.new_at_run_time.len()
    }

    /// That code.
    pub(crate) fn take(&mut self) -> Vec<CodeOffset> {
        std::mem::take(&mut self.new)
    }

    /// The same of code that was made at run time, by process and address.
    pub(crate) fn take_at_run_time(&mut self) -> Vec<(u32, u64)> {
        std::mem::take(&mut self.new_at_run_time)
    }

    /// Forgets what the segment before has shown, also what could not be asked for.
    pub(crate) fn start_segment(&mut self) {
        self.seen.clear();
        self.new.clear();
        self.seen_at_run_time.clear();
        self.new_at_run_time.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::Place;
    use crate::side_band::FileIdentity;

    /// A place is new once a segment, whichever process shows it; after a new mapping the same address
    /// is another place.
    #[test]
    fn a_place_is_new_once() {
        let (mut one, mut other) = (Process::default(), Process::default());
        one.map(Mapped { start: 0x1000, end: 0x2000, offset: 0, module: 1 }, 1);
        other.map(Mapped { start: 0x5000, end: 0x6000, offset: 0, module: 1 }, 1);
        let mut code = SeenCode::default();
        let modules = Modules::default();
        code.note((1, &one), &[0x1010, 0x1010, 0x9999], &modules);
        code.note((2, &other), &[0x5010], &modules);
        assert_eq!(code.take(), [(1, 0x10)]);
        one.map(Mapped { start: 0x1000, end: 0x2000, offset: 0, module: 2 }, 2);
        code.note((1, &one), &[0x1010], &modules);
        assert_eq!(code.take(), [(2, 0x10)]);
        code.start_segment();
        code.note((1, &one), &[0x1010], &modules);
        assert_eq!(code.new_places(), 1);
        code.start_segment();
        assert_eq!(code.new_places(), 0);
    }

    /// Code that was made at run time is told by its process: the same address in another process is other code.
    #[test]
    fn code_made_at_run_time_is_a_processes_own() {
        let mut modules = Modules::default();
        let place = Place { pid: 0, start: 0, end: 1, path: "//anon" };
        let module = modules.identify(place, FileIdentity::BuildId(Vec::new()));
        let mapped = Mapped { start: 0x1000, end: 0x2000, offset: 0, module: module.unwrap_or_default() };
        let (mut one, mut other) = (Process::default(), Process::default());
        one.map(mapped, 1);
        other.map(mapped, 1);
        let mut code = SeenCode::default();
        for _ in 0..2 {
            code.note((1, &one), &[0x1010], &modules);
            code.note((2, &other), &[0x1010, 0x1020], &modules);
        }
        assert_eq!(code.take_at_run_time(), [(1, 0x1010), (2, 0x1010), (2, 0x1020)]);
    }
}
