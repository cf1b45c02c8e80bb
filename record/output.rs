//! Where the recording goes: a new file that only its owner can read, or the standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};
use profrec_format::Recording;

/// Opens the output; `-` is the standard output.
pub(crate) fn open(path: &Path, force: bool) -> Result<Box<dyn Write>> {
    if path == Path::new("-") {
        if io::stdout().is_terminal() {
            bail!("a recording is not text: redirect the standard output, or give a file with -o");
        }
        return Ok(Box::new(io::stdout()));
    }
    Ok(Box::new(create(path, force)?))
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
        Err(error) => return Err(error).with_context(|| format!("creating {name}: give another file with -o")),
    };
    if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        // A file that was there keeps its mode otherwise.
        file.set_permissions(PermissionsExt::from_mode(OWNER_ONLY)).with_context(|| format!("protecting {name}"))?;
    }
    Ok(file)
}

/// Removes a recording that holds nothing, because it failed before its first frame: the next attempt
/// would otherwise need --force.
pub(crate) fn discard_if_empty(path: &Path) {
    const MOST: u64 = 64 << 10;
    let is_small = path.symlink_metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() < MOST);
    let Some(bytes) = is_small.then(|| std::fs::read(path).ok()).flatten() else {
        return;
    };
    if Recording::open(&bytes).map_or(bytes.is_empty(), |recording| recording.segments().is_empty()) {
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
        assert!(open(&path, false).err().unwrap().to_string().contains("--force"));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        open(&path, true).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(open(&folder.path().join("no/a.prof"), false).is_err());
    }

    /// What failed before its first frame goes; what is no recording, or holds something, stays.
    #[test]
    fn only_empty_recordings_are_discarded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.prof");
        let header = profrec_format::Header::default();
        let mut writer = profrec_format::Writer::create(Vec::new(), &header).unwrap();
        let loss = profrec_format::Loss { time: 1, cause: profrec_format::LossCause::RingFull, count: 1 };
        writer.record(&profrec_format::Record::Loss(loss)).unwrap();
        let full = writer.finish(&profrec_format::Totals::default()).unwrap();
        let empty = profrec_format::Writer::create(Vec::new(), &header).unwrap();
        let empty = empty.finish(&profrec_format::Totals::default()).unwrap();
        for (bytes, stays) in [(&b""[..], false), (b"precious", true), (&full, true), (&empty, false)] {
            std::fs::write(&path, bytes).unwrap();
            discard_if_empty(&path);
            assert_eq!(path.exists(), stays);
        }
    }
}
