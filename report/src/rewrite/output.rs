//! Where a recording is written to: a new file that only its owner can read, or the standard output. A file that did not get its
//! end is removed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use profrec_format::{Header, Record, Sample, Totals, Writer};

/// A recording that is being written.
pub(super) struct Output {
    writer: Writer<Box<dyn Write>>,
    name: PathBuf,
    unfinished: Unfinished,
}

/// A file that is removed unless it is finished.
struct Unfinished(Option<PathBuf>);

impl Output {
    /// Opens the output, which must not be one of the `inputs`, and writes the header.
    pub(super) fn create(path: &Path, force: bool, inputs: &[&Path], header: &Header) -> Result<Self> {
        let (out, unfinished): (Box<dyn Write>, _) = if path == Path::new("-") {
            if io::stdout().is_terminal() {
                bail!("a recording is not text: redirect the standard output, or give a file with -o");
            }
            (Box::new(io::stdout()), Unfinished(None))
        } else {
            if let Some(input) = inputs.iter().find(|input| is_same(input, path)) {
                bail!("{} cannot be read and written at once: give another file with -o", input.display());
            }
            let file = create(path, force)?;
            let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
            (Box::new(file), Unfinished(is_file.then(|| path.to_owned())))
        };
        let writer = Writer::create(out, header).with_context(|| cannot_write(path))?;
        Ok(Self { writer, name: path.to_owned(), unfinished })
    }

    /// Ends a segment, and begins the next.
    pub(super) fn start_segment(&mut self) -> Result<()> {
        self.writer.flush().with_context(|| cannot_write(&self.name))?;
        self.require_readable()?;
        self.writer.start_segment().with_context(|| cannot_write(&self.name))
    }

    /// Adds a record.
    pub(super) fn record(&mut self, record: &Record) -> Result<()> {
        self.writer.record(record).with_context(|| cannot_write(&self.name))
    }

    /// Adds a sample.
    pub(super) fn sample(&mut self, sample: &Sample) -> Result<()> {
        self.writer.sample(sample).with_context(|| cannot_write(&self.name))?;
        Ok(())
    }

    /// Samples that were added.
    pub(super) fn samples(&self) -> u64 {
        self.writer.samples_written()
    }

    /// Ticks that these stand for.
    pub(super) fn ticks(&self) -> u64 {
        self.writer.ticks_written()
    }

    /// Samples that have left for the file, by CPU: all, once it was flushed.
    pub(super) fn flushed_by_cpu(&mut self) -> Result<&BTreeMap<u32, u64>> {
        self.writer.flush().with_context(|| cannot_write(&self.name))?;
        Ok(self.writer.ticks_by_cpu())
    }

    /// Closes the recording, and keeps it.
    pub(super) fn finish(mut self, totals: &Totals) -> Result<()> {
        self.writer.flush().with_context(|| cannot_write(&self.name))?;
        self.require_readable()?;
        self.writer.finish(totals).with_context(|| cannot_write(&self.name))?;
        self.unfinished.0 = None;
        Ok(())
    }

    /// Samples that are rewritten can take more room than they took, in a recording that was made for it.
    fn require_readable(&self) -> Result<()> {
        if !self.writer.segment_is_readable() {
            bail!("a segment of the recording is larger than any recorder makes it, and could not be read again");
        }
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // The error that led here is told; that a recording without an end stays is no other one.
            let _remains = std::fs::remove_file(path);
        }
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

fn create(path: &Path, force: bool) -> Result<File> {
    const OWNER_ONLY: u32 = 0o600;
    let mut options = OpenOptions::new();
    options.write(true).mode(OWNER_ONLY);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let name = path.display();
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{name} exists: give another file with -o, or --force to replace it")
        }
        Err(error) => return Err(error).with_context(|| format!("cannot create {name}")),
    };
    if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        // A file that was there keeps its mode otherwise.
        let mode = PermissionsExt::from_mode(OWNER_ONLY);
        file.set_permissions(mode).with_context(|| format!("cannot protect {name}"))?;
    }
    Ok(file)
}

/// Whether two paths lead to the same file.
fn is_same(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| path.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()));
    place(one).is_some_and(|found| place(other) == Some(found))
}
