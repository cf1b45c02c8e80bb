//! What is found in real debug info, held against what the crate addr2line says about the same addresses.
#![allow(clippy::unwrap_used)]

mod hostile;

use object::{Object, ObjectSymbol, SymbolKind};

use super::*;
use crate::local_files::MappedFile;
use crate::progress;

#[inline(never)]
fn marked_function() -> usize {
    std::hint::black_box(1) + 1
}

fn find(file: &object::File<'_>, addresses: &[u64]) -> Vec<Vec<DwarfFrame>> {
    let files = DebugFiles { main: file, shared: None, paths: &[] };
    let found = frames_at(files, addresses, true, &progress::doing("test", 0)).unwrap();
    assert_eq!(found.trouble, None);
    found.frames
}

fn own_binary() -> MappedFile {
    MappedFile::open(&std::env::current_exe().unwrap()).unwrap()
}

/// This test finds one of its own functions, with its file, in its own DWARF.
#[test]
fn finds_a_function_of_this_very_test() {
    let binary = own_binary();
    let file = object::File::parse(binary.bytes()).unwrap();
    assert_eq!(std::hint::black_box(marked_function()), 2);
    let named = |name: &str| name.contains("dwarf") && name.contains("marked_function");
    let address = file.symbols().find(|symbol| symbol.name().is_ok_and(named)).unwrap().address();
    let frames = find(&file, &[address]).remove(0);
    let outermost = frames.last().unwrap();
    assert!(outermost.name.as_deref().unwrap().contains("marked_function"));
    assert!(outermost.file.as_deref().unwrap().ends_with("dwarf/tests/mod.rs"));
    assert!(outermost.line.is_some());
}

/// Addresses that no module has are an answer, not a panic.
#[test]
fn impossible_addresses_are_no_panic() {
    let binary = own_binary();
    let file = object::File::parse(binary.bytes()).unwrap();
    assert!(find(&file, &[0, 1 << 63, u64::MAX]).iter().all(Vec::is_empty));
}

/// What addr2line says about an address.
fn told(context: &addr2line::Context<Bytes<'_>>, address: u64) -> Vec<DwarfFrame> {
    let mut iterator = context.find_frames(address).skip_all_loads().unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = iterator.next().unwrap() {
        let name = frame.function.map(|function| function.raw_name().unwrap().into());
        let location = frame.location;
        let file = location.as_ref().and_then(|location| location.file).map(Arc::from);
        let line = location.and_then(|location| location.line).filter(|&line| line > 0);
        frames.push(DwarfFrame { name, file, line });
    }
    frames
}

/// Functions, inlined chains, files and lines of thousands of addresses in this test's own binary are those that
/// another reader of DWARF finds.
#[test]
fn agrees_with_addr2line() {
    let binary = own_binary();
    let file = object::File::parse(binary.bytes()).unwrap();
    let functions = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() > 0);
    let mut addresses: Vec<u64> =
        functions.step_by(7).map(|symbol| symbol.address() + symbol.size() / 3 * (symbol.address() % 3)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let sections = DwarfSections::load(|id| section_data(&file, id.name())).unwrap();
    let dwarf = sections.borrow(|data| EndianSlice::new(data, LittleEndian));
    let context = addr2line::Context::from_dwarf(dwarf).unwrap();
    let found = find(&file, &addresses);
    let mut inlined = 0;
    for (&address, frames) in addresses.iter().zip(&found) {
        assert_eq!(*frames, told(&context, address), "{address:#x}");
        inlined += usize::from(frames.len() > 1);
    }
    assert!(addresses.len() > 1000 && inlined > addresses.len() / 10, "{inlined} of {}", addresses.len());
}

/// Without lines, the functions are the same.
#[test]
fn lines_are_left_out() {
    let binary = own_binary();
    let file = object::File::parse(binary.bytes()).unwrap();
    let symbol =
        file.symbols().find(|symbol| symbol.name().is_ok_and(|name| name.contains("marked_function"))).unwrap();
    let addresses = [symbol.address()];
    let files = DebugFiles { main: &file, shared: None, paths: &[] };
    let without = frames_at(files, &addresses, false, &progress::doing("test", 0)).unwrap().frames;
    let names = |frames: &[Vec<DwarfFrame>]| frames[0].iter().map(|frame| frame.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&without), names(&find(&file, &addresses)));
    assert!(without[0].iter().all(|frame| frame.file.is_none() && frame.line.is_none()));
}
