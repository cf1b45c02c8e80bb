//! The little of ELF that the recorder needs: program headers, the build-id, and where a few
//! sections are. Everything is read with `pread` from a file that may change or lie: each number is
//! checked, and no read is larger than it needs to be.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use profrec_format::ElfHeaders;

/// Headers and notes beyond this are not ones that a linker makes.
const MAX_HEADERS: usize = 1 << 20;
/// Linkers make about a dozen; they stay in memory as long as the module.
const MAX_SEGMENTS: u16 = 1024;
/// A section's name is no longer; it would be there once for each section that claims it.
const MAX_NAME: usize = 256;
const MAX_NOTES: u64 = 64 << 10;
/// Segments of notes that are looked at; programs have three.
const MAX_NOTE_SEGMENTS: usize = 64;

/// A program header that matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) kind: u32,
    pub(crate) executable: bool,
    pub(crate) offset: u64,
    pub(crate) address: u64,
    pub(crate) file_size: u64,
}

/// A section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Section {
    name: u32,
    pub(crate) kind: u32,
    pub(crate) address: u64,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) link: u32,
    pub(crate) compressed: bool,
}

impl Section {
    /// Whether its bytes are in the file as they are.
    pub(crate) fn has_plain_bytes(&self) -> bool {
        const NO_BITS: u32 = 8;
        self.kind != NO_BITS && !self.compressed
    }
}

/// `PT_LOAD`
pub(crate) const LOAD: u32 = 1;
const NOTE: u32 = 4;
/// `PT_GNU_EH_FRAME`
pub(crate) const EH_FRAME_HEADER: u32 = 0x6474_e550;

/// The headers of a 64-bit little-endian ELF file.
pub(crate) struct Elf {
    pub(crate) segments: Vec<Segment>,
    section_headers: (u64, u16, u16),
    file_header: [u8; 64],
    /// Where the program headers are, and how many.
    program_headers: (u64, u16),
}

impl Elf {
    /// Reads the file's header and program headers.
    pub(crate) fn open(file: &File) -> io::Result<Self> {
        let mut head = [0; 64];
        file.read_exact_at(&mut head, 0)?;
        if head[..6] != *b"\x7fELF\x02\x01" {
            return Err(invalid("not a 64-bit little-endian ELF file"));
        }
        let fields = Fields(&head);
        let (offset, size, count) = (fields.u64(32), fields.u16(54), fields.u16(56));
        let section_headers = (fields.u64(40), fields.u16(60), fields.u16(62));
        if size != 56 || (section_headers.1 != 0 && fields.u16(58) != 64) {
            return Err(invalid("ELF headers of an unknown size"));
        }
        if count > MAX_SEGMENTS {
            return Err(invalid("more program headers than a linker makes"));
        }
        let segments = program_table(file, (offset, count))?.chunks_exact(56).map(segment).collect();
        Ok(Self { segments, section_headers, file_header: head, program_headers: (offset, count) })
    }

    /// Where a program begins; 0 when the file is none.
    pub(crate) fn entry(&self) -> u64 {
        Fields(&self.file_header).u64(24)
    }

    /// The GNU build-id; empty when there is none.
    pub(crate) fn build_id(&self, file: &File) -> Vec<u8> {
        let notes = self.segments.iter().filter(|segment| segment.kind == NOTE && segment.file_size <= MAX_NOTES);
        notes
            .take(MAX_NOTE_SEGMENTS)
            .filter_map(|segment| read(file, segment.offset, segment.file_size as usize).ok())
            .find_map(|notes| find_build_id(&notes))
            .unwrap_or_default()
    }

    /// What identifies the file when it has no build-id.
    pub(crate) fn fingerprint(&self, file: &File) -> io::Result<Vec<u8>> {
        let headers = ElfHeaders {
            file_size: file.metadata()?.len(),
            file_header: &self.file_header,
            program_headers: &program_table(file, self.program_headers)?,
            section_headers: &self.section_table(file)?,
        };
        Ok(headers.fingerprint())
    }

    fn section_table(&self, file: &File) -> io::Result<Vec<u8>> {
        let (offset, count, _) = self.section_headers;
        read(file, offset, usize::from(count) * 64)
    }

    /// All sections with their names. Files without section headers give none.
    pub(crate) fn sections(&self, file: &File) -> io::Result<Vec<(String, Section)>> {
        let sections: Vec<Section> = self.section_table(file)?.chunks_exact(64).map(section).collect();
        let Some(names) = sections.get(usize::from(self.section_headers.2)) else {
            return Ok(Vec::new());
        };
        let names = read(file, names.offset, usize::try_from(names.size).unwrap_or(usize::MAX))?;
        Ok(sections.into_iter().map(|section| (text_at(&names, section.name as usize), section)).collect())
    }

