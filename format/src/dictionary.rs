//! Code addresses by number. A thread's stacks name the same few thousand addresses over and over;
//! each is spelled out once in a segment and is a small number after that.
//!
//! A token of code is 0 for an address that is new (its value goes to [`Column::Addresses`]) and
//! n + 1 for the n-th address of the segment. Chains have tokens of their own (see `chains`), and share the numbers.

use std::collections::HashMap;

use crate::address_hash::AddressHash;
use crate::columns::{Column, ColumnReader, ColumnWriter};
use crate::error::Error;
use crate::varint::{fold, unfold};

/// The writer's side: from address to number.
#[derive(Debug, Default)]
pub(crate) struct DictionaryWriter {
    known: HashMap<u64, Known, AddressHash>,
    last_new: u64,
    /// The address space of the sample at hand.
    space: u32,
    /// Code that another space has shown last, or none.
    new_to_space: Vec<u64>,
}

/// What is known of an address.
#[derive(Clone, Copy, Debug)]
struct Known {
    number: u32,
    /// The address space that showed it last.
    space: u32,
}

impl DictionaryWriter {
    /// Begins a sample of an address space.
    pub(crate) fn start_sample(&mut self, space: u32) {
        self.space = space;
        self.new_to_space.clear();
    }

    /// Code of the sample that its address space may not have shown in this segment.
    pub(crate) fn new_to_space(&self) -> &[u64] {
        &self.new_to_space
    }

    /// That address space.
    pub(crate) fn space(&self) -> u32 {
        self.space
    }

    /// An address that has a token is in the sample's address space, too.
    pub(crate) fn show(&mut self, address: u64) {
        if let Some(known) = self.known.get_mut(&address)
            && known.space != self.space
        {
            known.space = self.space;
            self.new_to_space.push(address);
        }
    }

    /// What may be code in the sample's address space, and has no token.
    pub(crate) fn show_without_token(&mut self, address: u64) {
        self.new_to_space.push(address);
    }

    /// The token of an address in an address space; defines it when it is new.
    #[inline]
    pub(crate) fn token(&mut self, columns: &mut ColumnWriter, address: u64) -> u64 {
        if let Some(number) = self.number(address) {
            return u64::from(number) + 1;
        }
        columns.put(Column::Addresses, fold(address.wrapping_sub(self.last_new)));
        self.last_new = address;
        0
    }

    /// The number that an address had last that was new.
    pub(crate) fn last_number(&self) -> u32 {
        (self.known.len() as u32).wrapping_sub(1)
    }

    /// The number of an address in an address space; `None` for one that is new, and has the next number from now on.
    #[inline]
    pub(crate) fn number(&mut self, address: u64) -> Option<u32> {
        let next = self.known.len() as u32;
        let known = self.known.entry(address).or_insert(Known { number: next, space: self.space });
        let number = known.number;
        if number == next {
            self.new_to_space.push(address);
            return None;
        }
        if known.space != self.space {
            known.space = self.space;
            self.new_to_space.push(address);
        }
        Some(number)
    }

    /// The same of an address in the kernel, where no process has code.
    pub(crate) fn kernel_number(&mut self, address: u64) -> Option<u32> {
        let next = self.known.len() as u32;
        let number = self.known.entry(address).or_insert(Known { number: next, space: self.space }).number;
        (number != next).then_some(number)
    }
}

/// The reader's side: from number to address.
#[derive(Debug, Default)]
pub(crate) struct DictionaryReader {
    addresses: Vec<u64>,
    /// The last address that a token defined.
    last_new: u64,
}

impl DictionaryReader {
    /// The address that a token stands for.
    #[inline]
    pub(crate) fn address(&mut self, columns: &mut ColumnReader, token: u64) -> Result<u64, Error> {
        self.numbered(columns, token).map(|(_, address)| address)
    }

    /// The same with its number.
    #[inline]
    pub(crate) fn numbered(&mut self, columns: &mut ColumnReader, token: u64) -> Result<(u32, u64), Error> {
        if token == 0 {
            self.last_new = self.last_new.wrapping_add(unfold(columns.take(Column::Addresses)?));
            return Ok((self.add(self.last_new), self.last_new));
        }
        self.known(token - 1).ok_or_else(|| columns.unexpected(Column::Addresses, "the number of a defined address"))
    }

    /// Gives an address the next number.
    pub(crate) fn add(&mut self, address: u64) -> u32 {
        self.addresses.push(address);
        (self.addresses.len() - 1) as u32
    }

    /// A number with its address.
    pub(crate) fn known(&self, number: u64) -> Option<(u32, u64)> {
        let number = u32::try_from(number).ok()?;
        Some((number, *self.addresses.get(number as usize)?))
    }
}
