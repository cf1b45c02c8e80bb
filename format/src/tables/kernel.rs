//! Names of kernel functions in columns. Functions begin and have sizes at multiples of 16, and nearly touch each other: each address is its
//! distance from the end of the one before, with its low four bits, which are zeros, at its other end. Names are put behind each other.

use super::texts::{TextsReader, TextsWriter, take_new};
use super::{Cost, KERNEL_FUNCTIONS, LENGTH_LIMIT, RECORD_COST};
use crate::columns::{Columns, Spans};
use crate::error::Error;
use crate::metadata;
use crate::record::{KernelSymbol, KernelSymbols, Record};
use crate::varint::unfold;

const COUNT: usize = 0;
const ADDRESS: usize = 1;
const SIZE: usize = 2;
const NAME: usize = 3;
const MODULE: usize = 4;
const NEW_MODULE: usize = 5;
const COLUMNS: usize = 6;

/// How often a bit is moved that makes one of 16.
const SIXTEENTH: u32 = 4;
/// Ends a name.
const END: u8 = 0;

/// Appends the table of such a record, and gives what it costs; `None` for others, where it would be more than a table holds, and where a
/// name is none.
pub(crate) fn put_kernel_symbols(out: &mut Vec<u8>, record: &Record) -> Option<u64> {
    let Record::KernelSymbols(KernelSymbols { symbols }) = record else { return None };
    let cost = |symbol: &KernelSymbol| RECORD_COST + (symbol.name.len() + symbol.module.len()) as u64;
    let cost: u64 = symbols.iter().map(cost).sum();
    if cost > LENGTH_LIMIT || symbols.iter().any(|symbol| symbol.name.as_bytes().contains(&END)) {
        return None;
    }
    let (mut columns, mut modules) = (Columns::<COLUMNS>::default(), TextsWriter::default());
    columns.put(COUNT, symbols.len() as u64);
    let mut end = 0u64;
    for symbol in symbols {
        columns.put(ADDRESS, symbol.address.wrapping_sub(end).rotate_right(SIXTEENTH));
        columns.put(SIZE, symbol.size.rotate_right(SIXTEENTH));
        end = symbol.address.wrapping_add(symbol.size);
        columns.put_bytes(NAME, symbol.name.as_bytes());
        columns.put_bytes(NAME, &[END]);
        modules.put(&mut columns, MODULE, NEW_MODULE, &symbol.module);
    }
    metadata::put_with(out, KERNEL_FUNCTIONS, |out| columns.drain_into(out));
    Some(cost)
}

/// Appends the record that a table stands for, and gives what it costs.
pub(super) fn take_functions(bytes: &[u8], records: &mut Vec<Record>) -> Result<u64, Error> {
    let mut end = 0u64;
    take(bytes, records, |spans| {
        let address = end.wrapping_add(spans.take(bytes, ADDRESS)?.rotate_left(SIXTEENTH));
        let size = spans.take(bytes, SIZE)?.rotate_left(SIXTEENTH);
        end = address.wrapping_add(size);
        let name = spans.take_until(bytes, NAME, END)?;
        let name = str::from_utf8(name).map_err(|_| spans.unexpected(NAME, "a name in UTF-8"))?;
        Ok((address, size, name))
    })
}

/// The same of a table of an earlier version.
pub(super) fn take_symbols(bytes: &[u8], records: &mut Vec<Record>) -> Result<u64, Error> {
    let mut before = 0u64;
    take(bytes, records, |spans| {
        before = before.wrapping_add(unfold(spans.take(bytes, ADDRESS)?));
        Ok((before, spans.take(bytes, SIZE)?, take_new((bytes, spans), NAME)?))
    })
}

/// Of each symbol, `next` takes address, size and name.
fn take<'a>(
    bytes: &'a [u8],
    records: &mut Vec<Record>,
    mut next: impl FnMut(&mut Spans<COLUMNS>) -> Result<(u64, u64, &'a str), Error>,
) -> Result<u64, Error> {
    let (mut spans, mut modules, mut cost) = (Spans::<COLUMNS>::parse(bytes)?, TextsReader::default(), Cost::default());
    let mut symbols = Vec::new();
    for _ in 0..spans.take(bytes, COUNT)? {
        let (address, size, name) = next(&mut spans)?;
        let module = modules.take((bytes, &mut spans), MODULE, NEW_MODULE)?;
        cost.add(name.len() + module.len())?;
        symbols.push(KernelSymbol { address, size, name: name.to_owned(), module: module.to_owned() });
    }
    spans.require_end()?;
    records.push(Record::KernelSymbols(KernelSymbols { symbols }));
    Ok(cost.0)
}
