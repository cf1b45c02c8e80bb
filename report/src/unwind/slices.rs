//! Call frame information that the recording itself holds: single CIEs and FDEs.
//!
//! An FDE alone is no section. To read one, a small section is made of its CIE and itself, with
//! the pointer to the CIE corrected and the section's address chosen such that the FDE lies where it
//! lay in its module, because its pointers are relative to their own place:
//!
//! ```text
//!   0          length of the CIE
//!   +----------+----------------+
//!   |   CIE    |      FDE       |     address of the section = address of the FDE - length of the CIE
//!   +----------+----------------+
//! ```

use std::sync::OnceLock;

use profrec_format::{CfiEntry, CfiSection};
use rustc_hash::FxHashMap;

use super::cfi::{CfiContext, CfiReader, FdeIndex, FdeRange};
use super::row::Row;
use crate::evidence::ModuleEvidence;

/// The embedded call frame information of one module.
pub struct SliceCfi<'a> {
    evidence: &'a ModuleEvidence,
    content: OnceLock<Content<'a>>,
}

/// What is found out on first use.
struct Content<'a> {
    cies: FxHashMap<(CfiSection, u64), &'a CfiEntry>,
    /// The place of a range is the FDE's number in the evidence.
    index: FdeIndex,
}

impl<'a> SliceCfi<'a> {
    /// The slices of a module; nothing is read yet.
    pub fn new(evidence: &'a ModuleEvidence) -> Self {
        Self { evidence, content: OnceLock::new() }
    }

    /// The row for an address of the module.
    pub fn row(&self, address: u64, context: &mut CfiContext) -> Option<Row> {
        let content = self.content.get_or_init(|| Content::read(self.evidence));
        let (form, fde) = self.evidence.fdes.get(content.index.lookup(address)?)?;
        let section = content.section(*form, fde)?;
        section.reader().row(section.fde, address, context)
    }
}

impl<'a> Content<'a> {
    fn read(evidence: &'a ModuleEvidence) -> Self {
        let cies = evidence.cies.iter().map(|(form, cie)| ((*form, cie.address), cie)).collect();
        let mut content = Self { cies, index: FdeIndex::default() };
        let ranges = evidence.fdes.iter().enumerate().filter_map(|(place, (form, fde))| {
            let section = content.section(*form, fde)?;
            let range = section.reader().range(section.fde)?;
            Some(FdeRange { place, ..range })
        });
        content.index = FdeIndex::new(ranges.collect());
        content
    }

    /// The small section of an FDE; `None` when its CIE is missing or it is too short to be one.
    fn section(&self, form: CfiSection, fde: &CfiEntry) -> Option<SmallSection> {
        let cie = self.cies.get(&(form, fde.cie))?;
        SmallSection::join(form, cie, fde)
    }
}

/// A section of one CIE and one FDE.
struct SmallSection {
    form: CfiSection,
    bytes: Vec<u8>,
    address: u64,
    /// Offset of the FDE.
    fde: usize,
}

impl SmallSection {
    fn join(form: CfiSection, cie: &CfiEntry, fde: &CfiEntry) -> Option<Self> {
        let start = cie.bytes.len();
        let mut bytes = Vec::with_capacity(start + fde.bytes.len());
        bytes.extend_from_slice(&cie.bytes);
        bytes.extend_from_slice(&fde.bytes);
        let wide = fde.bytes.starts_with(&[0xff; 4]);
        let pointer = start + if wide { 12 } else { 4 };
        match form {
            CfiSection::EhFrame => {
                // The distance from the pointer back to the CIE; of four bytes in both lengths.
                let distance = u32::try_from(pointer).ok()?;
                bytes.get_mut(pointer..pointer + 4)?.copy_from_slice(&distance.to_le_bytes());
            }
            CfiSection::DebugFrame => bytes.get_mut(pointer..pointer + if wide { 8 } else { 4 })?.fill(0),
        }
        Some(Self { form, bytes, address: fde.address.wrapping_sub(start as u64), fde: start })
    }

    fn reader(&self) -> CfiReader<'_> {
        CfiReader::new(self.form, &self.bytes, self.address)
    }
}