    /// The file offset of a module's own address.
    pub(crate) fn offset_of(&self, address: u64) -> Option<u64> {
        let mut loads = self.segments.iter().filter(|segment| segment.kind == LOAD);
        let load = loads.find(|load| load.address <= address && address - load.address < load.file_size)?;
        load.offset.checked_add(address - load.address)
    }

    /// The module's own address of a file offset, preferably of its code.
    pub(crate) fn address_of(&self, offset: u64) -> Option<u64> {
        let holds = |load: &&Segment| load.offset <= offset && offset - load.offset < load.file_size;
        let loads = || self.segments.iter().filter(|segment| segment.kind == LOAD).filter(holds);
        let load = loads().find(|load| load.executable).or_else(|| loads().next())?;
        load.address.checked_add(offset - load.offset)
    }
}

fn program_table(file: &File, (offset, count): (u64, u16)) -> io::Result<Vec<u8>> {
    read(file, offset, usize::from(count) * 56)
}

fn segment(bytes: &[u8]) -> Segment {
    let fields = Fields(bytes);
    Segment {
        kind: fields.u32(0),
        executable: fields.u32(4) & 1 != 0,
        offset: fields.u64(8),
        address: fields.u64(16),
        file_size: fields.u64(32),
    }
}

fn section(bytes: &[u8]) -> Section {
    const COMPRESSED: u64 = 1 << 11;
    let fields = Fields(bytes);
    Section {
        name: fields.u32(0),
        kind: fields.u32(4),
        compressed: fields.u64(8) & COMPRESSED != 0,
        address: fields.u64(16),
        offset: fields.u64(24),
        size: fields.u64(32),
        link: fields.u32(40),
    }
}

/// Finds the descriptor of the note "GNU", type 3.
fn find_build_id(mut notes: &[u8]) -> Option<Vec<u8>> {
    const BUILD_ID: u32 = 3;
    const MAX_LENGTH: usize = 64;
    loop {
        let (head, rest) = notes.split_at_checked(12)?;
        let fields = Fields(head);
        let (name, description, kind) = (fields.u32(0) as usize, fields.u32(4) as usize, fields.u32(8));
        let description_at = name.next_multiple_of(4);
        let bytes = rest.get(description_at..description_at.checked_add(description)?)?;
        if kind == BUILD_ID && rest.get(..name)? == b"GNU\0" && (1..=MAX_LENGTH).contains(&description) {
            return Some(bytes.to_vec());
        }
        notes = rest.get(description_at + description.next_multiple_of(4)..)?;
    }
}

/// The name that starts at `at` and ends with a zero byte.
pub(crate) fn text_at(bytes: &[u8], at: usize) -> String {
    let rest = bytes.get(at..).unwrap_or_default();
    let rest = &rest[..rest.len().min(MAX_NAME)];
    let length = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
    String::from_utf8_lossy(&rest[..length]).into_owned()
}

