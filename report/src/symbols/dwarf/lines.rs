//! Files and lines of a unit's addresses: its line program is run once, and nothing of it is kept.

use std::sync::Arc;

use foldhash::HashMap;
use gimli::{FileEntry, LineProgramHeader, Range, UnitRef};

use super::Bytes;
use super::allowance::{Meter, Trouble};
use super::payments::pay_for_text;

/// A row of the line table: the file's number, and a line that is 0 where code belongs to none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) file: u64,
    pub(super) line: u32,
}

/// The line of each of the ascending `addresses`, as far as the unit's line program tells.
pub(super) fn find(
    unit: UnitRef<'_, Bytes<'_>>,
    addresses: &[u64],
    meter: &mut Meter<'_>,
    found: &mut [Option<Line>],
) -> Result<(), Trouble> {
    let Some(program) = unit.line_program.clone() else { return Ok(()) };
    // Not by row: a program may be long and have none.
    meter.work(program.header().raw_program_buf().len() as u64)?;
    let mut rows = program.rows();
    let mut previous: Option<Line> = None;
    // The first address that is not behind the rows of the sequence so far.
    let mut next = 0;
    while let Some((_, row)) = rows.next_row()? {
        let address = row.address();
        match previous {
            Some(line) => {
                while addresses.get(next).is_some_and(|&wanted| wanted < address) {
                    found[next].get_or_insert(line);
                    next += 1;
                }
            }
            // A sequence of code that the linker removed begins at 0.
            None if address == 0 => next = addresses.len(),
            None => next = addresses.partition_point(|&wanted| wanted < address),
        }
        let line = row.line().map_or(0, |line| u32::try_from(line.get()).unwrap_or_default());
        previous = (!row.end_sequence()).then_some(Line { file: row.file_index(), line });
    }
    Ok(())
}

/// The ranges of a unit's line program, for units that do not say otherwise what they cover.
pub(super) fn ranges(unit: UnitRef<'_, Bytes<'_>>, meter: &mut Meter<'_>) -> Result<Vec<Range>, Trouble> {
    let mut ranges = Vec::new();
    let Some(program) = unit.line_program.clone() else { return Ok(ranges) };
    meter.work(program.header().raw_program_buf().len() as u64)?;
    let mut rows = program.rows();
    let mut start = None;
    while let Some((_, row)) = rows.next_row()? {
        let begin = *start.get_or_insert(row.address());
        if row.end_sequence() {
            if begin > 0 && begin < row.address() {
                ranges.push(Range { begin, end: row.address() });
            }
            start = None;
        }
    }
    Ok(ranges)
}

/// The paths of a unit's files, each made when it is first asked for.
pub(super) struct Files<'u, 'a> {
    unit: UnitRef<'u, Bytes<'a>>,
    header: Option<&'u LineProgramHeader<Bytes<'a>>>,
    paths: HashMap<u64, Option<Arc<str>>>,
}

impl<'u, 'a> Files<'u, 'a> {
    pub(super) fn new(unit: UnitRef<'u, Bytes<'a>>) -> Self {
        let header = unit.unit.line_program.as_ref().map(|program| program.header());
        Self { unit, header, paths: HashMap::default() }
    }

    /// The path of a file by its number; `None` where there is none or it cannot be read.
    pub(super) fn path(&mut self, number: u64, meter: &mut Meter<'_>) -> Result<Option<Arc<str>>, Trouble> {
        if let Some(path) = self.paths.get(&number) {
            return Ok(path.clone());
        }
        let parts = match self.header.and_then(|header| Some((header, header.file(number)?))) {
            Some((header, file)) => parts(self.unit, header, file, meter)?,
            None => None,
        };
        let path = parts.map(|parts| joined(&parts));
        meter.keep(path.as_ref().map_or(0, String::len))?;
        let path = path.map(Arc::from);
        self.paths.insert(number, path.clone());
        Ok(path)
    }
}

/// Folder of the compilation, folder of the file, name; `None` where one cannot be read.
fn parts<'a>(
    unit: UnitRef<'_, Bytes<'a>>,
    header: &LineProgramHeader<Bytes<'a>>,
    file: &FileEntry<Bytes<'a>>,
    meter: &mut Meter<'_>,
) -> Result<Option<Vec<Bytes<'a>>>, Trouble> {
    let mut parts: Vec<_> = unit.comp_dir.into_iter().collect();
    // Folder 0 is that of the compilation.
    let folder = if file.directory_index() == 0 { None } else { file.directory(header) };
    for part in folder.into_iter().chain([file.path_name()]) {
        pay_for_text(unit, part, meter)?;
        let Ok(part) = unit.attr_string(part) else { return Ok(None) };
        parts.push(part);
    }
    // Each is copied, also where what follows takes its place.
    meter.work(parts.iter().map(|part| part.len() as u64).sum())?;
    Ok(Some(parts))
}

/// The path of these parts: each is left out if what follows is absolute.
fn joined(parts: &[Bytes<'_>]) -> String {
    let mut path = String::new();
    for part in parts {
        let part = part.to_string_lossy();
        if part.starts_with('/') {
            path.clear();
        } else if !path.is_empty() && !path.ends_with('/') {
            path.push('/');
        }
        path.push_str(&part);
    }
    path
}
