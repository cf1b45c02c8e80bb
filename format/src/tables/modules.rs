//! Modules and their layouts in columns: most loads begin with the page after the one before, and a layout has the build-id of its module.

use rustc_hash::FxHashMap;

use super::texts::{put_new, take_new};
use super::{Cost, LENGTH_LIMIT, RECORD_COST};
use crate::columns::{Columns, Spans};
use crate::error::Error;
use crate::record::{Layout, LoadSegment, Module, ModuleId, ModuleKind, Record};
use crate::varint::{fold, unfold};

/// What each record is: the tag that it has by itself.
const KIND: usize = 0;
/// Its module, from one more than that of the record before.
const ID: usize = 1;
const MODULE_KIND: usize = 2;
const PATH: usize = 3;
/// How long build-ids and fingerprints are; of a layout's build-id one more, or 0 when it is that of the module.
const LENGTH: usize = 4;
const BYTES: usize = 5;
/// How many loads there are, then for each: its offset from the page that follows the end of the load before; its distance from offset to
/// address, from that of the load before; whether it is executable.
const LOAD: usize = 6;
const FILE_SIZE: usize = 7;
const COLUMNS: usize = 8;

const MODULE: u64 = 7;
const LAYOUT: u64 = 8;

const PAGE: u64 = 4096;
/// What a load counts for.
const LOAD_COST: usize = 32;

/// Both sides: what the next load is compared with.
#[derive(Debug, Default)]
struct LoadBefore {
    end: u64,
    distance: u64,
}

impl LoadBefore {
    fn page(&self) -> u64 {
        self.end.wrapping_add(PAGE - 1) & !(PAGE - 1)
    }

    fn note(&mut self, load: &LoadSegment) {
        self.end = load.offset.wrapping_add(load.file_size);
        self.distance = load.address.wrapping_sub(load.offset);
    }
}

/// The writer's side: records that wait.
#[derive(Debug, Default)]
pub(crate) struct ModuleTable {
    columns: Columns<COLUMNS>,
    build_ids: FxHashMap<ModuleId, Vec<u8>>,
    next: ModuleId,
    cost: u64,
}

