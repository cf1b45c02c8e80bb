//! The specification is enough to write a reader: `tests/second_reader`, written from it alone in another language, reads of
//! every recording what profrec-format reads, to the last word of the last sample.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use profrec_format::raw::{RawFrame, RawRecording};
use profrec_format::{Damage, DamageKind, Record, Recording, Sample, UnwoundFrame, UserState};

use crate::every_kind::{counts_of_every_kind, recording_of_every_kind};
use crate::programs::{repository, run};

/// A Python that has the module zstandard: the first of that name, or Debian's.
fn python() -> &'static str {
    let able = |python: &&str| {
        let asked = Command::new(python).args(["-c", "import zstandard"]).output();
        asked.is_ok_and(|output| output.status.success())
    };
    let found = ["python3", "/usr/bin/python3"].into_iter().find(able);
    found.expect("the second reader needs python3 with the module zstandard: .ci/setup installs both")
}

/// What the second reader prints of a recording, and whether it calls it whole.
fn second(path: &Path) -> (String, bool) {
    let script = repository().join("tests/second_reader/read.py");
    let output = run(Command::new(python()).arg(script).arg(path));
    let code = output.status.code().unwrap();
    assert!(code < 2 && output.stderr.is_empty(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    (String::from_utf8(output.stdout).unwrap(), code == 0)
}

/// The same lines from profrec-format, as `tests/second_reader/read.py` describes them. It passes over records of unknown
/// tags without a word, so their number is given.
fn first(file: &[u8], unknown: usize) -> String {
    let recording = Recording::open(file).unwrap();
    let (mut text, mut all_samples) = (format!("header {}\n", json(recording.header())), String::new());
    let (mut records, mut samples) = (0, 0);
    for segment in recording.segments() {
        text += "segment\n";
        for record in segment.records().unwrap() {
            writeln!(text, "record {}", record_text(&record)).unwrap();
            records += 1;
        }
        let from = all_samples.len();
        let mut rest = segment.samples();
        while let Some(sample) = rest.next().unwrap() {
            put_sample(&mut all_samples, sample);
            samples += 1;
        }
        text += &all_samples[from..];
    }
    for summary in recording.index().unwrap_or_default() {
        writeln!(text, "index {}", json(summary)).unwrap();
    }
    if let Some(totals) = recording.totals() {
        writeln!(text, "totals {}", json(totals)).unwrap();
    }
    recording.damage().iter().for_each(|damage| put_damage(&mut text, damage));
    let (segments, lost) = (recording.segments().len(), recording.lost_to_damage().at_least);
    let closed = if recording.totals().is_some() { "yes" } else { "no" };
    writeln!(
        text,
        "counts segments {segments} records {records} unknown {unknown} samples {samples} lost {lost} closed {closed}"
    )
    .unwrap();
    writeln!(text, "checksum {:08x}", crc32c::crc32c(all_samples.as_bytes())).unwrap();
    text
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

fn record_text(record: &Record) -> String {
    match record {
        Record::Process(it) => format!("Process {}", json(it)),
        Record::Thread(it) => format!("Thread {}", json(it)),
        Record::Fork(it) => format!("Fork {}", json(it)),
        Record::Exec(it) => format!("Exec {}", json(it)),
        Record::Exit(it) => format!("Exit {}", json(it)),
        Record::Mapping(it) => format!("Mapping {}", json(it)),
        Record::Module(it) => format!("Module {}", json(it)),
        Record::Layout(it) => format!("Layout {}", json(it)),
        Record::UnwindSlice(it) => format!("UnwindSlice {}", json(it)),
        Record::SymbolSlice(it) => format!("SymbolSlice {}", json(it)),
        Record::Image(it) => format!("Image {}", json(it)),
        Record::KernelSymbols(it) => format!("KernelSymbols {}", json(it)),
        Record::Loss(it) => format!("Loss {}", json(it)),
        Record::MiniDebugInfo(it) => format!("MiniDebugInfo {}", json(it)),
        Record::FunctionExtents(it) => format!("FunctionExtents {}", json(it)),
        Record::SelfMetrics(it) => format!("SelfMetrics {}", json(it)),
        Record::PerfMap(it) => format!("PerfMap {}", json(it)),
        Record::Pace(it) => format!("Pace {}", json(it)),
        Record::RawStack(it) => format!("RawStack {}", json(it)),
        _ => panic!("a kind of records that the second reader does not know: {record:?}"),
    }
}

fn put_sample(text: &mut String, sample: &Sample) {
    let Sample { time, pid, tid, cpu, kernel_chain, user, weight } = sample;
    let kernel = bracketed(kernel_chain.iter().map(|address| hex(*address)));
    write!(text, "sample {time} weight {weight} pid {pid} tid {tid} cpu {cpu} kernel {kernel} ").unwrap();
    match user {
        UserState::None => text.push_str("none"),
        UserState::Chain(chain) => write!(text, "chain {}", bracketed(chain.iter().map(|a| hex(*a)))).unwrap(),
        UserState::Unwound(stack) => {
            let marked = |frame: &UnwoundFrame| hex(frame.address) + if frame.guessed { "?" } else { "" };
            let frames = bracketed(stack.frames.iter().map(marked));
            write!(text, "unwound {} {frames}", u32::from(stack.verdict)).unwrap();
        }
        UserState::Stack(stack) => {
            let registers = bracketed(stack.registers.iter().map(|(number, value)| format!("{number}={}", hex(value))));
            let ranges = bracketed(stack.ranges.iter().map(|range| format!("{}-{}", hex(range.start), hex(range.end))));
            let words = bracketed(stack.words.iter().map(|word| format!("{}={}", hex(word.address), hex(word.value))));
            let (ip, sp, top) = (hex(stack.ip), hex(stack.sp), hex(stack.top));
            write!(text, "stack ip {ip} sp {sp} top {top} registers {registers} ranges {ranges} words {words}")
                .unwrap();
        }
    }
    text.push('\n');
}

fn hex(number: u64) -> String {
    format!("{number:016x}")
}

fn bracketed(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(" "))
}

fn put_damage(text: &mut String, damage: &Damage) {
    let Damage { kind, start, end, .. } = damage;
    match kind {
        DamageKind::Truncated => writeln!(text, "truncated at {start}"),
        DamageKind::Damaged => writeln!(text, "damaged {start} {end}"),
        DamageKind::FramesMissing => writeln!(text, "missing before {start}"),
        DamageKind::WrongIndex => writeln!(text, "wrong index"),
        _ => panic!("damage that the second reader does not know: {damage:?}"),
    }
    .unwrap();
}

/// Panics at the first line in which the two readers differ.
fn compare(what: &str, path: &Path, unknown: usize) -> bool {
    let ours = first(&fs::read(path).unwrap(), unknown);
    let (theirs, whole) = second(path);
    let mut lines = (ours.lines(), theirs.lines());
    for number in 1.. {
        match (lines.0.next(), lines.1.next()) {
            (None, None) => break,
            (one, other) => assert!(
                one == other,
                "{what}, line {number}:\n  first reader:  {}\n  second reader: {}",
                one.unwrap_or("(ended)"),
                other.unwrap_or("(ended)")
            ),
        }
    }
    whole
}

fn written(name: &str, file: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("second-reader-{name}.prof"));
    fs::write(&path, file).unwrap();
    path
}

fn recordings_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            recordings_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "prof") {
            found.push(path);
        }
    }
}

