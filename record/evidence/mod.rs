//! Gathers what only the recorded machine has: the layout of modules, and the slices of their call
//! frame information and symbols that recorded addresses need. A thread of low priority does it
//! beside the sampling; it is asked through a bounded channel and answers with records.

mod amount;
mod covered;
mod gatherer;
mod run_time_code;
mod slices;
mod waiting;

use std::fs::File;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use profrec_format::{ModuleId, Record};
use rustix::thread::CapabilitySet;

use crate::args::Embed;
use crate::giant_frames::GiantFunction;
use crate::jit::private_maps::{PrivateMap, PrivateMaps};
use crate::jit::{self, Jit};
use crate::open_files;
use crate::progress;
use crate::rights::{self, Account};
use gatherer::Gatherer;
use run_time_code::RunTimeCode;
use waiting::Waiting;

/// Requests that may wait; each has at most a batch of addresses.
const QUEUE: usize = 256;

/// Code in a module: its number and an offset in its file.
pub(crate) type CodeOffset = (ModuleId, u64);

enum Request {
    /// A module is referred to; its file when it is new.
    Module(ModuleId, Option<File>),
    /// The same of one whose names are always given.
    NamedModule(ModuleId, File),
    /// Code that was recorded.
    Code(Vec<CodeOffset>),
    /// Code that chains end in.
    StartCode(Vec<CodeOffset>),
    /// Code that processes make at run time.
    Jit(jit::Request),
    /// From here on everything is to be given again.
    NewSegment,
}

/// What came of a request.
#[derive(Default)]
struct Answer {
    records: Vec<Record>,
    giant_functions: Vec<GiantFunction>,
    /// Whether code that was asked for is such that stacks start in.
    start_code: Vec<(CodeOffset, bool)>,
    /// Perf maps that the thread may not open.
    private_maps: Vec<PrivateMap>,
    /// It is that of a look at the files of processes that make code at run time.
    looked: bool,
}

/// The session's side: asks, and collects the answers.
pub(crate) struct Evidence {
    requests: SyncSender<Request>,
    answers: Receiver<Answer>,
    giant_functions: Vec<GiantFunction>,
    start_code: Vec<(CodeOffset, bool)>,
    run_time_code: RunTimeCode,
    private_maps: PrivateMaps,
    /// Requests that did not fit into the channel.
    waiting: Waiting,
    outstanding: usize,
    /// The thread has ended, which was told.
    is_over: bool,
}

impl Evidence {
    /// Starts the thread.
    pub(crate) fn start(embed: Embed, names_run_time_code: bool, account: Option<Account>) -> Result<Self> {
        let most_files = open_files::allow_more();
        let (requests, received) = sync_channel(QUEUE);
        let (answer, answers) = channel();
        thread::Builder::new()
            .name("profrec-evidence".to_owned())
            .spawn(move || {
                be_nice();
                // What it reads was opened for it. Where that fails, it fails for the whole recorder, which tells.
                if rights::keep_only(CapabilitySet::empty(), account).is_err() {
                    return;
                }
                let mut gatherer = Gatherer::new(embed, most_files);
                let mut jit = Jit::default();
                while let Ok(request) = received.recv() {
                    if answer.send(gatherer.answer(request, &mut jit)).is_err() {
                        return;
                    }
                }
            })
            .context("starting the thread that gathers unwind evidence")?;
        Ok(Self::asking(requests, answers, names_run_time_code))
    }

    fn asking(requests: SyncSender<Request>, answers: Receiver<Answer>, names_run_time_code: bool) -> Self {
        let run_time_code = RunTimeCode::new(names_run_time_code);
        let private_maps = PrivateMaps::new();
        let (giant_functions, start_code, waiting, outstanding, is_over) = Default::default();
        Self {
            requests,
            answers,
            giant_functions,
            start_code,
            run_time_code,
            private_maps,
            waiting,
            outstanding,
            is_over,
        }
    }

    /// Without a thread: gives how many places of code and how many files of modules it is asked about, when that is asked.
    #[cfg(test)]
    pub(crate) fn unanswered() -> (Self, impl FnMut() -> (usize, usize)) {
        let (requests, received) = sync_channel(QUEUE);
        let (answer, answers) = channel();
        let asked = move || {
            received.try_iter().fold((0, 0), |(code, files), request| {
                let _collected = answer.send(Answer::default());
                match request {
                    Request::Code(offsets) => (code + offsets.len(), files),
                    Request::Module(_, Some(_)) => (code, files + 1),
                    _ => (code, files),
                }
            })
        };
        (Self::asking(requests, answers, true), asked)
    }

    /// A module is defined in this segment. False when too much waits: the next segment is to give its file again.
    pub(crate) fn module(&mut self, id: ModuleId, file: Option<File>) -> bool {
        self.ask(Request::Module(id, file))
    }

    /// The same of one whose names are always given, and whose file is given in each segment.
    pub(crate) fn named_module(&mut self, id: ModuleId, file: File) {
        let _comes_again = self.ask(Request::NamedModule(id, file));
    }

    /// Whether so many places of code may be asked about. While too much waits, they may not.
    pub(crate) fn has_room(&mut self, places: usize) -> bool {
        self.waiting.has_room(places)
    }

