//! The names that cover recorded addresses, from a module's own symbol table (`--embed symbols`).

use std::io;

use profrec_format::Symbol;

use crate::elf::{Elf, Section};
use crate::pages::PagedFile;

/// Symbols beyond this are left out: the index then takes 48 MiB.
const MAX_SYMBOLS: u64 = 2_000_000;
const MAX_NAME: usize = 4096;
/// Names of one address that are compared; glibc has up to a dozen.
const MAX_ALIASES: usize = 64;
/// Sections in memory that are asked where a symbol without a size ends; linkers make dozens.
const MAX_SECTIONS: usize = 256;
/// Compressed; the largest of Fedora's are below 2 MiB.
const MAX_MINI_DEBUG_INFO: u64 = 8 << 20;

/// The functions of a module by address.
#[derive(Default)]
pub(crate) struct SymbolIndex {
    rows: Vec<Row>,
    /// Where names are in the file.
    names: u64,
}

struct Row {
    address: u64,
    size: u64,
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
    pub(crate) fn open(elf: &Elf<'_>, file: &mut PagedFile<'_>) -> Self {
        const SYMTAB: u32 = 2;
        const DYNSYM: u32 = 11;
        let sections = elf.sections().unwrap_or_default();
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
        for row in rows.iter_mut().filter(|row| row.size == 0) {
            row.size = rest_of_section(row.address, &in_memory);
        }
        rows.sort_by_key(|row| (row.address, row.size));
        Self { rows, names: names.offset }
    }

    /// The symbol that covers an address; one without a size covers up to the next, or its section's end.
    pub(crate) fn find(&self, address: u64, file: &mut PagedFile<'_>) -> Option<Symbol> {
        let after = self.rows.partition_point(|row| row.address <= address);
        let row = self.rows.get(after.checked_sub(1)?)?;
        if row.size != 0 && address - row.address >= row.size {
            return None;
        }
        let same = self.rows[..after].iter().rev().take_while(|other| other.address == row.address);
        let name = same.take(MAX_ALIASES).filter_map(|alias| {
            let name = self.name(alias, file).ok()?;
            let underscores = name.bytes().take_while(|&byte| byte == b'_').count();
            // As the report chooses among a file's symbols.
            Some((alias.size == 0, alias.binding == Binding::Local, underscores, alias.binding, name.len(), name))
        });
        let (.., name) = name.min()?;
        Some(Symbol { address: row.address, size: row.size, name })
    }

    fn name(&self, row: &Row, file: &mut PagedFile<'_>) -> io::Result<String> {
        read_name(self.names.saturating_add(u64::from(row.name)), file)
    }
}

/// The compressed symbol table (MiniDebugInfo) of a file that has no full one. It is decompressed where
/// the names are shown, not on the recorded machine.
pub(crate) fn mini_debug_info(elf: &Elf<'_>, file: &mut PagedFile<'_>) -> Option<Vec<u8>> {
    let sections = elf.sections().ok()?;
    let named = |wanted: &str| sections.iter().find(|(name, _)| name == wanted).map(|(_, section)| section);
    if named(".symtab").is_some() {
        return None;
    }
    let section = named(".gnu_debugdata").filter(|section| section.size <= MAX_MINI_DEBUG_INFO)?;
    let mut bytes = vec![0; section.size as usize];
    file.read(section.offset, &mut bytes).ok()?;
    Some(bytes)
}

/// What lies behind an address in its section: `_init` has no size, and behind its section comes the PLT.
fn rest_of_section(address: u64, sections: &[Section]) -> u64 {
    let rest = |section: &Section| section.size.checked_sub(address.checked_sub(section.address)?);
    sections.iter().filter_map(rest).filter(|rest| *rest > 0).min().unwrap_or_default()
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
            rows.push(Row {
                address: u64::from_le_bytes(value),
                size: u64::from_le_bytes([z0, z1, z2, z3, z4, z5, z6, z7]),
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

    /// Of several names of the same code, the one that is known is taken: public, without underscores, not a weak one.
    #[test]
    fn the_name_that_is_known_is_taken() {
        const NAMES: &[u8] = b"\0__memcmp\0bcmp\0memcmp_ifunc\0memcmp\0";
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, NAMES).unwrap();
        let mut pages = Pages::default();
        let mut paged = PagedFile { pages: &mut pages, id: 0, file: &file };
        let row = |name, binding| Row { address: 0x100, size: 8, name, binding };
        let rows =
            vec![row(1, Binding::Global), row(10, Binding::Weak), row(15, Binding::Local), row(28, Binding::Global)];
        let find =
            |rows: Vec<Row>, paged: &mut PagedFile<'_>| SymbolIndex { rows, names: 0 }.find(0x104, paged).unwrap().name;
        assert_eq!(find(rows, &mut paged), "memcmp");
        assert_eq!(find(vec![row(15, Binding::Local), row(1, Binding::Global)], &mut paged), "__memcmp");
    }
}
