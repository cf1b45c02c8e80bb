//! Room on the disk for a part that grows: the oldest files go, one by one, before all together would be larger than they may.

use std::collections::VecDeque;
use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

use crate::progress::put;

/// What may still be written, and what can go for it.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Bytes that may be written before something has to go.
    left: u64,
    /// Older files and their sizes, the oldest first.
    oldest: VecDeque<(PathBuf, u64)>,
    deleted: u64,
}

impl Room {
    /// For one more file beside these, which are given from the oldest to the newest.
    pub(crate) fn new(max_size: u64, files: impl Iterator<Item = (PathBuf, u64)>) -> Self {
        let mut room = Self { left: 0, oldest: files.collect(), deleted: 0 };
        let mut total: u64 = room.oldest.iter().map(|(_, bytes)| bytes).sum();
        while total > max_size {
            let Some(bytes) = room.delete_oldest() else { break };
            total = total.saturating_sub(bytes);
        }
        room.left = max_size.saturating_sub(total);
        room
    }

    /// Makes room for so many bytes, and takes it.
    pub(crate) fn take(&mut self, bytes: u64) -> Result<()> {
        while self.left < bytes {
            let Some(freed) = self.delete_oldest() else {
                let text = "--max-size is used up, and there are no older files to delete";
                return Err(Error::new(ErrorKind::QuotaExceeded, text));
            };
            self.left += freed;
        }
        self.left -= bytes;
        Ok(())
    }

    /// Makes as much of so many bytes as can be had; says how much that is.
    pub(crate) fn make(&mut self, bytes: u64) -> u64 {
        while self.left < bytes {
            let Some(freed) = self.delete_oldest() else { break };
            self.left += freed;
        }
        self.left
    }

    /// How many files went.
    pub(crate) fn deleted(&self) -> u64 {
        self.deleted
    }

    /// Says how much there is more than before; `None` when there is no older file.
    fn delete_oldest(&mut self) -> Option<u64> {
        let (path, bytes) = self.oldest.pop_front()?;
        if !delete(&path) {
            return Some(0);
        }
        self.deleted += 1;
        Some(bytes)
    }
}

/// Deletes a file; that somebody else did is as well. False, and told, when it is still there.
pub(crate) fn delete(path: &Path) -> bool {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            put(&format!("profrec: {} cannot be deleted: {error}\n", path.display()));
            false
        }
        _ => true,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The oldest go when their room is needed, not before; who deleted one has made room as well; then there is an end.
    #[test]
    fn the_oldest_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = |number: u64| folder.path().join(number.to_string());
        (1..=4).for_each(|number| fs::write(path(number), vec![0; 3000]).unwrap());
        let mut room = Room::new(10_000, (1..=4).map(|number| (path(number), 3000)));
        assert!(!path(1).exists() && path(2).exists());
        room.take(1000).unwrap();
        assert!(path(2).exists());
        fs::remove_file(path(3)).unwrap();
        room.take(3500).unwrap();
        assert!(!path(2).exists() && path(4).exists());
        assert_eq!(room.make(2500), 2500);
        assert!(path(4).exists());
        room.take(2500).unwrap();
        assert_eq!(room.make(1_000_000), 3000);
        assert!(!path(4).exists());
        assert_eq!(room.take(3001).unwrap_err().kind(), ErrorKind::QuotaExceeded);
    }
}
