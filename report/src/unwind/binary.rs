//! Call frame information of a whole binary: the vDSO's image, or a local file.

use std::borrow::Cow;
use std::sync::OnceLock;

use object::{Object, ObjectSection, ObjectSegment, SegmentFlags};
use profrec_format::CfiSection;

use super::cfi::{CfiContext, CfiReader, FdeIndex};
use super::row::Row;
use super::start_code::StartCode;
use crate::sections;

/// The sections of an ELF file that hold call frame information. A BOLT-optimised binary has two:
/// the new one covers both the new text and the old.
const SECTIONS: [(&str, CfiSection); 3] = [
    (".eh_frame", CfiSection::EhFrame),
    (".bolt.org.eh_frame", CfiSection::EhFrame),
    (".debug_frame", CfiSection::DebugFrame),
];

/// The call frame information of one binary.
pub struct BinaryCfi<'a> {
    sections: Vec<Section<'a>>,
    /// For each section, in the same order; made when the section is first searched.
    indices: Vec<OnceLock<FdeIndex>>,
    /// Executable segments, by the address of their first byte.
    code: Vec<(u64, &'a [u8])>,
    /// The whole file, and where its start code is, once that was asked.
    file: &'a [u8],
    start_code: OnceLock<StartCode>,
}

struct Section<'a> {
    form: CfiSection,
    address: u64,
    bytes: Cow<'a, [u8]>,
}

impl Section<'_> {
    fn reader(&self) -> CfiReader<'_> {
        CfiReader::new(self.form, &self.bytes, self.address)
    }
}

impl<'a> BinaryCfi<'a> {
    /// Finds the sections of an ELF file; `None` when it is no ELF file. A section that cannot be
    /// decompressed is left out.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let file = object::File::parse(bytes).ok()?;
        let sections: Vec<_> = SECTIONS
            .iter()
            .filter_map(|&(name, form)| {
                let section = file.section_by_name(name)?;
                Some(Section { form, address: section.address(), bytes: sections::bytes(&section)? })
            })
            .collect();
        let indices = sections.iter().map(|_| OnceLock::new()).collect();
        Some(Self { sections, indices, code: code(&file), file: bytes, start_code: OnceLock::new() })
    }

    /// The code from an address on; `None` where the file has none.
    pub fn code_at(&self, address: u64) -> Option<&'a [u8]> {
        let (offset, bytes) = self.segment(address)?;
        bytes.get(offset..).filter(|code| !code.is_empty())
    }

    /// At most `length` bytes of code before an address; `None` where the file has none.
    pub fn code_before(&self, address: u64, length: usize) -> Option<&'a [u8]> {
        let (offset, bytes) = self.segment(address)?;
        bytes.get(offset.saturating_sub(length)..offset).filter(|code| !code.is_empty())
    }

    /// The segment that an address is in or just behind, and where in it.
    fn segment(&self, address: u64) -> Option<(usize, &'a [u8])> {
        let offset_in = |start: u64| usize::try_from(address.checked_sub(start)?).ok();
        let holds =
            |&(start, bytes): &(u64, &'a [u8])| Some((offset_in(start).filter(|at| *at <= bytes.len())?, bytes));
        self.code.iter().find_map(holds)
    }

    /// Whether an address is in code that a stack starts in.
    pub fn is_start_code(&self, address: u64) -> bool {
        let start_code = self.start_code.get_or_init(|| StartCode::find(self.file));
        start_code.holds(address, |address| self.function(address))
    }

    /// The first address of the function that covers an address, and one past its last.
    fn function(&self, address: u64) -> Option<(u64, u64)> {
        self.sections.iter().zip(&self.indices).find_map(|(section, index)| {
            let reader = section.reader();
            let range = reader.range(index.get_or_init(|| FdeIndex::new(reader.ranges())).lookup(address)?)?;
            Some((range.start, range.end))
        })
    }

    /// The row for an address of the module.
    pub fn row(&self, address: u64, context: &mut CfiContext) -> Option<Row> {
        self.sections.iter().zip(&self.indices).find_map(|(section, index)| {
            let reader = section.reader();
            let index = index.get_or_init(|| FdeIndex::new(reader.ranges()));
            reader.row(index.lookup(address)?, address, context)
        })
    }
}

/// The executable segments of a file.
fn code<'a>(file: &object::File<'a>) -> Vec<(u64, &'a [u8])> {
    let is_executable =
        |flags| matches!(flags, SegmentFlags::Elf { p_flags, .. } if p_flags.contains(object::elf::PF_X));
    let code = file.segments().filter(|segment| is_executable(segment.flags()));
    code.filter_map(|segment| Some((segment.address(), segment.data().ok()?))).collect()
}
