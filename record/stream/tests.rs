//! Whole flushes, from what the kernel has counted to what a reader sees.

use std::collections::BTreeMap;

use profrec_format::{Header, Recording};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::thread::CapabilitySet;

use super::flushing::LAST_TICKS;
use super::*;
use crate::args::Embed;
use crate::counts::Counts;
use crate::process_cgroup;
use crate::rights;
use crate::ring::BpfRing;
use crate::side_band::FileIdentity;

/// Process ids that no machine gives.
const PID: u32 = 5_000_000;

/// A stream of process events that the test makes up.
fn stream() -> Stream<Vec<u8>> {
    let writer = Writer::create(Vec::new(), &Header::default()).unwrap();
    let (side_band, evidence) =
        (SideBand::open(&[], false).unwrap(), Evidence::start(Embed::None, false, None).unwrap());
    Stream::new(writer, side_band, evidence, Follow::Everything, CallGraph::Fp, 0)
}

/// A ring without samples.
fn empty_ring() -> BpfRing {
    let page = rustix::param::page_size();
    let memory = memfd_create("ring", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&memory, 3 * page as u64).unwrap();
    BpfRing::map(memory.as_fd(), page).unwrap()
}

/// A tick of a process in a control group, with a stack of its own.
fn add(counts: &mut Counts, first: u64, pid: u32, cgroup: u64, stack: u32) {
    let halves = |halves: &[u32]| halves.iter().flat_map(|half| half.to_le_bytes()).collect::<Vec<u8>>();
    let no_kernel_side = (-2_i32).cast_unsigned();
    let place = halves(&[cgroup as u32, 0, pid, 0, stack, no_kernel_side, 0, 0, 0, 0, 0, 0]);
    counts.add(&place, &halves(&[first as u32, (first >> 32) as u32, pid, 1]));
    counts.add_stack(stack, &(u64::from(stack) + 0x1000).to_le_bytes());
}

/// For each process, the groups that its ticks have for a reader who goes through the samples as they come: what has happened is not
/// taken back for one that comes late.
fn groups_as_read(file: &[u8]) -> BTreeMap<u32, BTreeMap<String, u64>> {
    let recording = Recording::open(file).unwrap();
    let segment = &recording.segments()[0];
    let mut records = segment.records().unwrap();
    records.sort_by_key(Record::time);
    let (mut records, mut now) = (records.into_iter().peekable(), BTreeMap::new());
    let mut read: BTreeMap<u32, BTreeMap<String, u64>> = BTreeMap::new();
    let mut samples = segment.samples();
    while let Some(sample) = samples.next().unwrap() {
        while let Some(record) = records.next_if(|record| record.time().unwrap_or_default() <= sample.time) {
            if let Record::Process(process) = record {
                now.insert(process.pid, process.cgroup);
            }
        }
        let group = now.get(&sample.pid).cloned().unwrap_or_default();
        *read.entry(sample.pid).or_default().entry(group).or_default() += 1;
    }
    read
}

/// In a flush of more rows than wait together, some processes move to another control group, each at another time: each row is read
/// with the group that it was counted in.
#[test]
fn rows_are_read_with_the_group_that_they_were_counted_in() {
    const PROCESSES: u32 = 4;
    const ROWS: u32 = 4_000;
    let mut stream = stream();
    stream.cgroup_ids = CgroupIds::told(&[(7, "/before"), (8, "/after")]);
    let mut counts = Counts::default();
    counts.until = u64::MAX;
    let ms = |number: u32| u64::from(number) * 1_000_000;
    for (process, row) in (0..PROCESSES).flat_map(|process| (0..ROWS).map(move |row| (process, row))) {
        // Those with lower numbers move later; the last one does not.
        let moves_at = if process + 1 == PROCESSES { ROWS } else { ROWS - ROWS / PROCESSES * (process + 1) };
        let group = if row < moves_at { 7 } else { 8 };
        add(&mut counts, ms(1 + row), PID + process, group, process * ROWS + row);
    }
    stream.counts(&mut counts, &mut empty_ring()).unwrap();
    let file = stream.close(&Totals::default()).unwrap();
    let read = groups_as_read(&file);
    let expected = [(3_000, 1_000), (2_000, 2_000), (1_000, 3_000), (4_000, 0)];
    for (pid, (before, after)) in (PID..).zip(expected) {
        let groups = [("/before", before), ("/after", after)].into_iter().filter(|(_, rows)| *rows > 0);
        let groups: BTreeMap<_, _> = groups.map(|(group, rows)| (group.to_owned(), rows)).collect();
        assert_eq!(read[&pid], groups, "process {pid}");
    }
}

