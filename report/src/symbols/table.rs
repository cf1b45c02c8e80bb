//! Function names by address, from the symbol tables of one module: `.symtab`, `.dynsym` and the
//! compressed table in `.gnu_debugdata`, or the symbols embedded in the recording.

use std::io::Read;

use lzma_rust2::XzReader;
use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, SymbolKind, elf};
use profrec_format::Symbol;

/// Largest `.gnu_debugdata` after decompression: more is not a symbol table, and neither is what grows to more than so
/// many times its length (symbol tables grow to about ten times).
const MAX_MINI_DEBUG_INFO: u64 = 128 << 20;
const MAX_GROWTH: u64 = 100;
/// KiB of memory for decompressing; xz at its best level needs 65 MiB.
const DECOMPRESSOR_MEMORY: u32 = 100 << 10;
/// How far back a symbol is looked for that encloses others.
const MAX_NESTING: usize = 16;

/// A function's extent and name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry<'a> {
    start: u64,
    end: u64,
    /// Whether the file states the size; else the function extends to the next symbol.
    sized: bool,
    rank: Rank,
    name: &'a [u8],
}

/// Which of several names for one address is shown: the lowest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    unsized_symbol: bool,
    not_a_function: bool,
    local: bool,
    /// Of embedded aliases, how many are shorter: a longer one was chosen only for what lies behind those.
    shorter: usize,
    /// Aliases that a library keeps for its old callers say that they are not for new ones.
    discouraged: bool,
    /// `__read` is for the library itself, `read` for everybody.
    underscores: usize,
    /// `memcmp` is what `bcmp` stands for, and not the other way round.
    weak: bool,
}

/// How glibc's discouraged aliases end.
const DISCOURAGED: &[u8] = b"_do_not_use";

/// A module's functions, sorted by address.
#[derive(Debug, Default)]
pub struct SymbolTable<'a> {
    entries: Vec<Entry<'a>>,
}

/// What a table says about an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'t> {
    /// First address of the function.
    pub start: u64,
    /// The name as it stands in the file.
    pub name: &'t [u8],
    /// Whether the file states the function's size.
    pub sized: bool,
}

impl<'a> SymbolTable<'a> {
    /// Adds the functions of an ELF file's own tables.
    pub fn add_file(&mut self, file: &object::File<'a>) {
        let texts: Vec<Option<u64>> = text_ends(file);
        for symbol in file.symbols().chain(file.dynamic_symbols()) {
            let text_end = symbol.section_index().and_then(|index| *texts.get(index.0)?);
            if let (Some(text_end), Ok(name)) = (text_end, symbol.name_bytes()) {
                self.add(&symbol, name, text_end);
            }
        }
    }

    fn add(&mut self, symbol: &impl ObjectSymbol<'a>, name: &'a [u8], text_end: u64) {
        let function = symbol.kind() == SymbolKind::Text;
        if (!function && symbol.kind() != SymbolKind::Unknown) || is_no_function_name(name) {
            return;
        }
        let (start, size) = (symbol.address(), symbol.size());
        let end = if size > 0 { start.saturating_add(size) } else { text_end };
        let rank = Rank {
            unsized_symbol: size == 0,
            not_a_function: !function,
            local: symbol.is_local(),
            shorter: 0,
            discouraged: name.ends_with(DISCOURAGED),
            underscores: leading_underscores(name),
            weak: symbol.is_weak(),
        };
        self.entries.push(Entry { start, end, sized: size > 0, rank, name });
    }

    /// Adds the symbols that a recording carries.
    pub fn add_embedded(&mut self, symbols: &'a [Symbol]) {
        let mut symbols: Vec<&Symbol> = symbols.iter().collect();
        // A symbol without a size is longer than all others.
        symbols.sort_by_key(|symbol| (symbol.address, symbol.size.wrapping_sub(1)));
        let (mut last, mut shorter) = (None, 0);
        for symbol in symbols {
            shorter = match last.replace((symbol.address, symbol.size)) {
                Some((start, size)) if start == symbol.address => shorter + usize::from(size != symbol.size),
                _ => 0,
            };
            let name = symbol.name.as_bytes();
            let sized = symbol.size > 0;
            let end = if sized { symbol.address.saturating_add(symbol.size) } else { u64::MAX };
            let underscores = leading_underscores(name);
            let discouraged = name.ends_with(DISCOURAGED);
            let rank = Rank {
                unsized_symbol: !sized,
                not_a_function: false,
                local: false,
                shorter,
                discouraged,
                underscores,
                weak: false,
            };
            self.entries.push(Entry { start: symbol.address, end, sized, rank, name });
        }
    }

