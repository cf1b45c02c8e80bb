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

use foldhash::HashMap;
use profrec_format::{CfiEntry, CfiSection};

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
    cies: HashMap<(CfiSection, u64), &'a CfiEntry>,
    /// Of each kind of section; the place of a range is the FDE's number in the evidence.
    indices: [FdeIndex; 2],
}

impl<'a> SliceCfi<'a> {
    /// The slices of a module; nothing is read yet.
    pub fn new(evidence: &'a ModuleEvidence) -> Self {
        Self { evidence, content: OnceLock::new() }
    }

    /// The row for an address of the module.
    pub fn row(&self, address: u64, context: &mut CfiContext) -> Option<Row> {
        let content = self.content.get_or_init(|| Content::read(self.evidence));
        content.indices.iter().find_map(|index| {
            let (form, fde) = self.evidence.fdes.get(index.lookup(address)?)?;
            let section = content.section(*form, fde)?;
            section.reader().row(section.fde, address, context)
        })
    }
}

impl<'a> Content<'a> {
    fn read(evidence: &'a ModuleEvidence) -> Self {
        let cies = evidence.cies.iter().map(|(form, cie)| ((*form, cie.address), cie)).collect();
        let mut content = Self { cies, indices: Default::default() };
        content.indices = [CfiSection::EhFrame, CfiSection::DebugFrame].map(|wanted| {
            let ranges = evidence.fdes.iter().enumerate().filter_map(|(place, (form, fde))| {
                let section = content.section(*form, fde).filter(|_| *form == wanted)?;
                let range = section.reader().range(section.fde)?;
                Some(FdeRange { place, ..range })
            });
            FdeIndex::new(ranges.collect())
        });
        content
    }

    /// The small section of an FDE; `None` when its CIE is missing or it is too short to be one.
    fn section(&self, form: CfiSection, fde: &CfiEntry) -> Option<SmallSection> {
        let cie = self.cies.get(&(form, fde.cie))?;
        SmallSection::join(form, cie, fde)
    }
}

/// A section of one CIE and one FDE.
pub(super) struct SmallSection {
    form: CfiSection,
    bytes: Vec<u8>,
    address: u64,
    /// Offset of the FDE.
    pub(super) fde: usize,
}

