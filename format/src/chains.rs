//! Chains of code addresses. Neighbours often have the same callers: of the chain before, the outer frames that both have are kept, and
//! only the inner ones are written.

use crate::columns::{Column, ColumnReader, ColumnWriter};
use crate::dictionary::{DictionaryReader, DictionaryWriter};
use crate::error::Error;

/// More frames than this are in no chain.
pub(crate) const CHAIN_LIMIT: u64 = 4096;

/// The columns of chains of one side: their frames, and how many of the one before are dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChainColumns {
    frames: Column,
    dropped: Column,
    in_kernel: bool,
}

pub(crate) const USER: ChainColumns =
    ChainColumns { frames: Column::Chain, dropped: Column::Dropped, in_kernel: false };
pub(crate) const KERNEL: ChainColumns =
    ChainColumns { frames: Column::KernelFrames, dropped: Column::KernelDropped, in_kernel: true };

/// The writer's side.
#[derive(Debug, Default)]
pub(crate) struct ChainWriter {
    before: Vec<u64>,
    /// Who showed it.
    space: u32,
    /// A chain of this frame keeps something of the one before.
    is_needed: bool,
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
        self.is_needed |= kept > 0;
        columns.put(of.dropped, (self.before.len() - kept) as u64);
        let (new, known) = addresses.split_at(addresses.len() - kept);
        columns.put(of.frames, new.len() as u64);
        for &address in new {
            let token = match of.in_kernel {
                true => dictionary.kernel_token(columns, address),
                false => dictionary.token(columns, address),
            };
            columns.put(of.frames, token);
        }
        if !of.in_kernel && std::mem::replace(&mut self.space, dictionary.space()) != dictionary.space() {
            known.iter().for_each(|address| dictionary.show(*address));
        }
        self.before.clear();
        self.before.extend_from_slice(addresses);
    }

    /// Ends a frame.
    pub(crate) fn end_frame(&mut self, columns: &mut ColumnWriter, of: ChainColumns) {
        if !std::mem::take(&mut self.is_needed) {
            columns.clear(of.dropped);
        }
    }
}

/// The reader's side.
#[derive(Debug, Default)]
pub(crate) struct ChainReader {
    before: Vec<u64>,
    /// The chains of the frame keep something of those before.
    is_there: bool,
}

impl ChainReader {
    /// Begins a frame.
    pub(crate) fn start_frame(&mut self, columns: &ColumnReader, of: ChainColumns) {
        self.is_there = !columns.is_empty(of.dropped);
    }

    /// The next chain.
    pub(crate) fn take(
        &mut self,
        (columns, dictionary): (&mut ColumnReader, &mut DictionaryReader),
        of: ChainColumns,
    ) -> Result<&[u64], Error> {
        let mut kept = 0;
        if self.is_there {
            let dropped = usize::try_from(columns.take(of.dropped)?).ok();
            let left = dropped.and_then(|dropped| self.before.len().checked_sub(dropped));
            kept = left.ok_or_else(|| columns.unexpected(of.dropped, "at most all frames of the chain before"))?;
        }
        let new = columns.take(of.frames)?;
        if new.saturating_add(kept as u64) > CHAIN_LIMIT {
            return Err(columns.unexpected(of.frames, "a chain of at most 4096 frames"));
        }
        let outer = self.before.len() - kept;
        let mut chain = Vec::with_capacity(new as usize + kept);
        for _ in 0..new {
            let token = columns.take(of.frames)?;
            chain.push(dictionary.address(columns, token)?);
        }
        chain.extend_from_slice(&self.before[outer..]);
        self.before = chain;
        Ok(&self.before)
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
            writer.end_frame(&mut columns, USER);
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

    /// To keep more than there was, and to become too long, are errors.
    #[test]
    fn impossible_chains_are_refused() {
        for (dropped, new) in [(vec![1], vec![0]), (vec![0, 1], vec![4096, 4097])] {
            let mut columns = ColumnWriter::default();
            dropped.into_iter().for_each(|number| columns.put(Column::Dropped, number));
            for count in new {
                columns.put(Column::Chain, count);
                (0..count).for_each(|_| columns.put(Column::Chain, 1));
            }
            let mut dictionary = DictionaryWriter::default();
            dictionary.token(&mut columns, 7);
            let mut bytes = Vec::new();
            columns.drain_into(&mut bytes);
            let mut columns = ColumnReader::parse(bytes).unwrap();
            let (mut reader, mut known) = (ChainReader::default(), DictionaryReader::default());
            known.address(&mut columns, 0).unwrap();
            reader.start_frame(&columns, USER);
            let mut take = || reader.take((&mut columns, &mut known), USER).map(|_| ());
            assert!(take().and_then(|()| take()).is_err());
        }
    }
}
