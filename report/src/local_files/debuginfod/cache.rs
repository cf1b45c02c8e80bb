//! The folder where debuginfod's clients keep what they fetched: `BUILD-ID/debuginfo`, `BUILD-ID/executable`. A file that is
//! empty says that no server had it, for a while.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, FileTimes, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use super::Kind;
use crate::kept_files::{KeptFile, limit_room};

/// How long it is believed that no server has a file, unless `cache_miss_s` says otherwise.
const MISS: Duration = Duration::from_secs(600);

/// Bytes of all files together; the ones not used for longest go first, whichever client fetched them.
const LIMIT: u64 = 16 << 30;

/// A cache folder, which need not exist yet.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    root: PathBuf,
    limit: u64,
}

/// A file that is being fetched: it gets its name in the cache when it is whole, and is removed if it never is.
pub(super) struct Unfinished {
    path: PathBuf,
    target: PathBuf,
    /// Locked as long as it is being fetched. The lock ends with the process, which a number would not tell of one in
    /// another container.
    _lock: File,
}

/// What stands in the names of unfinished files between what they are and who fetches them.
const UNFINISHED: &str = ".profrec-";

impl Cache {
    /// The folder that libdebuginfod takes.
    pub(super) fn of(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<Self> {
        let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let below = |folder: PathBuf| folder.join("debuginfod_client");
        let old = || path("HOME").map(|home| home.join(".debuginfod_client_cache")).filter(|path| path.is_dir());
        let new = || path("XDG_CACHE_HOME").or_else(|| Some(path("HOME")?.join(".cache"))).map(below);
        let root = path("DEBUGINFOD_CACHE_PATH").or_else(old).or_else(new)?;
        root.is_absolute().then_some(Self { root, limit: LIMIT })
    }

    /// A file that was fetched before.
    pub(super) fn file(&self, build_id: &str, kind: Kind) -> Option<PathBuf> {
        let path = self.path(build_id, kind);
        let is_there = fs::metadata(&path).is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0);
        // What was used last goes last; to lose that is harmless.
        let used = || File::open(&path)?.set_times(FileTimes::new().set_accessed(SystemTime::now()));
        let _ = is_there.then(used);
        is_there.then_some(path)
    }

    /// Removes what was not used for longest, until all files together are within the limit. The one that has just come stays.
    pub(super) fn tidy_up(&self, come: &Path) -> io::Result<()> {
        let mut files = Vec::new();
        for folder in fs::read_dir(&self.root)? {
            let folder = folder?;
            // Only what has a build-id's name is a folder of such files; a link may lead anywhere.
            let is_build_id = folder.file_name().as_encoded_bytes().iter().all(u8::is_ascii_hexdigit);
            if !is_build_id || !folder.file_type()?.is_dir() {
                continue;
            }
            for path in [Kind::DebugInfo, Kind::Executable].map(|kind| folder.path().join(kind.name())) {
                let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
                if metadata.is_file() && path != come {
                    let used = metadata.accessed()?.max(metadata.modified()?);
                    files.push(KeptFile { used, path, length: metadata.len() });
                }
            }
        }
        let size = fs::metadata(come)?.len();
        limit_room(files, self.limit.saturating_sub(size))
    }

    /// Whether it was found out a short while ago that no server has it.
    pub(super) fn is_known_to_be_missing(&self, build_id: &str, kind: Kind) -> bool {
        let age = |path: &Path| {
            let metadata = fs::metadata(path).ok().filter(|metadata| metadata.is_file() && metadata.len() == 0)?;
            metadata.modified().ok()?.elapsed().ok()
        };
        let believed =
            fs::read_to_string(self.root.join("cache_miss_s")).ok().and_then(|text| text.trim().parse().ok());
        age(&self.path(build_id, kind)).is_some_and(|age| age < believed.map_or(MISS, Duration::from_secs))
    }

    /// Notes that no server has it.
    pub(super) fn remember_missing(&self, build_id: &str, kind: Kind) {
        let path = self.path(build_id, kind);
        let is_empty = fs::metadata(&path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0);
        // Asking again later costs time only: where nothing can be written, nothing is remembered.
        if is_empty {
            let _ = fs::remove_file(&path);
        }
        if self.create_folder(build_id).is_ok() {
            let _ = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        }
    }

