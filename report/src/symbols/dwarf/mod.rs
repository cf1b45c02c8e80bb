//! Inlined functions, files and lines, from the DWARF of one module.
//!
//! ```text
//! addresses ─► units      which units cover any of them
//!           ─► (split)    a unit's other part, if it is in a file of its own
//!           ─► functions  one walk over a unit's entries; names by reference from origins
//!           ─► lines      one run of its line program
//! ```
//!
//! Only units that cover a wanted address are read, each once, in parallel; of each, only what its addresses need stays.

#![allow(non_upper_case_globals, reason = "tags and attributes are named as DWARF names them")]

mod allowance;
mod functions;
mod lines;
mod origins;
mod payments;
mod ranges;
mod split;
mod units;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use gimli::{DwarfSections, EndianSlice, LittleEndian, SectionId, UnitRef};
use object::Object;
use rayon::prelude::*;

use crate::progress::Doing;
use crate::sections;
use allowance::{Allowance, Meter, Trouble};
use functions::Chain;
use lines::{Files, Line};
use origins::Origins;
use split::{Opened, Parts};
use units::Units;

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// What DWARF says about one frame.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DwarfFrame {
    /// The function's name, mangled if the language mangles.
    pub name: Option<Arc<str>>,
    /// The source file.
    pub file: Option<Arc<str>>,
    /// The line in it; in an outer frame, the line of the call.
    pub line: Option<u32>,
}

/// The files that a module's DWARF is in.
#[derive(Clone, Copy)]
pub struct DebugFiles<'f, 'a> {
    /// The file with `.debug_info`.
    pub main: &'f object::File<'a>,
    /// The one that it shares with others (dwz).
    pub shared: Option<&'f object::File<'a>>,
    /// Paths of the module's files: `.dwp` and `.dwo` files may be beside them.
    pub paths: &'f [&'f Path],
}

/// What was found for a module's addresses.
#[derive(Debug, Default)]
pub struct Found {
    /// The frames at each address, innermost inlined function first; empty where DWARF says nothing.
    pub frames: Vec<Vec<DwarfFrame>>,
    /// For each address, whether more than the files decided what was found: parts of split units, or a limit.
    pub passing: Vec<bool>,
    /// What was missing, in words.
    pub trouble: Option<String>,
}

/// The frames at each of the ascending `addresses`; with `lines`, also files and lines. An error in one unit costs the
/// addresses in it only.
pub fn frames_at(
    files: DebugFiles<'_, '_>,
    addresses: &[u64],
    lines: bool,
    doing: &Doing,
) -> Result<Found, gimli::Error> {
    let load = |file| DwarfSections::load(|id| if is_needed(id) { section_data(file, id.name()) } else { nothing() });
    let sections = load(files.main)?;
    let shared = files.shared.map(load).transpose()?;
    let dwarf = sections.borrow_with_sup(shared.as_ref(), |data| EndianSlice::new(data, LittleEndian));
    let allowance = Allowance::of(&dwarf);
    let package = split::open_package(files.paths);
    allowance.grow(package.as_ref().map_or(0, |file| file.bytes().len() as u64));
    let package = package.as_ref().and_then(|file| object::File::parse(file.bytes()).ok());
    let package = package.as_ref().and_then(|file| split::package_sections(file).ok());
    let slice = |data| EndianSlice::new(data, LittleEndian);
    let package = package.as_ref().and_then(|package| package.borrow(|data| slice(data), slice(&[])).ok());
    let reading = Reading {
        units: Units::list(&dwarf),
        shared: dwarf.sup().map(Units::list),
        allowance,
        parts: Parts { beside: files.paths, package: package.as_ref(), opened: Opened::default() },
        lines,
    };
    Ok(reading.frames_at(addresses, doing))
}

/// What is the same for all units of a file.
struct Reading<'r, 'a> {
    units: Units<'r, 'a>,
    shared: Option<Units<'r, 'a>>,
    allowance: Allowance,
    parts: Parts<'r, 'a>,
    lines: bool,
}

/// What came of one unit.
struct UnitFrames {
    /// Places of the addresses, and their frames.
    frames: Vec<(usize, Vec<DwarfFrame>)>,
    split: bool,
    /// The part that is in another file was not found.
    part_missing: bool,
    /// Some of it cannot be read.
    damaged: bool,
}

