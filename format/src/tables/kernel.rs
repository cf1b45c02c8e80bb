//! Names of kernel functions in columns. Functions begin and have sizes at multiples of 16, and nearly touch each other: each address is its
//! distance from the end of the one before, with its low four bits, which are zeros, at its other end. Names are numbers where every recording has them, and
//! else bytes behind each other.

use super::kernel_names;
use super::texts::{TextsReader, TextsWriter, take_new};
use super::{Cost, KERNEL_NAMES, LENGTH_LIMIT, RECORD_COST};
use crate::columns::{Columns, Spans};
use crate::error::Error;
use crate::metadata;
use crate::record::{KernelSymbol, KernelSymbols, Record};
use crate::varint::unfold;

const COUNT: usize = 0;
const ADDRESS: usize = 1;
const SIZE: usize = 2;
/// Of earlier versions, the bytes of the name.
const NAME: usize = 3;
const MODULE: usize = 4;
const NEW_MODULE: usize = 5;
/// Names without a number.
const NEW_NAME: usize = 6;
/// What stands behind the name of a number.
const REST: usize = 7;
const NEW_REST: usize = 8;
const COLUMNS: usize = 9;

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
    let mut columns = Columns::<COLUMNS>::default();
    let (mut modules, mut rests) = (TextsWriter::default(), TextsWriter::default());
    columns.put(COUNT, symbols.len() as u64);
    let (mut end, mut before) = (0u64, kernel_names::Place::default());
    for symbol in symbols {
        columns.put(ADDRESS, symbol.address.wrapping_sub(end).rotate_right(SIXTEENTH));
        columns.put(SIZE, symbol.size.rotate_right(SIXTEENTH));
        end = symbol.address.wrapping_add(symbol.size);
        match before.step_to(&symbol.name) {
            Some((step, rest)) => {
                columns.put(NAME, step);
                rests.put(&mut columns, REST, NEW_REST, rest);
            }
            None => {
                columns.put(NAME, 0);
                columns.put_bytes(NEW_NAME, symbol.name.as_bytes());
                columns.put_bytes(NEW_NAME, &[END]);
            }
        }
        modules.put(&mut columns, MODULE, NEW_MODULE, &symbol.module);
    }
    metadata::put_with(out, KERNEL_NAMES, |out| columns.drain_into(out));
    Some(cost)
}

/// Appends the record that a table stands for, and gives what it costs.
pub(super) fn take_names(bytes: &[u8], records: &mut Vec<Record>) -> Result<u64, Error> {
    let (mut end, mut before, mut rests) = (0u64, kernel_names::Place::default(), TextsReader::default());
    take(bytes, records, |spans| {
        let (address, size) = take_place(bytes, spans, &mut end)?;
        let step = spans.take(bytes, NAME)?;
        if step == 0 {
            return Ok((address, size, take_name(bytes, spans, NEW_NAME)?.to_owned()));
        }
        let name = before.step(step).ok_or_else(|| spans.unexpected(NAME, "the number of a name"))?;
        let rest = rests.take((bytes, spans), REST, NEW_REST)?;
        Ok((address, size, [name, rest].concat()))
    })
}

/// The same of a table of an earlier version, where all names are bytes.
pub(super) fn take_functions(bytes: &[u8], records: &mut Vec<Record>) -> Result<u64, Error> {
    let mut end = 0u64;
    take(bytes, records, |spans| {
        let (address, size) = take_place(bytes, spans, &mut end)?;
        Ok((address, size, take_name(bytes, spans, NAME)?.to_owned()))
    })
}

/// The next address and size, the function before having had its end there.
fn take_place(bytes: &[u8], spans: &mut Spans<COLUMNS>, end: &mut u64) -> Result<(u64, u64), Error> {
    let address = end.wrapping_add(spans.take(bytes, ADDRESS)?.rotate_left(SIXTEENTH));
    let size = spans.take(bytes, SIZE)?.rotate_left(SIXTEENTH);
    *end = address.wrapping_add(size);
    Ok((address, size))
}

fn take_name<'a>(bytes: &'a [u8], spans: &mut Spans<COLUMNS>, column: usize) -> Result<&'a str, Error> {
    let name = spans.take_until(bytes, column, END)?;
    str::from_utf8(name).map_err(|_| spans.unexpected(column, "a name in UTF-8"))
}

/// The same of one before that: addresses by their distance from the one before, and lengths in front of names.
pub(super) fn take_symbols(bytes: &[u8], records: &mut Vec<Record>) -> Result<u64, Error> {
    let mut before = 0u64;
    take(bytes, records, |spans| {
        before = before.wrapping_add(unfold(spans.take(bytes, ADDRESS)?));
        Ok((before, spans.take(bytes, SIZE)?, take_new((bytes, spans), NAME)?.to_owned()))
    })
}

/// Of each symbol, `next` takes address, size and name.
fn take(
    bytes: &[u8],
    records: &mut Vec<Record>,
    mut next: impl FnMut(&mut Spans<COLUMNS>) -> Result<(u64, u64, String), Error>,
) -> Result<u64, Error> {
    let (mut spans, mut modules, mut cost) = (Spans::<COLUMNS>::parse(bytes)?, TextsReader::default(), Cost::default());
    let mut symbols = Vec::new();
    for _ in 0..spans.take(bytes, COUNT)? {
        let (address, size, name) = next(&mut spans)?;
        let module = modules.take((bytes, &mut spans), MODULE, NEW_MODULE)?;
        cost.add(name.len() + module.len())?;
        symbols.push(KernelSymbol { address, size, name, module: module.to_owned() });
    }
    spans.require_end()?;
    records.push(Record::KernelSymbols(KernelSymbols { symbols }));
    Ok(cost.0)
}
