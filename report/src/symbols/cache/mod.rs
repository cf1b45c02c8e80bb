//! What was found in debug info is kept for the next report of the same files: one file for each module and place where its
//! files are, in `$XDG_CACHE_HOME/profrec`. It is written beside and renamed, so that reports that run at once never see half of one;
//! it is believed only if it is whole, the user's own, of this very program, and of exactly the same files.

mod encoding;
mod frames;
mod remembered;

use std::env;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use foldhash::HashMap;
use rustix::fs::OFlags;

use crate::kept_files::{KeptFile, limit_room};
use crate::local_files::{MappedFile, hex};
use frames::KnownFrames;
pub(super) use remembered::Remembered;

/// Bytes of all files together; the ones not used for longest go first.
const LIMIT: u64 = 512 << 20;
/// Bytes of one file: what is larger is not kept, and not read.
const MAX_FILE: u64 = 64 << 20;
/// What a report that was killed has left behind is removed after this time.
const ABANDONED: Duration = Duration::from_secs(3600);
/// How the names of the files end, and of those that are being written.
const ENDING: &str = "names";
const UNFINISHED: &str = "unfinished";

/// Files that this process has written: modules are named in parallel, and two can be of one build.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// A folder in which names are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    folder: PathBuf,
    limit: u64,
}

/// What the names of a module depend on.
#[derive(Debug)]
struct Key {
    /// The file's name, without its ending: one for reports with lines, one for those without; and one for each place of a
    /// build that is in several, so that they do not overwrite each other.
    file: String,
    bytes: Vec<u8>,
}

/// What is known of a module from earlier reports.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    /// Frames by address.
    frames: KnownFrames,
    /// Readable names, by the names in the file.
    readable: HashMap<Arc<str>, Arc<str>>,
}

impl Key {
    /// For a module that is named from these files, with or without lines.
    fn new<'f>(identity: &[u8], files: impl Iterator<Item = &'f MappedFile>, lines: bool) -> Self {
        let mut bytes = format!("{} lines={lines} {}\n", program(), hex(identity)).into_bytes();
        let mut paths = crc32fast::Hasher::new();
        for file in files {
            let path = file.path().as_os_str().as_encoded_bytes();
            bytes.extend_from_slice(file.stamp().as_bytes());
            bytes.extend_from_slice(path);
            bytes.push(b'\n');
            paths.update(path);
            paths.update(b"\n");
        }
        let file = format!("{}-{:08x}{}", hex(identity), paths.finalize(), if lines { "-lines" } else { "" });
        Self { file, bytes }
    }
}

/// This program: another build of it may read debug info or write names otherwise.
fn program() -> String {
    let file = env::current_exe().and_then(fs::metadata);
    let build = file.map(|file| format!("{} {}.{}", file.len(), file.mtime(), file.mtime_nsec())).unwrap_or_default();
    format!("{} {build}", env!("CARGO_PKG_VERSION"))
}

impl Cache {
    /// The user's own, as the XDG base directory specification has it.
    pub fn of_user() -> Option<Self> {
        let absolute = |path: PathBuf| path.is_absolute().then_some(path);
        let named = |name| env::var_os(name).map(PathBuf::from).and_then(absolute);
        let base = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")))?;
        Some(Self::at(base.join("profrec")))
    }

    /// In this folder, which is made when it is first needed.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder, limit: LIMIT }
    }

    /// What is known; nothing, if there is no file, or one that is not to be believed.
    fn read(&self, key: &Key) -> Known {
        let read = || {
            let file = open_own(&self.path(key)).ok()?;
            let mut bytes = Vec::with_capacity(file.metadata().ok()?.len().min(MAX_FILE) as usize + 1);
            (&file).take(MAX_FILE + 1).read_to_end(&mut bytes).ok()?;
            let known = encoding::decode(&key.bytes, &bytes)?;
            // What was used last goes last; to lose that is harmless.
            let _ = file.set_modified(SystemTime::now());
            Some(known)
        };
        read().unwrap_or_default()
    }

    /// Keeps what is known. A disk that is full, or a folder that cannot be written, costs the next report time only.
    fn write(&self, key: &Key, known: &Known) {
        let bytes = encoding::encode(&key.bytes, known);
        if bytes.len() as u64 <= MAX_FILE {
            let _ = self.replace(&self.path(key), &bytes).and_then(|()| self.tidy_up());
        }
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.folder.join(&key.file).with_extension(ENDING)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
        let unfinished = path.with_extension(format!("{}.{number}.{UNFINISHED}", process::id()));
        let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished);
        let written = written.and_then(|mut file| file.write_all(bytes)).and_then(|()| fs::rename(&unfinished, path));
        if written.is_err() {
            fs::remove_file(&unfinished)?;
        }
        written
    }

    /// Removes what was not used for longest, until all files together are within the limit.
    fn tidy_up(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let (path, metadata) = (entry.path(), entry.metadata()?);
            let (ending, used) = (path.extension().and_then(OsStr::to_str), metadata.modified()?);
            let is_abandoned = || used.elapsed().is_ok_and(|age| age > ABANDONED);
            match ending {
                Some(ENDING) => files.push(KeptFile { used, path, length: metadata.len() }),
                Some(UNFINISHED) if is_abandoned() => fs::remove_file(path)?,
                _ => {}
            }
        }
        limit_room(files, self.limit)
    }
}

/// Opens a file that is the user's own: whoever else could write it could have written names into it.
fn open_own(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW.bits() | OFlags::NONBLOCK.bits();
    let file = OpenOptions::new().read(true).custom_flags(flags as i32).open(path)?;
    let metadata = file.metadata()?;
    let is_own = metadata.uid() == rustix::process::geteuid().as_raw() && metadata.mode() & 0o022 == 0;
    if metadata.is_file() && is_own { Ok(file) } else { Err(io::Error::from(io::ErrorKind::PermissionDenied)) }
}

#[cfg(test)]
mod tests;
