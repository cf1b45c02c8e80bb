//! Samples of one stack that follow each other, as counts do: the stack is told once, with how many there are. In the order of
//! their threads, each of these is not far from the one before, and the nearer, the more there are.

use crate::columns::{Column, ColumnReader, ColumnWriter};
use crate::error::Error;

/// The writer's side: how many samples follow those whose stack is told.
#[derive(Debug, Default)]
pub(crate) struct RepeatWriter(Vec<u32>);

impl RepeatWriter {
    /// Adds a sample of another stack than the one before.
    pub(crate) fn start(&mut self) {
        self.0.push(0);
    }

    /// Adds a sample of the same stack. Whether there is one in the frame.
    pub(crate) fn repeat(&mut self) -> bool {
        self.0.last_mut().map(|repeats| *repeats += 1).is_some()
    }

    /// Ends a frame whose samples are of the threads of these numbers, of so many.
    pub(crate) fn end_frame(&mut self, columns: &mut ColumnWriter, mut numbers: impl Iterator<Item = u32>, count: u32) {
        for repeats in self.0.drain(..) {
            columns.put(Column::Repeats, u64::from(repeats));
            let mut before = 0;
            for (left, number) in (0..=repeats).rev().zip(numbers.by_ref()) {
                let distance = if number < before { number + count - before } else { number - before };
                columns.put(thread_column(left.into()), u64::from(distance));
                before = number;
            }
        }
    }
}

/// Where a thread is told after which so many of the same stack follow.
fn thread_column(left: u64) -> Column {
    match left {
        0 => Column::LastThread,
        1 => Column::SecondLastThread,
        2 | 3 => Column::FewThreads,
        _ => Column::ManyThreads,
    }
}

/// The reader's side.
#[derive(Debug, Default)]
pub(crate) struct RepeatReader {
    /// The frame has them.
    are_there: bool,
    /// How many samples are to follow of the stack.
    left: u64,
    /// The number of the last one's thread.
    before: u64,
}

/// What is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A sample by itself.
    Sample,
    /// The first sample of a stack.
    First,
    /// Another one of the same stack.
    Repeated,
}

impl RepeatReader {
    /// Begins a frame.
    pub(crate) fn start_frame(&mut self, columns: &ColumnReader) {
        *self = Self { are_there: !columns.is_empty(Column::Repeats), ..Self::default() };
    }

    /// Whether the frame's samples follow each other by their stacks, and not by their times.
    pub(crate) fn are_there(&self) -> bool {
        self.are_there
    }

    /// Begins a sample.
    pub(crate) fn next(&mut self, columns: &mut ColumnReader) -> Result<Next, Error> {
        if !self.are_there {
            return Ok(Next::Sample);
        }
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            return Ok(Next::Repeated);
        }
        (self.left, self.before) = (columns.take(Column::Repeats)?, 0);
        Ok(Next::First)
    }

    /// The number of the sample's thread, of so many.
    pub(crate) fn take_thread(&mut self, columns: &mut ColumnReader, count: usize) -> Result<usize, Error> {
        let (column, count) = (thread_column(self.left), count as u64);
        let distance = Some(columns.take(column)?).filter(|distance| *distance < count);
        let distance = distance.ok_or_else(|| columns.unexpected(column, "the distance to a defined thread"))?;
        self.before = (self.before + distance) % count;
        Ok(self.before as usize)
    }

    /// Ends a frame.
    pub(crate) fn require_end(&self) -> Result<(), Error> {
        if self.left == 0 { Ok(()) } else { Err(Error::content(0, "as many samples of a stack as are said to follow")) }
    }
}
