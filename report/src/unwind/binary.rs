//! Call frame information of a whole binary: the vDSO's image, or a local file.

use std::borrow::Cow;
use std::sync::OnceLock;

use object::{Object, ObjectSection};
use profrec_format::CfiSection;

use super::cfi::{CfiContext, CfiReader, FdeIndex};
use super::row::Row;
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
        Some(Self { sections, indices })
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
