//! A file in which a process tells of the code that it makes: how it grows, and what it says of wanted addresses.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use profrec_format::JitSymbol;
use rustc_hash::FxHashMap;

use super::growth::Growth;
use super::wanted::Wanted;
use super::{jitdump, perf_map};

/// Bytes of a perf map that are read, from its end: node writes some 100 bytes for a function.
const MAX_MAP: u64 = 256 << 20;
/// Pieces of code that one look at a file gives.
const MAX_SYMBOLS: usize = 1 << 16;

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    PerfMap,
    Jitdump,
}

/// A file that may still grow.
#[derive(Debug)]
pub(crate) struct Source {
    kind: Kind,
    file: File,
    growth: Growth,
    /// It was read up to here.
    read_until: u64,
}

/// What is to be found.
#[derive(Clone, Copy)]
pub(crate) struct Search<'a> {
    pub(crate) wanted: &'a Wanted,
    /// Nanoseconds of CLOCK_MONOTONIC: when the process started, and now.
    pub(crate) started: u64,
    pub(crate) now: u64,
}

impl Source {
    /// A file of which nothing is known yet.
    pub(crate) fn new(kind: Kind, file: File) -> Self {
        Self { kind, file, growth: Growth::default(), read_until: 0 }
    }

    /// Notes how long the file is now.
    pub(crate) fn look(&mut self, now: u64) {
        if let Ok(metadata) = self.file.metadata() {
            self.growth.note(metadata.len(), now);
        }
    }

    /// Whether there is something that has not been read.
    pub(crate) fn has_news(&self) -> bool {
        self.read_until != self.growth.size()
    }

    /// Not all of it can be read.
    pub(crate) fn is_too_long(&self) -> bool {
        self.kind == Kind::PerfMap && self.growth.size() > MAX_MAP
    }

    /// The wanted pieces of code, in the order in which they were made.
    pub(crate) fn search(&mut self, search: Search<'_>) -> Vec<JitSymbol> {
        self.read_until = self.growth.size();
        let mut found = Found { search, growth: &self.growth, symbols: Vec::new() };
        match self.kind {
            Kind::PerfMap => found.in_map(&self.file),
            Kind::Jitdump => found.in_jitdump(&self.file),
        }
        found.symbols
    }
}

/// What a search has found so far.
struct Found<'a> {
    search: Search<'a>,
    growth: &'a Growth,
    symbols: Vec<JitSymbol>,
}

