//! The function of each address of a unit, and what was inlined there: one walk over the unit's entries.

use std::sync::Arc;

use gimli::{
    Abbreviation, AttributeValue, DW_AT_MIPS_linkage_name, DW_AT_abstract_origin, DW_AT_call_file, DW_AT_call_line,
    DW_AT_declaration, DW_AT_linkage_name, DW_AT_low_pc, DW_AT_name, DW_AT_ranges, DW_AT_sibling, DW_AT_specification,
    DW_TAG_array_type, DW_TAG_enumeration_type, DW_TAG_inlined_subroutine, DW_TAG_subprogram, DW_TAG_subroutine_type,
    EntriesRaw, Range, UnitOffset, UnitRef,
};

use super::Bytes;
use super::allowance::{Meter, Trouble};
use super::lines::Line;
use super::origins::Origins;
use super::ranges::{RangeAttributes, within};

/// Functions that are inlined into each other at one place; compilers stay far below.
const MAX_INLINED: usize = 256;

/// A function at an address.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: Option<Arc<str>>,
    /// Where it was called, if it was inlined.
    pub(super) call: Option<Line>,
}

/// The functions at an address, the one that has code of its own first.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    pub(super) entries: Vec<Entry>,
    /// The entry of the outermost function, and how many bytes it covers.
    owner: Option<(UnitOffset, u64)>,
}

/// Finds the functions of the ascending `addresses`. Behind damage, what was found before stays.
pub(super) fn find<'a>(
    unit: UnitRef<'_, Bytes<'a>>,
    addresses: &[u64],
    origins: &mut Origins<'_, 'a>,
    meter: &mut Meter<'_>,
    chains: &mut [Chain],
) -> Result<(), Trouble> {
    let mut walk = Walk { unit, addresses, origins, meter, chains, scopes: Vec::new(), base: 0 };
    let mut entries = unit.unit.entries_raw(None)?;
    while !entries.is_empty() {
        walk.step(&mut entries)?;
    }
    Ok(())
}

/// An open entry: a function whose code holds some of the addresses.
struct Scope {
    depth: isize,
    function: UnitOffset,
    /// How many functions of a chain are outside of it, itself included.
    inlined: usize,
}

struct Walk<'w, 'a, 'o, 'm> {
    unit: UnitRef<'w, Bytes<'a>>,
    addresses: &'w [u64],
    origins: &'w mut Origins<'o, 'a>,
    meter: &'w mut Meter<'m>,
    chains: &'w mut [Chain],
    scopes: Vec<Scope>,
    /// The depth of the entry that reading went on at after something was left out.
    base: isize,
}

/// What is read of a function's entry.
#[derive(Default)]
struct Attributes<'a> {
    ranges: RangeAttributes,
    linkage_name: Option<AttributeValue<Bytes<'a>>>,
    name: Option<AttributeValue<Bytes<'a>>>,
    origin: Option<AttributeValue<Bytes<'a>>>,
    call_file: Option<u64>,
    call_line: u32,
}

impl<'w, 'a> Walk<'w, 'a, '_, '_> {
    /// Reads one entry.
    fn step(&mut self, entries: &mut EntriesRaw<'w, Bytes<'a>>) -> Result<(), Trouble> {
        let (offset, depth) = (entries.next_offset(), self.base + entries.next_depth());
        self.meter.work(1)?;
        let Some(abbreviation) = entries.read_abbreviation()? else { return Ok(()) };
        // Attributes may be without bytes.
        self.meter.work(abbreviation.attributes().len() as u64)?;
        while self.scopes.last().is_some_and(|scope| scope.depth >= depth) {
            self.scopes.pop();
        }
        // Declarations, of which there are many, have no code.
        let has_code = || abbreviation.attributes().iter().any(|it| matches!(it.name(), DW_AT_low_pc | DW_AT_ranges));
        match abbreviation.tag() {
            DW_TAG_subprogram if has_code() => {
                let attributes = self.read(entries, abbreviation.attributes())?;
                self.function(offset, depth, &attributes)
            }
            DW_TAG_inlined_subroutine if !self.scopes.is_empty() => {
                let attributes = self.read(entries, abbreviation.attributes())?;
                self.inlined(depth, &attributes)
            }
            _ => self.leave_out(entries, abbreviation, depth),
        }
    }

    /// Goes on behind an entry; behind what is inside of it, too, where there can be no code and the entry says where that ends.
    fn leave_out(
        &mut self,
        entries: &mut EntriesRaw<'w, Bytes<'a>>,
        abbreviation: &Abbreviation,
        depth: isize,
    ) -> Result<(), Trouble> {
        let attributes = abbreviation.attributes();
        let sibling = attributes.iter().position(|it| it.name() == DW_AT_sibling);
        let Some(place) = sibling.filter(|_| abbreviation.has_children() && holds_no_code(abbreviation)) else {
            return Ok(entries.skip_attributes(attributes)?);
        };
        entries.skip_attributes(&attributes[..place])?;
        let sibling = entries.read_attribute(attributes[place])?.value();
        entries.skip_attributes(&attributes[place + 1..])?;
        if let AttributeValue::UnitRef(sibling) = sibling
            && sibling > entries.next_offset()
            && let Ok(behind) = self.unit.unit.entries_raw(Some(sibling))
        {
            (*entries, self.base) = (behind, depth);
        }
        Ok(())
    }

