//! Jitdump files: what perf's documentation calls `jitdump-specification`. A header, then records, each with its length and
//! time; of these, code that was loaded and code that was moved matter here. A process writes it, so it can hold anything.

use std::io;

/// Bytes of a name that are used.
const MAX_NAME: usize = 1024;
/// Records that are read: V8 writes some thousands.
const MAX_RECORDS: usize = 4 << 20;
/// What is read at once.
const WINDOW: usize = 64 << 10;

/// "JiTD" in the byte order of the machine.
const MAGIC: u32 = 0x4a69_5444;
const HEADER: u64 = 40;
const PREFIX: u64 = 16;
/// The last bit of the header's flags: times are the processor's own count of cycles.
const ARCH_TIMESTAMP: u64 = 1;

/// A piece of code came into being, or to another place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code<'a> {
    /// As the file tells it; `None` when it counts cycles.
    pub(crate) time: Option<u64>,
    pub(crate) address: u64,
    pub(crate) size: u64,
    /// The number that the file gives this piece.
    pub(crate) index: u64,
    /// `None` when it was moved: it keeps the name that its number has.
    pub(crate) name: Option<&'a [u8]>,
}

/// Reads a file of `length` bytes with `read`, and visits all code with the place in the file where its record ends. What has not
/// been written to its end is left for later. False when it is no jitdump of this machine.
pub(crate) fn read(
    length: u64,
    read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
    mut visit: impl FnMut(u64, Code<'_>),
) -> bool {
    let mut file = Window { read, length, start: 0, bytes: Vec::new() };
    let Some(header) = file.at(0, HEADER as usize) else { return false };
    let (magic, version, size, flags) = (u32_at(header, 0), u32_at(header, 4), u32_at(header, 8), u64_at(header, 32));
    if magic != Some(MAGIC) || version.is_none_or(|version| version == 0 || version > 2) {
        return false;
    }
    let has_times = flags.is_some_and(|flags| flags & ARCH_TIMESTAMP == 0);
    let mut at = u64::from(size.unwrap_or_default()).max(HEADER);
    for _ in 0..MAX_RECORDS {
        let Some(prefix) = file.at(at, PREFIX as usize) else { break };
        let (Some(kind), Some(size), Some(time)) = (u32_at(prefix, 0), u32_at(prefix, 4), u64_at(prefix, 8)) else {
            break;
        };
        let end = at.saturating_add(u64::from(size));
        if u64::from(size) < PREFIX || end > length {
            break;
        }
        let used = (size as usize - PREFIX as usize).min(48 + MAX_NAME);
        let code = file.at(at + PREFIX, used).and_then(|body| code(kind, body));
        if let Some(code) = code {
            visit(end, Code { time: has_times.then_some(time), ..code });
        }
        at = end;
    }
    true
}

/// What a record behind its prefix says: process and thread, an address that is not used, and then by its kind.
fn code(kind: u32, body: &[u8]) -> Option<Code<'_>> {
    const LOAD: u32 = 0;
    const MOVE: u32 = 1;
    let field = |number: usize| u64_at(body, 16 + 8 * number);
    match kind {
        LOAD => {
            let name = body.get(40..)?;
            let length = name.iter().position(|byte| *byte == 0).unwrap_or(name.len()).min(MAX_NAME);
            let (address, size, index) = (field(0)?, field(1)?, field(2)?);
            Some(Code { time: None, address, size, index, name: Some(&name[..length]) })
        }
        MOVE => Some(Code { time: None, address: field(1)?, size: field(2)?, index: field(3)?, name: None }),
        _ => None,
    }
}

