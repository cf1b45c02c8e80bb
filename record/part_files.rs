//! Files with a number each, `app.000001.prof` and so on: the parts of a rotated recording, or what a flight recorder wrote out.
//!
//! The folder is looked at whenever a file is begun: files of earlier runs count as ours do, and those that somebody else
//! deleted do not.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::output::{Output, discard_if_empty};
use crate::room::{Room, delete};

/// Digits of a number: names sort as numbers do for 19 years of parts of ten minutes.
const DIGITS: usize = 6;
/// The head of a file.
const HEAD: u64 = 4096;

/// Numbered files of one name, in one folder.
pub(crate) struct PartFiles {
    folder: PathBuf,
    /// The name before the number, its dot included, and what follows the number.
    before: OsString,
    after: OsString,
    /// How many files may be there.
    keep: Option<usize>,
    /// How many bytes all files may have together.
    max_size: Option<u64>,
    sync: bool,
    /// The numbers of the first and the last file of this run; 0 before there is one.
    first: u64,
    current: u64,
    /// The one before the last.
    earlier: u64,
    /// Files that were deleted.
    deleted: u64,
}

impl PartFiles {
    /// Files named after `path`; none is made.
    pub(crate) fn new(path: &Path, keep: Option<usize>, max_size: Option<u64>, sync: bool) -> Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut before = path.file_stem().unwrap_or_default().to_owned();
        before.push(".");
        let mut after = OsString::new();
        if let Some(extension) = path.extension() {
            after.push(".");
            after.push(extension);
        }
        let folder = folder.to_owned();
        let files = Self { folder, before, after, keep, max_size, sync, first: 0, current: 0, earlier: 0, deleted: 0 };
        let may = files.may_create().with_context(|| format!("creating files in {}", files.folder.display()));
        may.context("give another place with -o")?;
        Ok(files)
    }

    /// Whether files can be created there, and seen where old ones are to go, with the rights that there are now.
    pub(crate) fn may_create(&self) -> io::Result<()> {
        let mut access = Access::WRITE_OK | Access::EXEC_OK;
        access.set(Access::READ_OK, self.keep.is_some() || self.max_size.is_some());
        Ok(accessat(CWD, &self.folder, access, AtFlags::EACCESS)?)
    }

    /// Where the files are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Creates the next file: its number is above those of all that are there.
    pub(crate) fn begin(&mut self) -> Result<Output> {
        /// Other recorders with the same name may be as many times faster.
        const ATTEMPTS: u64 = 100;
        let last = self.list().last().map_or(0, |(number, _)| *number).max(self.current);
        let free = |number: &u64| self.path_of(*number).symlink_metadata().is_err();
        let mut result = Err(anyhow!("there is no number for another file of this name: give another one with -o"));
        for number in (last + 1..=last + ATTEMPTS).filter(free) {
            result = Output::open(&self.path_of(number), false, self.sync).map(|output| (number, output));
            if result.is_ok() || free(&number) {
                break;
            }
        }
        let (number, output) = result?;
        self.first = if self.first == 0 { number } else { self.first };
        self.earlier = std::mem::replace(&mut self.current, number);
        Ok(output)
    }

    /// Takes back the file that was begun last, in which there is nothing.
    pub(crate) fn take_back(&mut self) {
        discard_if_empty(&self.path());
        self.current = self.earlier;
    }

    /// The file that was begun last.
    pub(crate) fn path(&self) -> PathBuf {
        self.path_of(self.current)
    }

    /// Deletes the oldest files, until there are no more than may be.
    pub(crate) fn delete_beyond_keep(&mut self) {
        let Some(keep) = self.keep else { return };
        let list = self.list();
        for (number, _) in list.iter().take(list.len().saturating_sub(keep)) {
            self.deleted += u64::from(delete(&self.path_of(*number)));
        }
    }

    /// The room that there is for the file that was begun last, when all have to be of limited size. It is given back with
    /// [`Self::leave`].
    pub(crate) fn room(&self) -> Option<Room> {
        let usable = self.usable()?;
        let others = self.list().into_iter().filter(|(number, _)| *number != self.current);
        Some(Room::new(usable, others.map(|(number, bytes)| (self.path_of(number), bytes))))
    }

    /// Counts what went for a file.
    pub(crate) fn leave(&mut self, room: &Room) {
        self.deleted += room.deleted();
    }

    /// What all files may have together, but for what is needed when one ends and another begins.
    pub(crate) fn usable(&self) -> Option<u64> {
        self.max_size.map(|bytes| (bytes - bytes / 64).saturating_sub(HEAD))
    }

    /// What all files may have together.
    pub(crate) fn max_size(&self) -> Option<u64> {
        self.max_size
    }

    /// The files of this run that are there, in words: from the first to the last.
    pub(crate) fn range(&self) -> String {
        let there = self.list();
        let first = there.iter().map(|(number, _)| *number).find(|number| *number >= self.first);
        let (first, last) = (self.path_of(first.unwrap_or(self.first)), self.path());
        if first == last { last.display().to_string() } else { format!("{} to {}", first.display(), last.display()) }
    }

    /// How many files were begun, and how many of any run were deleted.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (if self.first == 0 { 0 } else { self.current - self.first + 1 }, self.deleted)
    }

    /// A pattern that a shell makes the names of.
    pub(crate) fn pattern(&self) -> String {
        let mut name = self.before.clone();
        name.push("*");
        name.push(&self.after);
        self.in_folder(name).display().to_string()
    }

    fn path_of(&self, number: u64) -> PathBuf {
        let mut name = self.before.clone();
        name.push(format!("{number:0DIGITS$}"));
        name.push(&self.after);
        self.in_folder(name)
    }

    fn in_folder(&self, name: OsString) -> PathBuf {
        if self.folder == Path::new(".") { name.into() } else { self.folder.join(name) }
    }

    /// The number of a file, if its name is one of ours.
    fn number(&self, name: &[u8]) -> Option<u64> {
        let digits = name.strip_prefix(self.before.as_bytes())?.strip_suffix(self.after.as_bytes())?;
        let are_digits = digits.len() >= DIGITS && digits.iter().all(u8::is_ascii_digit);
        std::str::from_utf8(digits).ok().filter(|_| are_digits)?.parse().ok()
    }

    /// Numbers and sizes of the files that are there, ascending. A folder that cannot be read has none.
    fn list(&self) -> Vec<(u64, u64)> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let files = entries.filter_map(|entry| {
            let number = self.number(entry.file_name().as_bytes())?;
            let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            Some((number, metadata.len()))
        });
        let mut files: Vec<_> = files.collect();
        files.sort_unstable();
        files
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use rustix::thread::CapabilitySet;

    use super::*;
    use crate::rights;

    fn files(folder: &Path, keep: Option<usize>, max_size: Option<u64>) -> PartFiles {
        PartFiles::new(&folder.join("app.prof"), keep, max_size, false).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    /// A new run goes on behind the numbers that are there; what has other names is left alone.
    #[test]
    fn numbers_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let others = ["app.000002.profx", "app.2.prof", "app.prof", "app.x00003.prof", "apple.000009.prof"];
        others.iter().for_each(|name| fs::write(folder.path().join(name), "").unwrap());
        fs::create_dir(folder.path().join("app.000050.prof")).unwrap();
        let mut first = files(folder.path(), None, None);
        first.begin().unwrap();
        first.begin().unwrap();
        assert_eq!(first.path(), folder.path().join("app.000002.prof"));
        let mut second = files(folder.path(), Some(1), None);
        second.begin().unwrap();
        assert_eq!(second.path(), folder.path().join("app.000003.prof"));
        second.delete_beyond_keep();
        assert_eq!(second.counts(), (1, 2));
        assert!(others.iter().all(|name| folder.path().join(name).exists()));
        assert!(second.path().exists() && folder.path().join("app.000050.prof").exists());
        fs::write(folder.path().join("app.1234567.prof"), "").unwrap();
        second.begin().unwrap();
        assert_eq!(second.path(), folder.path().join("app.1234568.prof"));
    }

    /// A folder whose files cannot be seen will do, unless old ones are to go: they would stay for ever.
    #[test]
    fn a_folder_that_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o300)).unwrap();
        let path = folder.path().join("app.prof");
        let tried = std::thread::spawn(move || {
            rights::keep_only(CapabilitySet::empty(), None).unwrap();
            let is_refused = |keep, max_size| PartFiles::new(&path, keep, max_size, false).is_err();
            [is_refused(None, None), is_refused(Some(1), None), is_refused(None, Some(1 << 20))]
        });
        assert_eq!(tried.join().unwrap(), [false, true, true]);
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
    }

    /// Room is made of all files but the one that was begun last; files that somebody else deleted take none.
    #[test]
    fn others_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let mut parts = files(folder.path(), None, Some(64 * 1024));
        let usable = parts.usable().unwrap();
        for _ in 0..4 {
            parts.begin().unwrap().write_all(&[0; 20_000]).unwrap();
        }
        fs::remove_file(folder.path().join("app.000001.prof")).unwrap();
        let mut room = parts.room().unwrap();
        assert_eq!(room.make(0), usable - 40_000);
        assert_eq!(room.make(usable), usable);
        parts.leave(&room);
        assert_eq!((names(folder.path()), parts.counts()), (vec!["app.000004.prof".to_owned()], (4, 2)));
    }

    /// Without an extension the number is one; a folder that is not there is an error before anything is recorded.
    #[test]
    fn names_without_an_extension() {
        let folder = tempfile::tempdir().unwrap();
        let mut parts = PartFiles::new(&folder.path().join("app"), None, None, false).unwrap();
        parts.begin().unwrap();
        assert_eq!(names(folder.path()), ["app.000001"]);
        let error = PartFiles::new(&folder.path().join("no/app"), None, None, false).err().unwrap();
        assert!(error.to_string().contains("-o"), "{error}");
    }
}
