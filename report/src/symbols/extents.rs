//! Where functions begin, from call frame information. It is there even in stripped code: so all
//! locations of one nameless function become one line, not hundreds.

use foldhash::HashMap;
use gimli::{BaseAddresses, CieOrFde, EhFrame, EhFrameHdr, EhFrameOffset, EndianSlice, LittleEndian, UnwindSection};
use object::{Object, ObjectSection};
use profrec_format::{CfiEntry, CfiSection};

use crate::evidence::ModuleEvidence;

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// An FDE's pointer to its CIE such that the CIE lies at the section's start: the distance back
/// from the pointer itself.
const POINTER_TO_START: [u8; 4] = [4, 0, 0, 0];

/// The extents of functions of one module, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Extents {
    /// First address and one past the last, by first address.
    ranges: Vec<(u64, u64)>,
}

impl Extents {
    /// The functions of a module that hold any of `addresses`, from the recording's own FDEs and
    /// from a local binary.
    pub(super) fn find(evidence: &ModuleEvidence, binary: Option<&[u8]>, addresses: &[u64]) -> Self {
        let mut ranges = embedded(&evidence.cies, &evidence.fdes);
        ranges.extend_from_slice(&evidence.extents);
        if let Some(file) = binary.and_then(|bytes| object::File::parse(bytes).ok()) {
            ranges.extend(in_binary(&file, addresses));
        }
        ranges.sort_unstable();
        ranges.dedup_by_key(|range| range.0);
        Self { ranges }
    }

    /// The first address of the function that holds an address.
    pub(super) fn start(&self, address: u64) -> Option<u64> {
        let index = self.ranges.partition_point(|range| range.0 <= address).checked_sub(1)?;
        let (start, end) = self.ranges[index];
        (address < end).then_some(start)
    }
}

/// The extents of the FDEs that a recording carries; one that cannot be read is left out.
pub fn embedded(cies: &[(CfiSection, CfiEntry)], fdes: &[(CfiSection, CfiEntry)]) -> Vec<(u64, u64)> {
    let cies: HashMap<u64, &CfiEntry> =
        cies.iter().filter(|(form, _)| *form == CfiSection::EhFrame).map(|(_, cie)| (cie.address, cie)).collect();
    let fdes = fdes.iter().filter(|(form, _)| *form == CfiSection::EhFrame);
    fdes.filter_map(|(_, fde)| extent(cies.get(&fde.cie)?, fde)).collect()
}

fn extent(cie: &CfiEntry, fde: &CfiEntry) -> Option<(u64, u64)> {
    let mut bytes = fde.bytes.clone();
    bytes.get_mut(4..8)?.copy_from_slice(&POINTER_TO_START);
    let cie_bases = BaseAddresses::default().set_eh_frame(cie.address);
    let cie = section(&cie.bytes).cie_from_offset(&cie_bases, EhFrameOffset(0)).ok()?;
    let bases = BaseAddresses::default().set_eh_frame(fde.address);
    let CieOrFde::Fde(partial) = section(&bytes).entries(&bases).next().ok()?? else { return None };
    let fde = partial.parse(|_, _, _| Ok(cie.clone())).ok()?;
    Some((fde.initial_address(), fde.end_address()))
}

fn section(bytes: &[u8]) -> EhFrame<Bytes<'_>> {
    EhFrame::new(bytes, LittleEndian)
}

/// The extents of the functions that hold `addresses`, by binary search in `.eh_frame_hdr`; none
/// in a file without.
fn in_binary(file: &object::File<'_>, addresses: &[u64]) -> Vec<(u64, u64)> {
    let find = || {
        let (header, frames) = (file.section_by_name(".eh_frame_hdr")?, file.section_by_name(".eh_frame")?);
        let text = file.section_by_name(".text").map_or(0, |text| text.address());
        let bases =
            BaseAddresses::default().set_eh_frame_hdr(header.address()).set_eh_frame(frames.address()).set_text(text);
        let parsed = EhFrameHdr::new(header.data().ok()?, LittleEndian).parse(&bases, 8).ok()?;
        let (table, frames) = (parsed.table()?, section(frames.data().ok()?));
        let extents = addresses.iter().filter_map(|&address| {
            let fde = table.fde_for_address(&frames, &bases, address, EhFrame::cie_from_offset).ok()?;
            Some((fde.initial_address(), fde.end_address()))
        });
        Some(extents.collect())
    };
    find().unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::local_files::MappedFile;
    use object::ObjectSymbol;

    /// In this test's own binary, functions begin where the symbol table says.
    #[test]
    fn functions_begin_where_symbols_say() {
        let binary = MappedFile::open(&std::env::current_exe().unwrap()).unwrap();
        let file = object::File::parse(binary.bytes()).unwrap();
        let functions = file.symbols().filter(|symbol| symbol.kind() == object::SymbolKind::Text && symbol.size() > 8);
        let inside: Vec<(u64, u64)> =
            functions.take(200).map(|symbol| (symbol.address(), symbol.address() + 7)).collect();
        let addresses: Vec<u64> = inside.iter().map(|(_, address)| *address).collect();
        let extents = Extents::find(&ModuleEvidence::default(), Some(binary.bytes()), &addresses);
        let right = inside.iter().filter(|(start, address)| extents.start(*address) == Some(*start)).count();
        assert!(right > 150, "{right} of {}", inside.len());
    }

    /// An FDE of the recording, torn from its section, still says where its function is.
    #[test]
    fn an_embedded_fde_tells_its_function() {
        // CIE "zR", pointers relative and of four bytes; FDE for 0x40 bytes at 0x1000.
        let cie = vec![0x10, 0, 0, 0, 0, 0, 0, 0, 1, b'z', b'R', 0, 1, 0x78, 16, 1, 0x1b, 0, 0, 0];
        let mut fde = vec![0x0d, 0, 0, 0, 0x99, 0, 0, 0];
        fde.extend((0x1000_i32 - 0x2028).to_le_bytes());
        fde.extend([0x40, 0, 0, 0, 0]);
        let entry = |address, cie, bytes| (CfiSection::EhFrame, CfiEntry { address, cie, bytes });
        let evidence = ModuleEvidence {
            cies: vec![entry(0x2000, 0x2000, cie)],
            fdes: vec![entry(0x2020, 0x2000, fde), entry(0x3000, 0x2000, vec![1, 2, 3])],
            ..ModuleEvidence::default()
        };
        let extents = Extents::find(&evidence, None, &[]);
        assert_eq!([extents.start(0x103f), extents.start(0x1040)], [Some(0x1000), None]);
    }
}
