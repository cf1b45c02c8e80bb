//! Call frame information, read exactly: the FDEs of one section, and the row for one address.

use gimli::{
    BaseAddresses, CieOrFde, DebugFrame, EhFrame, Encoding, EndianSlice, Format, FrameDescriptionEntry, LittleEndian,
    RegisterRule, Section, UnwindContext, UnwindExpression, UnwindSection, UnwindTableRow, Vendor,
};
use profrec_format::{CfiEntry, CfiSection};

use super::row::{CfaRule, Row, Rule};
use super::signing;
use super::slices::SmallSection;

/// What the recorded machines have in common: addresses of eight bytes.
pub const ENCODING: Encoding = Encoding { address_size: 8, format: Format::Dwarf32, version: 4 };

/// aarch64 code that signs its return addresses uses an instruction of its own; x86-64 has none.
const VENDOR: Vendor = Vendor::AArch64;
/// The column of return addresses on aarch64, x30; on x86-64 it is 16.
const LINK_REGISTER: gimli::Register = gimli::Register(30);
/// Bytes of an entry that is read without an instruction that is not known: it is copied for each row. Those of compilers are
/// below 64 KiB.
const MAX_COPIED: usize = 64 << 10;

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// Memory that is used again for each row.
#[derive(Default)]
pub struct CfiContext {
    rows: UnwindContext<usize>,
    /// Bytes of entries that were gone through.
    pub(super) work: u64,
}

/// The code that one FDE covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdeRange {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// Where the FDE is; what this means is up to the owner of the index.
    pub place: usize,
}

/// Which FDE covers an address.
#[derive(Debug, Default)]
pub struct FdeIndex {
    ranges: Vec<FdeRange>,
}

impl FdeIndex {
    /// Sorts ranges. Of several that start at one address the first given is kept.
    pub fn new(mut ranges: Vec<FdeRange>) -> Self {
        ranges.retain(|range| range.start < range.end);
        ranges.sort_by_key(|range| range.start);
        ranges.dedup_by_key(|range| range.start);
        ranges.shrink_to_fit();
        Self { ranges }
    }

    /// The place of the FDE that covers an address.
    pub fn lookup(&self, address: u64) -> Option<usize> {
        let index = self.ranges.partition_point(|range| range.start <= address).checked_sub(1)?;
        let range = self.ranges.get(index).filter(|range| address < range.end)?;
        Some(range.place)
    }
}

