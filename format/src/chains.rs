//! Chains of code addresses. Neighbours often have the same callers: of the chain before, the outer frames that both have are kept, and
//! only the inner ones are written, callers first: what a call site has called last, it calls again, or code near to that.

use std::num::NonZeroU32;

use crate::columns::{Column, ColumnReader, ColumnWriter};
use crate::dictionary::{DictionaryReader, DictionaryWriter};
use crate::error::Error;
use crate::varint::{fold, unfold};

/// More frames than this are in no chain.
pub(crate) const CHAIN_LIMIT: u64 = 4096;

/// The columns of chains of one side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChainColumns {
    /// How many frames of the chain before are dropped, and how many are new.
    branch: Column,
    callee: Column,
    new_callee: Column,
    /// What earlier versions wrote in place of these: frames, innermost first, and how many are dropped.
    frames: Column,
    dropped: Column,
    in_kernel: bool,
}

pub(crate) const USER: ChainColumns = ChainColumns {
    branch: Column::Branch,
    callee: Column::Callee,
    new_callee: Column::NewCallee,
    frames: Column::Chain,
    dropped: Column::Dropped,
    in_kernel: false,
};
pub(crate) const KERNEL: ChainColumns = ChainColumns {
    branch: Column::KernelBranch,
    callee: Column::KernelCallee,
    new_callee: Column::NewKernelCallee,
    frames: Column::KernelFrames,
    dropped: Column::KernelDropped,
    in_kernel: true,
};

/// A frame, as what is called from it is remembered.
#[derive(Clone, Copy, Debug)]
struct Caller {
    address: u64,
    /// One more than its number in the dictionary; 0 for address 0, and for what calls an outermost frame.
    slot: u32,
}

impl Caller {
    const NOBODY: Self = Self { address: 0, slot: 0 };

    fn new(address: u64, number: u32) -> Self {
        Self { address, slot: if address == 0 { 0 } else { number.wrapping_add(1) } }
    }
}

/// What stood last on the inner side of each address, by its slot. No hash of addresses: those of a hostile recording would meet.
#[derive(Debug)]
struct Callees<T>(Vec<Option<T>>);

impl<T> Default for Callees<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy> Callees<T> {
    fn last(&self, caller: Caller) -> Option<T> {
        self.0.get(caller.slot as usize).copied().flatten()
    }

    fn note(&mut self, caller: Caller, callee: T) {
        let slot = caller.slot as usize;
        if slot >= self.0.len() {
            self.0.resize(slot + 1, None);
        }
        self.0[slot] = Some(callee);
    }
}

/// The writer's side.
#[derive(Debug, Default)]
pub(crate) struct ChainWriter {
    before: Vec<u64>,
    /// Of each frame of it, innermost first.
    slots: Vec<u32>,
    /// Who showed it.
    space: u32,
    /// By address.
    callees: Callees<u64>,
}

impl ChainWriter {
    /// Adds a chain. None is longer than a reader takes.
    pub(crate) fn put(
        &mut self,
        (columns, dictionary): (&mut ColumnWriter, &mut DictionaryWriter),
        of: ChainColumns,
        addresses: &[u64],
    ) {
        let addresses = &addresses[..addresses.len().min(CHAIN_LIMIT as usize)];
        let pairs = addresses.iter().rev().zip(self.before.iter().rev());
        let kept = pairs.take_while(|(new, before)| new == before).count();
        let dropped = self.before.len() - kept;
        columns.put(of.branch, dropped as u64);
        let (new, known) = addresses.split_at(addresses.len() - kept);
        columns.put(of.branch, new.len() as u64);
        self.slots.drain(..dropped);
        let outer = known.first().zip(self.slots.first());
        let mut caller = outer.map_or(Caller::NOBODY, |(&address, &slot)| Caller { address, slot });
        let mut slots = Vec::with_capacity(addresses.len());
        for &address in new.iter().rev() {
            caller = self.put_callee((columns, dictionary), of, caller, address);
            slots.push(caller.slot);
        }
        slots.reverse();
        slots.append(&mut self.slots);
        self.slots = slots;
        if !of.in_kernel && std::mem::replace(&mut self.space, dictionary.space()) != dictionary.space() {
            known.iter().for_each(|address| dictionary.show(*address));
        }
        self.before.clear();
        self.before.extend_from_slice(addresses);
    }

    /// Whether a chain is the one before.
    pub(crate) fn is_before(&self, addresses: &[u64]) -> bool {
        self.before == addresses
    }

    /// Notes that the chain before is shown again, by a user's side.
    pub(crate) fn repeat(&mut self, dictionary: &mut DictionaryWriter) {
        if std::mem::replace(&mut self.space, dictionary.space()) != dictionary.space() {
            self.before.iter().for_each(|address| dictionary.show(*address));
        }
    }

