//! Finds the one piece of call frame information that covers an address: an FDE and its CIE.
//!
//! ```text
//!  PT_GNU_EH_FRAME ──► .eh_frame_hdr: (function, FDE) pairs, sorted: binary search
//!                                      │
//!                                      ▼
//!  .eh_frame:   │ CIE │ FDE │ FDE │ CIE │ FDE │ …      read only where it is needed
//! ```
//!
//! Sections without such a table (`.debug_frame`, a file linked without a table) are gone through once, when the table did
//! not have the answer. So is `.eh_frame` from the moment on at which its table shows damage. What BOLT set aside in
//! `.bolt.org.eh_frame` is in its new table too: of 2,008 addresses of a rustc
//! recording that the table did not have, none was there, and going through its 106,887 entries cost 40 ms.

mod encoding;
mod frame_size;
mod place;

use std::io;
use std::rc::Rc;

use profrec_format::{CfiEntry, CfiSection};

use crate::elf::{EH_FRAME_HEADER, Elf};
use crate::pages::PagedFile;
use place::{Cie, IndexRow, MAX_ENTRY, Place, RecentCies};

/// The FDE that covers an address, and its CIE.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) section: CfiSection,
    pub(crate) fde: CfiEntry,
    pub(crate) cie: Rc<Cie>,
    /// The addresses that it covers.
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// Where the call frame information of one module is.
#[derive(Default)]
pub(crate) struct Cfi {
    table: Option<Table>,
    /// Sections without a table.
    plain: Vec<Plain>,
    cies: RecentCies,
}

/// `.eh_frame_hdr`: pairs of 32-bit distances from its own address.
#[derive(Clone, Copy)]
struct Table {
    address: u64,
    pairs_offset: u64,
    pairs: u32,
    /// Whether there is room for more pairs than it says that it has.
    has_room: bool,
}

/// What a table has about an address.
enum Looked {
    Found(Found),
    NotThere,
    /// The table cannot be trusted.
    Damaged,
}

/// Sections whose entries are in the table, where there is one.
const IN_TABLE: [(&str, CfiSection); 2] =
    [(".eh_frame", CfiSection::EhFrame), (".bolt.org.eh_frame", CfiSection::EhFrame)];
const NOT_IN_TABLE: [(&str, CfiSection); 1] = [(".debug_frame", CfiSection::DebugFrame)];

struct Plain {
    place: Place,
    index: Option<Vec<IndexRow>>,
}

impl Cfi {
    /// Looks where a module's CFI is, without reading it.
    pub(crate) fn open(elf: &Elf, file: &mut PagedFile<'_>) -> Self {
        let table = Table::open(elf, file).ok().flatten();
        let mut plain = Vec::new();
        if table.is_none() {
            plain.extend(Plain::of(&IN_TABLE, elf, file));
        }
        plain.extend(Plain::of(&NOT_IN_TABLE, elf, file));
        Self { table, plain, cies: RecentCies::default() }
    }

    /// Bytes that its indices take.
    pub(crate) fn bytes(&self) -> usize {
        let indices = self.plain.iter().filter_map(|plain| plain.index.as_ref());
        indices.map(|index| size_of_val(&index[..])).sum()
    }

    /// The CFI that covers `address`.
    pub(crate) fn find(&mut self, address: u64, elf: &Elf, file: &mut PagedFile<'_>) -> Option<Found> {
        let Self { table, plain, cies } = self;
        match table.map(|table| table.find(address, elf, cies, file)) {
            Some(Ok(Looked::Found(found))) => return Some(found),
            Some(Ok(Looked::Damaged) | Err(_)) => {
                *table = None;
                plain.splice(0..0, Plain::of(&IN_TABLE, elf, file));
            }
            Some(Ok(Looked::NotThere)) | None => {}
        }
        // What cannot be read is evidence that is missing: the report says which module lacks it.
        plain.iter_mut().find_map(|plain| plain.find(address, cies, file).ok().flatten())
    }
}

