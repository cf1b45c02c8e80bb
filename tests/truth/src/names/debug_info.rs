//! What a file's debug information says of its functions and units, read without profrec: what differences are judged by.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Result;
use gimli::{DW_TAG_inlined_subroutine, DW_TAG_subprogram, DwarfSections, EndianSlice, LittleEndian, UnitRef};
use object::{Object, ObjectSection};

use super::chain::{file_name, plain_path};
use super::entries::{Bytes, Entries, Unit};

/// A part of the code, `begin..end`, and whose it is.
#[derive(Clone, Copy, Debug)]
struct Extent {
    begin: u64,
    end: u64,
    owner: usize,
}

/// The functions, inlined functions and units of a file.
#[derive(Debug, Default)]
pub struct DebugInfo {
    names: Vec<BTreeSet<String>>,
    functions: Vec<usize>,
    of_functions: Vec<Extent>,
    inlined: Vec<Inlined>,
    of_inlined: Vec<Extent>,
    folders: Vec<String>,
    of_units: Vec<Extent>,
}

/// A function that was inlined somewhere.
#[derive(Debug)]
struct Inlined {
    names: usize,
    /// The inlined function that it was inlined into; `None` for one with code of its own.
    parent: Option<usize>,
    call: Call,
}

/// Where an inlined function was called: the last part of the file's path, and the line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// The file.
    pub file: String,
    /// The line.
    pub line: u32,
}

/// An inlined function that covers an address: all names that its entries have, and its call.
pub type Scope<'d> = (&'d BTreeSet<String>, &'d Call);

impl DebugInfo {
    /// Reads what is there; a file may have none.
    pub fn read(file: &object::File<'_>) -> Result<Self> {
        // A section that cannot be read is none: then the differences that it would explain stay unexplained.
        let section = |id: gimli::SectionId| file.section_by_name(id.name())?.uncompressed_data().ok();
        let sections = DwarfSections::load(|id| Ok::<_, gimli::Error>(section(id).unwrap_or_default()))?;
        let dwarf = sections.borrow(|data| EndianSlice::new(data, LittleEndian));
        let mut units = BTreeMap::new();
        let mut headers = dwarf.units();
        while let Some(header) = headers.next()? {
            let at = header.debug_info_offset().map(|offset| offset.0).unwrap_or_default();
            units.insert(at, dwarf.unit(header)?);
        }
        let mut reading = Reading { entries: Entries { dwarf: &dwarf, units: &units }, known: HashMap::new() };
        let mut read = Self::default();
        for unit in units.values() {
            reading.unit(unit, &mut read)?;
        }
        // A later one of those that begin at the same address is the shorter one.
        for extents in [&mut read.of_functions, &mut read.of_inlined, &mut read.of_units] {
            extents.sort_by_key(|extent| (extent.begin, u64::MAX - extent.end));
        }
        Ok(read)
    }

    /// The names of the innermost function with code of its own at the address.
    pub fn function(&self, address: u64) -> Option<&BTreeSet<String>> {
        let function = self.functions.get(covering(&self.of_functions, address).next()?)?;
        self.names.get(*function)
    }

    /// The inlined functions at the address: each chain that the entries allow, innermost first. Where entries beside each
    /// other overlap, there are several.
    pub fn chains(&self, address: u64) -> Vec<Vec<Scope<'_>>> {
        let here: BTreeSet<usize> = covering(&self.of_inlined, address).collect();
        let of = |index: usize| self.inlined.get(index);
        let parents: BTreeSet<usize> = here.iter().filter_map(|&index| of(index)?.parent).collect();
        let mut chains = Vec::new();
        for &innermost in here.difference(&parents) {
            let path = std::iter::successors(Some(innermost), |&index| of(index)?.parent);
            let path: Vec<usize> = path.collect();
            if path.iter().all(|index| here.contains(index)) {
                let scope = |&index: &usize| Some((self.names.get(of(index)?.names)?, &of(index)?.call));
                chains.push(path.iter().filter_map(scope).collect());
            }
        }
        chains
    }

    /// The folder in which the unit was compiled that has the address.
    pub fn folder(&self, address: u64) -> Option<&str> {
        self.folders.get(covering(&self.of_units, address).next()?).map(String::as_str)
    }

    /// Adds a function with one name, compiled in a folder; for tests.
    #[cfg(test)]
    pub fn add(&mut self, code: std::ops::Range<u64>, name: &str, folder: &str) {
        let (begin, end) = (code.start, code.end);
        self.of_functions.push(Extent { begin, end, owner: self.functions.len() });
        self.of_units.push(Extent { begin, end, owner: self.folders.len() });
        self.functions.push(self.names.len());
        self.names.push(BTreeSet::from([name.to_owned()]));
        self.folders.push(folder.to_owned());
    }

    /// Adds a function that was inlined, at a line of a file; for tests.
    #[cfg(test)]
    pub fn inline(&mut self, code: std::ops::Range<u64>, name: &str, file: &str, line: u32) {
        self.of_inlined.push(Extent { begin: code.start, end: code.end, owner: self.inlined.len() });
        self.inlined.push(Inlined {
            names: self.names.len(),
            parent: None,
            call: Call { file: file.to_owned(), line },
        });
        self.names.push(BTreeSet::from([name.to_owned()]));
    }
}

