//! Control groups of version 2: where they are mounted, and the folder of one.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use rustix::fs::{Mode, OFlags, fstat, open, stat};
use rustix::io::Errno;

const MOUNTS: &str = "/proc/self/mountinfo";

/// A control group. A service manager removes a service's group when it ends, and makes another in its place when it
/// starts again.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    /// Its folder.
    folder: OwnedFd,
    inode: u64,
}

impl Cgroup {
    /// Finds a group by its path below the mount, as /proc/PID/cgroup prints it, or with the mount in front.
    pub(crate) fn find(path: &Path) -> Result<Self> {
        let mount = mount()?;
        let path = folder(&mount, path);
        let name = path.display();
        let Ok(resolved) = fs::canonicalize(&path) else {
            bail!(
                "there is no control group {name}: `cat /proc/PID/cgroup` prints the one of a process, behind `0::`; the \
                 groups are the folders below {}",
                mount.display()
            );
        };
        // Everything on that mount is a group or a file of one.
        if !resolved.starts_with(&mount) || !resolved.is_dir() {
            bail!("{name} is not a control group: groups are the folders below {}", mount.display());
        }
        Self::open(resolved).with_context(|| format!("opening the control group {name}"))
    }

    fn open(path: PathBuf) -> Result<Self, Errno> {
        let folder = open(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let inode = fstat(&folder)?.st_ino;
        Ok(Self { path, folder, inode })
    }

    /// Whether there is another group in its place, which it is now. While there is none it stays what it was.
    pub(crate) fn was_replaced(&mut self) -> bool {
        let is_same = stat(&self.path).is_ok_and(|found| found.st_ino == self.inode);
        if !is_same && let Ok(other) = Self::open(self.path.clone()) {
            *self = other;
            return true;
        }
        false
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

/// Where control groups of version 2 are mounted.
pub(crate) fn mount() -> Result<PathBuf> {
    let mounts = fs::read_to_string(MOUNTS).with_context(|| format!("reading {MOUNTS}"))?;
    find_mount(&mounts).ok_or_else(|| {
        anyhow!(
            "--cgroup needs control groups of version 2, and none are mounted here ({MOUNTS} has no cgroup2): \
             `mount -t cgroup2 none DIRECTORY` does it; or choose by --comm, --uid or -p"
        )
    })
}

fn folder(mount: &Path, path: &Path) -> PathBuf {
    match path.strip_prefix(mount) {
        Ok(below) => mount.join(below),
        Err(_) => mount.join(path.strip_prefix("/").unwrap_or(path)),
    }
}

/// The first mount of the whole tree, else of a part of it. A line is
/// `41 31 0:38 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw`.
fn find_mount(mounts: &str) -> Option<PathBuf> {
    let found = mounts.lines().filter_map(|line| {
        let (fields, kind) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        kind.starts_with("cgroup2 ").then(|| (root, unescape(place)))
    });
    let mut found: Vec<_> = found.collect();
    found.sort_by_key(|(root, _)| *root != "/");
    found.into_iter().next().map(|(_, place)| place.into())
}

/// The kernel writes blanks, tabs, newlines and backslashes as `\040` and such.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escape, letter)| text.replace(escape, letter))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HYBRID: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
        40 31 0:38 /a/b /mnt/a\\040part rw shared:1 - cgroup2 cgroup2 rw\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 master:1 - cgroup2 cgroup2 rw\n";

    /// The mount of version 2 is found beside those of version 1, of the whole tree rather than of a part.
    #[test]
    fn the_mount_is_found() {
        assert_eq!(find_mount(HYBRID), Some("/sys/fs/cgroup/unified".into()));
        let part: String = HYBRID.lines().take(3).map(|line| format!("{line}\n")).collect();
        assert_eq!(find_mount(&part), Some("/mnt/a part".into()));
        let first_version: String = HYBRID.lines().take(2).map(|line| format!("{line}\n")).collect();
        assert_eq!(find_mount(&first_version), None);
    }

    /// A folder that was removed and made again is another group; while it is gone, nothing changes.
    #[test]
    fn another_group_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("group");
        fs::create_dir(&path).unwrap();
        let mut group = Cgroup::open(path.clone()).unwrap();
        assert!(!group.was_replaced());
        fs::rename(&path, folder.path().join("old")).unwrap();
        assert!(!group.was_replaced());
        fs::create_dir(&path).unwrap();
        assert!(group.was_replaced() && !group.was_replaced());
    }

    /// A group is meant alike with the mount in front, as /proc prints it, and without its first slash.
    #[test]
    fn a_group_has_three_spellings() {
        let mount = Path::new("/sys/fs/cgroup");
        for path in ["/sys/fs/cgroup/web/a", "/web/a", "web/a"] {
            assert_eq!(folder(mount, Path::new(path)), Path::new("/sys/fs/cgroup/web/a"));
        }
        assert_eq!(folder(mount, Path::new("/")), Path::new("/sys/fs/cgroup/"));
    }
}
