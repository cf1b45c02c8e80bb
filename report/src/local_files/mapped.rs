//! One local ELF file, mapped read-only, and what it offers. Only regular files are opened: a path
//! in a recording is a hint from another machine and may name a FIFO or a device here.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use object::{Object, ObjectSection};
use profrec_format::ElfHeaders;
use rustix::fs::OFlags;

/// A file that was opened and mapped.
#[derive(Debug)]
pub struct MappedFile {
    path: PathBuf,
    map: Mmap,
    stamp: String,
}

/// What an ELF file offers to the analyzer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Its GNU build-id, or its fingerprint when it has none.
    pub identity: Vec<u8>,
    /// It has a GNU build-id.
    pub has_build_id: bool,
    /// It holds code, not only what was split off from code.
    pub code: bool,
    /// It holds a full symbol table (`.symtab`).
    pub symbols: bool,
    /// It holds DWARF (`.debug_info`).
    pub debug_info: bool,
    /// The name and the checksum of its separate debug file (`.gnu_debuglink`).
    pub debug_link: Option<(Vec<u8>, u32)>,
    /// The name and the build-id of the file that its DWARF shares with others (`.gnu_debugaltlink`).
    pub alt_link: Option<(Vec<u8>, Vec<u8>)>,
}

impl MappedFile {
    /// Opens and maps a regular file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = open_regular(path)?;
        let metadata = file.metadata()?;
        let (device, inode, length) = (metadata.dev(), metadata.ino(), metadata.len());
        let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
        let stamp = format!("{device} {inode} {length} {times:?}");
        // SAFETY: the map is private and read-only. Should another process change the file
        // meanwhile, parsers of these bytes see other bytes: they check every bound and trust
        // nothing. Should it shrink the file, the kernel ends this program with SIGBUS.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self { path: path.to_owned(), map, stamp })
    }

    /// The path it was opened with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What changes when the file's content does: place on the disk, length, times.
    pub fn stamp(&self) -> &str {
        &self.stamp
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Looks at the file's headers; the error says why it is no ELF file.
    pub fn contents(&self) -> Result<Contents, object::read::Error> {
        Contents::of(self.bytes())
    }
}

impl Contents {
    /// Looks at the headers of an ELF file.
    pub fn of(bytes: &[u8]) -> Result<Self, object::read::Error> {
        let file = object::File::parse(bytes)?;
        let build_id = file.build_id()?.filter(|build_id| !build_id.is_empty());
        let full = |name: &str| file.section_by_name(name).is_some_and(|section| section.file_range().is_some());
        let debug_link = file.gnu_debuglink()?.map(|(name, checksum)| (name.to_vec(), checksum));
        // A damaged one is none.
        let alt_link =
            file.gnu_debugaltlink().ok().flatten().map(|(name, build_id)| (name.to_vec(), build_id.to_vec()));
        Ok(Self {
            has_build_id: build_id.is_some(),
            identity: build_id.map_or_else(|| fingerprint(bytes), <[u8]>::to_vec),
            code: full(".eh_frame") || full(".text"),
            symbols: full(".symtab"),
            debug_info: full(".debug_info") || full(".zdebug_info"),
            debug_link,
            alt_link: alt_link.filter(|(_, build_id)| !build_id.is_empty()),
        })
    }
}

/// The fingerprint of a 64-bit little-endian ELF file; empty for any other, which is no module of a
/// recording.
fn fingerprint(bytes: &[u8]) -> Vec<u8> {
    let field = |at: usize| Some(usize::from(u16::from_le_bytes([*bytes.get(at)?, *bytes.get(at + 1)?])));
    let offset = |at: usize| usize::try_from(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?)).ok();
    let table = |offset: usize, length: usize| bytes.get(offset..offset.checked_add(length)?);
    let headers = || {
        Some(ElfHeaders {
            file_size: bytes.len() as u64,
            file_header: bytes.get(..FILE_HEADER)?,
            program_headers: table(offset(32)?, field(56)? * PROGRAM_HEADER)?,
            section_headers: table(offset(40)?, field(60)? * SECTION_HEADER)?,
        })
    };
    let known = bytes.starts_with(b"\x7fELF\x02\x01");
    headers().filter(|_| known).map(|headers| headers.fingerprint()).unwrap_or_default()
}

/// Sizes of the headers of a 64-bit ELF file, in bytes.
const FILE_HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const SECTION_HEADER: usize = 64;

/// Opens a regular file. What is at the path is looked at before, since opening a device can do something, and after,
/// since another may have taken its place: a FIFO must not let us wait for somebody to write into it.
fn open_regular(path: &Path) -> io::Result<File> {
    require_regular(&fs::metadata(path)?)?;
    let file = OpenOptions::new().read(true).custom_flags(WITHOUT_WAITING).open(path)?;
    require_regular(&file.metadata()?)?;
    Ok(file)
}

/// Neither wait for a writer nor get a terminal.
const WITHOUT_WAITING: i32 = (OFlags::NONBLOCK.bits() | OFlags::NOCTTY.bits()) as i32;

/// Refuses what is no regular file or empty (which cannot be mapped).
fn require_regular(metadata: &fs::Metadata) -> io::Result<()> {
    if !metadata.is_file() {
        return Err(refused("not a regular file"));
    }
    if metadata.len() == 0 {
        return Err(refused("an empty file"));
    }
    Ok(())
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// This test's own binary is an ELF file with code and symbols, and is seen as such.
    #[test]
    fn reads_the_headers_of_an_elf_file() {
        let contents = MappedFile::open(&std::env::current_exe().unwrap()).unwrap().contents().unwrap();
        assert!(contents.code && contents.symbols);
    }

    /// A device is refused before it is opened: opening one can block or have effects.
    #[test]
    fn refuses_what_is_no_regular_file() {
        assert_eq!(MappedFile::open(Path::new("/dev/zero")).unwrap_err().to_string(), "not a regular file");
        assert_eq!(MappedFile::open(Path::new("/")).unwrap_err().to_string(), "not a regular file");
    }

    /// Neither a FIFO nor a link that leads to itself makes anybody wait.
    #[test]
    fn refuses_traps() {
        let folder = tempfile::tempdir().unwrap();
        let (fifo, link) = (folder.path().join("fifo"), folder.path().join("link"));
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        std::os::unix::fs::symlink(&link, &link).unwrap();
        assert_eq!(MappedFile::open(&fifo).unwrap_err().to_string(), "not a regular file");
        assert!(MappedFile::open(&link).unwrap_err().to_string().contains("symbolic links"));
    }

    /// A text file is opened but is no ELF file.
    #[test]
    fn says_that_a_text_is_no_elf_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        fs::write(&path, "not a binary").unwrap();
        assert!(MappedFile::open(&path).unwrap().contents().is_err());
    }
}
