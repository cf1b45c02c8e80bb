//! A process that makes code at run time, and what it has told of it so far.

use std::collections::VecDeque;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::os::fd::OwnedFd;

use profrec_format::{JitSymbol, PerfMap, Record};
use rustc_hash::{FxHashSet, FxHasher};

use super::private_maps::PrivateMap;
use super::source::{Kind, Search, Source};
use super::target::{JitTarget, PerfMapFile};
use super::wanted::Wanted;

/// Names that a segment has of one process.
const MAX_GIVEN: usize = 1 << 16;
/// Symbols of one record: 4 MB when all names are as long as they can be.
const SYMBOLS_OF_RECORD: usize = 4096;
/// Jitdumps of one process: one for each program that it was.
const MAX_JITDUMPS: usize = 4;

/// A process, while it lives and a little longer.
#[derive(Debug)]
pub(crate) struct JitProcess {
    target: JitTarget,
    tmp: Option<OwnedFd>,
    map: Option<(Source, (u64, u64))>,
    /// Where there is one that only others may open, and the map itself until they are asked.
    private: Option<(u64, u64)>,
    to_open: Option<PrivateMap>,
    jitdumps: VecDeque<Source>,
    pub(crate) wanted: Wanted,
    /// Samples have shown code since the last search.
    wants_more: bool,
    /// What the current segment has been given.
    given: FxHashSet<u64>,
    ranges: Vec<(u64, u64)>,
    trouble: String,
    /// The current segment has the trouble.
    trouble_is_told: bool,
    /// When it ended.
    pub(crate) ended: Option<u64>,
}

impl JitProcess {
    /// Nothing is known of it yet.
    pub(crate) fn new(target: JitTarget) -> Self {
        let mut process = Self {
            tmp: None,
            map: None,
            private: None,
            to_open: None,
            jitdumps: VecDeque::new(),
            wanted: Wanted::default(),
            wants_more: false,
            given: FxHashSet::default(),
            ranges: Vec::new(),
            trouble: String::new(),
            trouble_is_told: false,
            ended: None,
            target,
        };
        match process.target.open_tmp() {
            Ok(tmp) => process.tmp = Some(tmp),
            Err(error) => process.complain(format!("its /tmp cannot be opened: {error}")),
        }
        process
    }

    /// Samples have shown code of it.
    pub(crate) fn want(&mut self, addresses: impl Iterator<Item = u64>) {
        self.wanted.add(addresses);
        self.wants_more = true;
    }

    /// It has mapped a jitdump.
    pub(crate) fn add_jitdump(&mut self, file: File) {
        if self.jitdumps.len() >= MAX_JITDUMPS {
            self.jitdumps.pop_front();
        }
        self.jitdumps.push_back(Source::new(Kind::Jitdump, file));
    }

    /// What keeps its names from being known, for the recording.
    pub(crate) fn complain(&mut self, trouble: String) {
        if self.trouble != trouble {
            self.trouble = trouble;
            self.trouble_is_told = false;
        }
    }

    /// Looks at how far its files have grown. A map in the place of the one that is known is another one: what the old one
    /// says is found first.
    pub(crate) fn look(&mut self, now: u64) -> Vec<Record> {
        let mut records = Vec::new();
        let Some(tmp) = &self.tmp else { return records };
        let at_name = self.target.map_at_name(tmp);
        if at_name.is_some() && ![self.map.as_ref().map(|(_, place)| *place), self.private].contains(&at_name) {
            let opened = self.target.open_map(tmp);
            if self.map.is_some() {
                records = self.search(now);
            }
            match opened {
                PerfMapFile::There(file, stat) => self.set_map(file, (stat.st_dev, stat.st_ino)),
                PerfMapFile::Private(held, stat) => {
                    let (pid, place) = (self.target.pid, (stat.st_dev, stat.st_ino));
                    self.private = Some(place);
                    self.to_open = Some(PrivateMap { pid, held, place });
                }
                PerfMapFile::Refused(why) => self.complain(why),
                PerfMapFile::Nothing => {}
            }
        }
        self.sources().for_each(|source| source.look(now));
        if self.map.as_ref().is_some_and(|(map, _)| map.is_too_long()) {
            self.complain("its perf map is longer than 256 MB: only its end is used".to_owned());
        }
        records
    }

    /// Its perf map is this one from now on.
    fn set_map(&mut self, file: File, place: (u64, u64)) {
        self.map = Some((Source::new(Kind::PerfMap, file), place));
        self.complain(String::new());
    }

    /// A perf map that others are to open.
    pub(crate) fn take_private_map(&mut self) -> Option<PrivateMap> {
        self.to_open.take()
    }

    /// Others have opened its perf map: gives what it says.
    pub(crate) fn add_private_map(&mut self, file: File, place: (u64, u64), now: u64) -> Vec<Record> {
        if self.private != Some(place) {
            return Vec::new();
        }
        self.private = None;
        self.set_map(file, place);
        let records = self.look(now);
        [records, self.search(now)].concat()
    }

    /// Whether a search could find something.
    pub(crate) fn has_news(&mut self) -> bool {
        let has_trouble = !self.trouble.is_empty() && !self.trouble_is_told;
        let has_more = self.wants_more || self.sources().any(|source| source.has_news());
        self.wanted.len() > 0 && (has_trouble || has_more)
    }