    /// Sorts the table, ends every function of unknown size where the next begins, and keeps of each address the best name,
    /// and those that reach farther than better ones. To be called once after everything was added.
    pub fn finish(&mut self) {
        self.entries.sort_unstable_by(|a, b| {
            let is_better =
                |a: &Entry<'_>, b: &Entry<'_>| (a.rank, a.name.len(), a.name).cmp(&(b.rank, b.name.len(), b.name));
            b.start.cmp(&a.start).then_with(|| is_better(a, b))
        });
        let (mut start, mut next_start, mut farthest) = (None, u64::MAX, None);
        self.entries.retain_mut(|entry| {
            if start != Some(entry.start) {
                next_start = start.unwrap_or(u64::MAX);
                (start, farthest) = (Some(entry.start), None);
            }
            if !entry.sized {
                entry.end = entry.end.min(next_start);
            }
            let reaches_farther = farthest < Some(entry.end);
            farthest = farthest.max(Some(entry.end));
            reaches_farther
        });
        // From the last to the first: the best name of an address is found before those that reach farther.
        self.entries.reverse();
    }

    /// The function that covers an address: the innermost of known size, else one of unknown size.
    pub fn find(&self, address: u64) -> Option<Found<'_>> {
        let after = self.entries.partition_point(|entry| entry.start <= address);
        let nearest = &self.entries[after.saturating_sub(MAX_NESTING)..after];
        let covering = || nearest.iter().rev().filter(|entry| address < entry.end);
        let entry = covering().find(|entry| entry.sized).or_else(|| covering().next())?;
        Some(Found { start: entry.start, name: entry.name, sized: entry.sized })
    }

    /// Whether the table knows nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// For each section its end, if it holds code. (In debug files the sections of code are there by
/// name and flags, without content.)
fn text_ends(file: &object::File<'_>) -> Vec<Option<u64>> {
    let mut ends = Vec::new();
    for section in file.sections() {
        let index = section.index().0;
        if ends.len() <= index {
            ends.resize(index + 1, None);
        }
        if let SectionFlags::Elf { sh_flags, .. } = section.flags()
            && sh_flags.contains(elf::SHF_EXECINSTR)
        {
            ends[index] = Some(section.address().saturating_add(section.size()));
        }
    }
    ends
}

/// Names that mark something inside functions: none, ARM mapping symbols, assembler labels.
fn is_no_function_name(name: &[u8]) -> bool {
    matches!(name, [] | [b'$', ..] | [b'.', b'L', ..])
}

fn leading_underscores(name: &[u8]) -> usize {
    name.iter().take_while(|&&byte| byte == b'_').count()
}

/// The symbol table that Fedora's and others' stripped binaries carry compressed; none is common,
/// one that does not decompress is treated as none.
pub fn mini_debug_info(file: &object::File<'_>) -> Option<Vec<u8>> {
    let section = file.section_by_name(".gnu_debugdata")?;
    decompress(section.data().ok()?)
}

