//! Names of code that processes made at run time, by process, address and time: the same address may have held one method after
//! the other.

mod timeline;

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use profrec_format::{JitSymbol, PerfMap};

use timeline::{Piece, Timeline};

/// A name's place in the list of all names.
pub type JitName = u32;

/// Pieces of code of all processes together: with what finding them takes, 256 MiB.
const PIECES: usize = 1 << 20;
/// Processes of which is kept why they have no names.
const TROUBLES: usize = 100;
/// Characters of each.
const TROUBLE_LENGTH: usize = 200;
/// Bytes of a name, as recorders cut them.
const NAME_LENGTH: usize = 1024;
/// Bytes that all names take.
const BYTES_OF_NAMES: usize = 128 << 20;
/// Bytes that are kept with a name: twice two words, its number and the reference counts, about.
const KEPT_WITH_NAME: usize = 64;

/// The code that processes have told of.
#[derive(Debug, Default)]
pub struct JitCode {
    names: Vec<Arc<str>>,
    processes: HashMap<u32, Timeline>,
    troubles: BTreeMap<u32, String>,
}

impl JitCode {
    /// The name of what was at an address of a process at a time.
    pub fn find(&self, pid: u32, address: u64, time: u64) -> Option<JitName> {
        self.processes.get(&pid)?.find(address, time)
    }

    /// The name itself.
    pub fn name(&self, name: JitName) -> Option<Arc<str>> {
        self.names.get(name as usize).cloned()
    }

    /// Whether no process has told of any.
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// Whether a process has told of any code.
    pub fn has_told(&self, pid: u32) -> bool {
        self.processes.contains_key(&pid)
    }

    /// What kept names from being read, in words.
    pub fn troubles(&self) -> impl Iterator<Item = String> + '_ {
        self.troubles.iter().map(|(pid, trouble)| format!("process {pid}: {trouble}"))
    }
}

/// The same while it is being gathered.
#[derive(Default)]
pub(crate) struct JitGathering {
    names: Vec<Arc<str>>,
    known_names: HashMap<Arc<str>, JitName>,
    /// What the names take in memory, nearly.
    bytes_of_names: usize,
    pieces: HashMap<u32, Vec<Piece>>,
    known_pieces: HashSet<(u32, Piece)>,
    troubles: BTreeMap<u32, String>,
}

impl JitGathering {
    /// Adds a record; false when there are more than are kept. What several segments have said alike is kept once.
    pub(crate) fn add(&mut self, map: PerfMap) -> bool {
        let PerfMap { pid, symbols, trouble } = map;
        if !trouble.is_empty() && self.troubles.len() < TROUBLES {
            self.troubles.insert(pid, trouble.chars().take(TROUBLE_LENGTH).collect());
        }
        for JitSymbol { time, address, size, name } in symbols {
            if size == 0 {
                continue;
            }
            let piece = Piece { time, start: address, end: address.saturating_add(size), name: self.name(name) };
            if piece.start < piece.end && self.known_pieces.insert((pid, piece)) {
                self.pieces.entry(pid).or_default().push(piece);
            }
            if self.known_pieces.len() >= PIECES || self.bytes_of_names >= BYTES_OF_NAMES {
                return false;
            }
        }
        true
    }

    fn name(&mut self, mut name: String) -> JitName {
        let fits = (0..=NAME_LENGTH.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
        name.truncate(fits.unwrap_or_default());
        if let Some(&known) = self.known_names.get(name.as_str()) {
            return known;
        }
        let number = self.names.len() as JitName;
        self.bytes_of_names += name.len() + KEPT_WITH_NAME;
        let name: Arc<str> = name.into();
        self.names.push(name.clone());
        self.known_names.insert(name, number);
        number
    }

    pub(crate) fn finish(self) -> JitCode {
        let processes = self.pieces.into_iter().map(|(pid, pieces)| (pid, Timeline::new(pieces)));
        JitCode { names: self.names, processes: processes.collect(), troubles: self.troubles }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbol(time: u64, address: u64, name: &str) -> JitSymbol {
        JitSymbol { time, address, size: 0x10, name: name.to_owned() }
    }

    /// Each process has its own code, and equal names are one; what kept names away is told.
    #[test]
    fn processes_have_their_own_code() {
        let mut gathering = JitGathering::default();
        let map = |pid, symbols, trouble: &str| PerfMap { pid, symbols, trouble: trouble.to_owned() };
        for _ in 0..2 {
            assert!(gathering.add(map(1, vec![symbol(5, 0x100, "f"), symbol(9, 0x100, "g")], "")));
            assert!(gathering.add(map(2, vec![symbol(5, 0x100, "g"), symbol(5, u64::MAX, "end")], "")));
            assert!(gathering.add(map(3, Vec::new(), "refused")));
        }
        let code = gathering.finish();
        let name = |pid, address, time| code.find(pid, address, time).and_then(|name| code.name(name));
        assert_eq!(name(1, 0x108, 8).as_deref(), Some("f"));
        assert_eq!(name(1, 0x108, 9).as_deref(), Some("g"));
        assert_eq!(name(2, 0x108, 9), name(1, 0x108, 9));
        assert_eq!(code.find(2, 0x108, 9), code.find(1, 0x108, 9));
        assert_eq!((name(3, 0x108, 9), code.has_told(2), code.has_told(3)), (None, true, false));
        assert_eq!(code.troubles().collect::<Vec<_>>(), ["process 3: refused"]);
        assert_eq!(code.names.len(), 3);
    }

    /// Code without end is cut.
    #[test]
    fn pieces_are_bounded() {
        let mut gathering = JitGathering::default();
        let symbols: Vec<_> = (0..PIECES as u64 + 10).map(|address| symbol(1, address, "f")).collect();
        assert!(!gathering.add(PerfMap { pid: 1, symbols, ..PerfMap::default() }));
        assert_eq!(gathering.known_pieces.len(), PIECES);
    }

    /// So are names without end, also those of code that has no length, and what kept names away.
    #[test]
    fn names_are_bounded() {
        let mut gathering = JitGathering::default();
        let long = |number: u64| "x".repeat(4 * NAME_LENGTH) + &number.to_string();
        let empty = (0..100).map(|number| JitSymbol { time: 1, address: 1, size: 0, name: long(number) });
        let map = PerfMap { pid: 1, symbols: empty.collect(), trouble: long(1) };
        assert!(gathering.add(map));
        assert_eq!((gathering.names.len(), gathering.troubles[&1].len()), (0, TROUBLE_LENGTH));
        assert!(gathering.add(PerfMap { pid: 1, symbols: vec![symbol(1, 1, &long(1))], ..PerfMap::default() }));
        assert_eq!((gathering.names[0].len(), gathering.bytes_of_names), (NAME_LENGTH, NAME_LENGTH + KEPT_WITH_NAME));
        gathering.bytes_of_names = BYTES_OF_NAMES;
        assert!(!gathering.add(PerfMap { pid: 1, symbols: vec![symbol(2, 1, "f")], ..PerfMap::default() }));
    }
}
