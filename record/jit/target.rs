//! A process that makes code at run time: who it is, and where it would write of it, found out while it lives.
//!
//! It writes `/tmp/perf-PID.map`, where `/tmp` and the number are what it takes them for: in a container, both are others than
//! the recorder's. Its root goes when it ends, so that its `/tmp` is held.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::time::ClockId;

/// When a process started is known to ten milliseconds; when a file was written, to the kernel's own tick.
const CLOCK_STEP: u64 = 20_000_000;
const SECOND: u64 = 1_000_000_000;

/// A process as it was when it was found to run code that it had made.
#[derive(Debug)]
pub(crate) struct JitTarget {
    pub(crate) pid: u32,
    /// Its root; `None` when it had ended, or when the rights did not suffice: then the recorder's own.
    root: Option<OwnedFd>,
    /// Its number as itself sees it.
    pub(crate) own_pid: u32,
    /// The users that it acts as, its real one first.
    pub(crate) users: Vec<u32>,
    /// The real group, and nanoseconds of CLOCK_MONOTONIC.
    pub(crate) group: u32,
    pub(crate) started: u64,
}

/// What there is of a perf map.
#[derive(Debug)]
pub(crate) enum PerfMapFile {
    Nothing,
    /// Why it is not read, in words.
    Refused(String),
    There(File, Stat),
    /// Held and not opened: only its owner may read it, who is the process's user.
    Private(OwnedFd, Stat),
}

impl JitTarget {
    /// Looks at a process. What cannot be found out is what it would be for a process like the recorder.
    pub(crate) fn open(pid: u32) -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, format!("/proc/{pid}/root"), flags, Mode::empty()).ok();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let numbers = |name: &str| -> Vec<u32> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect()
        };
        let mut users = numbers("Uid:");
        if users.is_empty() {
            users.push(rustix::process::geteuid().as_raw());
        }
        users.dedup();
        Self {
            pid,
            root,
            own_pid: numbers("NSpid:").last().copied().unwrap_or(pid),
            users,
            group: numbers("Gid:").first().copied().unwrap_or_else(|| rustix::process::getegid().as_raw()),
            started: started(pid).unwrap_or(0),
        }
    }

    /// The name of its perf map in its `/tmp`.
    pub(crate) fn map_name(&self) -> String {
        format!("perf-{}.map", self.own_pid)
    }

    /// Its `/tmp`, wherever links lead inside of its root.
    pub(crate) fn open_tmp(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Some(root) = &self.root else {
            return Ok(rustix::fs::openat(CWD, "/tmp", flags, Mode::empty())?);
        };
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(rustix::fs::openat2(root, "tmp", flags, Mode::empty(), inside)?)
    }

    /// Opens its perf map. It is an untrusted file that may be about to become another: it is held first, then looked at, then
    /// opened, so that no device, FIFO or link does anything.
    pub(crate) fn open_map(&self, tmp: &OwnedFd) -> PerfMapFile {
        let name = self.map_name();
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = match rustix::fs::openat(tmp, &name, flags, Mode::empty()) {
            Ok(held) => held,
            Err(rustix::io::Errno::NOENT) => return PerfMapFile::Nothing,
            Err(error) => return PerfMapFile::Refused(format!("/tmp/{name} cannot be opened: {error}")),
        };
        let refused = |why: String| PerfMapFile::Refused(format!("/tmp/{name} is not used: {why}"));
        let stat = rustix::fs::fstat(&held).map_err(|error| error.to_string());
        let stat = match stat.and_then(|stat| self.require_own(&stat).map(|()| stat)) {
            Ok(stat) => stat,
            Err(why) => return refused(why),
        };
        match reopen(&held) {
            Ok(file) => PerfMapFile::There(file, stat),
            // Not root's, which anybody can mount there.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && self.users.contains(&stat.st_uid) => {
                PerfMapFile::Private(held, stat)
            }
            Err(error) => refused(format!("it cannot be read: {error}")),
        }
    }

    /// The file that has the name of its perf map now, by device and inode.
    pub(crate) fn map_at_name(&self, tmp: &OwnedFd) -> Option<(u64, u64)> {
        let stat = rustix::fs::statat(tmp, self.map_name(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some((stat.st_dev, stat.st_ino))
    }

    /// Whether a file can be one that the process has written. Root's counts, too, as for perf: agents write for a process. But not
    /// under a second name, by which anyone may have put it there.
    fn require_own(&self, stat: &Stat) -> Result<(), String> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Symlink => return Err("it is a symbolic link".to_owned()),
            _ => return Err("it is no regular file".to_owned()),
        }
        let is_own = if stat.st_uid == 0 { stat.st_nlink == 1 } else { self.users.contains(&stat.st_uid) };
        if !is_own {
            let user = self.users.first().copied().unwrap_or_default();
            return Err(format!("it belongs to user {}, and the process runs as user {user}", stat.st_uid));
        }
        let written = (stat.st_mtime as u64).saturating_mul(SECOND).saturating_add(stat.st_mtime_nsec);
        let since_boot = written.saturating_sub(difference(ClockId::Realtime, ClockId::Monotonic));
        if since_boot.saturating_add(SECOND) < self.started {
            return Err("it is older than the process, of an earlier one with its number".to_owned());
        }
        Ok(())
    }
}

