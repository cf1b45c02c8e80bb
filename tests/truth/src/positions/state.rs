//! A process as gdb saw it at one stop, and what a sample would be there.

use anyhow::{Context, Result};
use profrec_format::{StackRange, StackWord, UserStack};
use profrec_report::address_space::{AddressSpace, MappedRange};
use profrec_report::evidence::ModuleIndex;
use serde::Deserialize;

/// What gdb wrote down at one stop.
#[derive(Debug, Deserialize)]
pub(super) struct State {
    registers: Vec<u64>,
    memory: Vec<(u64, String)>,
    maps: Vec<String>,
    top: u64,
    /// gdb's frames, innermost first.
    pub(super) frames: Vec<GdbFrame>,
}

/// A frame as gdb has it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct GdbFrame {
    /// Where it is, or goes on.
    pub(super) pc: u64,
    /// Its function.
    pub(super) name: String,
    /// `normal`, `inline`, `tail call` or `signal`.
    pub(super) kind: String,
    /// Its function is of the program's own source.
    pub(super) own: bool,
}

impl State {
    /// The executable mappings of files, whose modules are numbered by `number`.
    pub(super) fn code<'a>(&'a self, mut number: impl FnMut(&'a str) -> ModuleIndex) -> AddressSpace {
        let mut space = AddressSpace::default();
        let mappings = self.maps.iter().filter_map(|line| mapping(line)).filter(|(_, _, path)| path.starts_with('/'));
        for ((start, end), offset, path) in mappings {
            space.insert(MappedRange { start, end, offset, module: number(path) });
        }
        space
    }

    /// What the recorder would keep of it: pointers to code and to the stack.
    pub(super) fn stack(&self, space: &AddressSpace) -> Result<UserStack> {
        let register = |number: usize| self.registers.get(number).copied().context("a register is missing");
        let (ip, sp) = (register(16)?, register(7)?);
        let mut memory = Vec::new();
        for (start, bytes) in &self.memory {
            memory.push((*start, base64(bytes).context("memory is not base64")?));
        }
        memory.sort();
        let range = |(start, bytes): &(u64, Vec<u8>)| StackRange { start: *start, end: start + bytes.len() as u64 };
        let ranges: Vec<_> = memory.iter().map(range).collect();
        let on_stack = |value: u64| ranges.iter().any(|range| (range.start..range.end).contains(&value));
        let is_kept = |value: u64| space.lookup(value).is_some() || (on_stack(value) && value.is_multiple_of(8));
        let mut stack = UserStack { ip, sp, ranges: ranges.clone(), ..UserStack::default() };
        if ranges
            .iter()
            .any(|range| (range.start..range.end).contains(&sp) && (range.start..range.end).contains(&self.top))
        {
            stack.top = self.top;
            stack.ranges.iter_mut().for_each(|range| range.end = range.end.min(self.top));
        }
        for (number, value) in (0..16).map(|number| (number, self.registers.get(number).copied().unwrap_or_default())) {
            if number != 7 && is_kept(value) {
                stack.registers.set(number, value);
            }
        }
        for (start, bytes) in &memory {
            for (index, word) in bytes.as_chunks::<8>().0.iter().enumerate() {
                let (address, value) = (start + 8 * index as u64, u64::from_le_bytes(*word));
                if is_kept(value) {
                    stack.words.push(StackWord { address, value });
                }
            }
        }
        Ok(stack)
    }
}

/// Bounds, offset and path of an executable line of `/proc/PID/maps`.
fn mapping(line: &str) -> Option<((u64, u64), u64, &str)> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let executable = words.next()?.contains('x');
    let offset = words.next()?;
    let path = words.nth(2)?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    executable.then_some(((number(start)?, number(end)?), number(offset)?, path))
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let letters = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(letters.len() * 3 / 4);
    for group in letters.chunks(4) {
        let mut bits = 0u32;
        for &letter in group {
            bits = bits << 6 | u32::from(value(letter)?);
        }
        bits <<= 6 * (4 - group.len());
        bytes.extend_from_slice(bits.to_be_bytes().get(1..group.len())?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All lengths of a last group.
    #[test]
    fn base64_is_read() {
        for (text, bytes) in
            [("", &b""[..]), ("TQ==", b"M"), ("TWE=", b"Ma"), ("TWFu", b"Man"), ("/+8A", &[255, 239, 0])]
        {
            assert_eq!(base64(text).as_deref(), Some(bytes));
        }
        assert_eq!(base64("a b"), None);
    }

    /// Executable mappings are read, and others are not.
    #[test]
    fn maps_are_read() {
        let line = "555555555000-555555556000 r-xp 00001000 fe:00 1234                       /usr/bin/a";
        assert_eq!(mapping(line), Some(((0x5555_5555_5000, 0x5555_5555_6000), 0x1000, "/usr/bin/a")));
        assert_eq!(mapping(&line.replace("r-xp", "rw-p")), None);
        assert_eq!(mapping("7ff000-7ff100 r-xp 00000000 00:00 0"), None);
    }
}
