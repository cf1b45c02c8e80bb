//! What takes the frames of the part at hand: a file, or memory.

use std::io::{self, Write};
use std::sync::Arc;

use crate::output::Output;
use crate::room::Room;
use crate::stop::End;

/// Where frames go.
pub(crate) enum Sink {
    /// A file, or the standard output.
    File(Output),
    /// One of several files that may have so much together.
    Part(Output, Room),
    /// Memory: the part may be written to a file later, or never.
    Memory(Vec<u8>),
}

impl Sink {
    /// A reader that does not read is waited for until the recording is to end, and a little longer.
    pub(crate) fn wait_until(&mut self, end: Arc<End>) {
        if let Self::File(output) = self {
            output.wait_until(end);
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File(output) => output.write_all(bytes),
            Self::Part(output, room) => {
                room.take(bytes.len() as u64)?;
                output.write_all(bytes)
            }
            Self::Memory(memory) => {
                memory.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(output) | Self::Part(output, _) => output.flush(),
            Self::Memory(_) => Ok(()),
        }
    }
}