/// A section of call frame information.
pub enum CfiReader<'a> {
    /// `.eh_frame` and sections of its form.
    EhFrame(EhFrame<Bytes<'a>>, BaseAddresses),
    /// `.debug_frame`.
    DebugFrame(DebugFrame<Bytes<'a>>),
}

impl<'a> CfiReader<'a> {
    /// A section of the given form, which lies at `address`.
    pub fn new(form: CfiSection, bytes: &'a [u8], address: u64) -> Self {
        match form {
            CfiSection::EhFrame => {
                let mut section = EhFrame::new(bytes, LittleEndian);
                section.set_vendor(VENDOR);
                Self::EhFrame(section, BaseAddresses::default().set_eh_frame(address))
            }
            CfiSection::DebugFrame => {
                let mut section = DebugFrame::new(bytes, LittleEndian);
                section.set_vendor(VENDOR);
                Self::DebugFrame(section)
            }
        }
    }

    /// The code that the FDE at an offset of the section covers.
    pub fn range(&self, offset: usize) -> Option<FdeRange> {
        match self {
            Self::EhFrame(section, bases) => fde_at(section, bases, offset).as_ref().map(range_of),
            Self::DebugFrame(section) => fde_at(section, &BaseAddresses::default(), offset).as_ref().map(range_of),
        }
    }

    /// The code that each FDE of the section covers, up to the first damage.
    pub fn ranges(&self) -> Vec<FdeRange> {
        match self {
            Self::EhFrame(section, bases) => all_ranges(section, bases),
            Self::DebugFrame(section) => all_ranges(section, &BaseAddresses::default()),
        }
    }

    /// The row for an address in the FDE at an offset of the section; `None` when the FDE does not
    /// cover the address or is damaged.
    pub fn row(&self, offset: usize, address: u64, context: &mut CfiContext) -> Option<Row> {
        match self.row_as_it_stands(offset, address, context) {
            Ok(row) => Some(row),
            Err(Unread::Signing(signing)) => {
                let small = self.without_signing(offset, signing)?;
                small.reader().row_as_it_stands(small.fde, address, context).ok()
            }
            Err(Unread::Damaged) => None,
        }
    }

    fn row_as_it_stands(&self, offset: usize, address: u64, context: &mut CfiContext) -> Result<Row, Unread> {
        match self {
            Self::EhFrame(section, bases) => row_at(section, bases, offset, address, context),
            Self::DebugFrame(section) => row_at(section, &BaseAddresses::default(), offset, address, context),
        }
    }

    /// The entry at an offset, without an instruction that is not known.
    fn without_signing(&self, offset: usize, signing: Signing) -> Option<SmallSection> {
        let (form, bytes, address) = match self {
            Self::EhFrame(section, bases) => {
                (CfiSection::EhFrame, section.reader().slice(), bases.eh_frame.section.unwrap_or_default())
            }
            Self::DebugFrame(section) => (CfiSection::DebugFrame, section.reader().slice(), 0),
        };
        let Signing { cie, address_size, augmented } = signing;
        let entry_at = |offset| entry_at(bytes, offset).filter(|entry| entry.len() <= MAX_COPIED);
        let fde = signing::entry_without(form, entry_at(offset)?, address_size, augmented)?;
        let entry = |offset: usize, bytes: Vec<u8>| {
            let address = address.wrapping_add(offset as u64);
            CfiEntry { address, cie: 0, bytes }
        };
        SmallSection::join(form, &entry(cie, entry_at(cie)?.to_vec()), &entry(offset, fde))
    }
}

/// Why an entry gives no row.
enum Unread {
    /// It does not cover the address, or cannot be understood.
    Damaged,
    /// It has an instruction that gimli does not know.
    Signing(Signing),
}

/// What is needed to read an entry without that instruction.
struct Signing {
    /// Where its CIE is in the section.
    cie: usize,
    /// Bytes of each of its two addresses.
    address_size: usize,
    /// Whether data of other kinds stands behind them.
    augmented: bool,
}

/// The bytes of the entry at an offset, its length included.
fn entry_at(section: &[u8], offset: usize) -> Option<&[u8]> {
    let bytes = section.get(offset..)?;
    let length = u32::from_le_bytes(*bytes.first_chunk()?);
    let end = match length {
        u32::MAX => usize::try_from(u64::from_le_bytes(*bytes.get(4..)?.first_chunk()?)).ok()?.checked_add(12)?,
        length => length as usize + 4,
    };
    bytes.get(..end)
}

fn fde_at<'a, S: UnwindSection<Bytes<'a>>>(
    section: &S,
    bases: &BaseAddresses,
    offset: usize,
) -> Option<FrameDescriptionEntry<Bytes<'a>>> {
    // A damaged entry is as good as none: the walk says "no CFI" there.
    section.fde_from_offset(bases, offset.into(), S::cie_from_offset).ok()
}

fn range_of(fde: &FrameDescriptionEntry<Bytes<'_>>) -> FdeRange {
    FdeRange { start: fde.initial_address(), end: fde.end_address(), place: fde.offset() }
}

fn all_ranges<'a, S: UnwindSection<Bytes<'a>>>(section: &S, bases: &BaseAddresses) -> Vec<FdeRange> {
    let mut ranges = Vec::new();
    let mut entries = section.entries(bases);
    while let Ok(Some(entry)) = entries.next() {
        if let CieOrFde::Fde(partial) = entry
            && let Ok(fde) = partial.parse(S::cie_from_offset)
        {
            ranges.push(range_of(&fde));
        }
    }
    ranges
}

