//! Names of the entries that functions are instances of: in the same unit, in another one of the file (link-time
//! optimisation), or in the file that several share (dwz).

use std::sync::Arc;

use foldhash::HashMap;
use gimli::{
    AttributeValue, DW_AT_MIPS_linkage_name, DW_AT_abstract_origin, DW_AT_linkage_name, DW_AT_name,
    DW_AT_specification, DebugInfoOffset, Unit, UnitOffset, UnitRef,
};

use super::Bytes;
use super::allowance::{Meter, Trouble};
use super::payments::pay_for_text;
use super::units::Units;

/// How often an entry may refer to another for its name.
const MAX_STEPS: usize = 16;
/// Other units that are kept at once.
const MAX_UNITS: usize = 16;
/// What is longer is no name; it would not be demangled either.
const MAX_NAME: usize = 64 << 10;

/// Which file an entry is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// That of the unit at hand, at an offset in the unit.
    Unit(UnitOffset),
    /// The same file, at an offset in its `.debug_info`.
    Own(DebugInfoOffset),
    /// The shared file.
    Shared(DebugInfoOffset),
}

/// The names that one unit's functions have by reference, and the other units that they are in.
pub(super) struct Origins<'o, 'a> {
    own: Option<&'o Units<'o, 'a>>,
    shared: Option<&'o Units<'o, 'a>>,
    names: HashMap<Place, Option<Arc<str>>>,
    units: HashMap<(bool, usize), Arc<Unit<Bytes<'a>>>>,
}

/// What an entry says about its name.
enum Said<'a> {
    Name(AttributeValue<Bytes<'a>>),
    SameAs(AttributeValue<Bytes<'a>>),
    Nothing,
}

impl<'o, 'a> Origins<'o, 'a> {
    /// `own` is missing for a split unit, which refers to no other.
    pub(super) fn new(own: Option<&'o Units<'o, 'a>>, shared: Option<&'o Units<'o, 'a>>) -> Self {
        Self { own, shared, names: HashMap::default(), units: HashMap::default() }
    }

    /// The text of an attribute.
    pub(super) fn text(
        &self,
        unit: UnitRef<'_, Bytes<'a>>,
        value: AttributeValue<Bytes<'a>>,
        meter: &mut Meter<'_>,
    ) -> Result<Option<Arc<str>>, Trouble> {
        pay_for_text(unit, value, meter)?;
        let Ok(bytes) = unit.attr_string(value) else { return Ok(None) };
        let bytes = bytes.slice();
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_NAME)]);
        meter.keep(text.len())?;
        Ok((!text.is_empty()).then(|| Arc::from(text)))
    }

    /// The name of the entry that an attribute of `unit` refers to.
    pub(super) fn name(
        &mut self,
        unit: UnitRef<'_, Bytes<'a>>,
        origin: AttributeValue<Bytes<'a>>,
        meter: &mut Meter<'_>,
    ) -> Result<Option<Arc<str>>, Trouble> {
        let Some(place) = place(origin) else { return Ok(None) };
        if let Some(name) = self.names.get(&place) {
            return Ok(name.clone());
        }
        let name = self.follow(unit, place, MAX_STEPS, meter)?;
        self.names.insert(place, name.clone());
        Ok(name)
    }

    fn follow(
        &mut self,
        unit: UnitRef<'_, Bytes<'a>>,
        place: Place,
        steps: usize,
        meter: &mut Meter<'_>,
    ) -> Result<Option<Arc<str>>, Trouble> {
        if steps == 0 {
            return Ok(None);
        }
        meter.work(1)?;
        let (other, offset, shared) = match place {
            Place::Unit(offset) => return self.look(unit, offset, steps, meter, None),
            Place::Own(offset) => (self.own, offset, false),
            Place::Shared(offset) => (self.shared, offset, true),
        };
        let Some(units) = other else { return Ok(None) };
        let Some(index) = units.index_of(offset) else { return Ok(None) };
        let other = self.unit(units, shared, index, meter)?;
        let Some(offset) = offset.to_unit_offset(&other.header) else { return Ok(None) };
        self.look(other.unit_ref(units.dwarf()), offset, steps, meter, Some(shared))
    }

    /// Reads one entry; `elsewhere` says in which file the unit is, if it is not the one at hand.
    fn look(
        &mut self,
        unit: UnitRef<'_, Bytes<'a>>,
        offset: UnitOffset,
        steps: usize,
        meter: &mut Meter<'_>,
        elsewhere: Option<bool>,
    ) -> Result<Option<Arc<str>>, Trouble> {
        let origin = match said(unit, offset, meter)? {
            Said::Name(name) => return self.text(unit, name, meter),
            Said::SameAs(origin) => origin,
            Said::Nothing => return Ok(None),
        };
        let next = match (place(origin), elsewhere) {
            // In the shared file, a reference within the file is one to the shared file.
            (Some(Place::Own(offset)), Some(true)) => Place::Shared(offset),
            (Some(next), _) => next,
            (None, _) => return Ok(None),
        };
        self.follow(unit, next, steps - 1, meter)
    }

    fn unit(
        &mut self,
        units: &Units<'o, 'a>,
        shared: bool,
        index: usize,
        meter: &mut Meter<'_>,
    ) -> Result<Arc<Unit<Bytes<'a>>>, Trouble> {
        if let Some(unit) = self.units.get(&(shared, index)) {
            return Ok(unit.clone());
        }
        if self.units.len() >= MAX_UNITS {
            self.units.clear();
        }
        let mut unit = units.unit(index, meter)?;
        // Names need no files.
        unit.line_program = None;
        let unit = Arc::new(unit);
        self.units.insert((shared, index), unit.clone());
        Ok(unit)
    }
}

fn place(origin: AttributeValue<Bytes<'_>>) -> Option<Place> {
    match origin {
        AttributeValue::UnitRef(offset) => Some(Place::Unit(offset)),
        AttributeValue::DebugInfoRef(offset) => Some(Place::Own(offset)),
        AttributeValue::DebugInfoRefSup(offset) => Some(Place::Shared(offset)),
        _ => None,
    }
}

fn said<'a>(unit: UnitRef<'_, Bytes<'a>>, offset: UnitOffset, meter: &mut Meter<'_>) -> Result<Said<'a>, Trouble> {
    let mut entries = unit.entries_raw(Some(offset))?;
    let Some(abbreviation) = entries.read_abbreviation()? else { return Ok(Said::Nothing) };
    meter.work(abbreviation.attributes().len() as u64)?;
    let (mut linkage_name, mut name, mut origin) = (None, None, None);
    for &specification in abbreviation.attributes() {
        let attribute = entries.read_attribute(specification)?;
        match attribute.name() {
            DW_AT_linkage_name | DW_AT_MIPS_linkage_name => {
                linkage_name = Some(attribute.value());
                break;
            }
            DW_AT_name => name = Some(attribute.value()),
            DW_AT_abstract_origin | DW_AT_specification => origin = Some(attribute.value()),
            _ => {}
        }
    }
    // Many entries may refer to one that is long.
    meter.work((entries.next_offset().0 - offset.0) as u64)?;
    Ok(match (linkage_name.or(name), origin) {
        (Some(name), _) => Said::Name(name),
        (None, Some(origin)) => Said::SameAs(origin),
        (None, None) => Said::Nothing,
    })
}
