//! Whether an address of a file is in code that a stack starts in, as its CFI and its symbols tell.

use profrec_format::start_code::{FUNCTION_ALIGNMENT, HANDWRITTEN_START, is_start_code, stands_behind_start_code};

use crate::cfi::Cfi;
use crate::elf::Elf;
use crate::pages::PagedFile;
use crate::symbols::SymbolIndex;

/// Whether a chain that ends there is whole. The address is one that a call returns to.
pub(crate) fn is_in_start_code(
    address: u64,
    elf: &Elf,
    (cfi, symbols): (&mut Cfi, &mut SymbolIndex),
    file: &mut PagedFile<'_>,
) -> bool {
    // Go keeps frame pointers everywhere; where its chains end, there is no CFI, and without symbols no name.
    if elf.sections(file.file).is_ok_and(|sections| sections.iter().any(|(name, _)| name == ".gopclntab")) {
        return true;
    }
    let in_call = address.wrapping_sub(1);
    if symbols.find(in_call, file).is_some_and(|symbol| is_start_code(&symbol.name)) {
        return true;
    }
    let entry = elf.entry();
    let Some(found) = cfi.find(in_call, elf, file) else {
        // A frame that was put there by hand, as those of coroutines are: no call is before a function's first instruction.
        let was_put_there = cfi.find(address, elf, file).is_some_and(|found| found.start == address);
        return was_put_there || entry > 0 && in_call.checked_sub(entry).is_some_and(|at| at < HANDWRITTEN_START);
    };
    let next = found.end.checked_next_multiple_of(FUNCTION_ALIGNMENT).unwrap_or(found.end);
    let is_before =
        symbols.find(next, file).is_some_and(|symbol| symbol.address == next && stands_behind_start_code(&symbol.name));
    is_before || found.marks_end() || (entry > 0 && found.start <= entry && entry < found.end)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::pages::Pages;

    /// In this test's own executable, what the entry point is in is start code, and what this test is in is not.
    #[test]
    fn the_entry_point_is_start_code() {
        let file = File::open("/proc/self/exe").unwrap();
        let elf = Elf::open(&file).unwrap();
        let mut pages = Pages::default();
        let mut paged = PagedFile { pages: &mut pages, id: 0, file: &file };
        let (mut cfi, mut symbols) = (Cfi::open(&elf, &mut paged), SymbolIndex::open(&elf, &mut paged));
        let mut is_in = |address| is_in_start_code(address, &elf, (&mut cfi, &mut symbols), &mut paged);
        assert!(is_in(elf.entry() + 5));
        let code = elf.segments.iter().find(|segment| segment.executable).copied().unwrap();
        let middle = code.address + code.file_size / 2;
        assert!((middle..middle + 4096).step_by(7).any(|address| !is_in(address)));
    }

    /// Nothing calls from before a function's first instruction: what would return there was put there by hand. Behind it, it was not.
    #[test]
    fn the_first_instruction_of_a_function_is_start_code() {
        let file = File::open("/proc/self/exe").unwrap();
        let elf = Elf::open(&file).unwrap();
        let mut pages = Pages::default();
        let mut paged = PagedFile { pages: &mut pages, id: 0, file: &file };
        let (mut cfi, mut symbols) = (Cfi::open(&elf, &mut paged), SymbolIndex::open(&elf, &mut paged));
        let code = elf.segments.iter().find(|segment| segment.executable).copied().unwrap();
        let middle = code.address + code.file_size / 2;
        let mut start_of = |address| cfi.find(address, &elf, &mut paged).map(|found| found.start);
        // With a gap before it, and more than one instruction.
        let mut functions = (middle.next_multiple_of(16)..).step_by(16).filter(|&address| {
            start_of(address) == Some(address)
                && start_of(address - 1).is_none()
                && start_of(address + 8) == Some(address)
        });
        let function = functions.next().unwrap();
        drop(functions);
        let mut is_in = |address| is_in_start_code(address, &elf, (&mut cfi, &mut symbols), &mut paged);
        assert!(is_in(function) && !is_in(function + 8));
    }
}
