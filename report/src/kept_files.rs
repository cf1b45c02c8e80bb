//! Folders of files that can be had again take a limited room: what was not used for longest goes first.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

/// A file that is kept for later.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeptFile {
    /// When it was used last.
    pub(crate) used: SystemTime,
    pub(crate) path: PathBuf,
    /// Bytes that it takes.
    pub(crate) length: u64,
}

/// Removes files until those that are left take no more than `limit` bytes together. What cannot be removed stays, and others go in its place; the
/// first such error is given.
pub(crate) fn limit_room(mut files: Vec<KeptFile>, limit: u64) -> io::Result<()> {
    files.sort();
    let mut size: u64 = files.iter().map(|file| file.length).sum();
    let mut outcome = Ok(());
    for file in files {
        if size <= limit {
            break;
        }
        match fs::remove_file(&file.path) {
            // Another report that tidies up at once was faster.
            Err(error) if error.kind() != io::ErrorKind::NotFound => outcome = outcome.and(Err(error)),
            _ => size -= file.length,
        }
    }
    outcome
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What was used last stays, as far as there is room; one that is gone already is no trouble.
    #[test]
    fn what_was_not_used_for_longest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, seconds, length| {
            let path = folder.path().join(name);
            let used = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            KeptFile { used, path, length }
        };
        let all = || vec![file("new", 9, 10), file("gone", 1, 10), file("old", 2, 10), file("middle", 5, 10)];
        for name in ["new", "old", "middle"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let left = || ["old", "middle", "new"].map(|name| folder.path().join(name).exists());
        // A folder is no file that could be removed.
        fs::create_dir(folder.path().join("stuck")).unwrap();
        let stuck = [vec![file("stuck", 0, 1)], all()].concat();
        limit_room(all(), 40).unwrap();
        assert_eq!(left(), [true, true, true]);
        assert!(limit_room(stuck, 30).is_err());
        assert_eq!(left(), [false, true, true]);
        limit_room(all(), 20).unwrap();
        assert_eq!(left(), [false, true, true]);
        limit_room(all(), 0).unwrap();
        assert_eq!(left(), [false, false, false]);
    }
}
