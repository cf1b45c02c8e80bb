//! Gathers what only the recorded machine has: the layout of modules, and the slices of their call
//! frame information and symbols that recorded addresses need. A thread of low priority does it
//! beside the sampling; it is asked through a bounded channel and answers with records.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use profrec_format::{
    CfiSection, Layout, LoadSegment, MiniDebugInfo, ModuleId, Record, Symbol, SymbolSlice, UnwindSlice,
};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::args::Embed;
use crate::cfi::{Cfi, Found};
use crate::elf::{Elf, LOAD};
use crate::giant_frames::{GIANT, GiantFunction};
use crate::pages::{PagedFile, Pages};
use crate::symbols::{SymbolIndex, mini_debug_info};

/// Requests that may wait; each has at most a batch of addresses.
const QUEUE: usize = 256;

/// Code in a module: its number and an offset in its file.
pub(crate) type CodeOffset = (ModuleId, u64);

enum Request {
    /// A module is referred to; its file when it is new.
    Module(ModuleId, Option<File>),
    /// Code that was recorded.
    Code(Vec<CodeOffset>),
    /// From here on everything is to be given again.
    NewSegment,
}

/// What came of a request.
#[derive(Default)]
struct Answer {
    records: Vec<Record>,
    giant_functions: Vec<GiantFunction>,
}

/// The session's side: asks, and collects the answers.
pub(crate) struct Evidence {
    requests: SyncSender<Request>,
    answers: Receiver<Answer>,
    giant_functions: Vec<GiantFunction>,
    /// Requests that did not fit into the channel.
    waiting: std::collections::VecDeque<Request>,
    outstanding: usize,
}

impl Evidence {
    /// Starts the thread.
    pub(crate) fn start(embed: Embed) -> Result<Self> {
        let (requests, received) = sync_channel(QUEUE);
        let (answer, answers) = channel();
        thread::Builder::new()
            .name("profrec-evidence".to_owned())
            .spawn(move || {
                be_nice();
                let mut gatherer = Gatherer { embed, ..Gatherer::default() };
                while let Ok(request) = received.recv() {
                    if answer.send(gatherer.answer(request)).is_err() {
                        return;
                    }
                }
            })
            .context("starting the thread that gathers unwind evidence")?;
        Ok(Self { requests, answers, giant_functions: Vec::new(), waiting: Default::default(), outstanding: 0 })
    }

    /// A module is defined in this segment.
    pub(crate) fn module(&mut self, id: ModuleId, file: Option<File>) {
        self.ask(Request::Module(id, file));
    }

    /// These code offsets are in this segment.
    pub(crate) fn code(&mut self, offsets: Vec<CodeOffset>) {
        self.ask(Request::Code(offsets));
    }

    /// Forgets what the segment before was given.
    pub(crate) fn start_segment(&mut self) {
        self.ask(Request::NewSegment);
    }

    fn ask(&mut self, request: Request) {
        self.waiting.push_back(request);
        self.send_waiting();
    }

    fn send_waiting(&mut self) {
        while let Some(request) = self.waiting.pop_front() {
            match self.requests.try_send(request) {
                Ok(()) => self.outstanding += 1,
                Err(TrySendError::Full(request) | TrySendError::Disconnected(request)) => {
                    self.waiting.push_front(request);
                    return;
                }
            }
        }
    }

    /// Whether everything asked for has been answered and collected.
    pub(crate) fn is_idle(&self) -> bool {
        self.outstanding == 0 && self.waiting.is_empty()
    }

    /// Takes the answers that are there.
    pub(crate) fn collect(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        while let Ok(answer) = self.answers.try_recv() {
            self.receive(answer, &mut records);
        }
        self.send_waiting();
        records
    }

    fn receive(&mut self, answer: Answer, records: &mut Vec<Record>) {
        self.outstanding -= 1;
        records.extend(answer.records);
        self.giant_functions.extend(answer.giant_functions);
    }

    /// Functions with giant frames, of which nobody has been told.
    pub(crate) fn giant_functions(&mut self) -> impl Iterator<Item = GiantFunction> {
        self.giant_functions.drain(..)
    }

    /// Waits for all answers, at most until `deadline`.
    pub(crate) fn finish(&mut self, deadline: Instant) -> Vec<Record> {
        let mut records = self.collect();
        while !self.is_idle() {
            let wait = deadline.saturating_duration_since(Instant::now()).min(Duration::from_millis(100));
            if wait.is_zero() {
                break;
            }
            if let Ok(answer) = self.answers.recv_timeout(wait) {
                self.receive(answer, &mut records);
            }
            records.extend(self.collect());
        }
        records
    }
}

