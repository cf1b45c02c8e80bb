//! A pipe whose reader may stop reading: it is waited for while the recording goes on, for ticks that do not fit into the ring meanwhile are
//! counted. But not for ever once the recording is to end: else nobody could end it.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::stop::End;

/// What a pipe that says that it takes something takes at once: PIPE_BUF, which is a page.
const AT_ONCE: usize = 4096;
/// How long a reader is waited for that reads nothing when the recording is to end.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often is asked whether it is.
const ASK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The reader.
pub(crate) struct SlowReader {
    end: Arc<End>,
}

impl SlowReader {
    /// One that is waited for until `end`.
    pub(crate) fn new(end: Arc<End>) -> Self {
        Self { end }
    }

    /// Writes all of it, without a call that nothing interrupts.
    pub(crate) fn write_all(&mut self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(AT_ONCE) {
            self.wait(file)?;
            file.write_all(piece)?;
        }
        Ok(())
    }

    fn wait(&self, file: &File) -> io::Result<()> {
        let mut ended: Option<Instant> = None;
        loop {
            let mut polled = [PollFd::from_borrowed_fd(file.as_fd(), PollFlags::OUT)];
            match poll(&mut polled, Some(&ASK)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                // Whatever else it says, the write says why.
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            if self.end.has_come() && ended.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
                return Err(io::Error::new(ErrorKind::TimedOut, "its reader does not read"));
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Read;

    use super::*;

    /// A pipe that is full is waited for, and all arrives; when the recording is to end and nobody reads, the write fails.
    #[test]
    fn a_reader_is_waited_for_but_not_for_ever() {
        let (reading, writing) = rustix::pipe::pipe().unwrap();
        let (mut reading, mut writing) = (File::from(reading), File::from(writing));
        let end = Arc::<End>::default();
        let mut reader = SlowReader::new(Arc::clone(&end));
        let slow = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            let mut bytes = vec![0; 200_000];
            reading.read_exact(&mut bytes).unwrap();
            assert!(bytes.iter().all(|byte| *byte == 7));
            reading
        });
        reader.write_all(&mut writing, &[7; 200_000]).unwrap();
        let _nobody_reads = slow.join().unwrap();
        end.come();
        let error = reader.write_all(&mut writing, &[7; 200_000]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
