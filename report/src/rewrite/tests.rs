//! Properties of recordings that are made of recordings, over generated ones: their profiles are those of what they were made of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Parser;
use profrec_format::{
    Exec, Exit, Fork, Header, Layout, Loss, LossCause, Mapping, Module, ModuleKind, Part, Process, Record, Recording,
    Sample, StackRange, StackWord, StopReason, Thread, Totals, UserStack, UserState, Writer,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{cut, merge, output::Output, scrub};
use crate::args::Args;
use crate::collect::collect;
use crate::evidence::Evidence;
use crate::filter::SampleFilter;
use crate::modules::NoLocalBinaries;

/// When the recordings start; some samples and records are earlier.
const START: u64 = 20;
/// When they end.
const END: u64 = 140;

/// What happens in a segment: records and samples, in any order of time.
#[derive(Clone, Debug)]
struct Content {
    records: Vec<Record>,
    samples: Vec<Sample>,
}

fn record() -> impl Strategy<Value = Record> {
    let (time, pid, tid) = (0..END, 1..4u32, 1..7u32);
    let name = || select(vec!["", "a", "b"]).prop_map(str::to_owned);
    prop_oneof![
        (time.clone(), pid.clone(), name(), any::<bool>()).prop_map(
            |(time, pid, comm, kernel_thread)| Record::Process(Process {
                time,
                pid,
                parent: 9,
                comm,
                kernel_thread,
                cgroup: format!("/group/{}", pid % 3)
            })
        ),
        (time.clone(), pid.clone(), tid.clone(), name()).prop_map(|(time, pid, tid, comm)| Record::Thread(Thread {
            time,
            pid,
            tid,
            comm
        })),
        (time.clone(), pid.clone(), tid.clone(), pid.clone(), tid.clone())
            .prop_map(|(time, pid, tid, parent, parent_tid)| Record::Fork(Fork { time, pid, tid, parent, parent_tid })),
        (time.clone(), pid.clone(), name()).prop_map(|(time, pid, comm)| Record::Exec(Exec { time, pid, comm })),
        (time.clone(), pid.clone(), tid).prop_map(|(time, pid, tid)| Record::Exit(Exit { time, pid, tid })),
        (time.clone(), pid, 1..6u64, 1..4u64, 1..6u32).prop_map(|(time, pid, start, length, module)| {
            let (start, end) = (start << 12, (start + length) << 12);
            Record::Mapping(Mapping { time, pid, start, end, offset: start, module })
        }),
        // The index says 0 for no loss: at time 0, when the machine started, nothing records.
        (1..END, 1..9u64).prop_map(|(time, count)| Record::Loss(Loss::at(time, LossCause::RingFull, count))),
    ]
}

fn sample() -> impl Strategy<Value = Sample> {
    let code = || 0x1000..0xa000u64;
    let words = vec((0..16u64, code()), 0..5).prop_map(|words| {
        let by_place: BTreeMap<u64, u64> =
            words.into_iter().map(|(slot, value)| (0x10_0000 + slot * 8, value)).collect();
        by_place.into_iter().map(|(address, value)| StackWord { address, value }).collect()
    });
    let range = StackRange { start: 0x10_0000, end: 0x10_0080 };
    let stack = (code(), words).prop_map(move |(ip, words)| UserStack {
        ip,
        sp: range.start,
        top: range.end,
        ranges: vec![range],
        words,
        ..UserStack::default()
    });
    let user = prop_oneof![
        Just(UserState::None),
        vec(code(), 0..4).prop_map(UserState::Chain),
        stack.clone().prop_map(UserState::Stack),
        stack.prop_map(UserState::Stack),
    ];
    let chain = select(vec![vec![], vec![0xff00], vec![0xff00, 0xff10]]);
    (0..END, 1..4u32, 1..7u32, chain, user, select(vec![1, 1, 1, 4, 1 << 16])).prop_map(
        |(time, pid, tid, kernel_chain, user, weight)| Sample { time, pid, tid, cpu: tid, kernel_chain, user, weight },
    )
}

fn contents() -> impl Strategy<Value = Vec<Content>> {
    let content = (vec(record(), 0..25), vec(sample(), 0..25));
    vec(content.prop_map(|(records, samples)| Content { records, samples }), 1..4)
}

/// Modules 1 to 4 are known: two with a build-id, one by its fingerprint, one by nothing; 5 is not.
fn modules() -> Vec<Record> {
    let module = |id, path: &str, build_id: &[u8]| {
        Record::Module(Module { id, kind: ModuleKind::File, path: path.into(), build_id: build_id.into() })
    };
    let layout = Layout { module: 3, fingerprint: vec![3], ..Layout::default() };
    vec![
        module(1, "/a", b"1"),
        module(2, "/b", b"2"),
        module(3, "/c", b""),
        module(4, "/d", b""),
        Record::Layout(layout),
    ]
}

fn header() -> Header {
    Header { start_monotonic: START, start_realtime: 1_000, period: 1, ..Header::default() }
}

fn write(contents: &[Content]) -> Vec<u8> {
    let mut writer = Writer::create(Vec::new(), &header()).unwrap();
    let (mut samples, mut lost) = (0, 0);
    for content in contents {
        writer.start_segment().unwrap();
        for record in modules().iter().chain(&content.records) {
            if let Record::Loss(loss) = record {
                lost += loss.count;
            }
            writer.record(record).unwrap();
        }
        for sample in &content.samples {
            writer.sample(sample).unwrap();
            samples += 1;
        }
    }
    let lost = if lost > 0 { vec![(LossCause::RingFull, lost)] } else { Vec::new() };
    let weight = writer.ticks_written();
    let expected = weight + lost.iter().map(|(_, count)| count).sum::<u64>();
    let stop = StopReason::TargetEnded;
    writer.finish(&Totals { end_monotonic: END, stop, expected, samples, lost, weight, ..Totals::default() }).unwrap()
}

/// How often which thread was seen with which stack and verdict; places are told by the modules' paths.
fn profile(file: &[u8], from: Option<u64>, to: Option<u64>) -> BTreeMap<String, u64> {
    let part = Part { from, to, ..Part::default() };
    let recording = Recording::open_part(file, &part).unwrap();
    assert_eq!(recording.damage(), []);
    let (evidence, numbers) = Evidence::gather(&recording);
    let filter = SampleFilter { from, to, ..SampleFilter::default() };
    let collected = collect(&recording, (&evidence, &numbers), &NoLocalBinaries, &filter);
    let stacks = collected.stacks;
    let mut counts = BTreeMap::new();
    for count in &stacks.counts {
        let (thread, stack) = (&stacks.threads[count.thread as usize], &stacks.stacks[count.stack as usize]);
        let frames = stacks.frames(stack).map(|frame| {
            let place = match stacks.locations[frame.location() as usize] {
                crate::stacks::Location::Module { module, address } => {
                    format!("{}+{address:#x}", evidence.modules[module as usize].module.path)
                }
                other => format!("{other:?}"),
            };
            format!("{place}{}", if frame.guessed() { "?" } else { "" })
        });
        let frames: Vec<_> = frames.collect();
        let key = format!("{} {} {} {:?} {}", thread.comm, thread.pid, thread.tid, stack.verdict, frames.join(";"));
        *counts.entry(key).or_default() += count.samples;
    }
    counts
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }
}