impl<'a> Reading<'_, 'a> {
    fn frames_at(&self, addresses: &[u64], doing: &Doing) -> Found {
        let covered = self.units.cover(addresses, &self.allowance);
        let units = covered.par_iter().map(|(unit, places)| {
            let found = self.unit(*unit, places, addresses);
            doing.advance(places.len() as u64);
            found
        });
        let mut found =
            Found { frames: vec![Vec::new(); addresses.len()], passing: vec![false; addresses.len()], trouble: None };
        let mut missing = 0;
        let mut damaged = self.units.are_cut || self.shared.as_ref().is_some_and(|shared| shared.are_cut);
        for unit in units.collect::<Vec<_>>() {
            missing += usize::from(unit.part_missing);
            damaged |= unit.damaged;
            for (place, frames) in unit.frames {
                found.passing[place] |= unit.split;
                if is_better(&frames, &found.frames[place]) {
                    found.frames[place] = frames;
                }
            }
        }
        if self.allowance.is_exhausted() {
            found.passing.fill(true);
            found.trouble = Some("its debug info asks for more work than it can be worth: the rest is left out".into());
        } else if damaged {
            found.trouble = Some(
                "its debug info is damaged: inlined functions and lines are missing where it cannot be read".into(),
            );
        } else if missing > 0 {
            found.trouble = Some(format!("{missing} of its .dwo files are missing: no inlined functions there"));
        }
        found
    }

    /// The frames of one unit's addresses. What cannot be read costs what is behind it in the unit.
    fn unit(&self, index: usize, places: &[usize], addresses: &[u64]) -> UnitFrames {
        let mut found = UnitFrames { frames: Vec::new(), split: false, part_missing: false, damaged: false };
        let mut meter = self.allowance.meter();
        let unit = match self.units.unit(index, &mut meter) {
            Ok(unit) => unit,
            Err(trouble) => return UnitFrames { damaged: trouble.is_damage(), ..found },
        };
        let unit = unit.unit_ref(self.units.dwarf());
        let wanted: Vec<u64> = places.iter().map(|&place| addresses[place]).collect();
        let mut chains = vec![Chain::default(); wanted.len()];
        // Damage is what ends it early; so for lines.
        let functions = match unit.dwo_id {
            None => {
                let mut origins = Origins::new(Some(&self.units), self.shared.as_ref());
                functions::find(unit, &wanted, &mut origins, &mut meter, &mut chains)
            }
            Some(id) => {
                found.split = true;
                let part = self.parts.with(unit, id, &mut meter, |part, meter| {
                    functions::find(part, &wanted, &mut Origins::new(None, None), meter, &mut chains)
                });
                found.part_missing = part == Ok(false);
                part.map(|_| ())
            }
        };
        let mut rows = vec![None; wanted.len()];
        let lines = if self.lines { lines::find(unit, &wanted, &mut meter, &mut rows) } else { Ok(()) };
        found.damaged = [functions.err(), lines.err()].into_iter().flatten().any(Trouble::is_damage);
        found.frames = self.assemble(unit, places, chains, &rows, &mut meter);
        found
    }

    fn assemble(
        &self,
        unit: UnitRef<'_, Bytes<'a>>,
        places: &[usize],
        chains: Vec<Chain>,
        rows: &[Option<Line>],
        meter: &mut Meter<'_>,
    ) -> Vec<(usize, Vec<DwarfFrame>)> {
        let mut files = self.lines.then(|| Files::new(unit));
        let chains = places.iter().zip(chains).zip(rows);
        let frames = chains.map_while(|((&place, chain), &row)| {
            let mut frames = Vec::with_capacity(chain.entries.len());
            let mut line = row;
            for entry in chain.entries.into_iter().rev() {
                frames.push(frame(entry.name, line, files.as_mut(), meter).ok()?);
                line = entry.call;
            }
            if frames.is_empty() && row.is_some() {
                frames.push(frame(None, row, files.as_mut(), meter).ok()?);
            }
            Some((place, frames))
        });
        frames.collect()
    }
}

/// A frame at a row of the line table, or at a call.
fn frame(
    name: Option<Arc<str>>,
    at: Option<Line>,
    files: Option<&mut Files<'_, '_>>,
    meter: &mut Meter<'_>,
) -> Result<DwarfFrame, Trouble> {
    let (Some(at), Some(files)) = (at, files) else { return Ok(DwarfFrame { name, file: None, line: None }) };
    meter.keep(size_of::<DwarfFrame>())?;
    let file = files.path(at.file, meter)?;
    Ok(DwarfFrame { name, file, line: (at.line > 0).then_some(at.line) })
}

/// Where several units cover an address, one that knows the function is right.
fn is_better(new: &[DwarfFrame], old: &[DwarfFrame]) -> bool {
    let named = |frames: &[DwarfFrame]| frames.last().is_some_and(|frame| frame.name.is_some());
    !new.is_empty() && (old.is_empty() || named(new) && !named(old))
}

/// Sections that names and lines are in: others may be as large, and would be decompressed for nothing.
fn is_needed(id: SectionId) -> bool {
    use SectionId::*;
    matches!(
        id,
        DebugAbbrev
            | DebugAddr
            | DebugAranges
            | DebugInfo
            | DebugLine
            | DebugLineStr
            | DebugRanges
            | DebugRngLists
            | DebugStr
            | DebugStrOffsets
    )
}

fn nothing<'a>() -> Result<Cow<'a, [u8]>, gimli::Error> {
    Ok(Cow::Borrowed(&[]))
}

/// A section's bytes, decompressed; nothing when the file has no such section or it is damaged.
fn section_data<'a>(file: &object::File<'a>, name: &str) -> Result<Cow<'a, [u8]>, gimli::Error> {
    let Some(section) = file.section_by_name(name) else { return nothing() };
    sections::bytes(&section).ok_or(gimli::Error::UnexpectedEof(gimli::ReaderOffsetId(0)))
}

#[cfg(test)]
mod tests;