fn read(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    if length > MAX_HEADERS {
        return Err(invalid("ELF headers larger than a linker makes them"));
    }
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Little-endian fields of a header; beyond its end they are 0.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.get(at..at + N).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; N])
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// This test's own executable has code, a way from addresses to offsets and back, and CFI.
    #[test]
    fn this_executable_can_be_read() {
        let file = File::open("/proc/self/exe").unwrap();
        let elf = Elf::open(&file).unwrap();
        let code = elf.segments.iter().find(|segment| segment.executable).unwrap();
        assert_eq!(elf.offset_of(code.address + 5), Some(code.offset + 5));
        assert_eq!(elf.address_of(code.offset + 5), Some(code.address + 5));
        assert!(elf.sections(&file).unwrap().iter().any(|(name, _)| name == ".eh_frame"));
    }

    /// A build-id is found behind other notes, but not behind more segments of them than any program has.
    #[test]
    fn notes_are_bounded() {
        let build_id = |before: usize| {
            let mut bytes = vec![0; 64 + 56 * (before + 1)];
            bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
            bytes[32] = 64;
            (bytes[54], bytes[56]) = (56, before as u8 + 1);
            for number in 0..=before {
                let at = 64 + 56 * number;
                bytes[at..at + 4].copy_from_slice(&NOTE.to_le_bytes());
            }
            let (last, note) = (64 + 56 * before, bytes.len() as u64);
            bytes[last + 8..last + 16].copy_from_slice(&note.to_le_bytes());
            bytes[last + 32] = 20;
            bytes.extend([4_u32, 4, 3].iter().flat_map(|number| number.to_le_bytes()));
            bytes.extend(b"GNU\0\x07\x07\x07\x07");
            let mut file = tempfile::tempfile().unwrap();
            io::Write::write_all(&mut file, &bytes).unwrap();
            Elf::open(&file).unwrap().build_id(&file)
        };
        assert_eq!([0, 63].map(build_id), [[7; 4]; 2]);
        assert_eq!(build_id(64), []);
    }

    /// A file with more program headers than would be kept for a module is none.
    #[test]
    fn segments_are_bounded() {
        let is_opened = |count: u16| {
            let mut bytes = vec![0; 64 + 56 * usize::from(count)];
            bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
            (bytes[32], bytes[54]) = (64, 56);
            bytes[56..58].copy_from_slice(&count.to_le_bytes());
            let mut file = tempfile::tempfile().unwrap();
            io::Write::write_all(&mut file, &bytes).unwrap();
            Elf::open(&file).is_ok()
        };
        assert_eq!([0, MAX_SEGMENTS, MAX_SEGMENTS + 1].map(is_opened), [true, true, false]);
    }

    /// Thousands of sections that share one endless name take little memory, and no offset overflows.
    #[test]
    fn numbers_that_lie_cost_little() {
        const SECTIONS: usize = 10_000;
        let mut bytes = vec![b'n'; 64 + 56 + 64 * SECTIONS + 100_000];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(32, &64_u64.to_le_bytes());
        put(40, &120_u64.to_le_bytes());
        put(54, &[56, 0, 1, 0, 64, 0]);
        put(60, &(SECTIONS as u16).to_le_bytes());
        put(62, &[0, 0]);
        put(64, &[LOAD, 0].map(u32::to_le_bytes).concat());
        put(72, &[u64::MAX - 5, 0x1000, 0, 0x1000].map(u64::to_le_bytes).concat());
        for section in 0..SECTIONS {
            put(120 + 64 * section, &[0_u64, 0, 0, 0].map(u64::to_le_bytes).concat());
        }
        put(120 + 24, &(120 + 64 * SECTIONS as u64).to_le_bytes());
        put(120 + 32, &100_000_u64.to_le_bytes());
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &bytes).unwrap();
        let elf = Elf::open(&file).unwrap();
        let sections = elf.sections(&file).unwrap();
        assert_eq!(sections.len(), SECTIONS);
        assert!(sections.iter().all(|(name, _)| name.len() == MAX_NAME));
        assert_eq!((elf.offset_of(0x1005), elf.offset_of(0x1006)), (Some(u64::MAX), None));
    }

    /// Any headers behind the magic give segments, sections and a build-id, or an error.
    #[test]
    fn any_headers_are_read() {
        let byte = proptest::prop_oneof![0_u8..4, proptest::arbitrary::any::<u8>()];
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let read = |mut bytes: Vec<u8>| {
            bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
            bytes[54..56].copy_from_slice(&[56, 0]);
            bytes[58..60].copy_from_slice(&[64, 0]);
            let mut file = tempfile::tempfile().unwrap();
            io::Write::write_all(&mut file, &bytes).unwrap();
            let Ok(elf) = Elf::open(&file) else { return Ok(()) };
            elf.build_id(&file);
            let _unreadable = (elf.sections(&file).is_ok(), elf.fingerprint(&file).is_ok());
            for number in [0, 1, 1 << 40, u64::MAX] {
                elf.offset_of(number);
                elf.address_of(number);
            }
            Ok(())
        };
        runner.run(&proptest::collection::vec(byte, 64..400), read).unwrap();
    }

    /// A build-id is found behind other notes; a note that claims more than there is ends the search.
    #[test]
    fn a_build_id_is_found_among_notes() {
        let mut notes = Vec::new();
        for (kind, description) in [(1_u32, &[9_u8; 6][..]), (3, &[7; 20])] {
            notes.extend(4_u32.to_le_bytes());
            notes.extend((description.len() as u32).to_le_bytes());
            notes.extend(kind.to_le_bytes());
            notes.extend(b"GNU\0");
            notes.extend(description);
            notes.resize(notes.len().next_multiple_of(4), 0);
        }
        assert_eq!(find_build_id(&notes), Some(vec![7; 20]));
        assert_eq!(find_build_id(&notes[..notes.len() - 1]), None);
        notes[4] = 0xff;
        assert_eq!(find_build_id(&notes), None);
    }
}
