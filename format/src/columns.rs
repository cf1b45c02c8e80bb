//! The columns of a samples frame: like stands beside like when it is compressed.

use crate::error::Error;
use crate::varint;

/// Declares the columns: their number in the file is their place in this list.
macro_rules! columns {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What a column holds. All are LEB128 numbers; "code" means a token of the dictionary (see
        /// `dictionary`), "words" a signed difference folded for multiples of 8.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Column { $($(#[$doc])* $name),* }

        impl Column {
            pub(crate) const COUNT: usize = [$(Self::$name),*].len();
        }
    };
}

columns! {
    /// The period of the clock, at the start of each frame; then each sample's time: see `times`.
    Time,
    /// CPU number.
    Cpu,
    /// Thread: its number in this segment; of earlier versions, one past the last announces a new one.
    Thread,
    /// A new thread's process id, then its thread id; of earlier versions.
    ThreadDefinition,
    /// Kernel chain: 0 none, 1 a new one, n + 2 the n-th of this segment.
    KernelChain,
    /// A new kernel chain's length, then its addresses as code; of earlier versions.
    KernelFrames,
    /// Shape of the user side: see `Shape`.
    Shape,
    /// Length of a frame-pointer chain, then its addresses as code; of earlier versions.
    Chain,
    /// Top of the stack, where it changed: words from the thread's top before.
    Top,
    /// Captured ranges that are not just "stack pointer to top": how many, then for each the words from the
    /// end before (the first: from the stack pointer) to its start, and to its end.
    Ranges,
    /// A stack: its words (see `stack`), the stack pointer, the instruction pointer, the registers. All in one column, so that
    /// what comes again together is found again at once.
    Stack,
    /// New code addresses: signed difference from the new address before.
    Addresses,
    /// Unwound stack: the number of its verdict.
    Verdict,
    /// Unwound stack: how many frames are guessed, then for each how many frames there are from the guessed one before.
    Guessed,
    /// Unwound stack: how many frames there are beyond the chain, then for each the signed difference from the address before.
    Beyond,
    /// What a sample stands for: see `weights`.
    Weight,
    /// Of the chain before, how many inner frames a chain has not; of earlier versions.
    Dropped,
    /// The same of new kernel chains.
    KernelDropped,
    /// Of the chain before, how many inner frames a chain has not, then how many it has instead: see `chains`.
    Branch,
    /// The same of new kernel chains.
    KernelBranch,
    /// Each of these frames, outermost first: 0 what its caller called last, 1 a new address, n + 2 the n-th of this segment.
    Callee,
    /// The same of new kernel chains.
    KernelCallee,
    /// A new address: signed difference from what its caller called last, or from the caller.
    NewCallee,
    /// The same of new kernel chains.
    NewKernelCallee,
    /// The threads that are new in the frame, all at its start: see `threads`.
    NewThread,
    /// Of counts: how many samples that follow have the same stack. What follows is told of the stack once, then: see `repeats`.
    Repeats,
    /// Of counts, in place of the thread: how far its number is from that of the sample before with the same stack. The last one's.
    LastThread,
    /// The same where one is to follow.
    SecondLastThread,
    /// The same where two or three are.
    FewThreads,
    /// The same where more are.
    ManyThreads,
}

/// Columns being written, by their numbers.
#[derive(Debug)]
pub(crate) struct Columns<const COUNT: usize>([Vec<u8>; COUNT]);

impl<const COUNT: usize> Default for Columns<COUNT> {
    fn default() -> Self {
        Self([const { Vec::new() }; COUNT])
    }
}

impl<const COUNT: usize> Columns<COUNT> {
    #[inline]
    pub(crate) fn put(&mut self, column: usize, value: u64) {
        varint::put(&mut self.0[column], value);
    }

    /// Appends bytes that are no numbers.
    pub(crate) fn put_bytes(&mut self, column: usize, bytes: &[u8]) {
        self.0[column].extend_from_slice(bytes);
    }

    /// Appends all columns, each with its length in front, and empties them.
    pub(crate) fn drain_into(&mut self, out: &mut Vec<u8>) {
        varint::put(out, COUNT as u64);
        for column in &mut self.0 {
            varint::put(out, column.len() as u64);
            out.append(column);
        }
    }
}

/// Columns of samples being written.
#[derive(Debug, Default)]
pub(crate) struct ColumnWriter(Columns<{ Column::COUNT }>);

impl ColumnWriter {
    #[inline]
    pub(crate) fn put(&mut self, column: Column, value: u64) {
        self.0.put(column as usize, value);
    }

    /// Bytes in all columns together.
    pub(crate) fn len(&self) -> usize {
        self.0.0.iter().map(Vec::len).sum()
    }

