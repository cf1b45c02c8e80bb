//! A section of call frame information, of which entries are read one by one.

use std::io;
use std::ops::RangeInclusive;
use std::rc::Rc;

use profrec_format::{CfiEntry, CfiSection};
use rustc_hash::FxHashMap;

use super::Found;
use super::encoding::{address_encoding, covered};
use super::frame_size::{large_frame, marks_end};
use crate::pages::PagedFile;

/// An entry longer than this is not one that a compiler makes.
pub(super) const MAX_ENTRY: u32 = 64 << 10;
/// An index of a section without a table ends after so many entries: together 8 MiB.
const MAX_INDEX: usize = 500_000;
/// An FDE's head holds the addresses that it covers within so many bytes.
const FDE_HEAD: u32 = 24;

/// A section of CFI: its bytes in the file, and the addresses of its entries.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) section: CfiSection,
    pub(super) offset: u64,
    pub(super) size: u64,
    /// Address of its first byte as the module states it.
    pub(super) address: u64,
}

#[derive(Clone, Copy)]
pub(super) struct IndexRow {
    pub(super) start: u64,
    pub(super) length: u32,
    /// Distance of the FDE from the section's start.
    pub(super) fde: u32,
}

/// What many FDEs have in common.
#[derive(Debug)]
pub(crate) struct Cie {
    pub(crate) entry: CfiEntry,
    /// How its FDEs write addresses.
    encoding: u8,
}

impl Found {
    /// Bytes of the function's frame in its middle, without and with arguments that are pushed, when it is large.
    pub(crate) fn large_frame(&self) -> Option<RangeInclusive<u64>> {
        large_frame(&self.fde.bytes, &self.cie.entry.bytes, self.cie.encoding)
    }

    /// Somewhere in the function there is no caller.
    pub(crate) fn marks_end(&self) -> bool {
        marks_end(&self.fde.bytes, &self.cie.entry.bytes, self.cie.encoding)
    }
}

/// The CIEs that were needed last, by their offsets in the file. Most files have a few that all FDEs share.
#[derive(Default)]
pub(super) struct RecentCies([Option<(u64, Rc<Cie>)>; 8]);

impl RecentCies {
    /// The CIE at an offset; one that is too large to be kept is read each time.
    fn get_or_read(
        &mut self,
        offset: u64,
        read: impl FnOnce() -> io::Result<Option<Cie>>,
    ) -> io::Result<Option<Rc<Cie>>> {
        const LARGEST: usize = 4096;
        let Self(recent) = self;
        let slot = &mut recent[(offset / 4 % 8) as usize];
        if let Some((known, cie)) = slot
            && *known == offset
        {
            return Ok(Some(Rc::clone(cie)));
        }
        let cie = read()?.map(Rc::new);
        if let Some(cie) = &cie
            && cie.entry.bytes.len() <= LARGEST
        {
            *slot = Some((offset, Rc::clone(cie)));
        }
        Ok(cie)
    }
}

/// The head of an entry.
struct Entry {
    /// Bytes with the length field.
    length: u32,
    /// Distance of its CIE from the section's start (negative when the place is the entry's own);
    /// `None` for a CIE.
    cie: Option<i64>,
}

impl Place {
    /// All FDEs of the section, sorted by address. Of each entry only what is needed is read, and each CIE once.
    pub(super) fn index(&self, file: &mut PagedFile<'_>) -> Vec<IndexRow> {
        let mut rows = Vec::new();
        let mut encodings = FxHashMap::default();
        let mut at = 0;
        for _ in 0..MAX_INDEX {
            let Ok(Some(entry)) = self.read_head(at as i64, file) else {
                break;
            };
            if at + u64::from(entry.length) > self.size.min(u64::from(u32::MAX)) {
                break;
            }
            if let Ok(Some((start, end))) = self.read_covered(at as i64, &entry, &mut encodings, file) {
                let length = u32::try_from(end - start).unwrap_or(u32::MAX);
                rows.push(IndexRow { start, length, fde: at as u32 });
            }
            at += u64::from(entry.length);
        }
        rows.sort_by_key(|row| row.start);
        rows
    }

