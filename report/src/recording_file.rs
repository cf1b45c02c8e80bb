//! A recording's bytes: of a file, or of a pipe.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result};

use crate::local_files::MappedFile;

/// What a recording starts with.
const MAGIC: &[u8] = b"profrec\0";

/// A recording's bytes.
pub enum RecordingFile {
    /// Of a regular file.
    Mapped(MappedFile),
    /// Of a pipe.
    Read(Vec<u8>),
}

impl RecordingFile {
    /// Opens a recording; `-` is the standard input.
    pub fn open(path: &Path) -> Result<Self> {
        Self::find(path).with_context(|| format!("cannot open the recording {}", path.display()))
    }

    fn find(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Self::read(io::stdin().lock());
        }
        let metadata = fs::metadata(path)?;
        if metadata.is_file() && metadata.len() > 0 {
            return Ok(Self::Mapped(MappedFile::open(path)?));
        }
        Self::read(fs::File::open(path)?)
    }

    /// Reads all there is, unless its first bytes already say that it is no recording: it may have no end.
    fn read(mut from: impl Read) -> io::Result<Self> {
        let mut bytes = Vec::new();
        from.by_ref().take(MAGIC.len() as u64).read_to_end(&mut bytes)?;
        if bytes == MAGIC {
            from.read_to_end(&mut bytes)?;
        }
        Ok(Self::Read(bytes))
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(file) => file.bytes(),
            Self::Read(bytes) => bytes,
        }
    }
}
