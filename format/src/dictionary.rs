//! Code addresses by number. A thread's stacks name the same few thousand addresses over and over;
//! each is spelled out once in a segment and is a small number after that.
//!
//! A token of code is 0 for an address that is new (its value goes to [`Column::Addresses`]) and
//! n + 1 for the n-th address of the segment.

use rustc_hash::FxHashMap;

use crate::columns::{Column, ColumnReader, ColumnWriter};
use crate::error::Error;
use crate::varint::{fold, unfold};

/// The writer's side: from address to number.
#[derive(Debug, Default)]
pub(crate) struct DictionaryWriter {
    numbers: FxHashMap<u64, u32>,
    last_new: u64,
}

impl DictionaryWriter {
    /// The token of `address`; defines it when it is new.
    #[inline]
    pub(crate) fn token(&mut self, columns: &mut ColumnWriter, address: u64) -> u64 {
        let next = self.numbers.len() as u32;
        let number = *self.numbers.entry(address).or_insert(next);
        if number != next {
            return u64::from(number) + 1;
        }
        columns.put(Column::Addresses, fold(address.wrapping_sub(self.last_new)));
        self.last_new = address;
        0
    }
}

/// The reader's side: from number to address.
#[derive(Debug, Default)]
pub(crate) struct DictionaryReader {
    addresses: Vec<u64>,
}

impl DictionaryReader {
    /// The address that a token stands for.
    #[inline]
    pub(crate) fn address(&mut self, columns: &mut ColumnReader, token: u64) -> Result<u64, Error> {
        if token == 0 {
            let difference = unfold(columns.take(Column::Addresses)?);
            let address = self.addresses.last().copied().unwrap_or(0).wrapping_add(difference);
            self.addresses.push(address);
            return Ok(address);
        }
        let number = usize::try_from(token - 1).unwrap_or(usize::MAX);
        let address = self.addresses.get(number).copied();
        address.ok_or_else(|| columns.unexpected(Column::Addresses, "the number of a defined address"))
    }
}
