//! Where the recording goes: a new file that only its owner can read, or the standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use profrec_format::{Error, Recording};

use crate::slow_reader::SlowReader;
use crate::stop::End;

/// Where a recording goes. It takes a frame as a whole or not at all, as long as what was taken can be cut off again:
/// behind a torn frame nothing is written.
pub(crate) struct Output {
    file: File,
    /// A file of the recorder's own. What is given as the standard output is never cut and never sought in.
    own: bool,
    /// Bytes of the frames that it has taken.
    length: u64,
    /// It ends inside a frame.
    torn: bool,
    /// The disk is asked at each flush.
    sync: bool,
    /// Where its reader may be slow: how long that is waited for.
    reader: Option<SlowReader>,
}

impl Output {
    /// Opens the output; `-` is the standard output.
    pub(crate) fn open(path: &Path, force: bool, sync: bool) -> Result<Self> {
        let is_stdout = path == Path::new("-");
        let file = if is_stdout { standard_output()? } else { create(path, force)? };
        let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
        let sync = sync && is_file;
        if sync && !is_stdout {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.with_context(|| format!("syncing {}, where the recording will be", folder.display()))?;
        }
        Ok(Self { file, own: is_file && !is_stdout, length: 0, torn: false, sync, reader: None })
    }

    /// Waits for a reader that does not read until `end`, and a little longer.
    pub(crate) fn wait_until(&mut self, end: Arc<End>) {
        if self.file.metadata().is_ok_and(|metadata| !metadata.is_file()) {
            self.reader = Some(SlowReader::new(end));
        }
    }

    /// Whether it is a file that was made for the recording.
    pub(crate) fn is_own_file(&self) -> bool {
        self.own
    }

    /// Cuts off what was taken of a frame that failed.
    fn cut_back(&mut self) -> io::Result<()> {
        if !self.own {
            return Err(io::ErrorKind::NotSeekable.into());
        }
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length)).map(drop)
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.torn {
            return Err(io::Error::other("it ends inside a frame"));
        }
        let result = match &mut self.reader {
            Some(reader) => reader.write_all(&mut self.file, bytes),
            None => self.file.write_all(bytes),
        };
        match &result {
            Ok(()) => self.length += bytes.len() as u64,
            Err(_) => self.torn = self.cut_back().is_err(),
        }
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.sync { self.file.sync_data() } else { Ok(()) }
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The standard output without a buffer of its own.
fn standard_output() -> Result<File> {
    let output = io::stdout();
    if output.is_terminal() {
        bail!("a recording is not text: redirect the standard output, or give a file with -o");
    }
    Ok(output.as_fd().try_clone_to_owned().context("using the standard output")?.into())
}

fn create(path: &Path, force: bool) -> Result<File> {
    const OWNER_ONLY: u32 = 0o600;
    let mut options = OpenOptions::new();
    options.write(true).mode(OWNER_ONLY);
    if force && is_of_another_user(path) {
        // Its owner could read what is written to it.
        std::fs::remove_file(path)
            .with_context(|| format!("replacing {}, which belongs to another user", path.display()))?;
        options.create_new(true);
    } else if force {
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
        Err(error) => return Err(error).with_context(|| format!("creating {name}: give another file with -o")),
    };
    if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        // A file that was there keeps its mode otherwise.
        file.set_permissions(PermissionsExt::from_mode(OWNER_ONLY)).with_context(|| format!("protecting {name}"))?;
    }
    Ok(file)
}

fn is_of_another_user(path: &Path) -> bool {
    let own = rustix::process::geteuid().as_raw();
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_file() && metadata.uid() != own)
}

/// Removes a recording that holds nothing, because it failed before its first frame: the next attempt
/// would otherwise need --force.
pub(crate) fn discard_if_empty(path: &Path) {
    const MOST: u64 = 64 << 10;
    let is_small = path != Path::new("-")
        && path.symlink_metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() < MOST);
    let Some(bytes) = is_small.then(|| std::fs::read(path).ok()).flatten() else {
        return;
    };
    let is_empty = match Recording::open(&bytes) {
        Ok(recording) => recording.segments().is_empty(),
        Err(error) => bytes.is_empty() || matches!(error, Error::HeaderTruncated { .. }),
    };
    if is_empty {
        // The error that led here is told; that an empty file stays is no other one.
        let _remains = std::fs::remove_file(path);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A recording is for its owner only, and none is overwritten by accident.
    #[test]
    fn a_recording_is_private_and_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.prof");
        std::fs::write(&path, "precious").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        assert!(Output::open(&path, false, false).err().unwrap().to_string().contains("--force"));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        Output::open(&path, true, true).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Output::open(&folder.path().join("no/a.prof"), false, false).is_err());
    }

    /// A file of another user is replaced, and not written to: whoever has it open sees nothing of the recording, and owns nothing of it. One's own
    /// stays the file that it was.
    #[test]
    fn a_file_of_another_user_is_replaced() {
        const NOBODY: u32 = 65_534;
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.prof");
        for (owner, is_replaced) in [(NOBODY, true), (0, false)] {
            std::fs::write(&path, "before").unwrap();
            std::os::unix::fs::chown(&path, Some(owner), Some(owner)).unwrap();
            let theirs = File::open(&path).unwrap();
            Output::open(&path, true, false).unwrap().write_all(b"secret").unwrap();
            let (found, before) = (std::fs::metadata(&path).unwrap(), theirs.metadata().unwrap());
            assert_eq!((found.uid(), found.ino() != before.ino()), (0, is_replaced));
        }
    }

    /// What failed before its first frame goes; what is no recording, or holds something, stays.
    #[test]
    fn only_empty_recordings_are_discarded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.prof");
        let header = profrec_format::Header::default();
        let mut writer = profrec_format::Writer::create(Vec::new(), &header).unwrap();
        let loss = profrec_format::Loss::at(1, profrec_format::LossCause::RingFull, 1);
        writer.record(&profrec_format::Record::Loss(loss)).unwrap();
        let full = writer.finish(&profrec_format::Totals::default()).unwrap();
        let empty = profrec_format::Writer::create(Vec::new(), &header).unwrap();
        let empty = empty.finish(&profrec_format::Totals::default()).unwrap();
        for (bytes, stays) in
            [(&b""[..], false), (b"precious", true), (&full, true), (&empty, false), (&empty[..20], false)]
        {
            std::fs::write(&path, bytes).unwrap();
            discard_if_empty(&path);
            assert_eq!(path.exists(), stays);
        }
    }
}
