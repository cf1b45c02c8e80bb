//! Opens the files that programs have mapped, each in a thread of its own: a file system may never answer, as a network mount does
//! whose server is gone, and then nobody but that thread waits for it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags, openat, openat2, statx};

use crate::elf::Elf;
use crate::jit::reopen;
use crate::progress;
use crate::side_band::FileIdentity;

/// How long a file is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// Threads that may wait for answers that nobody waits for any more. With more of them, nothing is opened.
const MOST: usize = 4;
/// What a thread needs: it opens a file, and reads its headers.
const STACK: usize = 256 << 10;

/// A file that a process has mapped.
#[derive(Clone, Debug)]
pub(crate) struct MappedFile {
    pub(crate) pid: u32,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) path: String,
    pub(crate) identity: FileIdentity,
}

/// What was found there.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: File,
    /// Empty when it has none.
    pub(crate) build_id: Vec<u8>,
    /// What it is like, if it has no build-id.
    pub(crate) fingerprint: Option<Vec<u8>>,
}

/// Where an attempt is: the device, once that is known.
type At = Arc<AtomicU64>;

/// Opens one file after the other.
#[derive(Debug, Default)]
pub(crate) struct Opener {
    /// Attempts that nobody waits for any more.
    given_up: Vec<At>,
    /// That there was one was told.
    is_told: bool,
}

impl Opener {
    /// Opens a file with the rights that the calling thread has. [`io::ErrorKind::TimedOut`] when its file system does not answer: later it
    /// may.
    pub(crate) fn open(&mut self, mapped: MappedFile) -> io::Result<Opened> {
        self.attempt(PATIENCE, move |stuck, at| mapped.open(stuck, at))
    }

    fn attempt(
        &mut self,
        patience: Duration,
        open: impl FnOnce(&[u64], &AtomicU64) -> io::Result<Opened> + Send + 'static,
    ) -> io::Result<Opened> {
        // A thread that has ended holds it no more.
        self.given_up.retain(|at| Arc::strong_count(at) > 1);
        if self.given_up.len() >= MOST {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let stuck: Vec<u64> = self.given_up.iter().map(|at| at.load(Ordering::Relaxed)).collect();
        let (at, (sender, opened)) = (At::default(), channel());
        let of_thread = Arc::clone(&at);
        let run = move || send(&sender, open(&stuck, &of_thread));
        thread::Builder::new().name("profrec-opener".to_owned()).stack_size(STACK).spawn(run)?;
        opened.recv_timeout(patience).unwrap_or_else(|_| {
            self.given_up.push(at);
            self.tell();
            Err(io::ErrorKind::TimedOut.into())
        })
    }

    fn tell(&mut self) {
        if !std::mem::replace(&mut self.is_told, true) {
            progress::put(
                "profrec: a file system with recorded programs does not answer (is a disk or a mount stuck?): stacks through them will be \
                 incomplete where the report does not have their files\n",
            );
        }
    }
}

fn send(sender: &Sender<io::Result<Opened>>, opened: io::Result<Opened>) {
    // It has come too late: the next segment asks again.
    let _nobody_waits = sender.send(opened);
}

impl MappedFile {
    /// Opens the very file if the rights suffice, else whatever is at its path, for that process or for us; if it is the one that was mapped.
    /// Nothing is asked of a device that is stuck.
    fn open(&self, stuck: &[u64], at: &AtomicU64) -> io::Result<Opened> {
        let held = self.hold()?;
        // What the kernel knows, without asking the file system.
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let known = statx(&held, "", flags, StatxFlags::BASIC_STATS)?;
        // Opening a device, or a FIFO, can do something.
        if !FileType::from_raw_mode(known.stx_mode.into()).is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let device = u64::from(known.stx_dev_major) << 32 | u64::from(known.stx_dev_minor);
        at.store(device, Ordering::Relaxed);
        if stuck.contains(&device) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let file = reopen(&held)?;
        let elf = Elf::open(&file);
        let build_id = elf.as_ref().map_or_else(|_| Vec::new(), |elf| elf.build_id(&file));
        let is_same = match &self.identity {
            FileIdentity::BuildId(expected) => expected.is_empty() || *expected == build_id,
            FileIdentity::Inode { inode, .. } => *inode == known.stx_ino,
        };
        if !is_same {
            return Err(io::ErrorKind::NotFound.into());
        }
        let fingerprint = elf.ok().filter(|_| build_id.is_empty()).and_then(|elf| elf.fingerprint(&file).ok());
        Ok(Opened { build_id, fingerprint, file })
    }

