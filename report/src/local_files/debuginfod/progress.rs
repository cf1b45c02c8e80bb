//! Tells what is being fetched: on the terminal while it comes, and a line for each file that came.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::Instant;

use crate::escape;
use crate::progress::{self, Doing};

/// A file that is being written, and what is told of it.
pub(super) struct Told {
    file: BufWriter<File>,
    what: String,
    length: u64,
    started: Instant,
    doing: Doing,
}

impl Told {
    pub(super) fn new(file: File, what: &str) -> Self {
        let what = format!("debuginfod: {}", escape::text(what));
        let doing = progress::doing(what.clone(), 0);
        Self { file: BufWriter::new(file), what, length: 0, started: Instant::now(), doing }
    }

    /// The file is whole, and kept: says so.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
        let seconds = self.started.elapsed().as_secs_f64();
        // A bar of progress may stand there.
        let start = if io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
        eprintln!("{start}{}: {:.1} MB in {seconds:.1} s", self.what, self.length as f64 / 1e6);
        Ok(())
    }
}

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.length += written as u64;
        self.doing.advance(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