    /// A new file beside where it will be.
    pub(super) fn begin(&self, build_id: &str, kind: Kind) -> io::Result<(Unfinished, File)> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        self.create_folder(build_id)?;
        let target = self.path(build_id, kind);
        self.remove_abandoned(build_id, kind);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = target.with_file_name(format!("{}{UNFINISHED}{}-{number}", kind.name(), std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        // Where files cannot be locked, nothing that was left there is removed either.
        let _ = file.try_lock();
        Ok((Unfinished { path, target, _lock: file.try_clone()? }, file))
    }

    /// Removes what reports have left that were interrupted while they fetched this file.
    fn remove_abandoned(&self, build_id: &str, kind: Kind) {
        let prefix = format!("{}{UNFINISHED}", kind.name());
        let is_unfinished = |name: &OsStr| name.as_encoded_bytes().starts_with(prefix.as_bytes());
        for entry in fs::read_dir(self.root.join(build_id)).into_iter().flatten().flatten() {
            if is_unfinished(&entry.file_name()) && is_abandoned(&entry.path()) {
                // What cannot be removed takes room, and harms nothing.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn path(&self, build_id: &str, kind: Kind) -> PathBuf {
        self.root.join(build_id).join(kind.name())
    }

    fn create_folder(&self, build_id: &str) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.root.join(build_id))
    }
}

/// Whether nobody fetches into an unfinished file any more.
fn is_abandoned(path: &Path) -> bool {
    let is_file = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
    is_file && File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}

impl Unfinished {
    /// Where it is meanwhile.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it where all clients find it, as they leave it: nobody writes to it any more.
    pub(super) fn finish(self) -> io::Result<PathBuf> {
        fs::set_permissions(&self.path, Permissions::from_mode(0o400))?;
        fs::rename(&self.path, &self.target)?;
        Ok(self.target.clone())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Of a finished one nothing is left here.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn root(variables: &[(&str, &str)]) -> Option<PathBuf> {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        Cache::of(&find).map(|cache| cache.root)
    }

    /// The folder is the one that gdb's client takes.
    #[test]
    fn the_folder_of_all_clients() {
        assert_eq!(root(&[("HOME", "/nonexistent")]), Some("/nonexistent/.cache/debuginfod_client".into()));
        assert_eq!(root(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), Some("/x/debuginfod_client".into()));
        assert_eq!(root(&[("XDG_CACHE_HOME", "/x"), ("DEBUGINFOD_CACHE_PATH", "/c")]), Some("/c".into()));
        assert_eq!([root(&[]), root(&[("DEBUGINFOD_CACHE_PATH", "c")])], [None, None]);
    }

    /// What is not finished leaves nothing; what is, is found; an empty file is no file, and a reason not to ask.
    #[test]
    fn files_come_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { root: folder.path().join("new"), limit: LIMIT };
        let (unfinished, _) = cache.begin("abcd", Kind::DebugInfo).unwrap();
        drop(unfinished);
        assert_eq!(fs::read_dir(folder.path().join("new/abcd")).unwrap().count(), 0);
        let (unfinished, _) = cache.begin("abcd", Kind::DebugInfo).unwrap();
        fs::write(unfinished.path(), "x").unwrap();
        let path = unfinished.finish().unwrap();
        assert_eq!(cache.file("abcd", Kind::DebugInfo), Some(path));
        cache.remember_missing("abcd", Kind::Executable);
        assert!(cache.is_known_to_be_missing("abcd", Kind::Executable));
        assert_eq!(cache.file("abcd", Kind::Executable), None);
        fs::write(folder.path().join("new/cache_miss_s"), "0").unwrap();
        assert!(!cache.is_known_to_be_missing("abcd", Kind::Executable));
    }

    /// What a report left that was interrupted goes when the same file is fetched again; what another one is fetching
    /// stays, and so do other clients' files.
    #[test]
    fn what_was_interrupted_goes() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { root: folder.path().to_owned(), limit: LIMIT };
        let (fetching, _) = cache.begin("abcd", Kind::DebugInfo).unwrap();
        let kinds = ["debuginfo.profrec-1-0", "executable.profrec-1-0", "debuginfo.abcdef"];
        let [left, other_kind, other_client] = kinds.map(|name| folder.path().join("abcd").join(name));
        for path in [&left, &other_kind, &other_client] {
            fs::write(path, "half").unwrap();
        }
        let (again, _) = cache.begin("abcd", Kind::DebugInfo).unwrap();
        let there = [&left, &other_kind, &other_client].map(|path| path.exists());
        assert_eq!(there, [false, true, true]);
        assert!(fetching.path().exists() && again.path().exists());
    }

    /// Above the limit, what was not used for longest goes; never what has just come, nor what is none of such files.
    #[test]
    fn the_folder_has_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { root: folder.path().to_owned(), limit: 10 };
        let fetch = |build_id: &str, age| {
            let (unfinished, file) = cache.begin(build_id, Kind::DebugInfo).unwrap();
            fs::write(unfinished.path(), "12345").unwrap();
            let then = SystemTime::now() - Duration::from_secs(age);
            file.set_times(FileTimes::new().set_accessed(then).set_modified(then)).unwrap();
            unfinished.finish().unwrap()
        };
        let [old, used, other] = [fetch("aa", 300), fetch("bb", 600), fetch("cc", 200)];
        let foreign = folder.path().join("notes");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("debuginfo"), "1234567890").unwrap();
        assert_eq!(cache.file("bb", Kind::DebugInfo).as_ref(), Some(&used));
        let come = fetch("dd", 900);
        cache.tidy_up(&come).unwrap();
        let there = [&old, &used, &other, &come, &foreign.join("debuginfo")].map(|path| path.exists());
        assert_eq!(there, [false, true, false, true, true]);
    }
}
