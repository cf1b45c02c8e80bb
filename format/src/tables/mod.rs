//! Records in columns. What happened to processes, modules and their layouts, and the names of kernel functions, are many small records that differ little: side by
//! side in columns they take a fraction of the space. A table is one record in the file, and stands for those in it.

mod kernel;
mod kernel_names;
mod modules;
mod processes;
mod texts;

use crate::error::Error;
use crate::record::Record;
pub(crate) use kernel::put_kernel_symbols;
pub(crate) use modules::ModuleTable;
pub(crate) use processes::ProcessTable;

pub(crate) const PROCESSES: u16 = 20;
/// Of earlier versions, as the next one.
const KERNEL_SYMBOLS: u16 = 21;
const KERNEL_FUNCTIONS: u16 = 22;
pub(crate) const MODULES: u16 = 23;
const KERNEL_NAMES: u16 = 24;

/// The records of a table stand for no more bytes than one record may have.
const LENGTH_LIMIT: u64 = 16 << 20;
/// What a record counts for besides its texts.
const RECORD_COST: u64 = 64;

/// What the records of a table take of a reader.
#[derive(Debug, Default)]
struct Cost(u64);

impl Cost {
    /// Adds a record with so many bytes of text, unless that is too much.
    fn add(&mut self, text: usize) -> Result<(), Error> {
        self.0 += RECORD_COST;
        self.add_part(text)
    }

    /// Adds what belongs to the last record.
    fn add_part(&mut self, bytes: usize) -> Result<(), Error> {
        self.0 += bytes as u64;
        if self.0 > LENGTH_LIMIT { Err(Error::content(0, "a table of at most 16 MiB of records")) } else { Ok(()) }
    }
}

/// Appends the records of a table; `None` where `tag` is not that of one. Gives what they cost.
pub(crate) fn take(tag: u16, bytes: &[u8], records: &mut Vec<Record>) -> Result<Option<u64>, Error> {
    match tag {
        PROCESSES => processes::take(bytes, records).map(Some),
        KERNEL_SYMBOLS => kernel::take_symbols(bytes, records).map(Some),
        KERNEL_FUNCTIONS => kernel::take_functions(bytes, records).map(Some),
        KERNEL_NAMES => kernel::take_names(bytes, records).map(Some),
        MODULES => modules::take(bytes, records).map(Some),
        _ => Ok(None),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
