//! The names that cover recorded addresses, from a module's own symbol table (`--embed symbols`).

use std::collections::HashMap;
use std::io;

use profrec_format::Symbol;

use crate::elf::{Elf, Section};
use crate::pages::PagedFile;

/// Symbols beyond this are left out: the index then takes 48 MiB.
const MAX_SYMBOLS: u64 = 2_000_000;
const MAX_NAME: usize = 4096;
/// Bytes of names that are remembered; then they are looked for anew.
const MAX_CHOSEN: usize = 8 << 20;
/// What each takes besides its letters.
const CHOSEN: usize = 2 * size_of::<(usize, Option<Symbol>)>();
/// Names of one address that are compared; glibc has up to a dozen, a linker that folds equal functions makes more.
const MAX_ALIASES: usize = 256;
/// Sections in memory that are asked where a symbol without a size ends; linkers make dozens.
const MAX_SECTIONS: usize = 256;
/// How glibc's aliases for its old callers end.
const DISCOURAGED: &str = "_do_not_use";
/// Compressed; the largest of Fedora's are below 2 MiB.
const MAX_MINI_DEBUG_INFO: u64 = 8 << 20;

/// The functions of a module by address.
#[derive(Default)]
pub(crate) struct SymbolIndex {
    /// By address and size.
    rows: Vec<Row>,
    /// Where names are in the file.
    names: u64,
    /// Of the rows of one address from this one on, the one whose name is known best, and its name.
    chosen: HashMap<usize, Option<Symbol>>,
    /// Bytes that these take, about.
    chosen_bytes: usize,
}

struct Row {
    address: u64,
    /// Where the file states none, up to the end of the section; `u64::MAX` when that is not known either.
    size: u64,
    /// Whether the file states the size.
    sized: bool,
    /// Where the name is among names.
    name: u32,
    binding: Binding,
}

/// Who may use a symbol; of several for the same code, the first kind is the one that is known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Global,
    Weak,
    Local,
}

impl SymbolIndex {
    /// Reads `.symtab`, or `.dynsym` in a stripped file.
    pub(crate) fn open(elf: &Elf, file: &mut PagedFile<'_>) -> Self {
        const SYMTAB: u32 = 2;
        const DYNSYM: u32 = 11;
        let sections = elf.sections(file.file).unwrap_or_default();
        let table = |kind| sections.iter().map(|(_, section)| section).find(|section| section.kind == kind);
        let Some(table) = table(SYMTAB).or_else(|| table(DYNSYM)) else {
            return Self::default();
        };
        let Some((_, names)) = sections.get(table.link as usize) else {
            return Self::default();
        };
        let mut rows = Vec::new();
        // A table that ends early still names what it names.
        let _incomplete = read_rows(table, file, &mut rows);
        // Section headers that are not in memory have the address 0.
        let in_memory = sections.iter().map(|(_, section)| *section).filter(|section| section.address != 0);
        let in_memory: Vec<Section> = in_memory.take(MAX_SECTIONS).collect();
        for row in rows.iter_mut().filter(|row| !row.sized) {
            row.size = rest_of_section(row.address, &in_memory);
        }
        rows.sort_by_key(|row| (row.address, row.size));
        Self { rows, names: names.offset, ..Self::default() }
    }

