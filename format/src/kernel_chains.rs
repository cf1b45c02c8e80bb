//! Kernel chains by number: each is told once in a segment, as what it has not of the one before.

use rustc_hash::FxHashMap;

use crate::chains::{self, ChainReader, ChainWriter};
use crate::columns::{Column, ColumnReader, ColumnWriter};
use crate::dictionary::{DictionaryReader, DictionaryWriter};
use crate::error::Error;

/// More addresses than this, all distinct chains of the kernel together, are in no segment: 128 MiB.
pub(crate) const KERNEL_ADDRESSES_LIMIT: usize = 16 << 20;

/// In the column: there is none.
const NONE: u64 = 0;
/// In the column: a new one.
const NEW: u64 = 1;
/// In the column, of the first one.
const FIRST: u64 = 2;

/// The writer's side.
#[derive(Debug, Default)]
pub(crate) struct KernelChainWriter {
    numbers: FxHashMap<Vec<u64>, u32>,
    addresses: usize,
    new: ChainWriter,
}

impl KernelChainWriter {
    /// Addresses of the chains that the segment has.
    pub(crate) fn addresses(&self) -> usize {
        self.addresses
    }

    /// A chain as the column has it, unless it is new.
    pub(crate) fn known(&self, chain: &[u64]) -> Option<u64> {
        if chain.is_empty() { Some(NONE) } else { self.numbers.get(chain).map(|number| u64::from(*number) + FIRST) }
    }

    /// Adds a chain. As the column has it when it is not new, and whether it is.
    pub(crate) fn put(
        &mut self,
        (columns, dictionary): (&mut ColumnWriter, &mut DictionaryWriter),
        chain: &[u64],
    ) -> (u64, bool) {
        if let Some(known) = self.known(chain) {
            columns.put(Column::KernelChain, known);
            return (known, false);
        }
        let number = self.numbers.len() as u32;
        self.numbers.insert(chain.to_vec(), number);
        self.addresses += chain.len();
        columns.put(Column::KernelChain, NEW);
        self.new.put((columns, dictionary), chains::KERNEL, chain);
        (u64::from(number) + FIRST, true)
    }
}

/// The reader's side.
#[derive(Debug, Default)]
pub(crate) struct KernelChainReader {
    chains: Vec<Vec<u64>>,
    addresses: usize,
    new: ChainReader,
}

impl KernelChainReader {
    /// Begins a frame.
    pub(crate) fn start_frame(&mut self, columns: &ColumnReader) {
        self.new.start_frame(columns, chains::KERNEL);
    }

    /// The next chain, as the column has it when it is not new.
    pub(crate) fn take(&mut self, columns: &mut ColumnReader, dictionary: &mut DictionaryReader) -> Result<u64, Error> {
        let number = columns.take(Column::KernelChain)?;
        let next = self.chains.len() as u64 + FIRST;
        if number == NEW {
            let new = self.new.take((columns, dictionary), chains::KERNEL)?;
            self.addresses += new.len();
            self.chains.push(new.to_vec());
            if self.addresses > KERNEL_ADDRESSES_LIMIT {
                return Err(columns.unexpected(Column::KernelChain, "kernel chains of at most 16,777,216 addresses"));
            }
            return Ok(next);
        }
        if number >= next {
            return Err(columns.unexpected(Column::KernelChain, "the number of a defined kernel chain"));
        }
        Ok(number)
    }

    /// A chain that was taken.
    pub(crate) fn chain(&self, number: u64) -> &[u64] {
        let place = number.checked_sub(FIRST).and_then(|place| usize::try_from(place).ok());
        place.and_then(|place| self.chains.get(place)).map_or(&[], Vec::as_slice)
    }
}