/// Both readers agree on every recording of the fixtures, line by line.
#[test]
fn agrees_on_every_fixture() {
    let mut paths = Vec::new();
    recordings_below(&repository().join("fixtures"), &mut paths);
    assert!(paths.len() >= 20, "{} recordings", paths.len());
    paths.sort();
    for path in paths {
        assert!(compare(&path.display().to_string(), &path, 0), "{}: not whole", path.display());
    }
}

/// Both agree on what no fixture has: all kinds of records, several segments, odd stacks.
#[test]
fn agrees_on_all_that_can_be_written() {
    let samples = agree_on_all(6, &recording_of_every_kind());
    assert_eq!(agree_on_all(7, &counts_of_every_kind()), samples);
}

/// They agree on a recording whose samples are in frames of this kind. Gives the lines of its samples.
fn agree_on_all(kind: u8, file: &[u8]) -> Vec<String> {
    let raw = RawRecording::take_apart(file).unwrap();
    assert!(raw.frames.iter().all(|frame| ![6, 7].contains(&frame.kind) || frame.kind == kind));
    let path = written(&format!("every-kind-{kind}"), file);
    assert!(compare(&format!("a recording of every kind, {kind}"), &path, 0));
    let (text, _) = second(&path);
    let segments = text.lines().filter(|line| *line == "segment").count();
    assert_eq!(segments, 3);
    for part in [
        " none",
        " chain [",
        " unwound 3 [",
        "? ",
        " stack ip",
        "record Loss",
        "record MiniDebugInfo",
        "record UnwindSlice",
        "record FunctionExtents",
        "record PerfMap",
        "record Pace",
        "record RawStack",
        " weight 65536 ",
        "record SelfMetrics",
    ] {
        assert!(text.contains(part), "{part}");
    }
    text.lines().filter(|line| line.starts_with("sample ")).map(str::to_owned).collect()
}