/// A tick of a process at an address, as if it had been sampled.
fn sample(stream: &mut Stream<Vec<u8>>, time: u64, pid: u32, address: u64) {
    let mut counts = Counts::default();
    add(&mut counts, time, pid, 0, (address - 0x1000) as u32);
    counts.ticks(|_| true).for_each(|tick| stream.use_tick(&tick, CallGraph::Fp).unwrap());
}

/// A process has code there from 0x6000 to 0x8000.
fn map(stream: &mut Stream<Vec<u8>>, pid: u32, path: &str) {
    let (path, file) = (path.to_owned(), FileIdentity::BuildId(Vec::new()));
    stream.processes.entry(pid).known = true;
    let what = What::Mapping { pid, start: 0x6000, end: 0x8000, offset: 0, path, file };
    stream.pending.push_back(ProcessEvent { time: 1_000_000, what });
}

/// A child that runs code which its parent has made at run time, and has shown: its names are the child's own, and are asked for.
#[test]
fn a_child_has_its_own_names_of_code_made_at_run_time() {
    const CODE: u64 = 0x7000;
    for (path, asked) in [("//anon", vec![(PID, CODE), (PID + 1, CODE)]), ("/no/such/file", vec![])] {
        let mut stream = stream();
        map(&mut stream, PID, path);
        let what = What::Fork { pid: PID + 1, tid: PID + 1, parent: PID, parent_tid: PID };
        stream.pending.push_back(ProcessEvent { time: 3_000_000, what });
        sample(&mut stream, 2_000_000, PID, CODE);
        sample(&mut stream, 4_000_000, PID + 1, CODE);
        assert_eq!(stream.code.take_at_run_time(), asked, "{path}");
    }
}

/// A process moves to a group whose path nobody knows by its id, as that of the root: what the process itself says is where it is from then
/// on.
#[test]
fn a_group_without_a_known_path_is_asked_for() {
    let (pid, mut stream) = (std::process::id(), stream());
    stream.cgroup_ids = CgroupIds::told(&[(7, "/before")]);
    let mut counts = Counts::default();
    counts.until = u64::MAX;
    for (number, cgroup) in (1..).zip([7, 7, 9, 9, 9]) {
        add(&mut counts, number * 1_000_000, pid, cgroup, number as u32);
    }
    stream.counts(&mut counts, &mut empty_ring()).unwrap();
    let file = stream.close(&Totals::default()).unwrap();
    let own = process_cgroup::path(pid).unwrap();
    assert_eq!(groups_as_read(&file)[&pid], [("/before".to_owned(), 2), (own, 3)].into());
}

fn next_segment(stream: &mut Stream<Vec<u8>>) {
    stream.writer.flush().unwrap();
    stream.writer.start_segment().unwrap();
    stream.define_all_again();
}

/// While the files of programs cannot be read, more is asked than can wait. What there was no room for is asked when they can be read
/// again: places of code at once, files with the next segment.
#[test]
fn evidence_that_could_not_be_asked_for_is_asked_for_later() {
    let (mut stream, (evidence, mut asked)) = (stream(), Evidence::unanswered());
    stream.evidence = evidence;
    let (pid, program) = (std::process::id(), std::env::current_exe().unwrap());
    map(&mut stream, pid, program.to_str().unwrap());
    while stream.evidence.module(0, None) {}
    sample(&mut stream, 2_000_000, pid, 0x7000);
    stream.exchange_evidence().unwrap();
    assert_eq!(asked(), (0, 0));
    let mut all = |stream: &mut Stream<Vec<u8>>| {
        (0..100).fold((0, 0), |(code, files), _| {
            stream.exchange_evidence().unwrap();
            let (more_code, more_files) = asked();
            (code + more_code, files + more_files)
        })
    };
    assert_eq!(all(&mut stream), (1, 0));
    next_segment(&mut stream);
    sample(&mut stream, 3_000_000, pid, 0x7000);
    assert_eq!(all(&mut stream), (1, 1));
    next_segment(&mut stream);
    sample(&mut stream, 4_000_000, pid, 0x7000);
    assert_eq!(all(&mut stream), (1, 0));
}

