//! The recorded command: started, held before its first instruction until the clocks are attached,
//! and waited for.
//!
//! ```text
//!   recorder                    child
//!      │  spawn (in a thread)     │
//!      │◄─────── its pid ─────────┤
//!   attach the clocks             │ waits
//!      ├──────── one byte ───────►│
//!      │                          exec
//! ```

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};

/// A child process that has not yet become the command.
pub(crate) struct Held {
    pub(crate) pid: u32,
    gate: UnixStream,
    spawned: JoinHandle<io::Result<Child>>,
    program: OsString,
}

/// Why the command does not run, with the exit status that shells give for it.
#[derive(Debug)]
pub(crate) struct NotStarted {
    pub(crate) status: u8,
    message: String,
}

impl std::fmt::Display for NotStarted {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str(&self.message)
    }
}

impl std::error::Error for NotStarted {}

/// Forks a child that waits to become `words`. Where the recording has the standard output to itself, what the
/// command prints goes to the standard error.
pub(crate) fn hold(words: &[OsString], output_is_taken: bool) -> Result<Held> {
    let (program, arguments) = words.split_first().ok_or_else(|| anyhow!("the command is empty"))?;
    let (mut gate, child_gate) = UnixStream::pair().context("making the gate that holds the command")?;
    let mut command = Command::new(program);
    command.args(arguments);
    if output_is_taken {
        command.stdout(io::stderr().as_fd().try_clone_to_owned().context("giving the command an output")?);
    }
    let ours = gate.as_raw_fd();
    let wait = move || {
        // SAFETY: this is the child's copy of the recorder's end, which nothing in the child uses; it
        // must go, or the child would never see that the recorder has died.
        unsafe { libc::close(ours) };
        (&child_gate).write_all(&rustix::process::getpid().as_raw_nonzero().get().to_le_bytes())?;
        if (&child_gate).read_exact(&mut [0]).is_err() {
            // The recorder gave up: nobody is there to be told, and `spawn` would complain of that.
            // SAFETY: ends the child at once; nothing of it is used afterwards.
            unsafe { libc::_exit(1) };
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure only makes system calls: it neither allocates nor
    // takes a lock.
    unsafe { command.pre_exec(wait) };
    // `spawn` returns when the child has become the command, so it waits in a thread of its own.
    let spawned = std::thread::Builder::new()
        .name("profrec-command".to_owned())
        .spawn(move || command.spawn())
        .context("starting the thread that starts the command")?;
    let mut pid = [0; 4];
    gate.read_exact(&mut pid).context("waiting for the command's process")?;
    Ok(Held { pid: u32::from_le_bytes(pid), gate, spawned, program: program.clone() })
}

impl Held {
    /// Lets the child become the command.
    pub(crate) fn release(mut self) -> Result<Child> {
        self.gate.write_all(&[1]).context("letting the command go")?;
        let spawned = self.spawned.join().map_err(|_| anyhow!("the thread that starts the command ended early"))?;
        spawned.map_err(|error| {
            let program = self.program.display();
            let (status, message) = match error.kind() {
                io::ErrorKind::NotFound => (127, format!("{program}: command not found")),
                io::ErrorKind::PermissionDenied => (126, format!("{program}: cannot be executed: {error}")),
                _ => (126, format!("{program}: {error}")),
            };
            NotStarted { status, message }.into()
        })
    }
}

/// The exit status that a shell would give.
pub(crate) fn shell_status(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn run(words: &[&str]) -> Result<u8> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let held = hold(&words, false)?;
        assert!(held.pid > 0);
        Ok(shell_status(held.release()?.wait()?))
    }

    /// The command's own status comes back, and a signal as shells show it.
    #[test]
    fn the_status_is_passed_on() {
        assert_eq!(run(&["true"]).unwrap(), 0);
        assert_eq!(run(&["sh", "-c", "exit 7"]).unwrap(), 7);
        assert_eq!(run(&["sh", "-c", "kill -9 $$"]).unwrap(), 137);
    }

    /// A command that does not exist is an error with status 127.
    #[test]
    fn a_missing_command_is_told() {
        let error = run(&["/no/such/command"]).unwrap_err();
        assert_eq!(error.downcast_ref::<NotStarted>().unwrap().status, 127);
        assert!(error.to_string().contains("command not found"));
    }
}