/// The ELF image in the bytes of such a section.
pub fn decompress(section: &[u8]) -> Option<Vec<u8>> {
    let mut image = Vec::new();
    let limit = MAX_MINI_DEBUG_INFO.min(MAX_GROWTH * section.len() as u64);
    let reader = XzReader::new_mem_limit(section, true, DECOMPRESSOR_MEMORY);
    reader.take(limit + 1).read_to_end(&mut image).ok()?;
    (image.len() as u64 <= limit).then_some(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbol(address: u64, size: u64, name: &str) -> Symbol {
        Symbol { address, size, name: name.to_owned() }
    }

    fn name_at(symbols: &[Symbol], address: u64) -> Option<String> {
        let mut table = SymbolTable::default();
        table.add_embedded(symbols);
        table.finish();
        table.find(address).map(|found| String::from_utf8_lossy(found.name).into_owned())
    }

    /// A function covers its bytes and not one more.
    #[test]
    fn a_sized_symbol_covers_its_bytes() {
        let symbols = [symbol(0x100, 0x10, "f"), symbol(0x200, 0x10, "g")];
        assert_eq!(name_at(&symbols, 0x0ff), None);
        assert_eq!(name_at(&symbols, 0x100).as_deref(), Some("f"));
        assert_eq!(name_at(&symbols, 0x10f).as_deref(), Some("f"));
        assert_eq!(name_at(&symbols, 0x110), None);
    }

    /// Hand-written code states no sizes: such a function reaches to the next symbol.
    #[test]
    fn a_symbol_without_size_reaches_to_the_next() {
        let symbols = [symbol(0x100, 0, "start"), symbol(0x200, 0x10, "g")];
        assert_eq!(name_at(&symbols, 0x1ff).as_deref(), Some("start"));
        assert_eq!(name_at(&symbols, 0x210), None);
    }

    /// A label inside a function does not take the rest of the function.
    #[test]
    fn a_label_does_not_hide_its_function() {
        let symbols = [symbol(0x100, 0x100, "f"), symbol(0x150, 0, "label")];
        assert_eq!(name_at(&symbols, 0x160).as_deref(), Some("f"));
    }

    /// Of several names for one address the public one is shown.
    #[test]
    fn the_plainest_alias_is_shown() {
        let symbols = [symbol(0x100, 8, "__libc_malloc"), symbol(0x100, 8, "malloc"), symbol(0x100, 8, "__malloc")];
        assert_eq!(name_at(&symbols, 0x104).as_deref(), Some("malloc"));
        let symbols = [symbol(0x100, 8, "isinff128_do_not_use"), symbol(0x100, 8, "__isinff128")];
        assert_eq!(name_at(&symbols, 0x104).as_deref(), Some("__isinff128"));
    }

    /// Behind a short alias, a longer one of the same address has a name.
    #[test]
    fn a_long_alias_reaches_farther_than_a_short_one() {
        let symbols = [symbol(0x100, 8, "known_by_its_length"), symbol(0x100, 0x20, "f"), symbol(0x100, 0, "label")];
        let names = [0x107, 0x108, 0x11f, 0x120].map(|address| name_at(&symbols, address));
        assert_eq!(names, ["known_by_its_length", "f", "f", "label"].map(|name| Some(name.to_owned())));
        let rank = |local| Rank { local, ..Rank::default() };
        let entry = |end, rank, name| Entry { start: 0x100, end, sized: true, rank, name };
        let (short, long) = (entry(0x108, rank(false), &b"public"[..]), entry(0x120, rank(true), &b"f"[..]));
        let mut table = SymbolTable { entries: vec![long.clone(), short.clone()] };
        table.finish();
        let names = [0x104, 0x110].map(|address| table.find(address).map(|found| found.name));
        assert_eq!(names, [Some(&b"public"[..]), Some(b"f")]);
        // One that reaches farther and is known better leaves no room for the other.
        table.entries = vec![Entry { end: 0x130, ..short.clone() }, long];
        table.finish();
        assert_eq!(table.entries, [Entry { end: 0x130, ..short }]);
    }

    /// A weak name stands for the other one: `bcmp` is `memcmp`. But a public name is known better than one with underscores.
    #[test]
    fn a_weak_alias_is_not_shown() {
        let rank = |underscores, weak, local| Rank { local, underscores, weak, ..Rank::default() };
        let (memcmp, bcmp, internal) = (rank(0, false, false), rank(0, true, false), rank(2, false, false));
        assert!(memcmp < bcmp && bcmp < internal && internal < rank(0, false, true));
    }

    /// A symbol at the end of the address space is no overflow.
    #[test]
    fn huge_addresses_do_not_overflow() {
        assert_eq!(name_at(&[symbol(u64::MAX - 1, u64::MAX, "end")], u64::MAX - 1).as_deref(), Some("end"));
    }
}
