//! The flight recorder (`--ring`): the last parts of a recording, in memory, and what is written out of them on demand.
//!
//! ```text
//!   parts:   ... 7 │ 8 │ 9 │ the one at hand       each a closed recording, about a tenth of the ring's time
//!   oldest goes ◄──┘           └─► on demand it ends; all go into one file, beside the recording
//! ```

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use profrec_format::{Recording, StopReason};

use crate::output::discard_if_empty;
use crate::part_files::PartFiles;
use crate::progress::put;
use crate::ring_file::{self, Written};
use crate::store::{Kept, PartEnd};
use crate::summary;

/// A part ends after this share of the ring's time.
const TIME_SHARE: u32 = 10;
/// But no earlier: its definitions would be most of it.
const SHORTEST_PART: Duration = Duration::from_millis(300);

/// A closed recording in memory.
pub(crate) struct Part {
    pub(crate) bytes: Vec<u8>,
    /// In nanoseconds of CLOCK_MONOTONIC.
    start: u64,
}

/// A file that is being written by a thread of its own.
struct Writing {
    thread: JoinHandle<Result<Written>>,
    path: PathBuf,
    why: String,
}

/// The last parts, and what is written of them.
pub(crate) struct FlightRecorder {
    time: Duration,
    memory: u64,
    files: PartFiles,
    quiet: bool,
    parts: VecDeque<Arc<Part>>,
    /// Bytes of these parts.
    held: u64,
    /// The most that it ever was.
    most_held: u64,
    /// Bytes and nanoseconds of all parts that ever were.
    taken: u64,
    lasted: u64,
    /// Why it is to be written out, when it is.
    wanted: Option<String>,
    /// The part at hand at that time has ended.
    ready: bool,
    writing: Option<Writing>,
    /// The last file that was written.
    last: Option<PathBuf>,
    failed: bool,
}

impl FlightRecorder {
    /// Holds at least the last `time` in about `memory` bytes.
    pub(crate) fn new(time: Duration, memory: u64, files: PartFiles, quiet: bool) -> Self {
        Self {
            time,
            memory,
            files,
            quiet,
            parts: VecDeque::new(),
            held: 0,
            most_held: 0,
            taken: 0,
            lasted: 0,
            wanted: None,
            ready: false,
            writing: None,
            last: None,
            failed: false,
        }
    }

    /// The files that are written.
    pub(crate) fn files(&self) -> &PartFiles {
        &self.files
    }

    /// When a part ends; of the memory it takes no more than one in `share`.
    pub(crate) fn part_end(&self, share: u64) -> PartEnd {
        PartEnd { time: Some((self.time / TIME_SHARE).max(SHORTEST_PART)), bytes: Some(self.memory / share) }
    }

    /// It is to be written out, when the part at hand has ended.
    pub(crate) fn ask(&mut self, why: &str) {
        self.wanted.get_or_insert_with(|| why.to_owned());
    }

    /// Takes a closed part. The oldest go, as far as those that are left are long enough, or all are too large.
    pub(crate) fn take(&mut self, mut bytes: Vec<u8>) {
        bytes.shrink_to_fit();
        let Some((start, end)) = times(&bytes) else {
            self.failed = true;
            return put(&format!(
                "profrec: a part of what --ring holds cannot be read: {} are lost\n",
                summary::size(bytes.len() as u64)
            ));
        };
        self.held += bytes.len() as u64;
        self.taken += bytes.len() as u64;
        self.lasted += end.saturating_sub(start);
        self.parts.push_back(Arc::new(Part { bytes, start }));
        let oldest = end.saturating_sub(self.time.as_nanos() as u64);
        // The part at hand needs room, too.
        let most = self.memory - self.memory / 8;
        while self.parts.len() > 1 && (self.parts[1].start <= oldest || self.held > most) {
            self.held -= self.parts.pop_front().map_or(0, |part| part.bytes.len() as u64);
        }
        self.most_held = self.most_held.max(self.held);
    }

    /// Goes on with what is being written. `fresh`: the last part has just ended, with all that there was.
    pub(crate) fn tend(&mut self, fresh: bool) {
        if self.writing.as_ref().is_some_and(|writing| writing.thread.is_finished()) {
            self.wait();
        }
        self.ready |= fresh && self.wanted.is_some();
        // What is asked for while a file is written comes into the next one, when that is done.
        if self.ready && self.writing.is_none() {
            self.ready = false;
            let why = self.wanted.take().unwrap_or_default();
            self.start(why, StopReason::Cut);
        }
    }