/// Lets everybody else go first.
fn be_nice() {
    const NICE: i32 = 15;
    // Not being allowed to is no reason not to work.
    let _refused = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
}

/// The thread's side.
#[derive(Default)]
struct Gatherer {
    embed: Embed,
    pages: Pages,
    modules: FxHashMap<ModuleId, Source>,
}

/// A module's file and what was found in it.
struct Source {
    file: File,
    layout: Layout,
    cfi: Option<Cfi>,
    symbols: Option<SymbolIndex>,
    /// Start and end of the functions whose CFI this segment has.
    covered: BTreeMap<u64, u64>,
    given: FxHashSet<(CfiSection, u64)>,
    named: FxHashSet<u64>,
    /// This segment has its compressed symbol table, or there is none.
    mini_debug_info_given: bool,
}

impl Gatherer {
    fn answer(&mut self, request: Request) -> Answer {
        let mut answer = Answer::default();
        match request {
            Request::Module(id, file) => answer.records = self.module(id, file),
            Request::Code(offsets) => self.code(offsets, &mut answer),
            Request::NewSegment => {
                for source in self.modules.values_mut() {
                    source.covered.clear();
                    source.given.clear();
                    source.named.clear();
                    source.mini_debug_info_given = false;
                }
            }
        }
        answer
    }

    fn module(&mut self, id: ModuleId, file: Option<File>) -> Vec<Record> {
        if let Some(source) = file.and_then(|file| Source::open(id, file)) {
            self.modules.insert(id, source);
        }
        self.modules.get(&id).map(|source| Record::Layout(source.layout.clone())).into_iter().collect()
    }

    fn code(&mut self, mut offsets: Vec<CodeOffset>, answer: &mut Answer) {
        if self.embed == Embed::None {
            return;
        }
        offsets.sort_unstable();
        for group in offsets.chunk_by(|one, other| one.0 == other.0) {
            let Some((id, source)) = group.first().and_then(|(id, _)| Some((*id, self.modules.get_mut(id)?))) else {
                continue;
            };
            let offsets = group.iter().map(|(_, offset)| *offset);
            source.gather(id, offsets, self.embed, &mut self.pages, answer);
        }
    }
}

impl Source {
    fn open(id: ModuleId, file: File) -> Option<Self> {
        // A file that is not ELF (a JIT's memfd, a Wine DLL) gives no evidence.
        let elf = Elf::open(&file).ok()?;
        let loads = elf.segments.iter().filter(|segment| segment.kind == LOAD);
        let loads = loads.map(|load| LoadSegment {
            offset: load.offset,
            address: load.address,
            file_size: load.file_size,
            executable: load.executable,
        });
        let build_id = elf.build_id();
        // Without either the report cannot prove that a local file is this one, and says so.
        let fingerprint = if build_id.is_empty() { elf.fingerprint().unwrap_or_default() } else { Vec::new() };
        let layout = Layout { module: id, build_id, fingerprint, loads: loads.collect() };
        Some(Self {
            file,
            layout,
            cfi: None,
            symbols: None,
            covered: BTreeMap::new(),
            given: FxHashSet::default(),
            named: FxHashSet::default(),
            mini_debug_info_given: false,
        })
    }

    fn gather(
        &mut self,
        id: ModuleId,
        offsets: impl Iterator<Item = u64>,
        embed: Embed,
        pages: &mut Pages,
        answer: &mut Answer,
    ) {
        let Self { file, cfi, symbols, covered, given, named, .. } = self;
        let Ok(elf) = Elf::open(file) else {
            return;
        };
        let mut paged = PagedFile { pages, id, file };
        let Answer { records, giant_functions } = answer;
        if embed == Embed::Symbols && !std::mem::replace(&mut self.mini_debug_info_given, true) {
            let bytes = mini_debug_info(&elf, &mut paged);
            records.extend(bytes.map(|bytes| Record::MiniDebugInfo(MiniDebugInfo { module: id, bytes })));
        }
        let cfi = cfi.get_or_insert_with(|| Cfi::open(&elf, &mut paged));
        let mut slices: BTreeMap<bool, UnwindSlice> = BTreeMap::new();
        let mut names: Vec<Symbol> = Vec::new();
        for offset in offsets {
            let Some(address) = elf.address_of(offset) else {
                continue;
            };
            // A return address stands after its call: behind a call that does not return, that is the
            // next function. An interrupted instruction may be a function's first.
            for address in [address, address.wrapping_sub(1)] {
                if !is_covered(covered, address)
                    && let Some(found) = cfi.find(address, &elf, &mut paged)
                {
                    covered.insert(found.start, found.end);
                    giant_functions.extend(giant_function(id, &found, &elf));
                    put(found, id, given, &mut slices);
                }
                if embed == Embed::Symbols {
                    let index = symbols.get_or_insert_with(|| SymbolIndex::open(&elf, &mut paged));
                    let symbol = index.find(address, &mut paged);
                    names.extend(symbol.filter(|symbol| named.insert(symbol.address)));
                }
            }
        }
        records.extend(slices.into_values().map(Record::UnwindSlice));
        if !names.is_empty() {
            names.sort_by_key(|symbol| symbol.address);
            records.push(Record::SymbolSlice(SymbolSlice { module: id, symbols: names }));
        }
    }
}

