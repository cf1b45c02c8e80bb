//! An output that takes no more: what it has taken stays readable, and can be closed when there is room again.

use std::cell::RefCell;
use std::io::{self, Write};
use std::ops::Range;
use std::rc::Rc;

use profrec_format::{Error, Header, Loss, LossCause, Record, Recording, Sample, Totals, Writer};

/// A recording keeps the times of samples in such steps.
const STEP: u64 = 1_024;

/// Takes a frame as a whole or not at all.
struct Disk {
    taken: Rc<RefCell<Vec<u8>>>,
    writes: u32,
    /// The writes that fail.
    refused: Range<u32>,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes += 1;
        if self.refused.contains(&self.writes) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.taken.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Six frames of records and six of samples in two segments, whatever the disk says; and how many samples it took.
fn write(refused: Range<u32>) -> Option<(Vec<u8>, u64, Result<(), Error>)> {
    let taken = Rc::new(RefCell::new(Vec::new()));
    let disk = Disk { taken: Rc::clone(&taken), writes: 0, refused };
    let mut writer = Writer::create(disk, &Header::default()).ok()?;
    let mut failures = 0;
    for number in 1..=6 {
        let time = number * STEP;
        writer.record(&Record::Loss(Loss::at(time, LossCause::RingFull, 1))).unwrap();
        writer.sample(&Sample { time, pid: number as u32, ..Sample::default() }).unwrap();
        let done = if number == 3 { writer.start_segment() } else { writer.flush() };
        failures += u32::from(done.is_err());
    }
    let samples = writer.samples_in_output();
    assert_eq!(failures == 0, samples == 6, "{failures} failures, {samples} samples");
    assert_eq!(writer.last_time_in_output(), samples * STEP);
    let finished = writer.finish(&Totals { samples, expected: samples, ..Totals::default() }).map(drop);
    let taken = taken.borrow().clone();
    Some((taken, samples, finished))
}

/// In steps.
fn times(recording: &Recording<'_>) -> Vec<u64> {
    let segments = recording.segments().iter();
    let times = segments.map(|segment| {
        let mut samples = segment.samples();
        std::iter::from_fn(|| samples.next().unwrap().map(|sample| sample.time / STEP)).collect::<Vec<_>>()
    });
    times.flatten().collect()
}

/// Whichever write fails, once: what was taken before is there, what comes later is not put behind the gap, and the
/// recording is closed and whole.
#[test]
fn one_refused_write() {
    assert!(write(1..2).is_none(), "the header was refused");
    for refused in 2..=13 {
        let (file, samples, finished) = write(refused..refused + 1).unwrap();
        finished.unwrap();
        assert_eq!(samples, u64::from(refused - 2) / 2);
        let recording = Recording::open(&file).unwrap();
        assert_eq!(recording.damage(), [], "write {refused}");
        assert_eq!(recording.totals().unwrap().samples, samples);
        assert_eq!(recording.index().unwrap().len(), recording.segments().len());
        assert!(times(&recording).into_iter().eq(1..=samples), "write {refused}");
    }
}

/// The same for a disk that takes nothing more at all, also while the recording is being closed.
#[test]
fn all_writes_are_refused() {
    for refused in 2..=16 {
        let (file, samples, finished) = write(refused..u32::MAX).unwrap();
        assert!(finished.is_err());
        let recording = Recording::open(&file).unwrap();
        assert_eq!(recording.damage(), [], "write {refused}");
        assert_eq!(recording.totals().is_some(), refused > 15, "write {refused}");
        assert!(times(&recording).into_iter().eq(1..=samples), "write {refused}");
    }
}
