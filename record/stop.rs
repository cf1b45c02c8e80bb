//! When a recording ends: a signal, the time asked for, or the end of what is recorded. And the signal that asks for what there is.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use profrec_format::StopReason;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};

use crate::proc_maps;

/// The ends of a recording that come by themselves, for whoever waits for something else.
#[derive(Debug, Default)]
pub(crate) struct End {
    interrupted: Arc<AtomicBool>,
    deadline: OnceLock<Instant>,
    /// The recorded processes, where the recording ends with the last of them.
    processes: OnceLock<Vec<OwnedFd>>,
}

impl End {
    #[cfg(test)]
    pub(crate) fn come(&self) {
        self.interrupted.store(true, Ordering::Relaxed);
    }

    /// Whether the recording is to end now.
    pub(crate) fn has_come(&self) -> bool {
        self.is_asked_for() || self.processes.get().is_some_and(|processes| processes.iter().all(has_ended))
    }

    /// Whether somebody, or the command line, has it end now.
    fn is_asked_for(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed) || self.deadline.get().is_some_and(|time| Instant::now() >= *time)
    }
}

/// Everything that ends a recording.
pub(crate) struct Stop {
    end: Arc<End>,
    /// What was recorded is asked for now.
    asked: Arc<AtomicBool>,
    /// The recorded processes that have not ended; `None` when their end does not matter.
    running: Option<Vec<OwnedFd>>,
    /// The recorded threads, each behind its process, that are not known to have ended.
    threads: Option<Vec<(u32, u32)>>,
    child: Option<Child>,
    /// Where the recording goes, to notice that its reader has gone even when there is nothing to write.
    output: Option<OwnedFd>,
}

impl Stop {
    /// Catches the signals from here on.
    pub(crate) fn new(output: Option<OwnedFd>) -> Result<Self> {
        let end = Arc::<End>::default();
        // A terminal that goes away ends a recording, too, unless nohup says otherwise.
        let ending = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| *signal != SIGHUP || !is_ignored(SIGHUP));
        for signal in ending {
            signal_hook::flag::register(signal, Arc::clone(&end.interrupted)).context("catching signals")?;
        }
        let asked = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGUSR1, Arc::clone(&asked)).context("catching signals")?;
        // A file that may not grow is an error of the write then, instead of a sudden end.
        signal_hook::flag::register(SIGXFSZ, Arc::default()).context("catching signals")?;
        Ok(Self { end, asked, running: None, threads: None, child: None, output })
    }

    /// The recording ends after this time, from now on.
    pub(crate) fn after(&mut self, duration: Option<Duration>) {
        let deadline = duration.and_then(|duration| Instant::now().checked_add(duration));
        deadline.into_iter().for_each(|deadline| _ = self.end.deadline.set(deadline));
    }

    /// What is known of the end while nobody asks here.
    pub(crate) fn end(&self) -> Arc<End> {
        Arc::clone(&self.end)
    }

    /// The recording ends with the last of these processes.
    pub(crate) fn with_processes(&mut self, pids: &[u32]) -> Result<()> {
        let mut running = Vec::new();
        for &pid in pids {
            let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
                continue;
            };
            match pidfd_open(id, PidfdFlags::empty()) {
                Ok(process) => running.push(process),
                Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error).with_context(|| format!("watching process {pid}")),
            }
        }
        let held: io::Result<Vec<_>> = running.iter().map(OwnedFd::try_clone).collect();
        _ = self.end.processes.set(held.context("watching processes")?);
        self.running = Some(running);
        Ok(())
    }

    /// The recording ends with the last of these threads.
    pub(crate) fn with_threads(&mut self, threads: Vec<(u32, u32)>) -> Result<()> {
        let mut pids: Vec<u32> = threads.iter().map(|(pid, _)| *pid).collect();
        pids.dedup();
        self.threads = Some(threads);
        self.with_processes(&pids)
    }

    /// The recording ends with this command.
    pub(crate) fn with_child(&mut self, child: Child) -> Result<()> {
        self.with_processes(&[child.id()])?;
        self.child = Some(child);
        Ok(())
    }

    /// Whether SIGUSR1 has come since this was asked last.
    pub(crate) fn take_request(&self) -> bool {
        self.asked.swap(false, Ordering::Relaxed)
    }

    /// Why the recording is to end now, if it is.
    pub(crate) fn reason(&self) -> Option<StopReason> {
        if self.end.interrupted.load(Ordering::Relaxed) {
            return Some(StopReason::Interrupted);
        }
        if self.running.as_ref().is_some_and(Vec::is_empty) || self.threads.as_ref().is_some_and(Vec::is_empty) {
            return Some(StopReason::TargetEnded);
        }
        self.end.is_asked_for().then_some(StopReason::Duration)
    }

    /// Waits until one of `rings` wants to be read, something ends, or the time is over. A reader that has gone is a failed write.
    /// Each ring is asked once: asking the kernel's process events takes the answer away.
    pub(crate) fn wait(&mut self, rings: &[BorrowedFd<'_>], at_most: Duration) -> Result<()> {
        let left =
            self.end.deadline.get().map_or(at_most, |end| end.saturating_duration_since(Instant::now()).min(at_most));
        let running = self.running.as_deref().unwrap_or_default();
        let asked = running.iter().map(AsFd::as_fd).chain(rings.iter().copied());
        let mut polled: Vec<_> = asked.map(|file| PollFd::from_borrowed_fd(file, PollFlags::IN)).collect();
        polled.extend(self.output.iter().map(|output| PollFd::from_borrowed_fd(output.as_fd(), PollFlags::empty())));
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for samples"),
        }
        let output = polled.last().filter(|_| self.output.is_some());
        if output.is_some_and(|output| output.revents().intersects(PollFlags::ERR | PollFlags::HUP)) {
            return Err(profrec_format::Error::Io(rustix::io::Errno::PIPE.into()).into());
        }
        let running = polled.iter().take(running.len());
        let mut ended = running.map(|process| !process.revents().is_empty()).collect::<Vec<_>>().into_iter();
        drop(polled);
        if let Some(running) = &mut self.running {
            running.retain(|_| !ended.next().unwrap_or(false));
        }
        // Before Linux 6.9 there is nothing to wait for a thread with. While one is there, the others do not matter.
        while let Some(threads) = &mut self.threads
            && threads.pop_if(|(pid, tid)| !proc_maps::is_running(*pid, *tid)).is_some()
        {}
        Ok(())
    }

    /// The command's exit status, once it has ended: a recorder that stops earlier waits for it. Whoever ends the recorder, before or
    /// meanwhile, ends the command.
    pub(crate) fn command_status(&mut self) -> Result<Option<ExitStatus>> {
        /// A signal that comes just before the wait is noticed after it.
        const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        let held = self.end.processes.get().map_or(&[][..], Vec::as_slice);
        loop {
            if let Some(status) = child.try_wait().context("waiting for the command")? {
                return Ok(Some(status));
            }
            if self.end.interrupted.swap(false, Ordering::Relaxed) {
                let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("the command's process id")?;
                rustix::process::kill_process(id, Signal::TERM).context("ending the command")?;
            }
            let mut ended: Vec<_> = held.iter().map(|it| PollFd::from_borrowed_fd(it.as_fd(), PollFlags::IN)).collect();
            match poll(&mut ended, Some(&LOOK)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("waiting for the command"),
            }
        }
    }
}

/// Whether a process that is held has ended.
fn has_ended(process: &OwnedFd) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
    poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

/// Whether whoever started us wants this signal to be ignored.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask >> (signal - 1) & 1 != 0
}
