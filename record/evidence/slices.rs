//! Call frame information and names on their way into records, none of which is larger than a reader takes.

use std::collections::BTreeMap;

use profrec_format::{CfiSection, ModuleId, Record, Symbol, SymbolSlice, UnwindSlice};
use rustc_hash::FxHashSet;

use super::amount::{PIECE, RECORD};
use crate::cfi::Found;

/// Call frame information, by whether it is that of `.debug_frame`, and how many bytes it has.
#[derive(Default)]
pub(super) struct Slices(BTreeMap<bool, (usize, UnwindSlice)>);

impl Slices {
    /// Adds what was found to the slice of its section, the CIE only once.
    pub(super) fn put(
        &mut self,
        found: Found,
        module: ModuleId,
        given: &mut FxHashSet<(CfiSection, u64)>,
        into: &mut Vec<Record>,
    ) {
        let Found { section, fde, cie, .. } = found;
        let place = section == CfiSection::DebugFrame;
        let slice = || UnwindSlice { module, section, ..UnwindSlice::default() };
        let (bytes, slice) = self.0.entry(place).or_insert_with(|| (0, slice()));
        if given.insert((section, cie.entry.address)) {
            *bytes += PIECE + cie.entry.bytes.len();
            slice.cies.push(cie.entry.clone());
        }
        if given.insert((section, fde.address)) {
            *bytes += PIECE + fde.bytes.len();
            slice.fdes.push(fde);
        }
        if *bytes >= RECORD {
            into.extend(self.0.remove(&place).map(|(_, slice)| Record::UnwindSlice(slice)));
        }
    }

    pub(super) fn finish(self, into: &mut Vec<Record>) {
        into.extend(self.0.into_values().map(|(_, slice)| Record::UnwindSlice(slice)));
    }
}

/// Names.
#[derive(Default)]
pub(super) struct Names {
    bytes: usize,
    symbols: Vec<Symbol>,
}

impl Names {
    pub(super) fn put(&mut self, symbol: Option<Symbol>, module: ModuleId, into: &mut Vec<Record>) {
        self.bytes += symbol.as_ref().map_or(0, |symbol| PIECE + symbol.name.len());
        self.symbols.extend(symbol);
        if self.bytes >= RECORD {
            std::mem::take(self).finish(module, into);
        }
    }

    pub(super) fn finish(mut self, module: ModuleId, into: &mut Vec<Record>) {
        if !self.symbols.is_empty() {
            self.symbols.sort_by_key(|symbol| (symbol.address, symbol.size));
            into.push(Record::SymbolSlice(SymbolSlice { module, symbols: self.symbols }));
        }
    }
}
