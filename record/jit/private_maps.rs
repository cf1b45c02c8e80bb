//! Perf maps that only their owner may read, as CPython's: the thread that gathers evidence has given up the right to open them, and keeps
//! away from all rights, for it reads what others have written.
//!
//! Each is opened by a thread of its own that has the right to read files and does nothing else: a file system that never answers
//! (anybody may mount one) holds up nobody but it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::CapabilitySet;

use super::Request;
use super::target::reopen;
use crate::rights;

/// Threads that are at it at once, for good perhaps.
const MOST: usize = 4;
/// So long the end of a part waits for one.
const PATIENCE: Duration = Duration::from_secs(1);

/// A map that was found, and may be read by the process's user: it is held, not opened.
#[derive(Debug)]
pub(crate) struct PrivateMap {
    pub(crate) pid: u32,
    pub(crate) held: OwnedFd,
    /// Device and inode.
    pub(crate) place: (u64, u64),
}

/// Those that are being opened.
pub(crate) struct PrivateMaps {
    sender: Sender<Request>,
    opened: Receiver<Request>,
    running: usize,
    since: Instant,
}

impl PrivateMaps {
    /// None yet.
    pub(crate) fn new() -> Self {
        let (sender, opened) = channel();
        Self { sender, opened, running: 0, since: Instant::now() }
    }

    /// Has one opened.
    pub(crate) fn open(&mut self, map: PrivateMap) {
        let (pid, sender) = (map.pid, self.sender.clone());
        let open = move || {
            let request = match open(&map.held) {
                Ok(file) => Request::Map(map.pid, file, map.place),
                Err(error) => refused(map.pid, &error),
            };
            // The recorder has ended meanwhile.
            let _nobody = sender.send(request);
        };
        let opener = match self.running {
            0..MOST => thread::Builder::new().name("profrec-opener".to_owned()).spawn(open).map(drop),
            _ => Err(io::Error::other("others that it cannot be told from do not answer")),
        };
        match opener {
            Ok(()) => self.since = Instant::now(),
            Err(error) => {
                let _never_full = self.sender.send(refused(pid, &error));
            }
        }
        self.running += 1;
    }

    /// What became of those that were opened since this was asked last.
    pub(crate) fn take_opened(&mut self) -> Vec<Request> {
        let done: Vec<_> = self.opened.try_iter().collect();
        self.running -= done.len();
        done
    }

    /// Whether one will soon be opened.
    pub(crate) fn are_awaited(&self) -> bool {
        self.running > 0 && self.since.elapsed() < PATIENCE
    }
}

fn open(held: &OwnedFd) -> io::Result<File> {
    rights::keep_only(CapabilitySet::DAC_READ_SEARCH, None).map_err(io::Error::other)?;
    reopen(held)
}

fn refused(pid: u32, error: &io::Error) -> Request {
    Request::Trouble(pid, format!("its perf map may be read by its owner alone: {error}"))
}
