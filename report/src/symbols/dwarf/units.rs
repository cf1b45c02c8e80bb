//! Which units of a file's DWARF cover which addresses.

use std::sync::Arc;

use gimli::{Abbreviations, DebugAbbrevOffset, DebugInfoOffset, Dwarf, Range, Unit, UnitHeader, UnitType};
use rayon::prelude::*;

use super::Bytes;
use super::allowance::{Allowance, Meter, Trouble};
use super::lines;
use super::payments::{pay_for_root, pay_for_table, pay_for_text};
use super::ranges::{RangeAttributes, within};

/// More units than this that cover one address are not asked.
const MAX_OVERLAP: usize = 4;

/// The units of a file, by their place in `.debug_info`.
pub(super) struct Units<'d, 'a> {
    dwarf: &'d Dwarf<Bytes<'a>>,
    headers: Vec<UnitHeader<Bytes<'a>>>,
    /// The header of one more cannot be read.
    pub(super) are_cut: bool,
}

impl<'d, 'a> Units<'d, 'a> {
    /// Lists the units; behind one whose header cannot be read there are none.
    pub(super) fn list(dwarf: &'d Dwarf<Bytes<'a>>) -> Self {
        let mut headers = Vec::new();
        let mut units = dwarf.units();
        let are_cut = loop {
            match units.next() {
                Ok(Some(header)) => headers.push(header),
                end => break end.is_err(),
            }
        };
        Self { dwarf, headers, are_cut }
    }

    /// For each unit that covers any of the ascending `addresses`, which of them.
    pub(super) fn cover(&self, addresses: &[u64], allowance: &Allowance) -> Vec<(usize, Vec<usize>)> {
        let aranges = self.aranges(allowance);
        let covered = self.headers.par_iter().enumerate().map_init(Tables::default, |tables, (unit, header)| {
            let mut covered = Vec::new();
            // What cannot be read covers nothing.
            let _ = self.covered(header, tables, &aranges, &mut allowance.meter(), |meter, range| {
                let places = within(addresses, range);
                meter.keep(places.len() * size_of::<usize>())?;
                covered.extend(places);
                Ok(())
            });
            covered.sort_unstable();
            covered.dedup();
            (unit, covered)
        });
        let mut covered: Vec<_> = covered.filter(|(_, places)| !places.is_empty()).collect();
        let mut overlap = vec![0; addresses.len()];
        for (_, places) in &mut covered {
            places.retain(|&place| {
                overlap[place] += 1;
                overlap[place] <= MAX_OVERLAP
            });
        }
        covered.retain(|(_, places)| !places.is_empty());
        covered
    }

    fn covered(
        &self,
        header: &UnitHeader<Bytes<'a>>,
        tables: &mut Tables,
        aranges: &[(DebugInfoOffset, Range)],
        meter: &mut Meter<'_>,
        mut hand_over: impl FnMut(&mut Meter<'_>, Range) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        // Units of types, and those that dwz has made of what several share, have no code.
        if matches!(header.type_(), UnitType::Type { .. } | UnitType::SplitType { .. } | UnitType::Partial) {
            return Ok(());
        }
        let unit = tables.unit(self.dwarf, header, meter)?;
        let unit = unit.unit_ref(self.dwarf);
        let mut attributes = RangeAttributes::default();
        let mut entries = unit.entries_raw(None)?;
        let Some(abbreviation) = entries.read_abbreviation()? else { return Ok(()) };
        for &specification in abbreviation.attributes() {
            let attribute = entries.read_attribute(specification)?;
            attributes.take(unit, attribute.name(), attribute.value())?;
        }
        let mut ranges = Vec::new();
        attributes.each(unit, meter, |range| ranges.push(range))?;
        if ranges.is_empty() {
            let offset = header.debug_info_offset();
            let first = aranges.partition_point(|(unit, _)| Some(*unit) < offset);
            let own = aranges[first..].iter().take_while(|(unit, _)| Some(*unit) == offset);
            ranges.extend(own.map(|(_, range)| *range));
        }
        if ranges.is_empty() {
            ranges = lines::ranges(unit, meter)?;
        }
        ranges.into_iter().try_for_each(|range| hand_over(meter, range))
    }

    /// What `.debug_aranges` says, by unit.
    fn aranges(&self, allowance: &Allowance) -> Vec<(DebugInfoOffset, Range)> {
        let mut found = Vec::new();
        let mut meter = allowance.meter();
        let mut headers = self.dwarf.debug_aranges.headers();
        while let Ok(Some(header)) = headers.next() {
            let mut entries = header.entries();
            while let Ok(Some(entry)) = entries.next() {
                if meter.keep(size_of::<(DebugInfoOffset, Range)>()).is_err() {
                    return Vec::new();
                }
                let range = entry.range();
                if range.begin > 0 && range.begin < range.end {
                    found.push((header.debug_info_offset(), range));
                }
            }
        }
        found.sort_unstable_by_key(|(unit, range)| (*unit, range.begin));
        found
    }

    /// A unit, with its abbreviations.
    pub(super) fn unit(&self, index: usize, meter: &mut Meter<'_>) -> Result<Unit<Bytes<'a>>, Trouble> {
        let header = self.headers.get(index).ok_or(gimli::Error::MissingUnitDie)?;
        Tables::default().unit(self.dwarf, header, meter)
    }

    /// The unit that an offset in `.debug_info` lies in.
    pub(super) fn index_of(&self, offset: DebugInfoOffset) -> Option<usize> {
        self.headers.partition_point(|header| header.debug_info_offset() <= Some(offset)).checked_sub(1)
    }

    pub(super) fn dwarf(&self) -> &'d Dwarf<Bytes<'a>> {
        self.dwarf
    }
}

/// The last table of abbreviations that was read: neighbouring units share theirs, when they share any.
#[derive(Default)]
pub(super) struct Tables {
    last: Option<(DebugAbbrevOffset, Arc<Abbreviations>)>,
}

impl Tables {
    pub(super) fn unit<'a>(
        &mut self,
        dwarf: &Dwarf<Bytes<'a>>,
        header: &UnitHeader<Bytes<'a>>,
        meter: &mut Meter<'_>,
    ) -> Result<Unit<Bytes<'a>>, Trouble> {
        let offset = header.debug_abbrev_offset();
        let table = match &self.last {
            Some((last, table)) if *last == offset => table.clone(),
            _ => {
                pay_for_table(dwarf, offset, meter)?;
                dwarf.abbreviations(header)?
            }
        };
        self.last = Some((offset, table.clone()));
        let texts = pay_for_root(dwarf, header, &table, meter)?;
        let unit = Unit::new_with_abbreviations(dwarf, *header, table)?;
        // Only the opened unit tells where a text is. So the first that costs too much has been looked for; no other is.
        for text in texts.into_iter().flatten() {
            pay_for_text(unit.unit_ref(dwarf), text, meter)?;
        }
        Ok(unit)
    }
}
