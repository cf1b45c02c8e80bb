//! Threads by number: each is spelled out once in a segment, at the start of the frame that has its first sample. All new threads of a frame
//! are told together, in the order of their numbers, which takes little.

use rustc_hash::FxHashMap;

use crate::columns::{Column, ColumnReader, ColumnWriter};
use crate::error::Error;
use crate::repeats::{RepeatReader, RepeatWriter};
use crate::varint::{fold, unfold};

/// More threads than this are in no segment: the kernel has no more numbers.
const LIMIT: usize = 4 << 20;

/// A process id, and a thread id.
type Ids = (u32, u32);

/// The writer's side.
#[derive(Debug, Default)]
pub(crate) struct ThreadWriter {
    /// In the order in which they were first seen.
    known: FxHashMap<Ids, u32>,
    /// The number of each of these in the file.
    numbers: Vec<u32>,
    /// Those without a number.
    new: Vec<Ids>,
    /// The samples of the frame.
    waiting: Vec<u32>,
}

impl ThreadWriter {
    /// Adds a sample of a thread, and gives the thread's place among all.
    pub(crate) fn put(&mut self, ids: Ids) -> usize {
        let next = self.known.len() as u32;
        let place = *self.known.entry(ids).or_insert(next);
        if place == next {
            self.new.push(ids);
        }
        self.waiting.push(place);
        place as usize
    }

    /// How many threads there are.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// Ends a frame; `repeats` are of its samples, where these are counts.
    pub(crate) fn end_frame(&mut self, columns: &mut ColumnWriter, repeats: Option<&mut RepeatWriter>) {
        let first = self.numbers.len();
        self.numbers.resize(self.known.len(), 0);
        self.new.sort_unstable();
        let mut before = 0;
        for (number, ids) in self.new.drain(..).enumerate() {
            let (pid, tid) = (u64::from(ids.0), u64::from(ids.1));
            columns.put(Column::NewThread, pid - before);
            columns.put(Column::NewThread, fold(tid.wrapping_sub(pid)));
            before = pid;
            self.numbers[self.known[&ids] as usize] = (first + number) as u32;
        }
        let count = self.numbers.len() as u32;
        let numbers = self.waiting.drain(..).map(|place| self.numbers[place as usize]);
        match repeats {
            Some(repeats) => repeats.end_frame(columns, numbers, count),
            None => numbers.for_each(|number| columns.put(Column::Thread, u64::from(number))),
        }
    }
}

/// The reader's side.
#[derive(Debug, Default)]
pub(crate) struct ThreadReader {
    threads: Vec<Ids>,
}

impl ThreadReader {
    /// Begins a frame.
    pub(crate) fn start_frame(&mut self, columns: &mut ColumnReader) -> Result<(), Error> {
        let mut before = 0u64;
        while !columns.is_empty(Column::NewThread) {
            let pid = before.wrapping_add(columns.take(Column::NewThread)?);
            let tid = pid.wrapping_add(unfold(columns.take(Column::NewThread)?));
            let (Ok(pid), Ok(tid)) = (u32::try_from(pid), u32::try_from(tid)) else {
                return Err(columns.unexpected(Column::NewThread, "numbers of at most 32 bits"));
            };
            self.add((pid, tid), columns)?;
            before = u64::from(pid);
        }
        Ok(())
    }

    fn add(&mut self, ids: Ids, columns: &ColumnReader) -> Result<(), Error> {
        if self.threads.len() >= LIMIT {
            return Err(columns.unexpected(Column::NewThread, "at most 4,194,304 threads in a segment"));
        }
        self.threads.push(ids);
        Ok(())
    }

    /// How many threads there are.
    pub(crate) fn len(&self) -> usize {
        self.threads.len()
    }

    /// The thread of the next sample of a stack: its place among all, and its ids.
    pub(crate) fn take_repeated(
        &mut self,
        columns: &mut ColumnReader,
        repeats: &mut RepeatReader,
    ) -> Result<(usize, Ids), Error> {
        let place = repeats.take_thread(columns, self.threads.len())?;
        Ok((place, self.threads[place]))
    }

    /// The next sample's thread: its place among all, and its ids. In an earlier version, a place at the end announced a new thread.
    pub(crate) fn take(&mut self, columns: &mut ColumnReader) -> Result<(usize, Ids), Error> {
        let place = columns.take32(Column::Thread)? as usize;
        if place == self.threads.len() {
            let ids = (columns.take32(Column::ThreadDefinition)?, columns.take32(Column::ThreadDefinition)?);
            self.add(ids, columns)?;
        }
        let ids = self.threads.get(place).copied();
        let ids = ids.ok_or_else(|| columns.unexpected(Column::Thread, "the number of a defined thread"))?;
        Ok((place, ids))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// The bytes of frames of samples of these threads, and the threads that are read of them, with their places.
    fn there_and_back(frames: &[Vec<Ids>]) -> (usize, Vec<Vec<(usize, Ids)>>) {
        let (mut columns, mut writer, mut reader) =
            (ColumnWriter::default(), ThreadWriter::default(), ThreadReader::default());
        let mut length = 0;
        let read = frames.iter().map(|frame| {
            frame.iter().for_each(|ids| _ = writer.put(*ids));
            writer.end_frame(&mut columns, None);
            length += columns.len();
            let mut bytes = Vec::new();
            columns.drain_into(&mut bytes);
            let mut columns = ColumnReader::parse(bytes).unwrap();
            reader.start_frame(&mut columns).unwrap();
            let read = frame.iter().map(|_| reader.take(&mut columns).unwrap()).collect();
            columns.require_end().unwrap();
            assert_eq!(reader.len(), writer.len());
            read
        });
        let read = read.collect();
        (length, read)
    }

    proptest! {
        /// Threads come back as they were, each always at the same place.
        #[test]
        fn threads_round_trip(frames in vec(vec((0u32..3, prop_oneof![0u32..3, any::<u32>()]), 0..9), 0..4)) {
            let read = there_and_back(&frames).1;
            let mut places = FxHashMap::default();
            for (frame, read) in frames.iter().zip(&read) {
                prop_assert_eq!(frame, &read.iter().map(|(_, ids)| *ids).collect::<Vec<_>>());
                for (place, ids) in read {
                    prop_assert_eq!(places.entry(*ids).or_insert(*place), place);
                }
            }
        }
    }

    /// First threads of neighbouring processes take two bytes each, in whichever order they are seen.
    #[test]
    fn new_threads_take_little() {
        let frame: Vec<Ids> =
            (0..100).map(|number| (100_000 + number * 37 % 100, 100_000 + number * 37 % 100)).collect();
        assert_eq!(there_and_back(&[frame]).0, 3 * 100 + 2);
    }

    /// A place behind the end is refused, and so are ids of more than 32 bits.
    #[test]
    fn impossible_threads_are_refused() {
        let refuses = |column, numbers: &[u64]| {
            let (mut columns, mut bytes) = (ColumnWriter::default(), Vec::new());
            numbers.iter().for_each(|number| columns.put(column, *number));
            columns.drain_into(&mut bytes);
            let (mut columns, mut reader) = (ColumnReader::parse(bytes).unwrap(), ThreadReader::default());
            reader.start_frame(&mut columns).and_then(|()| reader.take(&mut columns)).is_err()
        };
        assert!(refuses(Column::Thread, &[1]));
        assert!(refuses(Column::NewThread, &[1 << 32, 0]));
        assert!(refuses(Column::NewThread, &[0, 1]));
        assert!(refuses(Column::NewThread, &[7]));
    }
}