    /// Begins to write all that is held.
    fn start(&mut self, why: String, stop: StopReason) {
        let output = match self.files.begin() {
            Ok(output) => output,
            Err(error) => return self.fail(&format!("{error:#}")),
        };
        let path = self.files.path();
        // Some room is for the index of the whole.
        let room = self.files.room().map(|mut room| {
            let bytes = room.make(self.held + self.held / 16 + ring_file::HEAD);
            self.files.leave(&room);
            bytes
        });
        let parts: Vec<_> = self.parts.iter().cloned().collect();
        let write = move || ring_file::write(&parts, output, stop, room);
        match thread::Builder::new().name("profrec-ring".to_owned()).spawn(write).context("starting the writing thread")
        {
            Ok(thread) => self.writing = Some(Writing { thread, path, why }),
            Err(error) => self.fail(&format!("{}: {error:#}", path.display())),
        }
    }

    /// Waits for the file that is being written, and tells what came of it.
    fn wait(&mut self) {
        let Some(Writing { thread, path, why }) = self.writing.take() else { return };
        let written = thread.join().unwrap_or_else(|_| Err(anyhow!("the writing thread ended early")));
        match written {
            Ok(written) => {
                self.files.delete_beyond_keep();
                if !self.quiet {
                    put(&format!("profrec: {}: {} ({why})\n", path.display(), written.text()));
                }
                self.last = Some(path);
            }
            Err(error) => {
                discard_if_empty(&path);
                self.fail(&format!("{}: {error:#}", path.display()));
            }
        }
    }

    /// Tells what could not be written; what is held stays.
    fn fail(&mut self, text: &str) {
        self.failed = true;
        put(&format!("profrec: {text}: what is in memory could not be written out\n"));
    }

    /// Writes all that is held, at the end of the recording.
    pub(crate) fn close(mut self, stop: StopReason) -> Kept {
        self.wait();
        if self.parts.is_empty() {
            self.fail("nothing was recorded");
        } else {
            self.start(stop_word(stop).to_owned(), stop);
            self.wait();
        }
        let (begun, deleted) = self.files.counts();
        let a_minute = u128::from(self.taken) * 60_000_000_000 / u128::from(self.lasted.max(1));
        let mut lines = vec![format!(
            "  --ring held at most {} of {} MB, {} a minute; files begun: {begun}, deleted: {deleted}",
            summary::size(self.most_held),
            self.memory >> 20,
            summary::size(a_minute as u64),
        )];
        lines.extend(self.last.iter().map(|path| format!("Next: profrec report {}", path.display())));
        Kept { path: self.last.unwrap_or_default(), lines, failed: self.failed }
    }
}

/// What ended the recording, in words.
fn stop_word(stop: StopReason) -> &'static str {
    match stop {
        StopReason::Duration => "the end of the time asked for",
        StopReason::TargetEnded => "the target's end",
        _ => "the end",
    }
}

