//! The names of entries of debug information, and the entries that they are instances of.

#![allow(non_upper_case_globals, reason = "attributes are named as DWARF names them")]

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use gimli::{
    AttributeValue, DW_AT_MIPS_linkage_name, DW_AT_abstract_origin, DW_AT_linkage_name, DW_AT_name,
    DW_AT_specification, EndianSlice, LittleEndian, UnitOffset, UnitRef,
};
use profrec_report::symbols::demangle::demangle;

/// Bytes of a section.
pub type Bytes<'a> = EndianSlice<'a, LittleEndian>;
/// A unit of a file.
pub type Unit<'a> = gimli::Unit<Bytes<'a>>;

/// How often an entry may refer to another.
const MAX_STEPS: usize = 16;

/// All entries of a file, by the places of their units.
pub struct Entries<'r, 'a> {
    /// The sections.
    pub dwarf: &'r gimli::Dwarf<Bytes<'a>>,
    /// The units.
    pub units: &'r BTreeMap<usize, Unit<'a>>,
}

impl<'r, 'a> Entries<'r, 'a> {
    /// Adds the readable names of an entry and of those that it is an instance of.
    pub fn names(&self, unit: UnitRef<'_, Bytes<'a>>, offset: UnitOffset, names: &mut BTreeSet<String>) -> Result<()> {
        self.add_names(unit, offset, MAX_STEPS, names)
    }

    /// The place of the entry that this is an instance of, or its own.
    pub fn origin(&self, unit: UnitRef<'_, Bytes<'a>>, offset: UnitOffset) -> Result<usize> {
        let place = |unit: UnitRef<'_, Bytes<'a>>, offset: UnitOffset| {
            unit.header.debug_info_offset().map(|start| start.0).unwrap_or_default() + offset.0
        };
        let entry = unit.entry(offset)?;
        let has_name =
            [DW_AT_name, DW_AT_linkage_name, DW_AT_MIPS_linkage_name].iter().any(|it| entry.attr(*it).is_some());
        let origin = entry.attr(DW_AT_abstract_origin).map(|attribute| attribute.value());
        Ok(match origin.filter(|_| !has_name) {
            Some(AttributeValue::UnitRef(origin)) => place(unit, origin),
            Some(AttributeValue::DebugInfoRef(origin)) => origin.0,
            _ => place(unit, offset),
        })
    }

    fn add_names(
        &self,
        unit: UnitRef<'_, Bytes<'a>>,
        offset: UnitOffset,
        steps: usize,
        names: &mut BTreeSet<String>,
    ) -> Result<()> {
        let entry = unit.entry(offset)?;
        for attribute in entry.attrs() {
            match attribute.name() {
                DW_AT_name | DW_AT_linkage_name | DW_AT_MIPS_linkage_name => {
                    let name = unit.attr_string(attribute.value())?;
                    names.insert(demangle(&name.to_string_lossy()));
                }
                DW_AT_abstract_origin | DW_AT_specification if steps > 0 => match attribute.value() {
                    AttributeValue::UnitRef(offset) => self.add_names(unit, offset, steps - 1, names)?,
                    AttributeValue::DebugInfoRef(offset) => {
                        let other = self.units.range(..=offset.0).next_back().map(|(_, unit)| unit);
                        let place = other.and_then(|other| Some((other, offset.to_unit_offset(&other.header)?)));
                        if let Some((other, offset)) = place {
                            self.add_names(other.unit_ref(self.dwarf), offset, steps - 1, names)?;
                        }
                    }
                    _ => {}
                },
                _ => {}
            }
        }
        Ok(())
    }
}