    fn put_callee(
        &mut self,
        (columns, dictionary): (&mut ColumnWriter, &mut DictionaryWriter),
        of: ChainColumns,
        caller: Caller,
        address: u64,
    ) -> Caller {
        let number = if of.in_kernel { dictionary.kernel_number(address) } else { dictionary.number(address) };
        let last = self.callees.last(caller);
        match number {
            _ if last == Some(address) => columns.put(of.callee, 0),
            None => {
                columns.put(of.callee, 1);
                columns.put(of.new_callee, fold(address.wrapping_sub(last.unwrap_or(caller.address))));
            }
            Some(number) => columns.put(of.callee, u64::from(number) + 2),
        }
        self.callees.note(caller, address);
        Caller::new(address, number.unwrap_or_else(|| dictionary.last_number()))
    }
}

/// The reader's side.
#[derive(Debug, Default)]
pub(crate) struct ChainReader {
    before: Vec<u64>,
    /// Of each frame of it, innermost first.
    slots: Vec<u32>,
    /// By one more than the number.
    callees: Callees<NonZeroU32>,
    /// The chains of the frame are written callers first.
    callers_are_first: bool,
    /// Those of an earlier version keep something of those before.
    is_kept: bool,
}

impl ChainReader {
    /// Begins a frame.
    pub(crate) fn start_frame(&mut self, columns: &ColumnReader, of: ChainColumns) {
        self.callers_are_first = !columns.is_empty(of.branch);
        self.is_kept = !columns.is_empty(of.dropped);
    }

    /// The chain before.
    pub(crate) fn before(&self) -> &[u64] {
        &self.before
    }

    /// The next chain.
    pub(crate) fn take(
        &mut self,
        (columns, dictionary): (&mut ColumnReader, &mut DictionaryReader),
        of: ChainColumns,
    ) -> Result<&[u64], Error> {
        let (dropped, counts) = match (self.callers_are_first, self.is_kept) {
            (true, _) => (Some(of.branch), of.branch),
            (false, true) => (Some(of.dropped), of.frames),
            (false, false) => (None, of.frames),
        };
        let mut kept = 0;
        if let Some(column) = dropped {
            let dropped = usize::try_from(columns.take(column)?).ok();
            let left = dropped.and_then(|dropped| self.before.len().checked_sub(dropped));
            kept = left.ok_or_else(|| columns.unexpected(column, "at most all frames of the chain before"))?;
        }
        let new = columns.take(counts)?;
        if new.saturating_add(kept as u64) > CHAIN_LIMIT {
            return Err(columns.unexpected(counts, "a chain of at most 4096 frames"));
        }
        let inner = self.before.len() - kept;
        let outer = self.before.get(inner).zip(self.slots.get(inner));
        let mut caller = outer.map_or(Caller::NOBODY, |(&address, &slot)| Caller { address, slot });
        let mut frames = Vec::with_capacity(new as usize);
        for _ in 0..new {
            caller = match self.callers_are_first {
                true => self.take_callee((columns, dictionary), of, caller)?,
                false => {
                    let token = columns.take(of.frames)?;
                    let (number, address) = dictionary.numbered(columns, token)?;
                    Caller::new(address, number)
                }
            };
            frames.push(caller);
        }
        if self.callers_are_first {
            frames.reverse();
        }
        self.before.splice(..inner, frames.iter().map(|frame| frame.address));
        self.slots.splice(..inner, frames.iter().map(|frame| frame.slot));
        Ok(&self.before)
    }

