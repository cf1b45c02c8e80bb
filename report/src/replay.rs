//! Replay: every sample of a segment together with its process as it was at that instant.
//!
//! Segments stand alone, so each is replayed by itself.

use std::collections::VecDeque;

use profrec_format::{Error, Record, Sample, Segment, UserState};

use crate::evidence::ModuleNumbers;
use crate::world::{Instant, World};

/// Samples come from one ring, in which each CPU reserves its place a moment after it took the
/// time: a sample can be late by as many places as there are CPUs. Twice as many as Linux supports
/// on common machines.
const WINDOW: usize = 512;
/// Words of stacks in the window: 128 MiB. Where stacks are so deep, a late sample may miss its place.
const WINDOW_WORDS: usize = 8 << 20;

/// Replays a segment: `visit` sees each sample in the order of time.
///
/// # Errors
/// Where a segment is damaged, reading ends; all samples before the damage have been visited.
pub fn replay(
    segment: &Segment<'_>,
    numbers: &ModuleNumbers,
    visit: impl FnMut(&Sample, Instant<'_>),
) -> Result<(), Error> {
    replay_records((segment, segment.records()?), numbers, visit)
}

/// The same for a segment whose records have been read.
pub fn replay_records(
    (segment, records): (&Segment<'_>, Vec<Record>),
    numbers: &ModuleNumbers,
    mut visit: impl FnMut(&Sample, Instant<'_>),
) -> Result<(), Error> {
    let mut world = World::new(numbers, records, segment.allowance());
    in_order(segment, |sample| visit(sample, world.at(sample)))
}

/// Goes through the samples of a segment in the order of time; errors as for [`replay`].
pub fn in_order(segment: &Segment<'_>, mut visit: impl FnMut(&Sample)) -> Result<(), Error> {
    let mut samples = segment.samples();
    let mut window = VecDeque::with_capacity(WINDOW + 1);
    let mut words = 0;
    let outcome = loop {
        match samples.next() {
            Ok(Some(sample)) => {
                words += words_of(sample);
                put_in_order(&mut window, sample);
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
        while window.len() > WINDOW || words > WINDOW_WORDS {
            let Some(first) = window.pop_front() else { break };
            words -= words_of(&first);
            visit(&first);
        }
    };
    window.iter().for_each(visit);
    outcome
}

/// Inserts a sample by its time; nearly always its place is the last.
fn put_in_order(window: &mut VecDeque<Sample>, sample: &Sample) {
    let place = window.iter().rposition(|earlier| earlier.time <= sample.time).map_or(0, |index| index + 1);
    window.insert(place, sample.clone());
}

fn words_of(sample: &Sample) -> usize {
    match &sample.user {
        UserState::Stack(stack) => stack.words.len(),
        UserState::Unwound(stack) => stack.frames.len(),
        UserState::Chain(_) | UserState::None => 0,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use profrec_format::{Exec, Exit, Fork, Header, Mapping, Process, Recording, Thread, Totals, UserStack, Writer};

    /// Times below are in the steps in which a recording keeps the times of samples.
    const STEP: u64 = 1_024;

    enum Item {
        Record(Record),
        Sample(u64, u32, u32),
    }
    use Item::{Record as R, Sample as S};

    fn recording(items: Vec<Item>) -> Vec<u8> {
        let mut writer = Writer::create(Vec::new(), &Header::default()).unwrap();
        for item in items {
            match item {
                R(record) => writer.record(&record).unwrap(),
                S(time, pid, tid) => {
                    writer.sample(&Sample { time: time * STEP, pid, tid, ..Sample::default() }).unwrap();
                }
            }
        }
        writer.finish(&Totals::default()).unwrap()
    }

    /// Time, name of the thread, and the module at address 0x1500 (0 for none), for each sample.
    fn seen(items: Vec<Item>) -> Vec<(u64, String, u32)> {
        let bytes = recording(items);
        let recording = Recording::open(&bytes).unwrap();
        let numbers = (1..10).map(|id| (id, id)).collect();
        let mut seen = Vec::new();
        replay(&recording.segments()[0], &numbers, |sample, instant| {
            let module = instant.space.lookup(0x1500).map_or(0, |(module, _)| module);
            seen.push((sample.time / STEP, instant.comm.to_owned(), module));
        })
        .unwrap();
        seen
    }

    fn process(time: u64, pid: u32, comm: &str) -> Item {
        R(Record::Process(Process { time: time * STEP, pid, comm: comm.into(), ..Process::default() }))
    }

    fn mapping(time: u64, pid: u32, module: u32) -> Item {
        R(Record::Mapping(Mapping { time: time * STEP, pid, start: 0x1000, end: 0x2000, offset: 0, module }))
    }

    fn expected(seen: &[(u64, &str, u32)]) -> Vec<(u64, String, u32)> {
        seen.iter().map(|&(time, comm, module)| (time, comm.to_owned(), module)).collect()
    }

    /// A sample sees what happened before it and at its instant, whatever the order in the file.
    #[test]
    fn samples_see_their_instant() {
        let items =
            vec![process(10, 5, "a"), S(30, 5, 5), S(19, 5, 5), S(20, 5, 5), mapping(30, 5, 2), mapping(20, 5, 1)];
        assert_eq!(seen(items), expected(&[(19, "a", 0), (20, "a", 1), (30, "a", 2)]));
    }

    /// A forked process starts with its parent's mappings and name, and then goes its own way.
    #[test]
    fn fork_copies() {
        let fork = Record::Fork(Fork { time: 30 * STEP, pid: 6, tid: 6, parent: 5, parent_tid: 5 });
        let items = vec![
            process(10, 5, "a"),
            mapping(20, 5, 1),
            R(fork),
            mapping(40, 6, 2),
            S(35, 6, 6),
            S(45, 6, 6),
            S(46, 5, 5),
        ];
        assert_eq!(seen(items), expected(&[(35, "a", 1), (45, "a", 2), (46, "a", 1)]));
    }

    /// A new program has a new name and none of the old mappings.
    #[test]
    fn exec_clears() {
        let exec = Record::Exec(Exec { time: 30 * STEP, pid: 5, comm: "b".into() });
        let items = vec![process(10, 5, "a"), mapping(20, 5, 1), R(exec), S(25, 5, 5), S(30, 5, 5)];
        assert_eq!(seen(items), expected(&[(25, "a", 1), (30, "b", 0)]));
    }

    /// A second definition of a living process changes nothing; one that follows its end is another process.
    #[test]
    fn processes_are_defined_once() {
        let exit = R(Record::Exit(Exit { time: 40 * STEP, pid: 5, tid: 5 }));
        let items = vec![
            process(10, 5, "a"),
            mapping(10, 5, 1),
            process(10, 5, ""),
            S(20, 5, 5),
            exit,
            process(50, 5, "b"),
            S(60, 5, 5),
        ];
        assert_eq!(seen(items), expected(&[(20, "a", 1), (60, "b", 0)]));
    }

    /// Between two programs the kernel shows the registers of the old one; that ends when the new one runs.
    #[test]
    fn between_programs() {
        let sample = |time, ip, kernel_chain: &[u64]| Sample {
            time: time * STEP,
            pid: 5,
            tid: 5,
            kernel_chain: kernel_chain.to_vec(),
            user: UserState::Stack(UserStack { ip, ..UserStack::default() }),
            ..Sample::default()
        };
        let mut writer = Writer::create(Vec::new(), &Header::default()).unwrap();
        let exec = Exec { time: 20 * STEP, pid: 5, comm: "b".into() };
        let mapping = Mapping { time: 30 * STEP, pid: 5, start: 0x1000, end: 0x2000, offset: 0, module: 1 };
        writer.record(&Record::Exec(exec)).unwrap();
        writer.record(&Record::Mapping(mapping)).unwrap();
        let samples =
            [(10, 0x9000, &[1][..]), (25, 0x9000, &[1]), (35, 0x9000, &[1]), (40, 0x1500, &[]), (50, 0x9000, &[1])];
        for (time, ip, chain) in samples {
            writer.sample(&sample(time, ip, chain)).unwrap();
        }
        let bytes = writer.finish(&Totals::default()).unwrap();
        let recording = Recording::open(&bytes).unwrap();
        let numbers = [(1, 1)].into_iter().collect();
        let mut seen = Vec::new();
        replay(&recording.segments()[0], &numbers, |_, instant| seen.push(instant.between_programs)).unwrap();
        assert_eq!(seen, [false, true, true, false, false]);
    }

    /// A thread has its own name, else that of its process, else none.
    #[test]
    fn names_of_threads() {
        let thread = Record::Thread(Thread { time: 20 * STEP, pid: 5, tid: 7, comm: "worker".into() });
        let items = vec![process(10, 5, "a"), R(thread), S(30, 5, 7), S(31, 5, 8), S(32, 9, 9)];
        assert_eq!(seen(items), expected(&[(30, "worker", 0), (31, "a", 0), (32, "[unknown]", 0)]));
    }

    /// More samples than the window holds all come out, in the order of time.
    #[test]
    fn a_long_segment_comes_out_whole() {
        let times = (0..2_000u64).map(|number| number ^ 3);
        let seen = seen(times.map(|time| S(time, 1, 1)).collect());
        assert!(seen.iter().map(|(time, ..)| *time).eq(0..2_000));
    }
}
