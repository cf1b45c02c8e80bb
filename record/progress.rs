//! The line on the terminal while a recording runs.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use crate::own_cost::own_cpu_time;
use crate::stream::Stream;
use crate::summary;

/// A line that is written over once a second, if anybody sees it.
pub(crate) struct Progress {
    visible: bool,
}

impl Progress {
    /// Nothing is shown when `quiet`, or when the standard error is not a terminal.
    pub(crate) fn new(quiet: bool) -> Self {
        Self { visible: !quiet && io::stderr().is_terminal() }
    }

    /// Shows how far the recording is.
    pub(crate) fn show<W: Write>(&self, stream: &Stream<W>, elapsed: Duration) {
        if !self.visible {
            return;
        }
        let cpu = own_cpu_time().as_secs_f64() / elapsed.as_secs_f64().max(0.001) * 100.0;
        put(&format!(
            "\r\x1b[K{:.0} s  {} samples  {} lost  {}  own CPU {cpu:.1} %",
            elapsed.as_secs_f64(),
            stream.samples_written(),
            stream.losses().samples(),
            summary::size(stream.bytes_written()),
        ));
    }

    /// Removes the line.
    pub(crate) fn clear(&self) {
        if self.visible {
            put("\r\x1b[K");
        }
    }
}

/// Writes to the standard error. That it went away, or that its disk is full, is no reason to stop recording.
pub(crate) fn put(text: &str) {
    let mut terminal = io::stderr().lock();
    let _gone = terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush());
}