    /// These code offsets are in this segment. There has to be room for them.
    pub(crate) fn code(&mut self, offsets: Vec<CodeOffset>) {
        let _has_room = self.ask(Request::Code(offsets));
    }

    /// Asks whether code is such that stacks start in. False when too much waits.
    pub(crate) fn ask_for_start_code(&mut self, offsets: Vec<CodeOffset>) -> bool {
        self.ask(Request::StartCode(offsets))
    }

    /// What came of that.
    pub(crate) fn start_code(&mut self) -> impl Iterator<Item = (CodeOffset, bool)> {
        self.start_code.drain(..)
    }

    /// Forgets what the segment before was given.
    pub(crate) fn start_segment(&mut self) {
        self.run_time_code.start_segment();
        self.waiting.start_segment();
        let _always = self.ask(Request::NewSegment);
    }

    fn ask(&mut self, request: Request) -> bool {
        let is_taken = self.waiting.push(request);
        self.send_waiting();
        is_taken
    }

    fn send_waiting(&mut self) {
        while let Some(request) = self.waiting.pop() {
            match self.requests.try_send(request) {
                Ok(()) => self.outstanding += 1,
                Err(TrySendError::Full(request)) => {
                    self.waiting.take_back(request);
                    return;
                }
                Err(TrySendError::Disconnected(_)) => self.give_up(),
            }
        }
    }

    /// The thread has ended: nobody will answer any more.
    fn give_up(&mut self) {
        self.waiting.clear();
        self.outstanding = 0;
        if !std::mem::replace(&mut self.is_over, true) {
            progress::put(
                "profrec: the thread that gathers unwind information and names has ended early: from here on, stacks will be incomplete where the \
                 report does not have the files of the programs\n",
            );
        }
    }

    /// Whether everything asked for has been answered and collected.
    pub(crate) fn is_idle(&self) -> bool {
        self.outstanding == 0 && self.waiting.is_empty() && !self.private_maps.are_awaited()
    }

    /// Takes the answers that are there.
    pub(crate) fn collect(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        loop {
            match self.answers.try_recv() {
                Ok(answer) => self.receive(answer, &mut records),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.give_up();
                    break;
                }
            }
        }
        let opened = if self.waiting.has_room(0) { self.private_maps.take_opened() } else { Vec::new() };
        for request in opened {
            // They are few: where there is room for one, there is for all but rarely.
            let _refused = self.ask(Request::Jit(request));
        }
        self.send_waiting();
        records
    }

    fn receive(&mut self, answer: Answer, records: &mut Vec<Record>) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.run_time_code.receive(&answer.records, answer.looked);
        records.extend(answer.records);
        self.giant_functions.extend(answer.giant_functions);
        self.start_code.extend(answer.start_code);
        answer.private_maps.into_iter().for_each(|map| self.private_maps.open(map));
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
                self.waiting.tell();
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use profrec_format::Layout;

    use super::*;
    use crate::cfi::Cfi;
    use crate::elf::Elf;
    use crate::pages::{PagedFile, Pages};

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
        let mut evidence = Evidence::start(Embed::Symbols, true, None).unwrap();
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

    /// Code that is shown when the segment was already searched for names is searched for, too, before the segment ends.
    #[test]
    fn code_of_the_last_look_is_searched_for() {
        let mut evidence = Evidence::start(Embed::Symbols, true, None).unwrap();
        let is_asked = |evidence: &mut Evidence| {
            evidence.complete_run_time_code();
            let is_asked = !evidence.is_idle();
            evidence.finish(Instant::now() + Duration::from_secs(60));
            is_asked
        };
        evidence.run_time_code(vec![(std::process::id(), 1)]);
        assert!(is_asked(&mut evidence) && !is_asked(&mut evidence));
        evidence.run_time_code(vec![(std::process::id(), 2)]);
        evidence.finish(Instant::now() + Duration::from_secs(60));
        assert!(is_asked(&mut evidence) && !is_asked(&mut evidence));
    }

    /// What is not answered in time is told. A thread that has ended is waited for no longer, whatever it was asked, and that it has is told once.
    #[test]
    fn who_does_not_answer_is_told() {
        let (mut evidence, asked) = Evidence::unanswered();
        evidence.code(vec![(1, 1)]);
        assert!(evidence.finish(Instant::now()).is_empty() && evidence.waiting.is_told);
        assert!(!evidence.is_idle() && !evidence.is_over);
        drop(asked);
        let start = Instant::now();
        assert!(evidence.finish(start + Duration::from_secs(60)).is_empty());
        assert!(evidence.is_over && start.elapsed() < Duration::from_secs(30));
        evidence.code(vec![(1, 2)]);
        assert!(evidence.collect().is_empty() && evidence.is_idle());
    }

    /// With nothing to embed, the layout still comes; code of an unknown module gives nothing.
    #[test]
    fn nothing_embedded_leaves_the_layout() {
        let (file, offset) = this_executable();
        let mut evidence = Evidence::start(Embed::None, false, None).unwrap();
        assert!(matches!(ask(&mut evidence, Some(file), offset)[..], [Record::Layout(_)]));
        evidence.code(vec![(9, 0)]);
        assert!(evidence.finish(Instant::now() + Duration::from_secs(60)).is_empty());
    }
}