/// Start and end of a closed recording.
fn times(bytes: &[u8]) -> Option<(u64, u64)> {
    let recording = Recording::open(bytes).ok()?;
    Some((recording.header().start_monotonic, recording.totals()?.end_monotonic))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::path::Path;

    use profrec_format::{Header, Process, Record, Sample, Totals, UserState, Writer};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A part of one second and ten samples.
    fn part(second: u64) -> Vec<u8> {
        let start_monotonic = second * SECOND;
        let header = Header { start_monotonic, period: SECOND / 10, ..Header::default() };
        let mut writer = Writer::create(Vec::new(), &header).unwrap();
        writer.record(&Record::Process(Process { time: start_monotonic, pid: 1, ..Process::default() })).unwrap();
        for tick in 0..10 {
            let (time, user) = (start_monotonic + tick * SECOND / 10, UserState::Chain(vec![second << 20 | tick]));
            writer.sample(&Sample { time, pid: 1, tid: 1, user, ..Sample::default() }).unwrap();
        }
        let totals = Totals { end_monotonic: start_monotonic + SECOND, samples: 10, expected: 12, ..Totals::default() };
        let lost = vec![(profrec_format::LossCause::RingFull, 2)];
        writer.finish(&Totals { lost, recorder_cpu: 7, ..totals }).unwrap()
    }

    fn recorder(folder: &Path, seconds: u64, memory: u64, keep: Option<usize>) -> FlightRecorder {
        let files = PartFiles::new(&folder.join("it.prof"), keep, None, false).unwrap();
        FlightRecorder::new(Duration::from_secs(seconds), memory, files, true)
    }

    fn read(folder: &Path, number: u64) -> Vec<u8> {
        fs::read(folder.join(format!("it.{number:06}.prof"))).unwrap()
    }

    /// Waits for what is being written.
    fn settle(recorder: &mut FlightRecorder) {
        while recorder.writing.is_some() {
            recorder.tend(false);
        }
    }

    /// What is written holds the last seconds that were asked for, whole, and says so; it is a recording without damage whose totals
    /// are those of its parts together.
    #[test]
    fn the_last_seconds_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = recorder(folder.path(), 4, 1 << 20, None);
        (100..120).for_each(|second| recorder.take(part(second)));
        recorder.ask("a test");
        recorder.tend(false);
        assert!(recorder.writing.is_none(), "the part at hand has not ended");
        recorder.take(part(120));
        recorder.tend(true);
        settle(&mut recorder);
        let bytes = read(folder.path(), 1);
        let recording = Recording::open(&bytes).unwrap();
        let totals = recording.totals().unwrap();
        assert!(recording.damage().is_empty());
        assert_eq!((recording.header().start_monotonic, totals.end_monotonic), (117 * SECOND, 121 * SECOND));
        assert_eq!((totals.samples, totals.expected, recording.samples_found()), (40, 48, 40));
        assert_eq!((totals.lost[0].1, totals.recorder_cpu, totals.stop), (8, 28, StopReason::Cut));
    }

    /// A part that is no recording is not held, and that is no success; the others are.
    #[test]
    fn a_part_that_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = recorder(folder.path(), 100, 1 << 20, None);
        for bytes in [part(1), b"no recording".to_vec(), part(2)] {
            recorder.take(bytes);
        }
        let kept = recorder.close(StopReason::Duration);
        assert!(kept.failed);
        assert_eq!(Recording::open(&read(folder.path(), 1)).unwrap().samples_found(), 20);
    }

    /// Memory is bounded whatever the time: the oldest go, also when nobody asks for anything.
    #[test]
    fn memory_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let size = part(1).len() as u64;
        let mut recorder = recorder(folder.path(), 1_000_000, 16 * size, None);
        (0..100).for_each(|second| recorder.take(part(second)));
        assert!(recorder.most_held <= 15 * size && recorder.held >= 12 * size, "{} of {size}", recorder.held);
        let kept = recorder.close(StopReason::Duration);
        assert!(!kept.failed);
        assert!(Recording::open(&read(folder.path(), 1)).unwrap().samples_found() >= 120);
    }

    /// Where all files together may not be larger, the newest parts are written, as far as they fit, and older files make room.
    #[test]
    fn files_of_limited_size() {
        let folder = tempfile::tempdir().unwrap();
        let size = part(1).len() as u64;
        let (path, most) = (folder.path().join("it.prof"), 3 * 4096 + 5 * size);
        let files = PartFiles::new(&path, None, Some(most), false).unwrap();
        let mut recorder = FlightRecorder::new(Duration::from_secs(1000), 64 << 20, files, true);
        (1..40).for_each(|second| recorder.take(part(second)));
        recorder.ask("a test");
        recorder.tend(true);
        settle(&mut recorder);
        let first = read(folder.path(), 1);
        recorder.take(part(40));
        let kept = recorder.close(StopReason::Duration);
        assert!(!kept.failed && !folder.path().join("it.000001.prof").exists());
        for (bytes, end) in [(first, 40), (read(folder.path(), 2), 41)] {
            assert!(bytes.len() as u64 <= most, "{} of {most}", bytes.len());
            let recording = Recording::open(&bytes).unwrap();
            assert_eq!(recording.totals().unwrap().end_monotonic, end * SECOND);
            assert!(recording.samples_found() >= 40 && recording.damage().is_empty());
        }
    }

    /// Who asks while a file is written gets another one, with what came since; only as many files stay as may.
    #[test]
    fn asked_while_writing() {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = recorder(folder.path(), 100, 1 << 20, Some(2));
        recorder.take(part(1));
        for second in 2..5 {
            recorder.ask("a test");
            recorder.take(part(second));
            recorder.tend(true);
        }
        settle(&mut recorder);
        let kept = recorder.close(StopReason::TargetEnded);
        assert!(!kept.failed && ["it.000003.prof", "it.000004.prof"].iter().any(|name| kept.path.ends_with(name)));
        let last = fs::read(&kept.path).unwrap();
        let last = Recording::open(&last).unwrap();
        assert_eq!((last.samples_found(), last.totals().unwrap().stop), (40, StopReason::TargetEnded));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    /// A folder that has vanished is an error that is remembered; what is held is written once there is a place again.
    #[test]
    fn a_folder_that_vanishes() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let mut recorder = recorder(&inner, 100, 1 << 20, None);
        fs::remove_dir(&inner).unwrap();
        recorder.ask("a test");
        recorder.take(part(1));
        recorder.tend(true);
        assert!(recorder.failed && recorder.writing.is_none());
        fs::create_dir(&inner).unwrap();
        let kept = recorder.close(StopReason::Duration);
        assert!(kept.failed, "the earlier failure must not be forgotten");
        assert_eq!(Recording::open(&read(&inner, 1)).unwrap().samples_found(), 10);
    }
}
