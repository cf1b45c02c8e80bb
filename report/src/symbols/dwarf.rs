//! Inlined functions, files and lines, from the DWARF of one module.

use std::borrow::Cow;

use addr2line::Context;
use addr2line::gimli::{self, DwarfSections, EndianSlice, RunTimeEndian};
use object::Object;

use crate::sections;

/// What DWARF says about one frame.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DwarfFrame {
    /// The function's name, mangled if the language mangles.
    pub name: Option<String>,
    /// The source file.
    pub file: Option<String>,
    /// The line in it; in an outer frame, the line of the call.
    pub line: Option<u32>,
}

/// The frames at each address, innermost inlined function first; empty where DWARF says nothing.
/// An error in one unit costs the addresses in it only.
pub fn frames_at(file: &object::File<'_>, addresses: &[u64]) -> Result<Vec<Vec<DwarfFrame>>, gimli::Error> {
    let sections = DwarfSections::load(|id| section_data(file, id.name()))?;
    let endian = if file.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
    let dwarf = sections.borrow(|data| EndianSlice::new(data, endian));
    let context = Context::from_dwarf(dwarf)?;
    Ok(addresses.iter().map(|&address| frames(&context, address).unwrap_or_default()).collect())
}

/// A section's bytes, decompressed; nothing when the file has no such section or it is damaged.
fn section_data<'a>(file: &object::File<'a>, name: &str) -> Result<Cow<'a, [u8]>, gimli::Error> {
    let Some(section) = file.section_by_name(name) else { return Ok(Cow::Borrowed(&[])) };
    sections::bytes(&section).ok_or(gimli::Error::UnexpectedEof(gimli::ReaderOffsetId(0)))
}

fn frames<R: gimli::Reader>(context: &Context<R>, address: u64) -> Result<Vec<DwarfFrame>, gimli::Error> {
    if address == u64::MAX {
        // addr2line looks up the range from here to the next address, which there is none of.
        return Ok(Vec::new());
    }
    let mut iterator = context.find_frames(address).skip_all_loads()?;
    let mut frames = Vec::new();
    while let Some(frame) = iterator.next()? {
        let name = frame.function.as_ref().and_then(|function| Some(function.raw_name().ok()?.into_owned()));
        let location = frame.location.as_ref();
        frames.push(DwarfFrame {
            name,
            file: location.and_then(|location| location.file).map(str::to_owned),
            line: location.and_then(|location| location.line).filter(|&line| line > 0),
        });
    }
    Ok(frames)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::local_files::MappedFile;

    #[inline(never)]
    fn marked_function() -> usize {
        std::hint::black_box(1) + 1
    }

    /// This test finds one of its own functions, with its file, in its own DWARF.
    #[test]
    fn finds_a_function_of_this_very_test() {
        let binary = MappedFile::open(&std::env::current_exe().unwrap()).unwrap();
        let file = object::File::parse(binary.bytes()).unwrap();
        let mut table = crate::symbols::table::SymbolTable::default();
        table.add_file(&file);
        assert_eq!(std::hint::black_box(marked_function()), 2);
        let address = object::ObjectSymbol::address(
            &file
                .symbols()
                .find(|s| object::ObjectSymbol::name(s).is_ok_and(|n| n.contains("marked_function")))
                .unwrap(),
        );
        let frames = frames_at(&file, &[address]).unwrap().remove(0);
        let outermost = frames.last().unwrap();
        assert!(outermost.name.as_deref().unwrap().contains("marked_function"));
        assert!(outermost.file.as_deref().unwrap().ends_with("dwarf.rs"));
        assert!(outermost.line.is_some());
    }

    /// Addresses that no module has are an answer, not a panic.
    #[test]
    fn impossible_addresses_are_no_panic() {
        let binary = MappedFile::open(&std::env::current_exe().unwrap()).unwrap();
        let file = object::File::parse(binary.bytes()).unwrap();
        assert!(frames_at(&file, &[u64::MAX, 1 << 63]).unwrap().iter().all(Vec::is_empty));
    }
}