    fn read(
        &self,
        entries: &mut EntriesRaw<'_, Bytes<'a>>,
        specifications: &[gimli::AttributeSpecification],
    ) -> Result<Attributes<'a>, gimli::Error> {
        let mut read = Attributes::default();
        for &specification in specifications {
            let attribute = entries.read_attribute(specification)?;
            let value = attribute.value();
            match attribute.name() {
                DW_AT_linkage_name | DW_AT_MIPS_linkage_name => read.linkage_name = Some(value),
                DW_AT_name => read.name = Some(value),
                DW_AT_abstract_origin | DW_AT_specification => read.origin = Some(value),
                DW_AT_call_file => read.call_file = call_file(self.unit, value),
                DW_AT_call_line => {
                    read.call_line = attribute.udata_value().and_then(|line| line.try_into().ok()).unwrap_or_default();
                }
                name => read.ranges.take(self.unit, name, value)?,
            }
        }
        Ok(read)
    }

    /// A function with code of its own. Where several cover an address, the smallest has it: it is nested in the others.
    fn function(&mut self, offset: UnitOffset, depth: isize, attributes: &Attributes<'a>) -> Result<(), Trouble> {
        let mut name = None;
        let mut any = false;
        for range in self.ranges(attributes)? {
            let size = range.end - range.begin;
            for place in within(self.addresses, range) {
                self.meter.work(1)?;
                if self.chains[place].owner.is_some_and(|(_, other)| other < size) {
                    continue;
                }
                if name.is_none() {
                    name = Some(self.name(attributes)?);
                }
                let entry = Entry { name: name.clone().flatten(), call: None };
                self.meter.keep(size_of::<Entry>())?;
                self.chains[place] = Chain { entries: vec![entry], owner: Some((offset, size)) };
                any = true;
            }
        }
        if any {
            self.scopes.push(Scope { depth, function: offset, inlined: 1 });
        }
        Ok(())
    }

    /// A function that was inlined into the innermost open one, or into one between.
    fn inlined(&mut self, depth: isize, attributes: &Attributes<'a>) -> Result<(), Trouble> {
        let Some(&Scope { function, inlined, .. }) = self.scopes.last() else { return Ok(()) };
        let mut entry = None;
        for range in self.ranges(attributes)? {
            for place in within(self.addresses, range) {
                self.meter.work(1)?;
                let chain = &self.chains[place];
                let is_next = chain.owner.is_some_and(|(owner, _)| owner == function) && chain.entries.len() == inlined;
                if !is_next || inlined > MAX_INLINED {
                    continue;
                }
                if entry.is_none() {
                    let call = Line { file: attributes.call_file.unwrap_or(NO_FILE), line: attributes.call_line };
                    entry = Some(Entry { name: self.name(attributes)?, call: Some(call) });
                }
                self.meter.keep(size_of::<Entry>())?;
                self.chains[place].entries.extend(entry.clone());
            }
        }
        if entry.is_some() {
            self.scopes.push(Scope { depth, function, inlined: inlined + 1 });
        }
        Ok(())
    }

    fn ranges(&mut self, attributes: &Attributes<'a>) -> Result<Vec<Range>, Trouble> {
        let mut ranges = Vec::new();
        attributes.ranges.each(self.unit, self.meter, |range| ranges.push(range))?;
        Ok(ranges)
    }

    /// The name as the linker knows it, else the plain one, else that of the entry which this is an instance of.
    fn name(&mut self, attributes: &Attributes<'a>) -> Result<Option<Arc<str>>, Trouble> {
        match attributes.linkage_name.or(attributes.name) {
            Some(name) => self.origins.text(self.unit, name, self.meter),
            None => match attributes.origin {
                Some(origin) => self.origins.name(self.unit, origin, self.meter),
                None => Ok(None),
            },
        }
    }
}

/// Whether nothing inside of an entry has code: it declares a function, or is a type that has no functions.
fn holds_no_code(abbreviation: &Abbreviation) -> bool {
    match abbreviation.tag() {
        DW_TAG_subprogram => abbreviation.attributes().iter().any(|it| it.name() == DW_AT_declaration),
        DW_TAG_array_type | DW_TAG_enumeration_type | DW_TAG_subroutine_type => true,
        _ => false,
    }
}

/// A number that no file has.
const NO_FILE: u64 = u64::MAX;

/// The number of the file of a call. Before DWARF 5, 0 stands for none.
fn call_file(unit: UnitRef<'_, Bytes<'_>>, value: AttributeValue<Bytes<'_>>) -> Option<u64> {
    match value {
        AttributeValue::FileIndex(0) if unit.header.version() < 5 => None,
        AttributeValue::FileIndex(number) => Some(number),
        _ => None,
    }
}