    /// Bytes that it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.len() * size_of::<Row>() + self.chosen_bytes
    }

    /// The symbol that covers an address; one without a size covers up to the next, or its section's end.
    pub(crate) fn find(&mut self, address: u64, file: &mut PagedFile<'_>) -> Option<Symbol> {
        let after = self.rows.partition_point(|row| row.address <= address);
        let start = self.rows.get(after.checked_sub(1)?)?.address;
        // They are in the order of their sizes.
        let first = self.rows.partition_point(|row| (row.address, row.size) <= (start, address - start));
        if first >= after {
            return None;
        }
        if !self.chosen.contains_key(&first) {
            if self.chosen_bytes > MAX_CHOSEN {
                (self.chosen, self.chosen_bytes) = Default::default();
            }
            let chosen = self.choose(&self.rows[first..after], file);
            self.chosen_bytes += CHOSEN + chosen.as_ref().map_or(0, |symbol| symbol.name.len());
            self.chosen.insert(first, chosen);
        }
        self.chosen.get(&first).cloned().flatten()
    }

    /// The one of several symbols of one address that people know, as the report chooses among a file's symbols.
    fn choose(&self, aliases: &[Row], file: &mut PagedFile<'_>) -> Option<Symbol> {
        let kind = |row: &Row| (!row.sized, row.binding == Binding::Local);
        let best = aliases.iter().map(kind).min()?;
        let named = aliases.iter().filter(|row| kind(row) == best).take(MAX_ALIASES).filter_map(|row| {
            let name = self.name(row, file).ok()?;
            let underscores = name.bytes().take_while(|&byte| byte == b'_').count();
            Some((name.ends_with(DISCOURAGED), underscores, row.binding, name.len(), name, row.size))
        });
        let (.., name, size) = named.min()?;
        Some(Symbol { address: aliases.first()?.address, size: if size == u64::MAX { 0 } else { size }, name })
    }

    fn name(&self, row: &Row, file: &mut PagedFile<'_>) -> io::Result<String> {
        read_name(self.names.saturating_add(u64::from(row.name)), file)
    }
}

/// The compressed symbol table (MiniDebugInfo) of a file that has no full one. It is decompressed where
/// the names are shown, not on the recorded machine.
pub(crate) fn mini_debug_info(elf: &Elf, file: &mut PagedFile<'_>) -> Option<Vec<u8>> {
    let sections = elf.sections(file.file).ok()?;
    let named = |wanted: &str| sections.iter().find(|(name, _)| name == wanted).map(|(_, section)| section);
    if named(".symtab").is_some() {
        return None;
    }
    let section = named(".gnu_debugdata").filter(|section| section.size <= MAX_MINI_DEBUG_INFO)?;
    let mut bytes = vec![0; section.size as usize];
    file.read(section.offset, &mut bytes).ok()?;
    Some(bytes)
}

/// What lies behind an address in its section: `_init` has no size, and behind its section comes the PLT. `u64::MAX` without a section.
fn rest_of_section(address: u64, sections: &[Section]) -> u64 {
    let rest = |section: &Section| section.size.checked_sub(address.checked_sub(section.address)?);
    sections.iter().filter_map(rest).filter(|rest| *rest > 0).min().unwrap_or(u64::MAX)
}

fn read_rows(table: &Section, file: &mut PagedFile<'_>, rows: &mut Vec<Row>) -> io::Result<()> {
    const FUNCTION: u8 = 2;
    const INDIRECT_FUNCTION: u8 = 10;
    const ROW: u64 = 24;
    let mut bytes = [0; ROW as usize];
    for index in 0..(table.size / ROW).min(MAX_SYMBOLS) {
        file.read(table.offset + ROW * index, &mut bytes)?;
        let [n0, n1, n2, n3, info, _, s0, s1, value @ .., z0, z1, z2, z3, z4, z5, z6, z7] = bytes;
        let defined = [s0, s1] != [0, 0];
        if defined && matches!(info & 0x0f, FUNCTION | INDIRECT_FUNCTION) {
            let size = u64::from_le_bytes([z0, z1, z2, z3, z4, z5, z6, z7]);
            rows.push(Row {
                address: u64::from_le_bytes(value),
                size,
                sized: size > 0,
                name: u32::from_le_bytes([n0, n1, n2, n3]),
                binding: match info >> 4 {
                    0 => Binding::Local,
                    2 => Binding::Weak,
                    _ => Binding::Global,
                },
            });
        }
    }
    Ok(())
}

