//! What the report is doing, on the terminal, when it takes longer than a second: a bar for the
//! newest of the steps that are under way.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::escape;

/// A step must last this long before anything is shown.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two pictures of the bar.
const INTERVAL: Duration = Duration::from_millis(100);
/// Characters of the bar itself, and of the whole line.
const BAR: u64 = 20;
const MAX_LINE: usize = 79;
/// Back to the start of the line, and nothing in it.
const CLEAR: &str = "\r\x1b[K";

/// The steps that are under way, oldest first. The terminal is one for the whole process, and so is this.
static STEPS: Mutex<Vec<Arc<Step>>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct Step {
    what: String,
    done: AtomicU64,
    all: AtomicU64,
}

/// A step of the work; it ends when this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Doing(Arc<Step>);

/// Begins a step of `all` parts (bytes, addresses, anything; 0 when that is not known): "reading", "names of libc.so.6".
pub fn doing(what: impl Into<String>, all: u64) -> Doing {
    let step = Arc::new(Step { what: what.into(), done: AtomicU64::new(0), all: AtomicU64::new(all) });
    steps().push(step.clone());
    Doing(step)
}

impl Doing {
    /// So many more parts are done.
    pub fn advance(&self, parts: u64) {
        self.0.done.fetch_add(parts, Ordering::Relaxed);
    }

    /// It turns out that there are so many parts.
    pub fn expect(&self, all: u64) {
        self.0.all.store(all, Ordering::Relaxed);
    }
}

impl Drop for Doing {
    fn drop(&mut self) {
        steps().retain(|step| !Arc::ptr_eq(step, &self.0));
    }
}

fn steps() -> MutexGuard<'static, Vec<Arc<Step>>> {
    STEPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shows the steps until it is dropped; the line is empty then.
#[derive(Debug)]
#[must_use]
pub struct Shown(Option<(Sender<()>, JoinHandle<()>)>);

/// Shows the steps on standard error, if that is a terminal.
pub fn show() -> Shown {
    if io::stderr().is_terminal() { Shown::on(io::stderr(), PATIENCE) } else { Shown(None) }
}

impl Shown {
    fn on(mut out: impl Write + Send + 'static, patience: Duration) -> Self {
        let (end, ended) = mpsc::channel();
        let draw = move || {
            let mut wait = patience;
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(wait) {
                wait = INTERVAL;
                let line = steps().last().map(|step| step.line()).unwrap_or_default();
                // A terminal that is gone is no reason to stop working; so below.
                let _ = write!(out, "{CLEAR}{line}").and_then(|()| out.flush());
            }
            if wait == INTERVAL {
                let _ = write!(out, "{CLEAR}").and_then(|()| out.flush());
            }
        };
        // Without a thread for it, nothing is shown.
        Self(std::thread::Builder::new().spawn(draw).ok().map(|thread| (end, thread)))
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.0.take() {
            drop(end);
            // It can only have ended.
            let _ = thread.join();
        }
    }
}

impl Step {
    fn line(&self) -> String {
        let (done, all) = (self.done.load(Ordering::Relaxed), self.all.load(Ordering::Relaxed));
        let share = |of: u64| (u128::from(done.min(all)) * u128::from(of) / u128::from(all.max(1))) as u64;
        let filled = share(BAR);
        let bar: String = (0..BAR).map(|place| if place < filled { '#' } else { '-' }).collect();
        let what = escape::text(&self.what);
        let line = if all > 0 { format!("[{bar}] {:>3} %  {what}", share(100)) } else { format!("{what} ...") };
        line.chars().take(MAX_LINE).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Terminal(Arc<Mutex<Vec<u8>>>);

    impl Write for Terminal {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Terminal {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn step(what: &str, done: u64, all: u64) -> String {
        Step { what: what.into(), done: done.into(), all: all.into() }.line()
    }

    /// The bar says how much is done; what has no known end has no bar, what is more than all is all.
    #[test]
    fn a_line_says_how_far() {
        assert_eq!(step("names of x", 5, 20), "[#####---------------]  25 %  names of x");
        assert_eq!(step("reading", 7, 0), "reading ...");
        assert_eq!(step("x", u64::MAX, 3), format!("[{}] 100 %  x", "#".repeat(20)));
    }

    /// A name from a recording neither moves the cursor nor wraps the line.
    #[test]
    fn names_are_harmless() {
        let line = step(&format!("names of \x1b[2J{}", "y".repeat(200)), 0, 1);
        assert!(!line.contains('\x1b') && line.chars().count() == MAX_LINE, "{line}");
    }

    /// What lasts is shown while it lasts, and the line is empty in the end; what is short is never shown.
    #[test]
    fn shown_while_it_lasts() {
        let (short, long) = (Terminal::default(), Terminal::default());
        drop(Shown::on(short.clone(), Duration::from_secs(600)));
        assert_eq!(short.text(), "");
        let shown = Shown::on(long.clone(), Duration::ZERO);
        let doing = doing("counting sheep", 4);
        doing.advance(1);
        while !long.text().contains("25 %  counting sheep") {
            std::thread::yield_now();
        }
        drop((doing, shown));
        assert!(long.text().ends_with(CLEAR) && !steps().iter().any(|step| step.what == "counting sheep"));
    }
}
