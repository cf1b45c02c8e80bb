//! Rows by address: reading call frame information takes a microsecond, and the same few thousand
//! addresses come again in every sample.

use rustc_hash::FxHashMap;

use super::cfi::CfiContext;
use super::row::Row;
use crate::evidence::ModuleIndex;
use crate::modules::Modules;

/// The rows that have been looked up so far; at most one for each distinct code address of the recording.
#[derive(Default)]
pub struct RowCache {
    context: CfiContext,
    rows: FxHashMap<(ModuleIndex, u64), Option<Row>>,
}

impl RowCache {
    /// The row for an address of a module; `None` when no call frame information covers it.
    pub fn row(&mut self, modules: &Modules<'_>, module: ModuleIndex, address: u64) -> Option<&Row> {
        let Self { context, rows } = self;
        rows.entry((module, address)).or_insert_with(|| modules.row(module, address, context)).as_ref()
    }
}
