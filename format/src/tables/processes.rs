//! What happened to processes, in columns: the records of six kinds, in the order in which they were written.

use rustc_hash::FxHashMap;

use super::texts::{TextsReader, TextsWriter};
use super::{Cost, LENGTH_LIMIT, RECORD_COST};
use crate::columns::{Columns, Spans};
use crate::error::Error;
use crate::record::{Exec, Exit, Fork, Mapping, Process, Record, Thread};
use crate::varint::{fold, unfold};

/// What each record is: the tag that it has by itself.
const KIND: usize = 0;
/// Its time, from that of the record before.
const TIME: usize = 1;
/// Its process, from that of the record before.
const PID: usize = 2;
/// Its thread, from its process.
const TID: usize = 3;
/// A process's parent, from that of the record before that has one; that of a fork, too, and the parent's thread from the parent.
const PARENT: usize = 4;
/// Texts by number, and whether a process is a kernel thread.
const TEXT: usize = 5;
const NEW_TEXT: usize = 6;
/// The place of a mapping by number.
const PLACE: usize = 7;
/// A new one: its start from the end of the one before, its length, its offset, its module.
const NEW_PLACE: usize = 8;
const COLUMNS: usize = 9;

const PROCESS: u64 = 1;
const THREAD: u64 = 2;
const FORK: u64 = 3;
const EXEC: u64 = 4;
const EXIT: u64 = 5;
const MAPPING: u64 = 6;

/// Where something is mapped, and what: start, end, offset, module.
type Place = (u64, u64, u64, u32);

/// Both sides: what the next record is compared with.
#[derive(Debug, Default)]
struct Before {
    time: u64,
    pid: u32,
    parent: u32,
    end: u64,
}

/// The writer's side: records that wait.
#[derive(Debug, Default)]
pub(crate) struct ProcessTable {
    columns: Columns<COLUMNS>,
    texts: TextsWriter,
    places: FxHashMap<Place, u32>,
    before: Before,
    cost: u64,
}

impl ProcessTable {
    /// What a reader takes the records for that wait.
    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }

    /// Adds a record; false when it is not one of a process, or is too long.
    pub(crate) fn put(&mut self, record: &Record) -> bool {
        let text = match record {
            Record::Process(process) => process.comm.len() + process.cgroup.len(),
            Record::Thread(Thread { comm, .. }) | Record::Exec(Exec { comm, .. }) => comm.len(),
            _ => 0,
        };
        let cost = RECORD_COST + text as u64;
        if self.cost + cost > LENGTH_LIMIT {
            return false;
        }
        match record {
            Record::Process(process) => self.put_process(process),
            Record::Thread(Thread { time, pid, tid, comm }) => {
                self.start(THREAD, *time, *pid);
                self.put_difference(TID, *tid, *pid);
                self.put_text(comm);
            }
            Record::Fork(Fork { time, pid, tid, parent, parent_tid }) => {
                self.start(FORK, *time, *pid);
                self.put_difference(TID, *tid, *pid);
                self.put_parent(*parent);
                self.put_difference(PARENT, *parent_tid, *parent);
            }
            Record::Exec(Exec { time, pid, comm }) => {
                self.start(EXEC, *time, *pid);
                self.put_text(comm);
            }
            Record::Exit(Exit { time, pid, tid }) => {
                self.start(EXIT, *time, *pid);
                self.put_difference(TID, *tid, *pid);
            }
            Record::Mapping(mapping) => self.put_mapping(mapping),
            _ => return false,
        }
        self.cost += cost;
        true
    }

    /// Appends the table of what waits, which waits no more.
    pub(crate) fn drain_into(&mut self, out: &mut Vec<u8>) {
        self.columns.drain_into(out);
        *self = Self::default();
    }

    fn start(&mut self, kind: u64, time: u64, pid: u32) {
        self.columns.put(KIND, kind);
        self.columns.put(TIME, fold(time.wrapping_sub(self.before.time)));
        self.put_difference(PID, pid, self.before.pid);
        (self.before.time, self.before.pid) = (time, pid);
    }

    fn put_difference(&mut self, column: usize, value: u32, from: u32) {
        self.columns.put(column, fold(u64::from(value).wrapping_sub(u64::from(from))));
    }

    fn put_parent(&mut self, parent: u32) {
        self.put_difference(PARENT, parent, self.before.parent);
        self.before.parent = parent;
    }

    fn put_text(&mut self, text: &str) {
        self.texts.put(&mut self.columns, TEXT, NEW_TEXT, text);
    }

    fn put_process(&mut self, process: &Process) {
        self.start(PROCESS, process.time, process.pid);
        self.put_parent(process.parent);
        self.put_text(&process.comm);
        self.columns.put(TEXT, u64::from(process.kernel_thread));
        self.put_text(&process.cgroup);
    }

    fn put_mapping(&mut self, mapping: &Mapping) {
        let Mapping { time, pid, start, end, offset, module } = *mapping;
        self.start(MAPPING, time, pid);
        let next = self.places.len() as u32;
        let number = *self.places.entry((start, end, offset, module)).or_insert(next);
        if number != next {
            return self.columns.put(PLACE, u64::from(number) + 1);
        }
        self.columns.put(PLACE, 0);
        self.columns.put(NEW_PLACE, fold(start.wrapping_sub(self.before.end)));
        self.columns.put(NEW_PLACE, end.wrapping_sub(start));
        self.columns.put(NEW_PLACE, offset);
        self.columns.put(NEW_PLACE, u64::from(module));
        self.before.end = end;
    }
}