    /// The next frame on the inner side of a caller.
    fn take_callee(
        &mut self,
        (columns, dictionary): (&mut ColumnReader, &mut DictionaryReader),
        of: ChainColumns,
        caller: Caller,
    ) -> Result<Caller, Error> {
        let last = self.callees.last(caller).and_then(|after| dictionary.known(u64::from(after.get()) - 1));
        let (number, address) = match columns.take(of.callee)? {
            0 => last.ok_or_else(|| columns.unexpected(of.callee, "a caller that has called before"))?,
            1 => {
                let from = last.map_or(caller.address, |(_, address)| address);
                let address = from.wrapping_add(unfold(columns.take(of.new_callee)?));
                (dictionary.add(address), address)
            }
            number => {
                let known = dictionary.known(number - 2);
                known.ok_or_else(|| columns.unexpected(of.callee, "the number of a defined address"))?
            }
        };
        self.callees.note(caller, NonZeroU32::MIN.saturating_add(number));
        Ok(Caller::new(address, number))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// The bytes of frames of these chains, and the chains that are read of them.
    fn there_and_back(frames: &[Vec<Vec<u64>>]) -> (usize, Vec<Vec<Vec<u64>>>) {
        let (mut columns, mut dictionary) = (ColumnWriter::default(), DictionaryWriter::default());
        let (mut writer, mut reader) = (ChainWriter::default(), ChainReader::default());
        let mut known = DictionaryReader::default();
        let (mut length, mut read) = (0, Vec::new());
        for frame in frames {
            frame.iter().for_each(|chain| writer.put((&mut columns, &mut dictionary), USER, chain));
            let mut bytes = Vec::new();
            columns.drain_into(&mut bytes);
            length += bytes.len();
            let mut columns = ColumnReader::parse(bytes).unwrap();
            reader.start_frame(&columns, USER);
            let mut take = || reader.take((&mut columns, &mut known), USER).unwrap().to_vec();
            read.push(frame.iter().map(|_| take()).collect());
            columns.require_end().unwrap();
        }
        (length, read)
    }

    proptest! {
        /// Chains come back as they were, whatever neighbours have in common, also from frame to frame.
        #[test]
        fn chains_round_trip(frames in vec(vec(vec(0u64..4, 0..6), 0..6), 0..4)) {
            prop_assert_eq!(there_and_back(&frames).1, frames);
        }
    }

    /// Callers that the chain before has are not written again.
    #[test]
    fn callers_are_written_once() {
        let callers: Vec<u64> = (0..100).map(|number| number << 20).collect();
        let chain = |inner: u64| [&[inner], &callers[..]].concat();
        let (one, two) = (there_and_back(&[vec![chain(1)]]).0, there_and_back(&[vec![chain(1), chain(2)]]).0);
        assert!(two - one < 16, "{one} {two}");
    }

    /// What a call site called last is a number of one byte when it is called again, and what is near to it a short distance.
    #[test]
    fn callees_are_found_again() {
        let far = |number: u64| number << 40 | 7;
        let frames = vec![vec![vec![far(3), far(2), far(1)], vec![far(4)], vec![far(3), far(2), far(1)]]];
        let (two, three) = (there_and_back(&[frames[0][..2].to_vec()]).0, there_and_back(&frames).0);
        assert_eq!(three - two, 5, "dropped, new, and one number for each of three frames");
        let near = vec![vec![far(3) + 9, far(2), far(1)]];
        let near = [&frames[0][..], &near].concat();
        assert_eq!(there_and_back(&[near]).0 - three, 4);
    }

    /// Chains that earlier versions wrote, innermost frame first, with or without frames that are kept.
    #[test]
    fn chains_of_earlier_versions_are_read() {
        let (mut columns, mut writer) = (ColumnWriter::default(), DictionaryWriter::default());
        let chains: [(Option<u64>, &[u64]); 2] = [(None, &[9, 5]), (Some(1), &[7])];
        for keeps in [false, true] {
            for (dropped, new) in chains {
                if keeps {
                    columns.put(Column::Dropped, dropped.unwrap_or_default());
                }
                columns.put(Column::Chain, new.len() as u64);
                for address in new {
                    let token = writer.token(&mut columns, *address);
                    columns.put(Column::Chain, token);
                }
            }
            let mut bytes = Vec::new();
            columns.drain_into(&mut bytes);
            writer = DictionaryWriter::default();
            let mut columns = ColumnReader::parse(bytes).unwrap();
            let (mut reader, mut known) = (ChainReader::default(), DictionaryReader::default());
            reader.start_frame(&columns, USER);
            let mut take = || reader.take((&mut columns, &mut known), USER).unwrap().to_vec();
            let second = if keeps { vec![7, 5] } else { vec![7] };
            assert_eq!([take(), take()], [vec![9, 5], second]);
            columns.require_end().unwrap();
        }
    }

    fn refusal(columns: &mut ColumnWriter, chains: usize) -> Option<Error> {
        let mut bytes = Vec::new();
        columns.drain_into(&mut bytes);
        let mut columns = ColumnReader::parse(bytes).unwrap();
        let (mut reader, mut known) = (ChainReader::default(), DictionaryReader::default());
        reader.start_frame(&columns, USER);
        (0..chains).find_map(|_| reader.take((&mut columns, &mut known), USER).err())
    }

    /// To keep more than there was, to become too long, to call again what was not called, and what has no number are errors.
    #[test]
    fn impossible_chains_are_refused() {
        let mut columns = ColumnWriter::default();
        for (dropped, counts) in [(vec![1], vec![0]), (vec![0, 1], vec![4096, 4097])] {
            for (dropped, count) in dropped.into_iter().zip(counts) {
                columns.put(Column::Branch, dropped);
                columns.put(Column::Branch, count);
                for _ in 0..count {
                    columns.put(Column::Callee, 1);
                    columns.put(Column::NewCallee, 8);
                }
            }
            assert!(refusal(&mut columns, 2).is_some());
        }
        for callee in [0, 2] {
            (0..2).for_each(|number| columns.put(Column::Branch, number));
            columns.put(Column::Callee, callee);
            assert!(refusal(&mut columns, 1).is_some());
        }
    }
}
