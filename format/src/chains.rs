//! Chains of code addresses. Neighbours often have the same callers: of the chain before, the outer frames that both have are kept, and
//! only the inner ones are written, callers first: what a call site has called last, it calls again, or code near to that.

use rustc_hash::FxHashMap;

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

/// What stands for the caller of an outermost frame.
const NOBODY: u64 = 0;

/// Both sides: the frame that stood last on the inner side of each address.
#[derive(Debug, Default)]
struct Callees(FxHashMap<u64, u64>);

impl Callees {
    fn last(&self, caller: u64) -> Option<u64> {
        self.0.get(&caller).copied()
    }

    fn note(&mut self, caller: u64, callee: u64) {
        self.0.insert(caller, callee);
    }
}

/// The writer's side.
#[derive(Debug, Default)]
pub(crate) struct ChainWriter {
    before: Vec<u64>,
    /// Who showed it.
    space: u32,
    callees: Callees,
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
        columns.put(of.branch, (self.before.len() - kept) as u64);
        let (new, known) = addresses.split_at(addresses.len() - kept);
        columns.put(of.branch, new.len() as u64);
        let mut caller = known.first().copied().unwrap_or(NOBODY);
        for &address in new.iter().rev() {
            self.put_callee((columns, dictionary), of, caller, address);
            caller = address;
        }
        if !of.in_kernel && std::mem::replace(&mut self.space, dictionary.space()) != dictionary.space() {
            known.iter().for_each(|address| dictionary.show(*address));
        }
        self.before.clear();
        self.before.extend_from_slice(addresses);
    }

    fn put_callee(
        &mut self,
        (columns, dictionary): (&mut ColumnWriter, &mut DictionaryWriter),
        of: ChainColumns,
        caller: u64,
        address: u64,
    ) {
        let number = if of.in_kernel { dictionary.kernel_number(address) } else { dictionary.number(address) };
        let last = self.callees.last(caller);
        match number {
            _ if last == Some(address) => return columns.put(of.callee, 0),
            None => {
                columns.put(of.callee, 1);
                columns.put(of.new_callee, fold(address.wrapping_sub(last.unwrap_or(caller))));
            }
            Some(number) => columns.put(of.callee, u64::from(number) + 2),
        }
        self.callees.note(caller, address);
    }
}

/// The reader's side.
#[derive(Debug, Default)]
pub(crate) struct ChainReader {
    before: Vec<u64>,
    callees: Callees,
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
        let known = &self.before[self.before.len() - kept..];
        let mut chain = Vec::with_capacity(new as usize + kept);
        if self.callers_are_first {
            let mut caller = known.first().copied().unwrap_or(NOBODY);
            for _ in 0..new {
                caller = take_callee(&mut self.callees, (columns, dictionary), of, caller)?;
                chain.push(caller);
            }
            chain.reverse();
        } else {
            for _ in 0..new {
                let token = columns.take(of.frames)?;
                chain.push(dictionary.address(columns, token)?);
            }
        }
        chain.extend_from_slice(known);
        self.before = chain;
        Ok(&self.before)
    }
}

/// The next frame on the inner side of a caller.
fn take_callee(
    callees: &mut Callees,
    (columns, dictionary): (&mut ColumnReader, &mut DictionaryReader),
    of: ChainColumns,
    caller: u64,
) -> Result<u64, Error> {
    let last = callees.last(caller);
    let address = match columns.take(of.callee)? {
        0 => return last.ok_or_else(|| columns.unexpected(of.callee, "a caller that has called before")),
        1 => {
            let address = last.unwrap_or(caller).wrapping_add(unfold(columns.take(of.new_callee)?));
            dictionary.add(address);
            address
        }
        number => {
            let known = dictionary.numbered(number - 2);
            known.ok_or_else(|| columns.unexpected(of.callee, "the number of a defined address"))?
        }
    };
    callees.note(caller, address);
    Ok(address)
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