    /// Empties a column.
    pub(crate) fn clear(&mut self, column: Column) {
        self.0.0[column as usize].clear();
    }

    /// Appends all columns, each with its length in front, and empties them.
    pub(crate) fn drain_into(&mut self, out: &mut Vec<u8>) {
        self.0.drain_into(out);
    }
}

/// What is left of each column: a range of some bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spans<const COUNT: usize>([Span; COUNT]);

/// A range of bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    at: usize,
    end: usize,
}

impl<const COUNT: usize> Default for Spans<COUNT> {
    fn default() -> Self {
        Self([Span::default(); COUNT])
    }
}

impl<const COUNT: usize> Spans<COUNT> {
    /// Finds the columns in these bytes. Columns are added at the end: those of a later version are left unread, and those
    /// that an earlier version did not have are empty.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut at = 0;
        let count = usize::try_from(varint::take(bytes, &mut at)?).unwrap_or(usize::MAX);
        let mut spans = Self::default();
        for span in spans.0.iter_mut().take(count) {
            let length = usize::try_from(varint::take(bytes, &mut at)?).unwrap_or(usize::MAX);
            let end = at.checked_add(length).filter(|&end| end <= bytes.len());
            let end = end.ok_or(Error::content(at, "a column that ends inside its frame"))?;
            *span = Span { at, end };
            at = end;
        }
        Ok(spans)
    }

    /// Whether a column has nothing left.
    pub(crate) fn is_empty(&self, column: usize) -> bool {
        let span = self.0[column];
        span.at == span.end
    }

    /// The next number of a column.
    #[inline]
    pub(crate) fn take(&mut self, bytes: &[u8], column: usize) -> Result<u64, Error> {
        let span = &mut self.0[column];
        varint::take(&bytes[..span.end], &mut span.at)
    }

    /// The next bytes of a column, so many.
    pub(crate) fn take_bytes<'a>(&mut self, bytes: &'a [u8], column: usize, length: u64) -> Result<&'a [u8], Error> {
        let span = &mut self.0[column];
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let taken = bytes[span.at..span.end].get(..length);
        let taken = taken.ok_or(Error::content(span.at, "a column that holds what it is said to"))?;
        span.at += length;
        Ok(taken)
    }

    /// The next bytes of a column, up to one that ends them, which is passed over.
    pub(crate) fn take_until<'a>(&mut self, bytes: &'a [u8], column: usize, end: u8) -> Result<&'a [u8], Error> {
        let span = &mut self.0[column];
        let rest = &bytes[span.at..span.end];
        let length = rest.iter().position(|byte| *byte == end);
        let length = length.ok_or(Error::content(span.at, "bytes that have an end"))?;
        span.at += length + 1;
        Ok(&rest[..length])
    }

    /// An error unless all of the columns was taken.
    pub(crate) fn require_end(&self) -> Result<(), Error> {
        match self.0.iter().find(|span| span.at < span.end) {
            Some(span) => Err(Error::content(span.at, "no more numbers in columns than are asked for")),
            None => Ok(()),
        }
    }

    /// The error for a number that was just taken and is not what it should be.
    pub(crate) fn unexpected(&self, column: usize, expected: &'static str) -> Error {
        Error::content(self.0[column].at, expected)
    }
}

/// Columns of samples being read. It owns their bytes, so that a reader can stop between two samples.
#[derive(Debug, Default)]
pub(crate) struct ColumnReader {
    bytes: Vec<u8>,
    spans: Spans<{ Column::COUNT }>,
}

impl ColumnReader {
    /// Finds the columns in a frame's bytes.
    pub(crate) fn parse(bytes: Vec<u8>) -> Result<Self, Error> {
        let spans = Spans::parse(&bytes)?;
        Ok(Self { bytes, spans })
    }

    /// Gives the bytes back, to be used again.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Whether a column has no numbers left.
    pub(crate) fn is_empty(&self, column: Column) -> bool {
        self.spans.is_empty(column as usize)
    }

    /// The next number of a column.
    #[inline]
    pub(crate) fn take(&mut self, column: Column) -> Result<u64, Error> {
        self.spans.take(&self.bytes, column as usize)
    }

    /// The next number of a column, which has to fit into 32 bits.
    #[inline]
    pub(crate) fn take32(&mut self, column: Column) -> Result<u32, Error> {
        u32::try_from(self.take(column)?).map_err(|_| self.unexpected(column, "a number of at most 32 bits"))
    }

    /// An error unless all numbers of the known columns were taken.
    pub(crate) fn require_end(&self) -> Result<(), Error> {
        self.spans.require_end()
    }

    /// The error for a number that was just taken and is not what it should be.
    pub(crate) fn unexpected(&self, column: Column, expected: &'static str) -> Error {
        self.spans.unexpected(column as usize, expected)
    }
}