/// Appends the records that a table stands for, and gives what they cost.
pub(super) fn take(bytes: &[u8], records: &mut Vec<Record>) -> Result<u64, Error> {
    let spans = Spans::parse(bytes)?;
    let (texts, places, before) = Default::default();
    let mut table = TableReader { bytes, spans, texts, places, before };
    let mut cost = Cost::default();
    while !table.spans.is_empty(KIND) {
        records.push(table.take(&mut cost)?);
    }
    table.spans.require_end()?;
    Ok(cost.0)
}

/// The reader's side.
struct TableReader<'a> {
    bytes: &'a [u8],
    spans: Spans<COLUMNS>,
    texts: TextsReader<'a>,
    places: Vec<Place>,
    before: Before,
}

impl TableReader<'_> {
    fn take(&mut self, cost: &mut Cost) -> Result<Record, Error> {
        let kind = self.spans.take(self.bytes, KIND)?;
        let time = self.before.time.wrapping_add(unfold(self.spans.take(self.bytes, TIME)?));
        let pid = self.take_difference(PID, self.before.pid)?;
        (self.before.time, self.before.pid) = (time, pid);
        let record = match kind {
            PROCESS => self.take_process(time, pid)?,
            THREAD => {
                let tid = self.take_difference(TID, pid)?;
                Record::Thread(Thread { time, pid, tid, comm: self.take_text()? })
            }
            FORK => {
                let tid = self.take_difference(TID, pid)?;
                let parent = self.take_parent()?;
                Record::Fork(Fork { time, pid, tid, parent, parent_tid: self.take_difference(PARENT, parent)? })
            }
            EXEC => Record::Exec(Exec { time, pid, comm: self.take_text()? }),
            EXIT => Record::Exit(Exit { time, pid, tid: self.take_difference(TID, pid)? }),
            MAPPING => {
                let (start, end, offset, module) = self.take_place()?;
                Record::Mapping(Mapping { time, pid, start, end, offset, module })
            }
            _ => return Err(self.spans.unexpected(KIND, "a kind of record that is in a table of processes")),
        };
        cost.add(match &record {
            Record::Process(process) => process.comm.len() + process.cgroup.len(),
            Record::Thread(Thread { comm, .. }) | Record::Exec(Exec { comm, .. }) => comm.len(),
            _ => 0,
        })?;
        Ok(record)
    }

    fn take_difference(&mut self, column: usize, from: u32) -> Result<u32, Error> {
        let value = u64::from(from).wrapping_add(unfold(self.spans.take(self.bytes, column)?));
        u32::try_from(value).map_err(|_| self.spans.unexpected(column, "a number of at most 32 bits"))
    }

    fn take_parent(&mut self) -> Result<u32, Error> {
        self.before.parent = self.take_difference(PARENT, self.before.parent)?;
        Ok(self.before.parent)
    }

    fn take_text(&mut self) -> Result<String, Error> {
        self.texts.take((self.bytes, &mut self.spans), TEXT, NEW_TEXT).map(str::to_owned)
    }

    fn take_process(&mut self, time: u64, pid: u32) -> Result<Record, Error> {
        let parent = self.take_parent()?;
        let comm = self.take_text()?;
        let kernel_thread = match self.spans.take(self.bytes, TEXT)? {
            0 => false,
            1 => true,
            _ => return Err(self.spans.unexpected(TEXT, "whether a process is a kernel thread")),
        };
        let cgroup = self.take_text()?;
        Ok(Record::Process(Process { time, pid, parent, comm, kernel_thread, cgroup }))
    }

    fn take_place(&mut self) -> Result<Place, Error> {
        let token = self.spans.take(self.bytes, PLACE)?;
        if token > 0 {
            let known = usize::try_from(token - 1).ok().and_then(|number| self.places.get(number));
            return known.copied().ok_or_else(|| self.spans.unexpected(PLACE, "the number of a mapped place"));
        }
        let start = self.before.end.wrapping_add(unfold(self.spans.take(self.bytes, NEW_PLACE)?));
        let end = start.wrapping_add(self.spans.take(self.bytes, NEW_PLACE)?);
        let offset = self.spans.take(self.bytes, NEW_PLACE)?;
        let module = u32::try_from(self.spans.take(self.bytes, NEW_PLACE)?);
        let module = module.map_err(|_| self.spans.unexpected(NEW_PLACE, "a number of at most 32 bits"))?;
        self.before.end = end;
        self.places.push((start, end, offset, module));
        Ok((start, end, offset, module))
    }
}