impl ModuleTable {
    /// What a reader takes the records for that wait.
    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }

    /// Adds a record; false when it is none of a module or layout, or is too long.
    pub(crate) fn put(&mut self, record: &Record) -> bool {
        let bytes = match record {
            Record::Module(module) => module.path.len() + module.build_id.len(),
            Record::Layout(layout) => bytes_of(layout),
            _ => return false,
        };
        let cost = RECORD_COST + bytes as u64;
        if self.cost + cost > LENGTH_LIMIT {
            return false;
        }
        match record {
            Record::Module(module) => self.put_module(module),
            Record::Layout(layout) => self.put_layout(layout),
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

    fn start(&mut self, kind: u64, id: ModuleId) {
        self.columns.put(KIND, kind);
        self.columns.put(ID, fold(u64::from(id).wrapping_sub(u64::from(self.next))));
        self.next = id.wrapping_add(1);
    }

    fn put_module(&mut self, module: &Module) {
        self.start(MODULE, module.id);
        self.columns.put(
            MODULE_KIND,
            match module.kind {
                ModuleKind::File => 0,
                ModuleKind::Vdso => 1,
                ModuleKind::Anonymous => 2,
            },
        );
        put_new(&mut self.columns, PATH, &module.path);
        self.columns.put(LENGTH, module.build_id.len() as u64);
        self.columns.put_bytes(BYTES, &module.build_id);
        self.build_ids.insert(module.id, module.build_id.clone());
    }

    fn put_layout(&mut self, layout: &Layout) {
        self.start(LAYOUT, layout.module);
        let columns = &mut self.columns;
        if self.build_ids.get(&layout.module) == Some(&layout.build_id) {
            columns.put(LENGTH, 0);
        } else {
            columns.put(LENGTH, layout.build_id.len() as u64 + 1);
            columns.put_bytes(BYTES, &layout.build_id);
        }
        columns.put(LENGTH, layout.fingerprint.len() as u64);
        columns.put_bytes(BYTES, &layout.fingerprint);
        columns.put(LOAD, layout.loads.len() as u64);
        let mut before = LoadBefore::default();
        for load in &layout.loads {
            let distance = load.address.wrapping_sub(load.offset);
            columns.put(LOAD, fold(load.offset.wrapping_sub(before.page())));
            columns.put(LOAD, fold(distance.wrapping_sub(before.distance)));
            columns.put(LOAD, u64::from(load.executable));
            columns.put(FILE_SIZE, load.file_size);
            before.note(load);
        }
    }
}

fn bytes_of(layout: &Layout) -> usize {
    layout.build_id.len() + layout.fingerprint.len() + layout.loads.len() * LOAD_COST
}

/// Appends the records that a table stands for, and gives what they cost.
pub(super) fn take(bytes: &[u8], records: &mut Vec<Record>) -> Result<u64, Error> {
    let mut table = TableReader { bytes, spans: Spans::parse(bytes)?, build_ids: FxHashMap::default(), next: 0 };
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
    build_ids: FxHashMap<ModuleId, &'a [u8]>,
    next: ModuleId,
}

impl TableReader<'_> {
    fn take(&mut self, cost: &mut Cost) -> Result<Record, Error> {
        let kind = self.spans.take(self.bytes, KIND)?;
        let id = u64::from(self.next).wrapping_add(unfold(self.spans.take(self.bytes, ID)?));
        let id = u32::try_from(id).map_err(|_| self.spans.unexpected(ID, "a number of at most 32 bits"))?;
        self.next = id.wrapping_add(1);
        match kind {
            MODULE => self.take_module(id, cost).map(Record::Module),
            LAYOUT => self.take_layout(id, cost).map(Record::Layout),
            _ => Err(self.spans.unexpected(KIND, "a kind of record that is in a table of modules")),
        }
    }

    fn take_module(&mut self, id: ModuleId, cost: &mut Cost) -> Result<Module, Error> {
        let kind = match self.spans.take(self.bytes, MODULE_KIND)? {
            0 => ModuleKind::File,
            1 => ModuleKind::Vdso,
            2 => ModuleKind::Anonymous,
            _ => return Err(self.spans.unexpected(MODULE_KIND, "a known kind of a module")),
        };
        let path = take_new((self.bytes, &mut self.spans), PATH)?;
        let length = self.spans.take(self.bytes, LENGTH)?;
        let build_id = self.spans.take_bytes(self.bytes, BYTES, length)?;
        cost.add(path.len() + build_id.len())?;
        self.build_ids.insert(id, build_id);
        Ok(Module { id, kind, path: path.to_owned(), build_id: build_id.to_vec() })
    }

    fn take_layout(&mut self, module: ModuleId, cost: &mut Cost) -> Result<Layout, Error> {
        let build_id = match self.spans.take(self.bytes, LENGTH)? {
            0 => self.build_ids.get(&module).copied(),
            more => Some(self.spans.take_bytes(self.bytes, BYTES, more - 1)?),
        };
        let build_id = build_id.ok_or_else(|| self.spans.unexpected(LENGTH, "a layout of a module in the table"))?;
        let length = self.spans.take(self.bytes, LENGTH)?;
        let fingerprint = self.spans.take_bytes(self.bytes, BYTES, length)?;
        let (build_id, fingerprint) = (build_id.to_vec(), fingerprint.to_vec());
        let mut layout = Layout { module, build_id, fingerprint, loads: Vec::new() };
        cost.add(bytes_of(&layout))?;
        let mut before = LoadBefore::default();
        for _ in 0..self.spans.take(self.bytes, LOAD)? {
            cost.add_part(LOAD_COST)?;
            layout.loads.push(self.take_load(&mut before)?);
        }
        Ok(layout)
    }

    fn take_load(&mut self, before: &mut LoadBefore) -> Result<LoadSegment, Error> {
        let offset = before.page().wrapping_add(unfold(self.spans.take(self.bytes, LOAD)?));
        let distance = before.distance.wrapping_add(unfold(self.spans.take(self.bytes, LOAD)?));
        let executable = match self.spans.take(self.bytes, LOAD)? {
            0 => false,
            1 => true,
            _ => return Err(self.spans.unexpected(LOAD, "whether a load is executable")),
        };
        let file_size = self.spans.take(self.bytes, FILE_SIZE)?;
        let load = LoadSegment { offset, address: offset.wrapping_add(distance), file_size, executable };
        before.note(&load);
        Ok(load)
    }
}