fn read_name(offset: u64, file: &mut PagedFile<'_>) -> io::Result<String> {
    let mut name = Vec::new();
    let mut byte = [0];
    while name.len() < MAX_NAME {
        file.read(offset + name.len() as u64, &mut byte)?;
        if byte[0] == 0 {
            break;
        }
        name.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&name).into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::pages::Pages;

    /// In this test's own executable, some function has the name of this test.
    #[test]
    fn this_executable_names_this_test() {
        let file = File::open("/proc/self/exe").unwrap();
        let elf = Elf::open(&file).unwrap();
        let mut pages = Pages::default();
        let mut paged = PagedFile { pages: &mut pages, id: 0, file: &file };
        let index = SymbolIndex::open(&elf, &mut paged);
        let mut names = index.rows.iter().filter_map(|row| index.name(row, &mut paged).ok());
        assert!(names.any(|name| name.contains("this_executable_names_this_test")));
    }

    /// A file of names, and what is found at an address among rows that have their names from it.
    fn found(names: &[u8], mut rows: Vec<Row>, addresses: &[u64]) -> Vec<Option<(String, u64)>> {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, names).unwrap();
        let mut pages = Pages::default();
        let mut paged = PagedFile { pages: &mut pages, id: 0, file: &file };
        rows.sort_by_key(|row| (row.address, row.size));
        let mut index = SymbolIndex { rows, ..SymbolIndex::default() };
        let mut find = |address| index.find(address, &mut paged).map(|symbol| (symbol.name, symbol.size));
        addresses.iter().map(|address| find(*address)).collect()
    }

    /// Of several names of the same code, the one that is known is taken: public, without underscores, not a weak one.
    #[test]
    fn the_name_that_is_known_is_taken() {
        const NAMES: &[u8] = b"\0__memcmp\0bcmp\0memcmp_ifunc\0memcmp\0f_do_not_use\0";
        let row = |name, binding| Row { address: 0x100, size: 8, sized: true, name, binding };
        let names = |rows| found(NAMES, rows, &[0x104])[0].clone().unwrap().0;
        let all =
            vec![row(1, Binding::Global), row(10, Binding::Weak), row(15, Binding::Local), row(28, Binding::Global)];
        assert_eq!(names(all), "memcmp");
        assert_eq!(names(vec![row(15, Binding::Local), row(1, Binding::Global)]), "__memcmp");
        assert_eq!(names(vec![row(35, Binding::Global), row(1, Binding::Global)]), "__memcmp");
    }

    /// Of several symbols of one address, one whose size is stated comes before one that reaches to the end of its section, each has its
    /// own size, and none names what it does not cover.
    #[test]
    fn an_alias_has_its_own_size() {
        const NAMES: &[u8] = b"\0_local\0label\0short\0";
        let row = |name, size, sized, binding| Row { address: 0x100, size, sized, name, binding };
        let (local, label) = (row(1, 0x20, true, Binding::Local), row(8, 0x1000, false, Binding::Global));
        let rows = vec![local, label, row(14, 0x8, true, Binding::Global)];
        let some = |name: &str, size| Some((name.to_owned(), size));
        let expected = [some("short", 0x8), some("_local", 0x20), some("label", 0x1000), None, some("short", 0x8)];
        assert_eq!(found(NAMES, rows, &[0x107, 0x108, 0x120, 0x1100, 0x100]), expected);
        let unbounded = vec![row(8, u64::MAX, false, Binding::Global)];
        assert_eq!(found(NAMES, unbounded, &[0x9_0000]), [some("label", 0)]);
    }

    /// However many names of whatever length are asked for, few of them are kept; each is found again.
    #[test]
    fn remembered_names_are_bounded() {
        let names = [&[0][..], &[b'a'; MAX_NAME], &[0]].concat();
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &names).unwrap();
        let mut pages = Pages::default();
        let mut paged = PagedFile { pages: &mut pages, id: 0, file: &file };
        let row = |place: u64| Row { address: 16 * place, size: 16, sized: true, name: 1, binding: Binding::Global };
        let mut index = SymbolIndex { rows: (0..4_000).map(row).collect(), ..SymbolIndex::default() };
        for place in (0..4_000).chain([0]) {
            let found = index.find(16 * place, &mut paged).unwrap();
            assert_eq!((found.address, found.name.len()), (16 * place, MAX_NAME));
            assert!(index.bytes() <= MAX_CHOSEN + 4_000 * size_of::<Row>() + MAX_NAME + CHOSEN);
        }
    }

    /// However many local names an address has, the public one is found.
    #[test]
    fn many_aliases_do_not_hide_the_public_one() {
        let row = |name, size, binding| Row { address: 0x100, size, sized: true, name, binding };
        let locals = (0..1000).map(|_| row(1, 0x20, Binding::Local));
        let rows = locals.chain([row(3, 0x10, Binding::Global)]).collect();
        assert_eq!(found(b"\0a\0public\0", rows, &[0x104]), [Some(("public".to_owned(), 0x10))]);
    }
}
