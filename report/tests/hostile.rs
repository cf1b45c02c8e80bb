//! Recordings that were made to exhaust or to deceive the report: it stays within its memory and its time, and what it shows
//! is either right or says that something is missing.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::path::Path;
use std::process::{Command, Output};
use std::sync::LazyLock;

use profrec_format::raw::{RawFrame, RawRecording};
use profrec_format::{
    CfiEntry, CfiSection, Fork, Header, Mapping, MiniDebugInfo, Module, Process, Record, Recording, Sample, StackRange,
    StackWord, Thread, Totals, UnwindSlice, UserStack, UserState, Writer,
};
use profrec_report::collect::collect;
use profrec_report::evidence::Evidence;
use profrec_report::facts::Facts;
use profrec_report::filter::SampleFilter;
use profrec_report::local_files::LocalFiles;
use profrec_report::profile::{Profile, Shape};
use profrec_report::symbols::{Names, Wanted};
use profrec_report::views::{self, Page, Width};

/// Bytes of address space for the report in these tests, and seconds of CPU time (in a debug build, on a slow machine).
const MEMORY: u64 = 6 << 30;
const SECONDS: u64 = 120;

/// What has no end is not read to its end to see that it is no recording.
#[test]
fn a_file_without_end() {
    let output = report_at(Path::new("/dev/zero"), &[]);
    assert!(!output.status.success() && text(&output).contains("not a profrec recording"), "{}", text(&output));
}

/// Runs the report on a recording with limits, on one thread: the limit of memory is for each.
fn report(file: &[u8], args: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.prof");
    std::fs::write(&path, file).unwrap();
    report_at(&path, args)
}