fn to(path: &Path) -> impl Fn(&Header, &[&Path]) -> anyhow::Result<Output> + '_ {
    move |header, inputs| Output::create(path, true, inputs, header)
}

/// The command line of a rewriting.
fn args(line: &str) -> Args {
    Args::try_parse_from(["report"].into_iter().chain(line.split(' '))).unwrap()
}

fn cut_out(folder: &Folder, input: &Path, from: Option<f64>, end: Option<f64>) -> Option<Vec<u8>> {
    let text = |time: Option<f64>| time.map(|time| format!("{:.9}", time / 1e9)).unwrap_or_default();
    let args = args(&format!("--cut {}..{} -o x y", text(from), text(end)));
    let output = folder.path("cut.prof");
    cut::cut(input, args.rewrite.cut.unwrap(), to(&output)).ok()?;
    Some(std::fs::read(output).unwrap())
}

/// A real recording with a byte changed, here and there: each rewriting fails, or gives a recording that is whole, whose
/// totals add up, and that tells of all samples that it lacks.
#[test]
fn damage_is_told_wherever_it_is() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/recordings/no_cfi.prof");
    let whole = std::fs::read(fixture).unwrap();
    let samples = Recording::open(&whole).unwrap().totals().unwrap().samples;
    let folder = Folder::new();
    let (input, output) = (folder.path("damaged.prof"), folder.path("out.prof"));
    let (scrubbing, cutting) = (args("--scrub a -o b --no-local-files"), args("--cut 0.. -o b a").rewrite.cut.unwrap());
    for at in (0..whole.len()).step_by(9) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(&input, damaged).unwrap();
        let outcomes = [
            scrub::scrub(&input, &scrubbing, to(&output)).map(|_| std::fs::read(&output).unwrap()),
            cut::cut(&input, cutting, to(&output)).map(|_| std::fs::read(&output).unwrap()),
            merge::merge(std::slice::from_ref(&input), to(&output)).map(|_| std::fs::read(&output).unwrap()),
        ];
        for bytes in outcomes.into_iter().flatten() {
            let recording = Recording::open(&bytes).unwrap();
            let totals = recording.totals().unwrap();
            let lost: u64 = totals.lost.iter().map(|(_, count)| count).sum();
            assert_eq!((recording.damage(), recording.samples_found()), (&[][..], totals.samples), "byte {at}");
            assert_eq!(totals.expected, totals.ticks() + lost, "byte {at}");
            let told = totals.expected == samples || totals.stop == StopReason::NotClosed;
            assert!(told, "byte {at}: {} of {samples}", totals.expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// A cut has the samples of its time with the same stacks, names and verdicts as the whole recording shows for that
    /// time; its totals are those of what it has, and the rest of the recording adds up with it.
    #[test]
    fn a_cut_is_the_time(contents in contents(), from in 0..150u64, length in 1..80u64) {
        let folder = Folder::new();
        let whole = write(&contents);
        let path = folder.put("whole.prof", &whole);
        let cut = cut_out(&folder, &path, Some(from as f64), Some((from + length) as f64));
        if let Some(cut) = &cut {
            let expected = profile(&whole, Some(from), Some(from + length));
            prop_assert_eq!(profile(cut, None, None), expected.clone());
            let recording = Recording::open(cut).unwrap();
            let totals = recording.totals().unwrap();
            prop_assert_eq!(totals.ticks(), expected.values().sum::<u64>());
            let lost: u64 = totals.lost.iter().map(|(_, count)| count).sum();
            prop_assert_eq!(totals.expected, totals.ticks() + lost);
            prop_assert_eq!(recording.header().start_monotonic, START + from);
        } else {
            prop_assert!(START + from > END);
        }
    }

    /// A recording that is cut into parts and merged again, in any order, is the recording: profile, totals and times.
    #[test]
    fn cuts_merge_to_the_whole(contents in contents(), first in 1..60u64, second in 61..119u64, order in Just(vec![0, 1, 2]).prop_shuffle()) {
        let folder = Folder::new();
        let whole = write(&contents);
        let path = folder.put("whole.prof", &whole);
        let ends = [None, Some(first as f64), Some(second as f64), None];
        let parts: Vec<PathBuf> = (0..3usize)
            .map(|part| folder.put(&part.to_string(), &cut_out(&folder, &path, ends[part], ends[part + 1]).unwrap()))
            .collect();
        let parts: Vec<PathBuf> = order.into_iter().map(|part: usize| parts[part].clone()).collect();
        let output = folder.path("merged.prof");
        merge::merge(&parts, to(&output)).unwrap();
        let merged = std::fs::read(output).unwrap();
        prop_assert_eq!(profile(&merged, None, None), profile(&whole, None, None));
        let (merged, whole) = (Recording::open(&merged).unwrap(), Recording::open(&whole).unwrap());
        prop_assert_eq!(merged.header(), whole.header());
        prop_assert_eq!(merged.totals(), whole.totals());
    }

    /// A scrubbed recording shows the same, also in parts, and has no stack; scrubbing it again changes nothing.
    #[test]
    fn scrubbing_shows_the_same(contents in contents(), from in 0..100u64) {
        let folder = Folder::new();
        let whole = write(&contents);
        let (path, output) = (folder.put("whole.prof", &whole), folder.path("scrubbed.prof"));
        let args = args("--scrub a -o b --no-local-files");
        scrub::scrub(&path, &args, to(&output)).unwrap();
        let scrubbed = std::fs::read(&output).unwrap();
        for from in [None, Some(from)] {
            prop_assert_eq!(profile(&scrubbed, from, None), profile(&whole, from, None));
        }
        let cut = cut_out(&folder, &output, Some(from as f64), None).unwrap();
        prop_assert_eq!(profile(&cut, None, None), profile(&whole, Some(from), None));
        let recording = Recording::open(&scrubbed).unwrap();
        let before = Recording::open(&whole).unwrap();
        prop_assert_eq!(recording.totals(), before.totals());
        for segment in recording.segments() {
            let mut samples = segment.samples();
            while let Some(sample) = samples.next().unwrap() {
                prop_assert!(!matches!(sample.user, UserState::Stack(_) | UserState::Chain(_)));
            }
        }
        let again = folder.path("again.prof");
        scrub::scrub(&output, &args, to(&again)).unwrap();
        prop_assert_eq!(std::fs::read(again).unwrap(), scrubbed);
    }
}