impl Table {
    fn open(elf: &Elf, file: &mut PagedFile<'_>) -> io::Result<Option<Self>> {
        /// A signed 32-bit distance from the table's own address, as every linker writes it.
        const DATA_RELATIVE_I32: u8 = 0x3b;
        const U32: u8 = 0x03;
        const HEAD: u64 = 12;
        const PAIR: u64 = 8;
        let Some(segment) = elf.segments.iter().find(|segment| segment.kind == EH_FRAME_HEADER) else {
            return Ok(None);
        };
        let mut head = [0; 12];
        file.read(segment.offset, &mut head)?;
        let [version, pointer_encoding, count_encoding, table_encoding, ..] = head;
        // The pointer to .eh_frame is not needed, but its size is: 4 bytes in all files seen.
        let known = version == 1 && matches!(pointer_encoding & 0x0f, 0x03 | 0x0b);
        if !known || count_encoding != U32 || table_encoding != DATA_RELATIVE_I32 {
            return Ok(None);
        }
        let pairs = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
        let room = segment.file_size.saturating_sub(HEAD) / PAIR;
        if u64::from(pairs) > room {
            return Ok(None);
        }
        let pairs_offset = segment.offset.saturating_add(HEAD);
        Ok(Some(Self { address: segment.address, pairs_offset, pairs, has_room: u64::from(pairs) < room }))
    }

    fn find(&self, address: u64, elf: &Elf, cies: &mut RecentCies, file: &mut PagedFile<'_>) -> io::Result<Looked> {
        let (mut low, mut high) = (0, self.pairs);
        let mut function = 0;
        let mut next = u64::MAX;
        while low < high {
            let middle = low + (high - low) / 2;
            let start = self.distance(middle, 0, file)?;
            if start < function || start > next {
                return Ok(Looked::Damaged);
            }
            if start <= address {
                (low, function) = (middle + 1, start);
            } else {
                (high, next) = (middle, start);
            }
        }
        // Behind the last one, others may be that the table does not count.
        let is_uncounted = self.has_room && low == self.pairs;
        let Some(row) = low.checked_sub(1) else {
            return Ok(if is_uncounted { Looked::Damaged } else { Looked::NotThere });
        };
        let fde = self.distance(row, 4, file)?;
        let Some(offset) = elf.offset_of(fde) else {
            return Ok(Looked::Damaged);
        };
        // The entry's place alone: with its address known, nothing else of the section matters.
        let place = Place { section: CfiSection::EhFrame, offset, size: u64::from(MAX_ENTRY), address: fde };
        Ok(match place.read_fde(0, cies, file)? {
            Some(found) if found.start != function => Looked::Damaged,
            Some(found) if address < found.end => Looked::Found(found),
            Some(_) if !is_uncounted => Looked::NotThere,
            Some(_) | None => Looked::Damaged,
        })
    }

    fn distance(&self, row: u32, half: u64, file: &mut PagedFile<'_>) -> io::Result<u64> {
        let distance = file.read_u32(self.pairs_offset + 8 * u64::from(row) + half)? as i32;
        Ok(self.address.wrapping_add_signed(i64::from(distance)))
    }
}

impl Plain {
    /// One section of each name: a file could have thousands, and each would have an index. A stripped file may have no section
    /// headers; then the table is all there is.
    fn of(wanted: &[(&str, CfiSection)], elf: &Elf, file: &PagedFile<'_>) -> Vec<Self> {
        let sections = elf.sections(file.file).unwrap_or_default();
        let plain = wanted.iter().filter_map(|&(wanted, kind)| {
            let (_, section) = sections.iter().find(|(name, _)| name == wanted)?;
            let place = Place { section: kind, offset: section.offset, size: section.size, address: section.address };
            section.has_plain_bytes().then_some(Self { place, index: None })
        });
        plain.collect()
    }

    fn find(&mut self, address: u64, cies: &mut RecentCies, file: &mut PagedFile<'_>) -> io::Result<Option<Found>> {
        let place = self.place;
        let index = self.index.get_or_insert_with(|| place.index(file));
        let Some(row) = index.partition_point(|row| row.start <= address).checked_sub(1) else {
            return Ok(None);
        };
        let row = index[row];
        if address - row.start >= u64::from(row.length) {
            return Ok(None);
        }
        let found = place.read_fde(u64::from(row.fde), cies, file)?;
        Ok(found.filter(|found| found.start <= address && address < found.end))
    }
}

#[cfg(test)]
mod tests;
