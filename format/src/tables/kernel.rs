//! Names of kernel functions in columns: each address as its distance from the one before, and all names behind each other.

use super::texts::{TextsReader, TextsWriter, put_new, take_new};
use super::{Cost, KERNEL_SYMBOLS, LENGTH_LIMIT, RECORD_COST};
use crate::columns::{Columns, Spans};
use crate::error::Error;
use crate::metadata;
use crate::record::{KernelSymbol, KernelSymbols, Record};
use crate::varint::{fold, unfold};

const COUNT: usize = 0;
const ADDRESS: usize = 1;
const SIZE: usize = 2;
const NAME: usize = 3;
const MODULE: usize = 4;
const NEW_MODULE: usize = 5;
const COLUMNS: usize = 6;

/// Appends the table of such a record, and gives what it costs; `None` for others, and where it would be more than a table holds.
pub(crate) fn put_kernel_symbols(out: &mut Vec<u8>, record: &Record) -> Option<u64> {
    let Record::KernelSymbols(KernelSymbols { symbols }) = record else { return None };
    let cost = |symbol: &KernelSymbol| RECORD_COST + (symbol.name.len() + symbol.module.len()) as u64;
    let cost: u64 = symbols.iter().map(cost).sum();
    if cost > LENGTH_LIMIT {
        return None;
    }
    let (mut columns, mut modules) = (Columns::<COLUMNS>::default(), TextsWriter::default());
    columns.put(COUNT, symbols.len() as u64);
    let mut before = 0u64;
    for symbol in symbols {
        columns.put(ADDRESS, fold(symbol.address.wrapping_sub(before)));
        before = symbol.address;
        columns.put(SIZE, symbol.size);
        put_new(&mut columns, NAME, &symbol.name);
        modules.put(&mut columns, MODULE, NEW_MODULE, &symbol.module);
    }
    metadata::put_with(out, KERNEL_SYMBOLS, |out| columns.drain_into(out));
    Some(cost)
}

/// Appends the record that a table stands for, and gives what it costs.
pub(super) fn take(bytes: &[u8], records: &mut Vec<Record>) -> Result<u64, Error> {
    let (mut spans, mut modules, mut cost) = (Spans::<COLUMNS>::parse(bytes)?, TextsReader::default(), Cost::default());
    let (mut symbols, mut before) = (Vec::new(), 0u64);
    for _ in 0..spans.take(bytes, COUNT)? {
        let address = before.wrapping_add(unfold(spans.take(bytes, ADDRESS)?));
        before = address;
        let size = spans.take(bytes, SIZE)?;
        let name = take_new((bytes, &mut spans), NAME)?;
        let module = modules.take((bytes, &mut spans), MODULE, NEW_MODULE)?;
        cost.add(name.len() + module.len())?;
        symbols.push(KernelSymbol { address, size, name: name.to_owned(), module: module.to_owned() });
    }
    spans.require_end()?;
    records.push(Record::KernelSymbols(KernelSymbols { symbols }));
    Ok(cost.0)
}
