//! What is said when the output takes no more: what happened, how much there is, and what helps.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::Error;

use crate::summary::Finished;

/// The message of a recording that ended because it could not be written.
pub(crate) fn text(error: &Error, finished: &Finished, output: &Path) -> String {
    let piped = output == Path::new("-");
    let kind = match error.downcast_ref() {
        Some(profrec_format::Error::Io(error)) => Some(error.kind()),
        _ => None,
    };
    let name = output.display();
    let mut lines = vec![match kind {
        Some(ErrorKind::BrokenPipe) => "the reader of the recording has gone: the recording has ended".to_owned(),
        _ if piped => format!("{error:#}: the recording has ended"),
        _ => format!("{name}: {error:#}: the recording has ended"),
    }];
    let samples = finished.totals.samples;
    let lost = finished.totals.expected.saturating_sub(finished.totals.ticks());
    match samples {
        0 => lines.push("  nothing was recorded".to_owned()),
        _ => {
            let seconds = finished.lasted.as_secs_f64();
            lines.push(format!("  {seconds:.1} s with {samples} samples were written, {lost} samples were not"));
        }
    }
    if samples > 0 && !finished.closed && !piped {
        lines.push("  its end may be missing, which costs nothing of what is in it".to_owned());
    }
    match kind {
        Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            lines.push("  the disk is full: make room, or give a place on another disk with -o".to_owned());
        }
        Some(ErrorKind::FileTooLarge) => {
            lines.push("  the file may not become larger: see `ulimit -f`, or use a lower rate (-F)".to_owned());
        }
        Some(ErrorKind::BrokenPipe | ErrorKind::TimedOut) => {}
        _ => lines.push("  give another place with -o".to_owned()),
    }
    if samples > 0 && !piped {
        lines.push(format!("Next: profrec report {name}"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use profrec_format::Totals;

    use super::*;
    use crate::meter::Health;
    use crate::outcomes::Outcomes;
    use crate::store::Kept;

    fn told(kind: ErrorKind, samples: u64, output: &str) -> String {
        let error = Error::from(profrec_format::Error::Io(kind.into())).context("writing the recording");
        let finished = Finished {
            totals: Totals { expected: 12, samples, ..Totals::default() },
            outcomes: Outcomes::default(),
            health: Health::default(),
            unknown_chunks: 0,
            unnamed: Vec::new(),
            bytes: 1,
            lasted: Duration::from_millis(2500),
            closed: false,
            refusal: None,
            kept: Kept { path: output.into(), lines: Vec::new(), failed: false },
            slowed: None,
            unseen: None,
        };
        text(&error, &finished, Path::new(output))
    }

    /// A full disk is called by its name, with what is safe and what to do.
    #[test]
    fn a_full_disk() {
        let text = told(ErrorKind::StorageFull, 10, "a.prof");
        for words in
            ["a.prof: ", "2.5 s with 10 samples", "2 samples were not", "disk is full", "profrec report a.prof"]
        {
            assert!(text.contains(words), "{text}");
        }
    }

    /// What holds nothing is not offered to the report, and a pipe has no name.
    #[test]
    fn nothing_to_report() {
        assert!(!told(ErrorKind::StorageFull, 0, "a.prof").contains("Next"));
        let text = told(ErrorKind::BrokenPipe, 10, "-");
        assert!(text.contains("reader") && !text.contains("Next"), "{text}");
    }
}