fn row_at<'a, S: UnwindSection<Bytes<'a>>>(
    section: &S,
    bases: &BaseAddresses,
    offset: usize,
    address: u64,
    context: &mut CfiContext,
) -> Result<Row, Unread> {
    let fde = fde_at(section, bases, offset).filter(|fde| fde.contains(address)).ok_or(Unread::Damaged)?;
    context.work += (fde.entry_len() + fde.cie().entry_len()) as u64;
    // Instructions that cannot be understood are as good as none: the walk says "no CFI" there.
    let row = fde.unwind_info_for_address(section, bases, &mut context.rows, address);
    let row = row.map_err(|error| match error {
        gimli::Error::UnknownCallFrameInstruction(gimli::DwCfa(signing::NEGATE_WITH_PC))
            if fde.cie().return_address_register() == LINK_REGISTER =>
        {
            let encoded = fde.cie().fde_address_encoding().map_or(ENCODED_AS_IS, |encoding| encoding.0);
            let address_size = match encoded & 0x07 {
                2 => 2,
                3 => 4,
                _ => 8,
            };
            let augmented = fde.cie().augmentation().is_some();
            Unread::Signing(Signing { cie: fde.cie().offset(), address_size, augmented })
        }
        _ => Unread::Damaged,
    })?;
    row_of(section, &fde, row).ok_or(Unread::Damaged)
}

/// `DW_EH_PE_absptr`
const ENCODED_AS_IS: u8 = 0;

fn row_of<'a, S: UnwindSection<Bytes<'a>>>(
    section: &S,
    fde: &FrameDescriptionEntry<Bytes<'a>>,
    row: &UnwindTableRow<usize>,
) -> Option<Row> {
    let column = fde.cie().return_address_register();
    let cfa = match row.cfa() {
        gimli::CfaRule::RegisterAndOffset { register, offset } => CfaRule::Register(register.0, *offset),
        gimli::CfaRule::Expression(expression) => CfaRule::Expression(bytes_of(section, expression)?),
    };
    let mut registers = Vec::new();
    for (register, rule) in row.registers().filter(|(register, _)| *register != column) {
        registers.push((register.0, rule_of(section, rule)?));
    }
    registers.retain(|(number, rule)| *number < VECTOR_REGISTERS && *rule != Rule::Same);
    registers.sort_unstable_by_key(|(number, _)| *number);
    let return_address = match row.register(column).map(|rule| rule_of(section, &rule)) {
        None => Rule::Register(column.0),
        Some(rule) => match rule? {
            Rule::Same => Rule::Register(column.0),
            rule => rule,
        },
    };
    let signal_frame = fde.is_signal_trampoline();
    Some(Row { cfa, return_address, registers: registers.into(), signal_frame, start: fde.initial_address() })
}

/// From this DWARF number on there are only registers that no address is computed from.
const VECTOR_REGISTERS: u16 = 33;

fn rule_of<'a, S: UnwindSection<Bytes<'a>>>(section: &S, rule: &RegisterRule<usize>) -> Option<Rule> {
    Some(match rule {
        RegisterRule::SameValue => Rule::Same,
        RegisterRule::Offset(offset) => Rule::Saved(*offset),
        RegisterRule::ValOffset(offset) => Rule::Offset(*offset),
        RegisterRule::Register(other) => Rule::Register(other.0),
        RegisterRule::Expression(expression) => Rule::SavedAt(bytes_of(section, expression)?),
        RegisterRule::ValExpression(expression) => Rule::Expression(bytes_of(section, expression)?),
        RegisterRule::Constant(value) => Rule::Constant(*value),
        _ => Rule::Undefined,
    })
}

fn bytes_of<'a, S: UnwindSection<Bytes<'a>>>(section: &S, expression: &UnwindExpression<usize>) -> Option<Box<[u8]>> {
    // The bounds were checked when the entry was parsed.
    expression.get(section).ok().map(|expression| expression.0.slice().into())
}