fn giant_function(module: ModuleId, found: &Found, elf: &Elf<'_>) -> Option<GiantFunction> {
    let (size, largest) = (*found.frame_size.start(), *found.frame_size.end());
    if size < GIANT {
        return None;
    }
    let (offset, length) = (elf.offset_of(found.start)?, found.end - found.start);
    Some(GiantFunction { module, offset, length, size, pushed: largest - size })
}

fn is_covered(covered: &BTreeMap<u64, u64>, address: u64) -> bool {
    covered.range(..=address).next_back().is_some_and(|(_, end)| address < *end)
}

/// Adds what was found to the slice of its section, the CIE only once.
fn put(
    found: Found,
    module: ModuleId,
    given: &mut FxHashSet<(CfiSection, u64)>,
    slices: &mut BTreeMap<bool, UnwindSlice>,
) {
    let Found { section, fde, cie, .. } = found;
    let slice = slices.entry(section == CfiSection::DebugFrame).or_insert_with(|| UnwindSlice {
        module,
        section,
        ..UnwindSlice::default()
    });
    if given.insert((section, cie.address)) {
        slice.cies.push(cie);
    }
    if given.insert((section, fde.address)) {
        slice.fdes.push(fde);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Code in this test's own executable: asks for it, and gives the kinds of records that come back.
    fn ask(evidence: &mut Evidence, file: Option<File>, offset: u64) -> Vec<Record> {
        evidence.module(3, file);
        evidence.code(vec![(3, offset)]);
        evidence.finish(Instant::now() + Duration::from_secs(60))
    }

    fn this_executable() -> (File, u64) {
        let file = File::open("/proc/self/exe").unwrap();
        let elf = Elf::open(&file).unwrap();
        // The middle of the code of some function that has CFI.
        let mut pages = Pages::default();
        let mut paged = PagedFile { pages: &mut pages, id: 0, file: &file };
        let code = elf.segments.iter().find(|segment| segment.executable).copied().unwrap();
        let mut cfi = Cfi::open(&elf, &mut paged);
        let middle = (code.address + code.file_size / 2..).step_by(16);
        let address = middle.into_iter().find(|address| cfi.find(*address, &elf, &mut paged).is_some()).unwrap();
        let offset = elf.offset_of(address).unwrap();
        (file, offset)
    }

    /// Layout, CFI and symbols come once a segment, and again in the next.
    #[test]
    fn evidence_comes_once_a_segment() {
        let (file, offset) = this_executable();
        let mut evidence = Evidence::start(Embed::Symbols).unwrap();
        for file in [Some(file), None] {
            let records = ask(&mut evidence, file, offset);
            assert!(matches!(records[0], Record::Layout(Layout { module: 3, .. })));
            assert!(records.iter().any(|record| matches!(record, Record::UnwindSlice(slice) if slice.cies.len() == 1)));
            assert!(records.iter().any(|record| matches!(record, Record::SymbolSlice(_))));
            let again = ask(&mut evidence, None, offset);
            assert!(matches!(again[..], [Record::Layout(_)]));
            evidence.start_segment();
            assert!(evidence.finish(Instant::now() + Duration::from_secs(60)).is_empty());
        }
        assert!(evidence.is_idle());
    }

    /// With nothing to embed, the layout still comes; code of an unknown module gives nothing.
    #[test]
    fn nothing_embedded_leaves_the_layout() {
        let (file, offset) = this_executable();
        let mut evidence = Evidence::start(Embed::None).unwrap();
        assert!(matches!(ask(&mut evidence, Some(file), offset)[..], [Record::Layout(_)]));
        evidence.code(vec![(9, 0)]);
        assert!(evidence.finish(Instant::now() + Duration::from_secs(60)).is_empty());
    }
}