fn report_at(path: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("prlimit");
    command.arg(format!("--as={MEMORY}")).arg(format!("--cpu={SECONDS}"));
    command.arg(env!("CARGO_BIN_EXE_profrec-report")).arg(path).args(args).env("RAYON_NUM_THREADS", "1");
    let output = command.output().unwrap();
    assert!(output.status.code().is_some(), "{}: {:?}", output.status, String::from_utf8_lossy(&output.stderr));
    output
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn writer() -> Writer<Vec<u8>> {
    Writer::create(Vec::new(), &Header { period: 1_000_000, ..Header::default() }).unwrap()
}

fn deep_stack(words: u64) -> UserStack {
    let range = StackRange { start: 0x10_0000, end: 0x10_0000 + words * 8 };
    let words = (0..words).map(|slot| StackWord { address: range.start + slot * 8, value: 0x40_0000 + slot % 512 });
    UserStack {
        ip: 0x40_0000,
        sp: range.start,
        top: range.end,
        ranges: vec![range],
        words: words.collect(),
        ..UserStack::default()
    }
}

/// Thousands of frames that are 32 MiB each once they are decompressed: they are read one at a time, and not all.
#[test]
fn a_bomb_of_frames() {
    let raw = RawRecording::take_apart(&writer().finish(&Totals::default()).unwrap()).unwrap();
    let content = vec![0xff; 32 << 20];
    let frame = |segment: u32| RawFrame {
        kind: 1,
        flags: 1,
        segment,
        items: 1,
        content: content.clone(),
        ..RawFrame::default()
    };
    let one = RawRecording { frames: vec![frame(1)], ..raw.clone() }.put_together().unwrap();
    let mut file = raw.head.clone();
    for _ in 0..2_000 {
        file.extend_from_slice(&one[raw.head.len()..]);
    }
    let output = report(&file, &["--no-local-files"]);
    assert!(text(&output).contains("note: the recording is"), "{}", text(&output));
}

/// A stack of a quarter of a million words that is repeated costs a few bytes each time: what is beyond the worth of the file
/// is left out, and said.
#[test]
fn a_stack_that_is_copied_for_ever() {
    let mut writer = writer();
    let mut sample = Sample { pid: 1, tid: 1, user: UserState::Stack(deep_stack(200_000)), ..Sample::default() };
    for time in 0..1_500 {
        sample.time = time;
        writer.sample(&sample).unwrap();
    }
    let totals = Totals { end_monotonic: 1_500, samples: 1_500, expected: 1_500, ..Totals::default() };
    let file = writer.finish(&totals).unwrap();
    let output = report(&file, &["--no-local-files"]);
    assert!(output.status.success(), "{}", text(&output));
    for rewriting in [&["--scrub"][..], &["--cut", "0.0000001.."]] {
        let output = report(&file, &[rewriting, &["-o", "/dev/null", "--force"]].concat());
        assert!(output.status.success() && text(&output).contains("wrote /dev/null: "), "{}", text(&output));
    }
}

/// What is said of stacks that there is no room for.
const LEFT_OUT: &str = "samples of further stacks are left out";

/// Stacks of 4,096 frames of which all but the innermost are shared: each costs a few bytes in the file.
fn deep_stacks(name_of: fn(u32) -> String) -> Vec<u8> {
    let mut writer = writer();
    let chain = [0].into_iter().chain((0..4_095).map(|depth| 0x40_0000 + 16 * depth)).collect();
    let mut sample = Sample { pid: 1, user: UserState::Chain(chain), ..Sample::default() };
    for number in 0..70_000 {
        let (tid, comm) = (1 + number % 20_000, name_of(number));
        if number < 20_000 {
            writer.record(&Record::Thread(Thread { pid: 1, tid, comm, ..Thread::default() })).unwrap();
        }
        (sample.time, sample.tid) = (u64::from(number), tid);
        if let UserState::Chain(chain) = &mut sample.user {
            chain[0] = 0x80_0000 + u64::from(number) * 16;
        }
        writer.sample(&sample).unwrap();
    }
    let totals = Totals { end_monotonic: 70_000, samples: 70_000, expected: 70_000, ..Totals::default() };
    writer.finish(&totals).unwrap()
}

/// The same of threads with one name. It is made once.
static DEEP_STACKS: LazyLock<Vec<u8>> = LazyLock::new(|| deep_stacks(|_| "one".to_owned()));

/// What there is no room for is left out, and said; what is too much to be drawn is refused.
#[test]
fn deep_stacks_that_share_their_beginnings() {
    assert!(DEEP_STACKS.len() < 4 << 20, "{} bytes", DEEP_STACKS.len());
    let output = report(&DEEP_STACKS, &["--no-local-files"]);
    assert!(output.status.success() && text(&output).contains(LEFT_OUT), "{}", text(&output));
    let output = report(&DEEP_STACKS, &["--no-local-files", "--flamegraph", "-"]);
    assert!(text(&output).contains(LEFT_OUT) && text(&output).contains("more than 2 GiB"), "{}", text(&output));
}

/// So it is where each is another thread's, and stands below a name of its own.
#[test]
fn deep_stacks_of_many_threads() {
    let many = deep_stacks(|number| format!("thread {number}"));
    let output = report(&many, &["--no-local-files", "--flamegraph", "-"]);
    assert!(output.status.success() && text(&output).contains(LEFT_OUT), "{}", text(&output));
}

/// From their innermost frames on, which all differ, the same stacks share nothing.
#[test]
fn callers_in_deep_stacks() {
    let callers = ["--no-local-files", "--callers", r"\+0x[89]"];
    let output = report(&DEEP_STACKS, &[&callers[..], &["--flamegraph", "-"]].concat());
    assert!(output.status.success() && text(&output).contains(LEFT_OUT), "{}", text(&output));
    let output = report(&DEEP_STACKS, &[&callers[..], &["--folded"]].concat());
    assert!(!output.status.success() && text(&output).contains("more than 2 GiB"), "{}", text(&output));
}

/// A process with many mappings that forks for ever: its children share what they do not change.
#[test]
fn forks_of_a_large_process() {
    let output = report(&large_forks(), &["--no-local-files", "--folded"]);
    assert!(text(&output).contains("x+0x"), "{}", text(&output));
}

/// The same, cut: a billion mappings at its first instant are not written one by one.
#[test]
fn a_cut_of_many_large_processes() {
    let output = report(&large_forks(), &["--cut", "0.000000003..", "-o", "/dev/null", "--force"]);
    assert!(!output.status.success() && text(&output).contains("more processes and mappings"), "{}", text(&output));
}

fn large_forks() -> Vec<u8> {
    let mut writer = writer();
    writer.record(&Record::Process(Process { pid: 1, comm: "a".into(), ..Process::default() })).unwrap();
    writer.record(&Record::Module(Module { id: 1, path: "/x".into(), ..Module::default() })).unwrap();
    // Downwards: each is put before all others.
    for number in (0..60_000).rev() {
        let start = 0x1000 * (2 * number + 1);
        let mapping = Mapping { pid: 1, start, end: start + 0x1000, module: 1, ..Mapping::default() };
        writer.record(&Record::Mapping(mapping)).unwrap();
    }
    for pid in 2..20_000 {
        writer.record(&Record::Fork(Fork { time: 1, pid, tid: pid, parent: 1, parent_tid: 1 })).unwrap();
        let mapping = Mapping { time: 2, pid, start: 1 << 40, end: 2 << 40, module: 1, ..Mapping::default() };
        writer.record(&Record::Mapping(mapping)).unwrap();
    }
    writer
        .sample(&Sample {
            time: 3,
            pid: 19_999,
            tid: 19_999,
            user: UserState::Chain(vec![0x1500]),
            ..Sample::default()
        })
        .unwrap();
    writer.finish(&Totals { end_monotonic: 4, samples: 1, expected: 1, ..Totals::default() }).unwrap()
}

/// A large CIE that many FDEs refer to, a symbol table that grows without end, and names that a terminal obeys.
#[test]
fn evidence_that_is_too_much() {
    let mut writer = writer();
    let comm = "\x1b[2J<script>&\u{202e}".to_owned();
    writer.record(&Record::Process(Process { pid: 1, comm: comm.clone(), ..Process::default() })).unwrap();
    writer.record(&Record::Thread(Thread { pid: 1, tid: 1, comm, ..Thread::default() })).unwrap();
    let path = "../../etc/\x1b]0;shadow".into();
    writer.record(&Record::Module(Module { id: 1, path, build_id: vec![1; 20], ..Module::default() })).unwrap();
    writer
        .record(&Record::Mapping(Mapping { pid: 1, start: 0, end: 1 << 40, module: 1, ..Mapping::default() }))
        .unwrap();
    let entry = |address, bytes| CfiEntry { address, cie: 1, bytes };
    let slice = UnwindSlice {
        module: 1,
        section: CfiSection::EhFrame,
        cies: vec![entry(1, vec![b'R'; 8 << 20])],
        fdes: (2..100_000).map(|address| entry(address, vec![0; 12])).collect(),
    };
    writer.record(&Record::UnwindSlice(slice)).unwrap();
    // head -c 64M /dev/zero | xz -9
    let bytes = include_bytes!("bomb.xz").to_vec();
    writer.record(&Record::MiniDebugInfo(MiniDebugInfo { module: 1, bytes })).unwrap();
    writer
        .sample(&Sample { time: 3, pid: 1, tid: 1, user: UserState::Stack(deep_stack(10)), ..Sample::default() })
        .unwrap();
    let file = writer.finish(&Totals::default()).unwrap();
    for view in [&["--limit=0"][..], &["--tree"], &["--info"], &["--json"], &["--folded"], &["--flamegraph=-"]] {
        let shown = text(&report(&file, view));
        assert!(!shown.contains(['\x1b', '\u{202e}']), "{view:?}: {shown}");
        assert!(view[0] != "--flamegraph=-" || !shown.contains("<script>&"), "{shown}");
    }
}

/// The whole report in this process: the samples that are shown, and the ledger.
fn shown(file: &[u8]) -> Option<(u64, Profile)> {
    let recording = Recording::open(file).ok()?;
    let (evidence, numbers) = Evidence::gather(&recording);
    let files = LocalFiles::default();
    let collected = collect(&recording, (&evidence, &numbers), &files, &SampleFilter::default());
    let names = Names::find(&collected.stacks.locations, &evidence, &files, &Wanted::all());
    let mut facts = Facts::gather(&recording);
    facts.learn(&collected);
    let profile = Profile::build(facts, &evidence, collected.stacks, &names, &Shape::default()).ok()?;
    Some((profile.samples, profile))
}

fn folded(profile: &Profile) -> Vec<u8> {
    let mut lines = Vec::new();
    views::folded::write(profile, &mut lines).unwrap();
    lines
}

fn require_honesty(file: &[u8], whole: (u64, &[u8]), what: &str) {
    let Some((samples, profile)) = shown(file) else { return };
    let same = (samples, &*folded(&profile)) == whole;
    assert!(same || !profile.ledger.notes.is_empty(), "{what}: {samples} samples, and no word of what is missing");
    views::info::view(&profile);
    views::tree::view(&profile, 0.0, Page::plain(Width::Unlimited));
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/recordings").join(name)).unwrap()
}

/// A real recording, cut anywhere: the totals are those of the whole, or the ledger tells that there is damage.
#[test]
fn every_cut_is_told() {
    let file = fixture("no_cfi.prof");
    let (samples, profile) = shown(&file).unwrap();
    let folded = folded(&profile);
    for length in 0..file.len() {
        require_honesty(&file[..length], (samples, &folded), &format!("cut at {length}"));
    }
}

/// The same with any byte changed.
#[test]
fn every_flip_is_told() {
    let file = fixture("no_cfi.prof");
    let (samples, profile) = shown(&file).unwrap();
    let folded = folded(&profile);
    for at in 0..file.len() {
        let mut flipped = file.clone();
        flipped[at] ^= 1 << (at % 8);
        require_honesty(&flipped, (samples, &folded), &format!("flip at {at}"));
    }
}