    /// Holds it, without opening it.
    fn hold(&self) -> rustix::io::Result<OwnedFd> {
        let Self { pid, start, end, path, .. } = self;
        const HOLD: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
        let very = || openat(CWD, format!("/proc/{pid}/map_files/{start:x}-{end:x}"), HOLD, Mode::empty());
        // Its links are those of its own root: else they would lead to files of ours.
        let inside = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
        let of_process = || {
            let root = openat(CWD, format!("/proc/{pid}/root"), HOLD | OFlags::DIRECTORY, Mode::empty())?;
            openat2(root, path, HOLD, Mode::empty(), inside)
        };
        very().or_else(|_| of_process()).or_else(|_| openat(CWD, path, HOLD, Mode::empty()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::sync::mpsc::Receiver;

    use super::*;

    const SOON: Duration = Duration::from_millis(10);

    fn opened() -> io::Result<Opened> {
        Ok(Opened { file: File::open("/proc/self/exe")?, build_id: Vec::new(), fingerprint: None })
    }

    /// An attempt at a device that does not answer until it is let go.
    fn hang(opener: &mut Opener, device: u64, go: Receiver<()>) -> io::ErrorKind {
        let hanging = move |_: &[u64], at: &AtomicU64| {
            at.store(device, Ordering::Relaxed);
            go.recv().map_err(io::Error::other)?;
            opened()
        };
        opener.attempt(SOON, hanging).unwrap_err().kind()
    }

    /// A device that does not answer is waited for once; from then on it is known to be stuck, until it answers. With several of them nothing
    /// is opened.
    #[test]
    fn what_is_stuck_is_waited_for_once() {
        let mut opener = Opener::default();
        let known = |opener: &mut Opener| {
            let (sender, receiver) = channel();
            let attempt = opener.attempt(PATIENCE, move |stuck, _| {
                sender.send(stuck.to_vec()).unwrap();
                opened()
            });
            attempt.map(|_| receiver.recv().unwrap()).map_err(|error| error.kind())
        };
        let (let_go, go) = channel();
        assert_eq!(hang(&mut opener, 7, go), io::ErrorKind::TimedOut);
        assert_eq!(known(&mut opener), Ok(vec![7]));
        let others: Vec<_> = (8..11).map(|device| (device, channel::<()>())).collect();
        let let_others_go: Vec<_> = others
            .into_iter()
            .map(|(device, (let_go, go))| {
                hang(&mut opener, device, go);
                let_go
            })
            .collect();
        assert_eq!(known(&mut opener), Err(io::ErrorKind::TimedOut));
        let_go.send(()).unwrap();
        while known(&mut opener) != Ok(vec![8, 9, 10]) {
            thread::sleep(SOON);
        }
        drop(let_others_go);
        while known(&mut opener) != Ok(vec![]) {
            thread::sleep(SOON);
        }
    }

    fn file(path: &std::path::Path, identity: FileIdentity) -> MappedFile {
        MappedFile { pid: std::process::id(), start: 0, end: 1, path: path.to_str().unwrap().to_owned(), identity }
    }

    fn inode(inode: u64) -> FileIdentity {
        FileIdentity::Inode { major: 0, minor: 0, inode, generation: 0 }
    }

    /// The file that was mapped is opened, by its build-id or its inode, and no other one that is there in its place.
    #[test]
    fn another_file_is_not_opened() {
        let own = std::env::current_exe().unwrap();
        let number = own.metadata().unwrap().ino();
        let mut opener = Opener::default();
        let found = opener.open(file(&own, inode(number))).unwrap();
        let build_id = found.build_id.clone();
        assert_eq!(build_id.is_empty(), found.fingerprint.is_some());
        assert!(opener.open(file(&own, FileIdentity::BuildId(build_id))).is_ok());
        for other in [inode(number + 1), FileIdentity::BuildId(vec![7; 20])] {
            assert_eq!(opener.open(file(&own, other)).unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    }

    /// What is no regular file is not opened, whatever its path says.
    #[test]
    fn what_is_no_file_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mkfifoat(CWD, &fifo, Mode::RUSR).unwrap();
        symlink("/dev/zero", folder.path().join("link")).unwrap();
        for path in [folder.path().to_owned(), fifo, folder.path().join("link")] {
            let identity = inode(path.metadata().unwrap().ino());
            let error = Opener::default().open(file(&path, identity)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{}", path.display());
        }
    }
}