    /// The addresses that the entry at `at` covers; `None` for a CIE, or for something unknown. `encodings` remembers
    /// how the CIEs seen say that addresses are written.
    fn read_covered(
        &self,
        at: i64,
        entry: &Entry,
        encodings: &mut FxHashMap<i64, Option<u8>>,
        file: &mut PagedFile<'_>,
    ) -> io::Result<Option<(u64, u64)>> {
        let Some(cie_at) = entry.cie else {
            return Ok(None);
        };
        let encoding = match encodings.get(&cie_at) {
            Some(encoding) => *encoding,
            None => {
                let encoding = self.read_cie(cie_at, file)?.map(|cie| cie.encoding);
                *encodings.entry(cie_at).or_insert(encoding)
            }
        };
        let head = self.read_bytes(at, entry.length.min(FDE_HEAD), file)?;
        Ok(encoding.and_then(|encoding| covered(&head, encoding, self.entry_address(at))))
    }

    /// The CIE at `at`; `None` when there is an FDE, or something unknown.
    fn read_cie(&self, at: i64, file: &mut PagedFile<'_>) -> io::Result<Option<Cie>> {
        let Some(Entry { length, cie: None }) = self.read_head(at, file)? else {
            return Ok(None);
        };
        let bytes = self.read_bytes(at, length, file)?;
        let Some(encoding) = address_encoding(&bytes) else {
            return Ok(None);
        };
        let name = self.entry_name(at);
        Ok(Some(Cie { entry: CfiEntry { address: name, cie: name, bytes }, encoding }))
    }

    /// The head of the entry at `at`; `None` for the end of the section, and for the 64-bit form,
    /// which no linker has been seen to make.
    fn read_head(&self, at: i64, file: &mut PagedFile<'_>) -> io::Result<Option<Entry>> {
        const DEBUG_FRAME_CIE: u32 = u32::MAX;
        let offset = self.offset.wrapping_add_signed(at);
        let length = file.read_u32(offset)?;
        if length == 0 || length > MAX_ENTRY {
            return Ok(None);
        }
        let id = file.read_u32(offset + 4)?;
        let cie = match self.section {
            CfiSection::EhFrame => (id != 0).then(|| at + 4 - i64::from(id)),
            CfiSection::DebugFrame => (id != DEBUG_FRAME_CIE).then_some(i64::from(id)),
        };
        Ok(Some(Entry { length: length + 4, cie }))
    }

    fn read_bytes(&self, at: i64, length: u32, file: &mut PagedFile<'_>) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length as usize];
        file.read(self.offset.wrapping_add_signed(at), &mut bytes)?;
        Ok(bytes)
    }

    /// The FDE at `at` with its CIE; `None` when there is a CIE, or something unknown.
    pub(super) fn read_fde(
        &self,
        at: u64,
        cies: &mut RecentCies,
        file: &mut PagedFile<'_>,
    ) -> io::Result<Option<Found>> {
        let Some(Entry { length, cie: Some(cie_at) }) = self.read_head(at as i64, file)? else {
            return Ok(None);
        };
        let cie_offset = self.offset.wrapping_add_signed(cie_at);
        let Some(cie) = cies.get_or_read(cie_offset, || self.read_cie(cie_at, file))? else {
            return Ok(None);
        };
        let bytes = self.read_bytes(at as i64, length, file)?;
        let Some((start, end)) = covered(&bytes, cie.encoding, self.entry_address(at as i64)) else {
            return Ok(None);
        };
        let fde = CfiEntry { address: self.entry_name(at as i64), cie: cie.entry.address, bytes };
        Ok(Some(Found { section: self.section, fde, cie, start, end }))
    }

    fn entry_address(&self, at: i64) -> u64 {
        self.address.wrapping_add_signed(at)
    }

    /// What the recording calls the entry's address.
    fn entry_name(&self, at: i64) -> u64 {
        match self.section {
            CfiSection::EhFrame => self.entry_address(at),
            CfiSection::DebugFrame => at as u64,
        }
    }
}
