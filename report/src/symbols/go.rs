//! The table with which Go's run time finds functions and lines (`.gopclntab`). It stays in stripped programs.
//!
//! ```text
//! header ─► functions: (start, offset) by start ─► record of a function ─► name
//!                                                                      ├─► tables of (address, value):
//!                                                                      └─► file, line, whether inlined
//! ```
//!
//! Four layouts: of Go 1.2, 1.16, 1.18 and 1.20 (to today). Lines are told from 1.16 on, and only where nothing is
//! inlined: there they would be those of another function than the name.

use std::cell::Cell;
use std::sync::Arc;

use object::{Object, ObjectSection, RelocationTarget};

use super::dwarf::DwarfFrame;

/// Sections that hold the table; the second in position-independent programs.
const SECTIONS: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];
/// Entries of the tables of values that are read for one address, and in all.
const MAX_STEPS: u64 = 1 << 16;
const ALL_STEPS: u64 = 1 << 28;
/// Longer names and paths are cut: they end in a zero byte, which may be far.
const MAX_TEXT: usize = 64 << 10;
/// Which of a function's further tables tells what is inlined.
const INLINED: usize = 2;

/// How the table is laid out, by the version of Go that began with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layout {
    Go12,
    Go116,
    Go118,
    Go120,
}

/// The table of one program.
#[derive(Debug)]
pub struct GoTable<'a> {
    layout: Layout,
    /// Smallest instruction, in bytes.
    quantum: u64,
    /// What starts of functions are relative to.
    text: u64,
    count: usize,
    /// Entries of the functions.
    functions: &'a [u8],
    /// Where their records are counted from.
    records: &'a [u8],
    names: &'a [u8],
    units: &'a [u8],
    files: &'a [u8],
    values: &'a [u8],
    steps: Cell<u64>,
}

impl<'a> GoTable<'a> {
    /// The table of a program, if it is one of Go's.
    pub fn of(file: &object::File<'a>) -> Option<Self> {
        let section = SECTIONS.iter().find_map(|name| file.section_by_name(name))?;
        let text = file.section_by_name(".text").map_or(0, |text| text.address());
        Self::parse(section.data().ok()?, relocated_text(file, section.address()).unwrap_or(text))
    }

    /// Reads the header of a table; `text` is where code begins if the table does not say.
    pub fn parse(data: &'a [u8], text: u64) -> Option<Self> {
        let layout = match u32_at(data, 0)? {
            0xffff_fffb => Layout::Go12,
            0xffff_fffa => Layout::Go116,
            0xffff_fff0 => Layout::Go118,
            0xffff_fff1 => Layout::Go120,
            _ => return None,
        };
        let (quantum, pointer) = (u64::from(*data.get(6)?), *data.get(7)?);
        if !matches!(quantum, 1 | 2 | 4) || pointer != 8 {
            return None;
        }
        let word = |index: usize| u64_at(data, 8 + 8 * index);
        let part = |index: usize| data.get(usize::try_from(word(index)?).ok()?..);
        let count = usize::try_from(word(0)?).ok()?;
        let mut table = Self {
            layout,
            quantum,
            text: 0,
            count,
            functions: &[],
            records: data,
            names: data,
            units: &[],
            files: &[],
            values: &[],
            steps: Cell::new(ALL_STEPS),
        };
        match layout {
            Layout::Go12 => table.functions = data.get(16..)?,
            Layout::Go116 | Layout::Go118 | Layout::Go120 => {
                let after_text = usize::from(layout >= Layout::Go118);
                if after_text == 1 {
                    table.text = word(2).filter(|&start| start != 0).unwrap_or(text);
                }
                table.names = part(2 + after_text)?;
                table.units = part(3 + after_text)?;
                table.files = part(4 + after_text)?;
                table.values = part(5 + after_text)?;
                table.functions = part(6 + after_text)?;
                table.records = table.functions;
            }
        }
        // Behind the last function, its end.
        let length = count.checked_mul(2 * table.width())?.checked_add(table.width())?;
        (count > 0 && length <= table.functions.len()).then_some(table)
    }

    /// What is at an address: at most one frame, the function that has code of its own there.
    pub fn at(&self, address: u64) -> Option<DwarfFrame> {
        let index = self.index(address)?;
        let record = self.records.get(usize::try_from(self.entry(index * 2 + 1)?).ok()?..)?;
        let start = self.start(index)?;
        let name = text(self.names.get(self.field(record, 1)? as usize..)?)?;
        let line = if self.layout >= Layout::Go116 { self.line(record, start, address) } else { None };
        let (file, line) = line.unzip();
        Some(DwarfFrame { name: Some(name), file, line })
    }