/// A part of a file.
struct Window<F> {
    read: F,
    length: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<F: FnMut(&mut [u8], u64) -> io::Result<usize>> Window<F> {
    /// So many bytes at a place; `None` behind the file's end, or where it cannot be read.
    fn at(&mut self, place: u64, size: usize) -> Option<&[u8]> {
        let end = place.checked_add(size as u64).filter(|end| *end <= self.length)?;
        if place < self.start || end > self.start + self.bytes.len() as u64 {
            let length = (self.length - place).min(WINDOW as u64) as usize;
            self.bytes.resize(length, 0);
            self.start = place;
            let read = (self.read)(&mut self.bytes, place).unwrap_or(0);
            self.bytes.truncate(read);
        }
        let from = (place - self.start) as usize;
        self.bytes.get(from..from + size)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn header(flags: u64) -> Vec<u8> {
        let mut bytes: Vec<u8> = [MAGIC, 1, 40, 62, 0, 7].iter().flat_map(|number| number.to_ne_bytes()).collect();
        bytes.extend(5u64.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes
    }

    pub(crate) fn record(kind: u32, time: u64, fields: &[u64], tail: &[u8]) -> Vec<u8> {
        let size = 16 + 8 + 8 * fields.len() + tail.len();
        let mut bytes: Vec<u8> = [kind, size as u32].iter().flat_map(|number| number.to_ne_bytes()).collect();
        bytes.extend(time.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(fields.iter().flat_map(|field| field.to_ne_bytes()));
        bytes.extend(tail);
        bytes
    }

    /// Where the record ends, time, address, size, number and name.
    type Found = (u64, Option<u64>, u64, u64, u64, Option<String>);

    fn found(file: &[u8]) -> Option<Vec<Found>> {
        let mut found = Vec::new();
        let source = |buffer: &mut [u8], at: u64| {
            let rest = file.get(at as usize..).unwrap_or_default();
            let length = rest.len().min(buffer.len());
            buffer[..length].copy_from_slice(&rest[..length]);
            Ok(length)
        };
        let is_jitdump = read(file.len() as u64, source, |end, code| {
            let name = code.name.map(|name| String::from_utf8_lossy(name).into_owned());
            found.push((end, code.time, code.address, code.size, code.index, name));
        });
        is_jitdump.then_some(found)
    }

    /// Code that is loaded and moved is told, other records are passed over, and one that is half written is not.
    #[test]
    fn loads_and_moves_are_told() {
        let load = record(0, 100, &[0x1000, 0x1000, 8, 1], b"f\0\x90\x90\x90\x90\x90\x90\x90\x90");
        let debug = record(2, 101, &[0x1000, 1], b"any");
        let moved = record(1, 102, &[0x1000, 0x1000, 0x2000, 8, 1], b"");
        let whole = [header(0), load.clone(), debug, moved, load[..30].to_vec()].concat();
        let expected = [
            (40 + load.len() as u64, Some(100), 0x1000, 8, 1, Some("f".to_owned())),
            ((whole.len() - 30) as u64, Some(102), 0x2000, 8, 1, None),
        ];
        assert_eq!(found(&whole).as_deref(), Some(&expected[..]));
        let cycles = [header(ARCH_TIMESTAMP), load].concat();
        assert_eq!(found(&cycles).map(|found| found[0].1), Some(None));
    }

    /// A file of another kind, or of a machine with another byte order, is none.
    #[test]
    fn other_files_are_refused() {
        let mut swapped = header(0);
        swapped[..4].reverse();
        for file in [&b""[..], b"\x7fELF", &[0; 100], &swapped] {
            assert_eq!(found(file), None);
        }
    }

    /// A record that says it has no length ends the file: there is no loop.
    #[test]
    fn a_record_without_length_ends_it() {
        assert_eq!(found(&[header(0), vec![0; 64]].concat()), Some(Vec::new()));
    }

    proptest! {
        /// Any bytes behind a header are read to an end, whatever lengths they claim.
        #[test]
        fn any_bytes_are_read(kinds in proptest::collection::vec((0u32..6, 0u32..200, any::<u8>()), 0..20), cut in 0usize..500) {
            let mut file = header(0);
            for (kind, size, fill) in kinds {
                let mut bytes = record(kind, 1, &[], &vec![fill; size as usize]);
                bytes[4..8].copy_from_slice(&(size / 2).to_ne_bytes());
                file.extend(bytes);
            }
            file.truncate(cut.max(40));
            for (end, ..) in found(&file).unwrap_or_default() {
                prop_assert!(end <= file.len() as u64);
            }
        }
    }
}
