//! Rows by address: reading call frame information takes a microsecond, and the same few thousand
//! addresses come again in every sample.

use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use super::cfi::CfiContext;
use super::row::{Row, Rule};
use crate::evidence::ModuleIndex;
use crate::modules::Modules;

/// The rows that have been looked up so far; at most one for each distinct code address of the recording.
#[derive(Default)]
pub struct RowCache {
    context: CfiContext,
    places: HashMap<(ModuleIndex, u64, bool), u32>,
    /// Apart from their places: what grows by moving is small.
    rows: Vec<Known>,
    /// The rules for registers: nearly all rows share theirs with others.
    registers: HashSet<Arc<[(u16, Rule)]>>,
    /// What following rows with expressions has cost.
    work: u64,
}

/// What is known of an address: its row, if it has one, and what it costs to follow it.
struct Known {
    row: Option<Row>,
    cost: u64,
}

/// What an expression may cost: as many operations as one may have.
const EXPRESSION: u64 = 64;

impl RowCache {
    /// The row for an address of a module; `None` when no call frame information covers it. Of one that is inside of a call, the
    /// call may be missing: where it would return to is then the first instruction of a function.
    pub fn row(&mut self, modules: &Modules<'_>, module: ModuleIndex, address: u64, in_call: bool) -> Option<&Row> {
        let Self { context, places, rows, registers, work } = self;
        let place = *places.entry((module, address, in_call)).or_insert_with(|| {
            let mut row = modules.row(module, address, context);
            if let (None, true, Some(next)) = (&row, in_call, address.checked_add(1)) {
                row = modules.row(module, next, context).filter(|row| row.start == next);
            }
            if let Some(row) = &mut row {
                match registers.get(&row.registers) {
                    Some(known) => row.registers.clone_from(known),
                    None => drop(registers.insert(row.registers.clone())),
                }
            }
            let cost = row.as_ref().map_or(0, |row| EXPRESSION * row.expressions() as u64);
            rows.push(Known { row, cost });
            rows.len() as u32 - 1
        });
        let known = rows.get(place as usize)?;
        *work += known.cost;
        known.row.as_ref()
    }

    /// What reading rows and following them has cost so far, in bytes of entries and operations of expressions.
    pub fn work(&self) -> u64 {
        self.context.work + self.work
    }
}