/// Where nothing is counted, what waits for counts leaves for the output each time that there are none, and else about once a minute.
#[test]
fn counts_that_do_not_come_are_not_waited_for() {
    const SECOND: u64 = 1_000_000_000;
    let mut stream = stream();
    stream.only_count();
    let waits_after = |stream: &mut Stream<Vec<u8>>, seconds| {
        let time = stream.flushed + seconds * SECOND;
        stream.waits_for_counts(time).unwrap()
    };
    assert!(waits_after(&mut stream, 60) && !waits_after(&mut stream, 80));
    stream.counts(&mut Counts::default(), &mut empty_ring()).unwrap();
    assert!(!waits_after(&mut stream, 0));
    stream.let_leave().unwrap();
    assert!(waits_after(&mut stream, 60) && !waits_after(&mut stream, 80));
    let mut counts = Counts::default();
    add(&mut counts, SECOND, PID, 0, 1);
    stream.counts(&mut counts, &mut empty_ring()).unwrap();
    assert!(!waits_after(&mut stream, 0));
}

/// Children for which the kernel has found no room are told to it again, with their own, until all have found it; how many there were is told.
#[test]
fn children_without_room_are_told_again() {
    let mut stream = stream();
    stream.processes.entry(PID).known = true;
    stream.processes.entry(PID + 7).ended = Some(1);
    for (pid, parent) in [(PID + 1, PID), (PID + 2, PID + 1), (PID + 8, PID + 9)] {
        let what = What::Fork { pid, tid: pid, parent, parent_tid: parent };
        stream.pending.push_back(ProcessEvent { time: 1, what });
    }
    let mut told_again = |lost, has_room| {
        let mut pids = Vec::new();
        let add = |pid| {
            pids.push(pid);
            has_room
        };
        stream.follow_again(lost, add).unwrap();
        pids.sort_unstable();
        pids
    };
    let all: Vec<u32> = (PID..=PID + 2).collect();
    assert_eq!(told_again(0, true), []);
    assert_eq!([told_again(2, false).len(), told_again(2, false).len()], [1, 1]);
    assert_eq!([told_again(2, true), told_again(3, true), told_again(3, true)], [all.clone(), all.clone(), all]);
    assert_eq!(told_again(3, true), []);
    assert_eq!(stream.losses.by_cause(), [(LossCause::ProcessEvents, 3)]);
}

/// While counts are waited for, processes that have ended are forgotten, here and in the kernel, but those that may have had their last ticks
/// after counts were taken.
#[test]
fn who_has_ended_is_forgotten_while_counts_are_waited_for() {
    const CHILDREN: u32 = 1_000;
    let time = |number: u32| u64::from(number) * 10_000_000;
    let mut stream = stream();
    stream.only_count();
    stream.processes.entry(PID).known = true;
    for child in 1..=CHILDREN {
        let (pid, parent) = (PID + child, PID);
        let born = What::Fork { pid, tid: pid, parent, parent_tid: parent };
        let ends = What::Exit { pid, tid: pid };
        stream.pending.extend([born, ends].map(|what| ProcessEvent { time: time(child), what }));
    }
    let mut counts = Counts::default();
    counts.until = time(CHILDREN);
    stream.counts(&mut counts, &mut empty_ring()).unwrap();
    stream.catch_up(time(CHILDREN)).unwrap();
    let mut removed = Vec::new();
    stream.forget_ended(|pid| removed.push(pid)).unwrap();
    assert_eq!(removed, (PID + 1..=PID + CHILDREN).collect::<Vec<_>>());
    let mut left = stream.processes.pids();
    left.sort_unstable();
    let late = CHILDREN - (LAST_TICKS / time(1)) as u32;
    assert_eq!(left, [PID].into_iter().chain(PID + late..=PID + CHILDREN).collect::<Vec<_>>());
}

/// Mappings for which there is no room are told also when they are found in `/proc`.
#[test]
fn found_mappings_without_room_are_told() {
    let mut stream = stream();
    stream.modules.fill();
    stream.learn(std::process::id(), 1).unwrap();
    stream.tell_refused().unwrap();
    let refused = stream.losses.by_cause();
    assert!(matches!(refused[..], [(LossCause::ProcessEvents, 1..)]), "{refused:?}");
    assert!(!stream.unreadable_is_told);
}

/// A process whose mappings may not be read is told of.
#[test]
fn mappings_that_may_not_be_read_are_told() {
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let pid = child.id();
    let learn_without_rights = move || {
        rights::keep_only(CapabilitySet::empty(), None).unwrap();
        let mut stream = Stream { follow: Follow::Children, ..stream() };
        stream.learn(pid, 1).unwrap();
        stream.unreadable_is_told
    };
    let is_told = std::thread::spawn(learn_without_rights).join().unwrap();
    // Without root, one's own processes may be read.
    assert_eq!(is_told, rustix::process::geteuid().is_root());
    child.kill().unwrap();
    child.wait().unwrap();
}