/// Opens for reading what is held, without a wait.
pub(crate) fn reopen(held: &OwnedFd) -> io::Result<File> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    File::options().read(true).custom_flags(flags).open(format!("/proc/self/fd/{}", held.as_raw_fd()))
}

/// When a process started, a little earlier rather than later, in nanoseconds of CLOCK_MONOTONIC.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold any character; behind it, the time is the twentieth field.
    let ticks: u64 = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()?;
    let since_boot = ticks.checked_mul(SECOND / rustix::param::clock_ticks_per_second().max(1))?;
    let asleep = difference(ClockId::Boottime, ClockId::Monotonic);
    Some(since_boot.saturating_sub(asleep).saturating_sub(CLOCK_STEP))
}

/// By how many nanoseconds one clock is ahead of another.
fn difference(clock: ClockId, other: ClockId) -> u64 {
    let nanoseconds = |clock| {
        let time = rustix::time::clock_gettime(clock);
        time.tv_sec as u64 * SECOND + time.tv_nsec as u64
    };
    let later = nanoseconds(clock);
    later.saturating_sub(nanoseconds(other))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::Command;

    use super::*;

    /// This process, with a folder in place of `/tmp`.
    fn target(folder: &tempfile::TempDir) -> (JitTarget, OwnedFd, std::path::PathBuf) {
        let target = JitTarget::open(std::process::id());
        let tmp = OwnedFd::from(File::open(folder.path()).unwrap());
        let path = folder.path().join(target.map_name());
        (target, tmp, path)
    }

    fn refusal(target: &JitTarget, tmp: &OwnedFd) -> String {
        match target.open_map(tmp) {
            PerfMapFile::Refused(why) => why,
            other => format!("not refused: {other:?}"),
        }
    }

    /// This process is known: its number, its users, that it has just started, and its `/tmp`.
    #[test]
    fn a_living_process_is_known() {
        let target = JitTarget::open(std::process::id());
        let now = difference(ClockId::Monotonic, ClockId::Monotonic) + crate::stream::now();
        assert!(target.root.is_some() && target.open_tmp().is_ok());
        assert!(target.users.contains(&rustix::process::geteuid().as_raw()));
        assert!(target.started > 0 && target.started < now && now - target.started < 3600 * SECOND);
    }

    /// A map that appears is opened; one that is not there is no reason to complain.
    #[test]
    fn a_map_is_opened_when_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let (target, tmp, path) = target(&folder);
        assert!(matches!(target.open_map(&tmp), PerfMapFile::Nothing));
        assert_eq!(target.map_at_name(&tmp), None);
        fs::write(&path, "10 10 f\n").unwrap();
        let opened = target.open_map(&tmp);
        let place = if let PerfMapFile::There(_, stat) = opened { Some((stat.st_dev, stat.st_ino)) } else { None };
        assert!(place.is_some() && target.map_at_name(&tmp) == place);
    }

    /// Neither a link nor a FIFO nor a folder is followed, waited for or read, and the reason is told.
    #[test]
    fn what_is_no_regular_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (target, tmp, path) = target(&folder);
        symlink("/etc/passwd", &path).unwrap();
        assert!(refusal(&target, &tmp).contains("symbolic link"));
        fs::remove_file(&path).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert!(refusal(&target, &tmp).contains("no regular file"));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(refusal(&target, &tmp).contains("no regular file"));
    }

    /// A file of another user is refused, and one that an earlier process with this number has left.
    #[test]
    fn what_the_process_has_not_written_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (mut target, tmp, path) = target(&folder);
        let file = File::create(&path).unwrap();
        file.set_permissions(fs::Permissions::from_mode(0o644)).unwrap();
        let started = std::mem::replace(&mut target.started, u64::MAX);
        assert!(refusal(&target, &tmp).contains("older than the process"));
        target.started = started;
        target.users = vec![4_000_000_000];
        fs::hard_link(&path, folder.path().join("second name")).unwrap();
        let why = refusal(&target, &tmp);
        assert!(why.contains("the process runs as user 4000000000"), "{why}");
    }
}