impl Found<'_> {
    fn in_map(&mut self, mut file: &File) {
        let size = self.growth.size();
        let start = size.saturating_sub(MAX_MAP);
        if file.seek(SeekFrom::Start(start)).is_err() {
            return;
        }
        let mut source = BufReader::with_capacity(64 << 10, file.take(size - start));
        let mut skipped = 0;
        if start > 0 && perf_map::skip_line(&mut source, &mut skipped).is_err() {
            return;
        }
        // What cannot be read is not there: the file may have been cut off meanwhile.
        let _read_so_far = perf_map::read(source, |end, line| {
            let end = start + skipped + end;
            if self.search.wanted.are_in(line.address, line.size) {
                self.add(self.growth.seen(end), line.address, line.size, line.name);
            }
        });
    }

    fn in_jitdump(&mut self, file: &File) {
        let size = self.growth.size();
        let read = |buffer: &mut [u8], at: u64| file.read_at(buffer, at);
        let mut moved = Vec::new();
        jitdump::read(size, read, |end, code| {
            if !self.search.wanted.are_in(code.address, code.size) {
                return;
            }
            let time = self.time(code.time, end);
            match code.name {
                Some(name) => self.add(time, code.address, code.size, name),
                None if moved.len() < MAX_SYMBOLS => moved.push((code.index, time, code.address, code.size)),
                None => {}
            }
        });
        if moved.is_empty() {
            return;
        }
        // What was moved has the name that was told when it was loaded, at a place that nobody asked for.
        let mut names: FxHashMap<u64, Vec<u8>> = moved.iter().map(|(index, ..)| (*index, Vec::new())).collect();
        jitdump::read(size, read, |_, code| {
            if let (Some(known), Some(name)) = (names.get_mut(&code.index), code.name) {
                *known = name.to_vec();
            }
        });
        for (index, time, address, size) in moved {
            let name = names.get(&index).map_or(&[][..], Vec::as_slice);
            self.add(time, address, size, name);
        }
        self.symbols.sort_by_key(|symbol| symbol.time);
    }

    /// The time that a jitdump tells, if it can be one of the same clock: the file does not say which clock it has.
    fn time(&self, told: Option<u64>, end: u64) -> Option<u64> {
        let seen = self.growth.seen(end);
        let latest = seen.unwrap_or(self.search.now);
        told.filter(|told| (self.search.started..=latest).contains(told)).or(seen)
    }

    fn add(&mut self, time: Option<u64>, address: u64, size: u64, name: &[u8]) {
        if self.symbols.len() < MAX_SYMBOLS && size > 0 && !name.is_empty() {
            let name = String::from_utf8_lossy(name).into_owned();
            self.symbols.push(JitSymbol { time: time.unwrap_or(self.search.now), address, size, name });
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use super::jitdump::tests::{header, record};
    use super::*;

    fn source(kind: Kind, bytes: &[u8]) -> (Source, File) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let mut source = Source::new(kind, file.try_clone().unwrap());
        source.look(10);
        (source, file)
    }

    fn found(source: &mut Source, addresses: &[u64], now: u64) -> Vec<(u64, u64, String)> {
        let mut wanted = Wanted::default();
        wanted.add(addresses.iter().copied());
        wanted.settle();
        let symbols = source.search(Search { wanted: &wanted, started: 5, now });
        symbols.into_iter().map(|symbol| (symbol.time, symbol.address, symbol.name)).collect()
    }

    /// Of a range that is used again, both are found, each with the time at which it was seen first; nothing is found that
    /// nobody asked for.
    #[test]
    fn both_of_a_range_that_is_used_again() {
        let (mut source, mut file) = source(Kind::PerfMap, b"100 10 old\n200 10 other\n");
        assert_eq!(found(&mut source, &[0x108], 10), [(10, 0x100, "old".to_owned())]);
        assert!(!source.has_news());
        file.write_all(b"100 10 new\n").unwrap();
        source.look(20);
        assert!(source.has_news());
        let both = [(10, 0x100, "old".to_owned()), (20, 0x100, "new".to_owned())];
        assert_eq!(found(&mut source, &[0x108], 20), both);
    }

    /// A jitdump's own times count, where they can be true; what was moved keeps its name.
    #[test]
    fn times_of_a_jitdump() {
        let load = |time, address, index, name: &[u8]| record(0, time, &[address, address, 8, index], name);
        let moved = record(1, 9, &[0, 0x100, 0x300, 8, 1], b"");
        let bytes = [header(0), load(6, 0x100, 1, b"f\0"), load(99, 0x200, 2, b"g\0"), moved].concat();
        let (mut source, _file) = source(Kind::Jitdump, &bytes);
        let expected = [(6, 0x100, "f".to_owned()), (9, 0x300, "f".to_owned()), (10, 0x200, "g".to_owned())];
        assert_eq!(found(&mut source, &[0x100, 0x200, 0x300], 30), expected);
        assert_eq!(found(&mut source, &[0x300], 30), expected[1..2]);
    }

    /// Of a map that is longer than what is read, the end counts: 300 MB of nothing, and one line.
    #[test]
    fn the_end_of_a_long_map_counts() {
        let (mut source, mut file) = source(Kind::PerfMap, b"100 10 first\n");
        file.set_len(300 << 20).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        file.write_all(b"\n100 10 last\n").unwrap();
        source.look(20);
        assert!(source.is_too_long());
        assert_eq!(found(&mut source, &[0x100], 20), [(20, 0x100, "last".to_owned())]);
    }
}
