//! Reads files a page at a time, and keeps a bounded number of pages. Files are never mapped: one
//! that is truncated while it is read must cost an error, not a SIGBUS.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Small: looking for one FDE among 100,000 touches a few words in each of many pages.
const PAGE: usize = 4 << 10;
/// A page may be in any of so many slots.
const WAYS: usize = 4;
const SETS: usize = 64;

/// A cache of pages of many files: of those that share slots, the one that was not used for longest makes room.
pub(crate) struct Pages {
    slots: Vec<Slot>,
    /// A page for each slot, 1 MiB; memory only once they are used.
    bytes: Vec<u8>,
    uses: u64,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    /// The file's number and the page's, when the slot is in use.
    key: Option<(u32, u64)>,
    /// Bytes of the page that the file has.
    length: usize,
    last_use: u64,
}

impl Default for Pages {
    fn default() -> Self {
        Self { slots: vec![Slot::default(); WAYS * SETS], bytes: vec![0; WAYS * SETS * PAGE], uses: 0 }
    }
}

/// A file that is read through the cache.
pub(crate) struct PagedFile<'a> {
    pub(crate) pages: &'a mut Pages,
    /// A number that no other file in the cache has.
    pub(crate) id: u32,
    pub(crate) file: &'a File,
}

impl PagedFile<'_> {
    /// Fills `into` with the bytes at `offset`.
    pub(crate) fn read(&mut self, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
        while !into.is_empty() {
            let bytes = self.rest_of_page(offset)?;
            let count = bytes.len().min(into.len());
            let (now, later) = into.split_at_mut(count);
            now.copy_from_slice(&bytes[..count]);
            into = later;
            offset = offset.checked_add(count as u64).ok_or(io::ErrorKind::InvalidInput)?;
        }
        Ok(())
    }

    pub(crate) fn read_u32(&mut self, offset: u64) -> io::Result<u32> {
        if let Some(bytes) = self.rest_of_page(offset)?.first_chunk() {
            return Ok(u32::from_le_bytes(*bytes));
        }
        let mut bytes = [0; 4];
        self.read(offset, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// What the page that `offset` is in has from there on: at least a byte.
    fn rest_of_page(&mut self, offset: u64) -> io::Result<&[u8]> {
        let page = self.page(offset / PAGE as u64)?;
        let bytes = page.get((offset % PAGE as u64) as usize..).filter(|bytes| !bytes.is_empty());
        Ok(bytes.ok_or(io::ErrorKind::UnexpectedEof)?)
    }

    fn page(&mut self, number: u64) -> io::Result<&[u8]> {
        let key = (self.id, number);
        let Pages { slots, bytes, uses } = self.pages;
        *uses += 1;
        let first = (number as usize ^ (self.id as usize).wrapping_mul(149)) % SETS * WAYS;
        let set = &mut slots[first..first + WAYS];
        let known = set.iter().position(|slot| slot.key == Some(key));
        let way = known.or_else(|| (0..WAYS).min_by_key(|way| set[*way].last_use)).unwrap_or_default();
        let (slot, place) = (&mut set[way], (first + way) * PAGE);
        if known.is_none() {
            slot.key = None;
            slot.length = read_fully(self.file, &mut bytes[place..place + PAGE], number * PAGE as u64)?;
            slot.key = Some(key);
        }
        slot.last_use = *uses;
        Ok(&bytes[place..place + slot.length])
    }
}

/// Reads until `into` is full or the file ends.
fn read_fully(file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < into.len() {
        match file.read_at(&mut into[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Reads across pages give the file's bytes; reads beyond its end are errors.
    #[test]
    fn reads_cross_pages_and_end_with_the_file() {
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..40_000_u32).map(|number| number as u8 ^ (number >> 8) as u8).collect();
        file.write_all(&content).unwrap();
        let mut pages = Pages::default();
        let mut paged = PagedFile { pages: &mut pages, id: 1, file: &file };
        let mut bytes = vec![0; 20_000];
        for offset in [0, 4_090, 16_380, 20_000] {
            paged.read(offset, &mut bytes).unwrap();
            assert_eq!(bytes, content[offset as usize..][..20_000]);
        }
        assert!(paged.read(20_001, &mut bytes).is_err());
        assert!(paged.read(u64::MAX - 5, &mut bytes).is_err());
    }
}