    /// Bytes of a start or an offset among the functions.
    fn width(&self) -> usize {
        if self.layout >= Layout::Go118 { 4 } else { 8 }
    }

    /// Starts have even numbers, offsets of records odd ones.
    fn entry(&self, number: usize) -> Option<u64> {
        match self.width() {
            4 => u32_at(self.functions, number * 4).map(u64::from),
            _ => u64_at(self.functions, number * 8),
        }
    }

    fn start(&self, index: usize) -> Option<u64> {
        Some(self.text.wrapping_add(self.entry(index * 2)?))
    }

    /// The function that holds an address.
    fn index(&self, address: u64) -> Option<usize> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.start(middle)? <= address { low = middle + 1 } else { high = middle }
        }
        let index = low.checked_sub(1)?;
        (address < self.start(index + 1)?).then_some(index)
    }

    /// A field of a function's record: 0 is its start, the others have four bytes each.
    fn field(&self, record: &[u8], number: usize) -> Option<u32> {
        u32_at(record, self.width() + (number - 1) * 4)
    }

    /// The file and the line at an address, unless it is of something inlined there.
    fn line(&self, record: &[u8], start: u64, address: u64) -> Option<(Arc<str>, u32)> {
        let value = |offset: u32| self.value(offset, start, address);
        let further = self.field(record, 7)? as usize;
        let fixed = self.width() + 9 * 4 + if self.layout >= Layout::Go120 { 4 } else { 0 };
        let inlined = if further > INLINED { u32_at(record, fixed + INLINED * 4)? } else { 0 };
        if inlined != 0 && value(inlined)? >= 0 {
            return None;
        }
        let file = usize::try_from(value(self.field(record, 5)?)?).ok()?;
        let line = u32::try_from(value(self.field(record, 6)?)?).ok().filter(|&line| line > 0)?;
        let unit = self.field(record, 8)? as usize;
        let file = u32_at(self.units, unit.checked_add(file)?.checked_mul(4)?)?;
        Some((text(self.files.get(file as usize..)?)?, line))
    }

    /// What a table of values says at an address: pairs of differences, of the value and of the address up to which
    /// it holds.
    fn value(&self, offset: u32, start: u64, address: u64) -> Option<i64> {
        if offset == 0 {
            return None;
        }
        let mut bytes = self.values.get(offset as usize..)?;
        let (mut value, mut end) = (-1_i64, start);
        for step in 0..MAX_STEPS.min(self.steps.get()) {
            self.steps.set(self.steps.get() - 1);
            let difference = varint(&mut bytes)?;
            if difference == 0 && step > 0 {
                return None;
            }
            let magnitude = i64::from(difference >> 1);
            value = value.wrapping_add(if difference & 1 == 1 { !magnitude } else { magnitude });
            end = end.wrapping_add(u64::from(varint(&mut bytes)?) * self.quantum);
            if address < end {
                return Some(value);
            }
        }
        None
    }
}

/// Where code begins in a position-independent program: the header has room for it, which is filled when the program is
/// loaded.
fn relocated_text(file: &object::File<'_>, header: u64) -> Option<u64> {
    let place = header.checked_add(8 + 2 * 8)?;
    let (_, relocation) = file.dynamic_relocations()?.find(|(address, _)| *address == place)?;
    let is_relative = !matches!(relocation.target(), RelocationTarget::Symbol(_));
    u64::try_from(relocation.addend()).ok().filter(|&text| is_relative && text != 0)
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*data.get(at..)?.first_chunk()?))
}

fn u64_at(data: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*data.get(at..)?.first_chunk()?))
}

/// A text that ends in a zero byte; none that is empty.
fn text(data: &[u8]) -> Option<Arc<str>> {
    let data = &data[..data.len().min(MAX_TEXT)];
    let end = data.iter().position(|&byte| byte == 0).unwrap_or(data.len());
    (end > 0).then(|| String::from_utf8_lossy(&data[..end]).into())
}

/// A number in groups of seven bits, lowest first.
fn varint(bytes: &mut &[u8]) -> Option<u32> {
    let mut number = 0_u32;
    for shift in (0..35).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u32::from(byte & 0x7f).wrapping_shl(shift);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "go_tests.rs"]
mod tests;