    /// The names that the segment has not been given yet.
    pub(crate) fn search(&mut self, now: u64) -> Vec<Record> {
        self.wanted.settle();
        self.wants_more = false;
        if self.wanted.len() == 0 {
            return Vec::new();
        }
        if self.wanted.is_full {
            self.complain("it has run more places of its own code than are remembered".to_owned());
        }
        let search = Search { wanted: &self.wanted, started: self.target.started, now };
        let map = self.map.iter_mut().map(|(map, _)| map);
        let mut symbols: Vec<JitSymbol> =
            map.chain(&mut self.jitdumps).flat_map(|source| source.search(search)).collect();
        symbols.retain(|symbol| self.given.len() < MAX_GIVEN && self.given.insert(hash(symbol)));
        self.ranges.extend(symbols.iter().map(|symbol| (symbol.address, symbol.address.saturating_add(symbol.size))));
        self.records(symbols)
    }

    fn records(&mut self, symbols: Vec<JitSymbol>) -> Vec<Record> {
        let pid = self.target.pid;
        let record = |symbols: &[JitSymbol], trouble: &str| {
            Record::PerfMap(PerfMap { pid, symbols: symbols.to_vec(), trouble: trouble.to_owned() })
        };
        let mut records: Vec<_> = symbols.chunks(SYMBOLS_OF_RECORD).map(|symbols| record(symbols, "")).collect();
        if !std::mem::replace(&mut self.trouble_is_told, true) && !self.trouble.is_empty() {
            records.push(record(&[], &self.trouble));
        }
        records
    }

    /// From here on names are to be given again, to what is shown from here on.
    pub(crate) fn start_segment(&mut self) {
        self.wanted.forget_named(std::mem::take(&mut self.ranges));
        self.given.clear();
        self.trouble_is_told = false;
    }

    fn sources(&mut self) -> impl Iterator<Item = &mut Source> {
        self.map.iter_mut().map(|(map, _)| map).chain(&mut self.jitdumps)
    }
}

fn hash(symbol: &JitSymbol) -> u64 {
    let mut hasher = FxHasher::default();
    (symbol.time, symbol.address, symbol.size, &symbol.name).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    /// This process with a folder in place of its `/tmp`, and the path of its map there.
    fn process(folder: &tempfile::TempDir) -> (JitProcess, std::path::PathBuf) {
        let mut process = JitProcess::new(JitTarget::open(std::process::id()));
        process.tmp = Some(File::open(folder.path()).unwrap().into());
        let path = folder.path().join(process.target.map_name());
        (process, path)
    }

    fn names(records: &[Record]) -> Vec<&str> {
        let maps = records.iter().filter_map(|record| match record {
            Record::PerfMap(map) => Some(map),
            _ => None,
        });
        maps.flat_map(|map| &map.symbols).map(|symbol| symbol.name.as_str()).collect()
    }

    /// A segment is given a name once, and the next one again when it is wanted there; an address whose name is told late has it
    /// in a later segment.
    #[test]
    fn a_segment_is_given_a_name_once() {
        let folder = tempfile::tempdir().unwrap();
        let (mut process, path) = process(&folder);
        fs::write(&path, "100 10 f\n300 10 unwanted\n").unwrap();
        process.want([0x105, 0x205].into_iter());
        process.look(1);
        assert!(process.has_news());
        assert_eq!(names(&process.search(1)), ["f"]);
        assert!(!process.has_news() && process.search(2).is_empty());
        process.start_segment();
        fs::write(&path, "100 10 f\n300 10 unwanted\n200 10 g\n").unwrap();
        process.look(3);
        assert!(process.has_news());
        assert_eq!(names(&process.search(3)), ["g"]);
        process.want([0x105].into_iter());
        assert_eq!(names(&process.search(4)), ["f"]);
    }

    /// What a map has told is found before another file takes its place, and when its name is gone.
    #[test]
    fn a_map_that_is_replaced_is_read_before() {
        let folder = tempfile::tempdir().unwrap();
        let (mut process, path) = process(&folder);
        fs::write(&path, "100 10 old\n").unwrap();
        process.look(1);
        process.want([0x100].into_iter());
        fs::write(folder.path().join("new"), "100 10 new\n").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert_eq!(names(&process.look(2)), ["old"]);
        fs::remove_file(&path).unwrap();
        process.look(3);
        assert_eq!(names(&process.search(3)), ["new"]);
    }

    /// Why there are no names is told once a segment, and with a reason that is new.
    #[test]
    fn trouble_is_told_once_a_segment() {
        let folder = tempfile::tempdir().unwrap();
        let (mut process, path) = process(&folder);
        fs::create_dir(&path).unwrap();
        process.want([0x100].into_iter());
        let trouble = |records: Vec<Record>| match &records[..] {
            [Record::PerfMap(map)] => map.trouble.clone(),
            _ => format!("{} records", records.len()),
        };
        process.look(1);
        assert!(process.has_news());
        assert!(trouble(process.search(1)).contains("no regular file"));
        assert_eq!(trouble(process.search(2)), "0 records");
        process.complain("another".to_owned());
        assert_eq!(trouble(process.search(3)), "another");
        process.start_segment();
        assert_eq!(trouble(process.search(4)), "another");
    }
}