impl SmallSection {
    /// Joins the two; `None` when the FDE is too short to be one.
    pub(super) fn join(form: CfiSection, cie: &CfiEntry, fde: &CfiEntry) -> Option<Self> {
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

    /// What reads it.
    pub(super) fn reader(&self) -> CfiReader<'_> {
        CfiReader::new(self.form, &self.bytes, self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::{CfaRule, Rule};
    use super::*;
    use proptest::prelude::*;

    /// A module with one CIE and one FDE.
    fn module(form: CfiSection, cie: &[u8], fde: &[u8]) -> ModuleEvidence {
        let entry = |address, bytes: &[u8]| (form, CfiEntry { address, cie: 0x100, bytes: bytes.to_vec() });
        let (cies, fdes) = (vec![entry(0x100, cie)], vec![entry(0x4000, fde)]);
        ModuleEvidence { cies, fdes, ..ModuleEvidence::default() }
    }

    fn row(evidence: &ModuleEvidence, address: u64) -> Option<Row> {
        SliceCfi::new(evidence).row(address, &mut CfiContext::default())
    }

    fn entry_row() -> Row {
        Row {
            cfa: CfaRule::Register(7, 8),
            return_address: Rule::Saved(-8),
            registers: Default::default(),
            signal_frame: false,
            start: 0x1000,
        }
    }

    const RULES: [u8; 5] = [0x0c, 7, 8, 0x90, 1];

    fn eh_frame_cie() -> Vec<u8> {
        let mut cie = vec![20, 0, 0, 0, 0, 0, 0, 0, 1, b'z', b'R', 0, 1, 0x78, 16, 1, 0x1b];
        cie.extend(RULES);
        cie.extend([0, 0]);
        cie
    }

    /// A pointer relative to its own place is right although the FDE was moved: function at 0x1000, 0x40 bytes.
    #[test]
    fn pointers_relative_to_their_place() {
        let mut fde = vec![16, 0, 0, 0, 0xee, 0xee, 0, 0];
        fde.extend(0x1000i32.wrapping_sub(0x4008).to_le_bytes());
        fde.extend([0x40, 0, 0, 0, 0, 0, 0, 0]);
        let evidence = module(CfiSection::EhFrame, &eh_frame_cie(), &fde);
        assert_eq!(row(&evidence, 0x1000), Some(entry_row()));
        assert_eq!(row(&evidence, 0x103f), Some(entry_row()));
        assert_eq!(row(&evidence, 0xfff), None);
        assert_eq!(row(&evidence, 0x1040), None);
    }

    /// The same with the 64-bit length that BOLT and others may write; the CIE pointer still has four bytes.
    #[test]
    fn wide_length_in_eh_frame() {
        let mut fde = vec![0xff, 0xff, 0xff, 0xff, 16, 0, 0, 0, 0, 0, 0, 0, 0xee, 0xee, 0, 0];
        fde.extend(0x1000i32.wrapping_sub(0x4010).to_le_bytes());
        fde.extend([0x40, 0, 0, 0, 0, 0, 0, 0]);
        let evidence = module(CfiSection::EhFrame, &eh_frame_cie(), &fde);
        assert_eq!(row(&evidence, 0x1020), Some(entry_row()));
    }

    /// `.debug_frame` has absolute addresses, and CIE pointers of four or eight bytes.
    #[test]
    fn debug_frame_in_both_widths() {
        let tail = [&[1, 0, 1, 0x78, 16][..], &RULES, &[0, 0]].concat();
        let code = [0x1000u64.to_le_bytes(), 0x40u64.to_le_bytes()].concat();
        let narrow_cie = [&[16, 0, 0, 0][..], &[0xff; 4], &tail].concat();
        let narrow_fde = [&[20, 0, 0, 0][..], &[0x77, 0, 0, 0], &code].concat();
        let wide_cie = [&[0xff; 4][..], &20u64.to_le_bytes(), &[0xff; 8], &tail].concat();
        let wide_fde = [&[0xff; 4][..], &24u64.to_le_bytes(), &0x77u64.to_le_bytes(), &code].concat();
        for (cie, fde) in [(narrow_cie, narrow_fde), (wide_cie, wide_fde)] {
            let evidence = module(CfiSection::DebugFrame, &cie, &fde);
            assert_eq!(row(&evidence, 0x1020), Some(entry_row()));
        }
    }

    /// Where one kind of section tells of a function inside of one that the other tells of, each says what the other lacks.
    #[test]
    fn sections_of_two_kinds() {
        let tail = [&[1, 0, 1, 0x78, 16][..], &RULES, &[0, 0]].concat();
        let code = [0x1010u64.to_le_bytes(), 0x8u64.to_le_bytes()].concat();
        let other = module(
            CfiSection::DebugFrame,
            &[&[16, 0, 0, 0][..], &[0xff; 4], &tail].concat(),
            &[&[20, 0, 0, 0][..], &[0x77, 0, 0, 0], &code].concat(),
        );
        let mut fde = vec![16, 0, 0, 0, 0xee, 0xee, 0, 0];
        fde.extend(0x1000i32.wrapping_sub(0x4008).to_le_bytes());
        fde.extend([0x40, 0, 0, 0, 0, 0, 0, 0]);
        let mut evidence = module(CfiSection::EhFrame, &eh_frame_cie(), &fde);
        evidence.cies.extend(other.cies);
        evidence.fdes.extend(other.fdes);
        assert_eq!(row(&evidence, 0x1020), Some(entry_row()));
        evidence.fdes.remove(0);
        assert_eq!(row(&evidence, 0x1014).map(|row| row.start), Some(0x1010));
    }

    /// An FDE whose CIE is not there says nothing.
    #[test]
    fn missing_cie() {
        let mut evidence = module(CfiSection::EhFrame, &eh_frame_cie(), &[16, 0, 0, 0]);
        evidence.cies.clear();
        assert_eq!(row(&evidence, 0x1000), None);
    }

    proptest! {
        /// Any bytes in place of the entries give a row or none, and nothing worse.
        #[test]
        fn any_entries(
            cie in proptest::collection::vec(any::<u8>(), 0..48),
            fde in proptest::collection::vec(any::<u8>(), 0..48),
            form in prop_oneof![Just(CfiSection::EhFrame), Just(CfiSection::DebugFrame)],
            address in any::<u64>(),
        ) {
            row(&module(form, &cie, &fde), address);
        }
    }
}