/// Both read over what a later version may add: records, frames, columns and fields that they do not know.
#[test]
fn agrees_on_what_a_later_version_adds() {
    agree_on_what_is_added(&recording_of_every_kind());
    agree_on_what_is_added(&counts_of_every_kind());
}

fn agree_on_what_is_added(file: &[u8]) {
    let mut raw = RawRecording::take_apart(file).unwrap();
    raw.head.extend(b"a longer header");
    let mut unknown = 0;
    for frame in &mut raw.frames {
        match frame.kind {
            1 => {
                frame.content.extend([0xe7, 3, 5, 0, 0, 0, 1, 2, 3, 4, 5]);
                unknown += 1;
            }
            6 | 7 => {
                frame.content[0] += 1;
                frame.content.extend([2, 7, 7]);
            }
            4 => frame.content.extend([9; 20]),
            _ => {}
        }
    }
    let (segment, content) = (raw.frames[0].segment, vec![1; 100]);
    raw.frames.insert(1, RawFrame { kind: 77, segment, content, ..RawFrame::default() });
    let path = written("later", &raw.put_together().unwrap());
    // The offsets in its index are no longer right: that is seen by both.
    assert!(!compare("a recording of a later version", &path, unknown));
}

/// Both read as zero what an earlier version did not have: the last fields of the header and of the totals.
#[test]
fn agrees_on_what_an_earlier_version_lacks() {
    let bytes = recording_of_every_kind();
    let machine = Recording::open(&bytes).unwrap().header().machine.clone();
    let texts =
        [machine.cpu_model, machine.cpus_possible, machine.cpus_online, machine.kernel_build, machine.clock_source];
    let machine = 8 * 8 + texts.iter().map(String::len).sum::<usize>();
    let mut raw = RawRecording::take_apart(&bytes).unwrap();
    // Behind `scrubbed`: the machine, and how often counts were written.
    raw.head.truncate(raw.head.len() - 1 - machine - 8);
    for frame in raw.frames.iter_mut().filter(|frame| frame.kind == 4) {
        frame.content.truncate(frame.content.len() - 8);
    }
    let path = written("earlier", &raw.put_together().unwrap());
    compare("a recording of an earlier version", &path, 0);
    assert!(second(&path).0.contains(r#""scrubbed":false"#));
}

/// Both say the same of a recording that was cut or damaged, and read the same of the rest.
#[test]
fn agrees_on_what_is_left() {
    agree_on_what_is_left(&recording_of_every_kind());
    agree_on_what_is_left(&counts_of_every_kind());
}

fn agree_on_what_is_left(whole: &[u8]) {
    let start = 20 + u32::from_le_bytes(whole[12..16].try_into().unwrap()) as usize;
    for step in 0..12 {
        let at = start + 1 + (whole.len() - start - 2) * step / 11;
        let path = written("cut", &whole[..at]);
        assert!(!compare(&format!("cut at byte {at} of {}", whole.len()), &path, 0));
        let mut damaged = whole.to_vec();
        damaged[at] ^= 0x10;
        let path = written("damaged", &damaged);
        assert!(!compare(&format!("damaged at byte {at} of {}", whole.len()), &path, 0));
    }
}