/// The owners of the extents that cover the address, the innermost first.
fn covering(extents: &[Extent], address: u64) -> impl Iterator<Item = usize> {
    /// Extents that may begin inside of a longer one, before the address.
    const MOST_NESTED: usize = 16_384;
    let after = extents.partition_point(|extent| extent.begin <= address);
    let before = extents[..after].iter().rev().take(MOST_NESTED);
    before.filter(move |extent| address < extent.end).map(|extent| extent.owner)
}

struct Reading<'r, 'a> {
    entries: Entries<'r, 'a>,
    /// Sets of names by the place of the entry that has them.
    known: HashMap<usize, usize>,
}

impl<'a> Reading<'_, 'a> {
    fn unit(&mut self, unit: &Unit<'a>, read: &mut DebugInfo) -> Result<()> {
        let unit = unit.unit_ref(self.entries.dwarf);
        let folder = unit.comp_dir.map(|folder| folder.to_string_lossy().into_owned()).unwrap_or_default();
        let mut ranges = unit.unit_ranges()?;
        while let Some(range) = ranges.next()? {
            read.of_units.push(Extent { begin: range.begin, end: range.end, owner: read.folders.len() });
        }
        read.folders.push(plain_path(&folder));
        // The functions that an entry is inside of: their depth, and which one it is if it was inlined.
        let mut open: Vec<(isize, Option<usize>)> = Vec::new();
        let mut entries = unit.entries();
        while let Some(entry) = entries.next_dfs()? {
            while open.last().is_some_and(|(depth, _)| *depth >= entry.depth()) {
                open.pop();
            }
            let is_inlined = entry.tag() == DW_TAG_inlined_subroutine;
            if entry.tag() != DW_TAG_subprogram && !is_inlined {
                continue;
            }
            let owner = if is_inlined { read.inlined.len() } else { read.functions.len() };
            let extents = extents(unit, entry, owner)?;
            if !extents.is_empty() {
                let names = self.names(unit, entry.offset(), read)?;
                if is_inlined {
                    let parent = open.last().and_then(|(_, inlined)| *inlined);
                    let call = call(unit, entry)?;
                    read.of_inlined.extend(extents);
                    read.inlined.push(Inlined { names, parent, call });
                } else {
                    read.of_functions.extend(extents);
                    read.functions.push(names);
                }
            }
            let inlined = is_inlined && owner < read.inlined.len();
            open.push((entry.depth(), inlined.then_some(owner)));
        }
        Ok(())
    }

    fn names(
        &mut self,
        unit: UnitRef<'_, Bytes<'a>>,
        offset: gimli::UnitOffset,
        read: &mut DebugInfo,
    ) -> Result<usize> {
        let place = self.entries.origin(unit, offset)?;
        if let Some(&known) = self.known.get(&place) {
            return Ok(known);
        }
        let mut names = BTreeSet::new();
        self.entries.names(unit, offset, &mut names)?;
        read.names.push(names);
        self.known.insert(place, read.names.len() - 1);
        Ok(read.names.len() - 1)
    }
}

fn extents<'a>(
    unit: UnitRef<'_, Bytes<'a>>,
    entry: &gimli::DebuggingInformationEntry<Bytes<'a>>,
    owner: usize,
) -> Result<Vec<Extent>> {
    let mut extents = Vec::new();
    let mut ranges = unit.die_ranges(entry)?;
    while let Some(range) = ranges.next()? {
        if range.begin < range.end {
            extents.push(Extent { begin: range.begin, end: range.end, owner });
        }
    }
    Ok(extents)
}

fn call(unit: UnitRef<'_, Bytes<'_>>, entry: &gimli::DebuggingInformationEntry<Bytes<'_>>) -> Result<Call> {
    let line = entry.attr(gimli::DW_AT_call_line).and_then(|attribute| attribute.udata_value()).unwrap_or_default();
    let number = entry.attr(gimli::DW_AT_call_file).map(|attribute| attribute.value());
    let program = unit.line_program.as_ref();
    let file = match (number, program) {
        (Some(gimli::AttributeValue::FileIndex(number)), Some(program)) => program.header().file(number),
        _ => None,
    };
    let file = file.map(|file| unit.attr_string(file.path_name())).transpose()?;
    let file = file.map(|file| file.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Call { file: file_name(&file).to_owned(), line: line.try_into().unwrap_or_default() })
}
