//! Recordings made of recordings through the real binary: the same profiles, honest totals, and outputs that are whole or not
//! there.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod folder;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use profrec_format::raw::RawRecording;
use profrec_format::{
    CallGraph, Header, Loss, LossCause, Machine, Mapping, Module, Process, Record, Recording, Sample, Totals,
    UserState, Writer,
};
use serde_json::Value;

use folder::Folder;

const SECOND: u64 = 1_000_000_000;
const START: u64 = 5 * SECOND;

fn report(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_profrec-report")).args(arguments).output().unwrap()
}

/// What both outputs of a run say.
fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn succeed(arguments: &[&str]) -> String {
    let output = report(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn refuse(arguments: &[&str]) -> String {
    let output = report(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", said(&output));
    String::from_utf8(output.stderr).unwrap()
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&succeed(&[arguments, &["--json", "--no-local-files"]].concat())).unwrap()
}

fn folded(arguments: &[&str]) -> String {
    succeed(&[arguments, &["--folded", "--no-local-files"]].concat())
}

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/recordings");
    let paths = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "prof")).collect()
}

fn header() -> Header {
    Header {
        host: "secret-host".into(),
        kernel: "6.18.0".into(),
        command_line: vec!["profrec".into(), "record".into(), "secret-argument".into()],
        period: 6 * SECOND,
        call_graph: CallGraph::FramePointer,
        start_monotonic: START,
        start_realtime: 1_000 * SECOND,
        machine: Machine { kernel_build: "secret-build".into(), ..Machine::default() },
        ..Header::default()
    }
}

/// Minutes, each a segment with ten samples and a loss of three in its middle.
fn minutes(header: &Header, minutes: u64, module: u32) -> Vec<u8> {
    let mut writer = Writer::create(Vec::new(), header).unwrap();
    for minute in 0..minutes {
        writer.start_segment().unwrap();
        let time = header.start_monotonic + minute * 60 * SECOND;
        let path = format!("/home/secret-user/app{module}");
        let mapping = Mapping { time, pid: 7, start: 0x40_0000, end: 0x41_0000, offset: 0, module };
        for record in [
            Record::Process(Process {
                time,
                pid: 7,
                comm: "app".into(),
                cgroup: "/secret-service".into(),
                ..Process::default()
            }),
            Record::Module(Module { id: module, path, build_id: vec![module as u8; 20], ..Module::default() }),
            Record::Mapping(mapping),
            Record::Loss(Loss::at(time + 30 * SECOND, LossCause::RingFull, 3)),
        ] {
            writer.record(&record).unwrap();
        }
        for number in 0..10 {
            let user = UserState::Chain(vec![0x40_2010 + number, 0x40_1021]);
            let sample = Sample { time: time + number * 6 * SECOND, pid: 7, tid: 7, user, ..Sample::default() };
            writer.sample(&sample).unwrap();
        }
    }
    let (samples, lost) = (minutes * 10, minutes * 3);
    let end_monotonic = header.start_monotonic + minutes * 60 * SECOND;
    let lost_by_cause = vec![(LossCause::RingFull, lost)];
    writer
        .finish(&Totals { end_monotonic, expected: samples + lost, samples, lost: lost_by_cause, ..Totals::default() })
        .unwrap()
}

/// Without what says how large the file is and how much of it was read.
fn without_sizes(mut json: Value) -> Value {
    for field in ["bytes", "bytes_read", "segments", "segments_read", "scrubbed"] {
        json["recording"].as_object_mut().unwrap().remove(field);
    }
    json
}

/// A cut of a real recording shows what the whole one shows of that time, and is whole; cuts that are merged, in any order,
/// show what the whole one shows.
#[test]
fn cuts_of_real_recordings() {
    let folder = Folder::new();
    for path in fixtures() {
        let path = path.to_str().unwrap();
        let parts = ["..0.15", "0.15..0.4", "0.4.."].map(|range| {
            let part = folder.at(&format!("part{range}.prof"));
            succeed(&["--cut", range, "-o", &part, "--force", path]);
            let (cut, time) = (json(&[&part]), json(&[path, "--time", range]));
            for field in ["stacks", "unnamed", "processes", "modules", "functions"] {
                assert_eq!(cut[field], time[field], "{path} {range} {field}");
            }
            assert_eq!(folded(&[&part]), folded(&[path, "--time", range]), "{path} {range}");
            assert_eq!(cut["recording"]["samples"], time["stacks"]["total"], "{path} {range}");
            assert!(succeed(&["--check", &part]).starts_with("whole: "), "{path} {range}");
            part
        });
        let all = folder.at("all.prof");
        succeed(&["--merge", &parts[2], &parts[0], &parts[1], "-o", &all, "--force"]);
        assert_eq!(without_sizes(json(&[&all])), without_sizes(json(&[path])), "{path}");
        assert_eq!(folded(&[&all]), folded(&[path]), "{path}");
    }
}

/// A scrubbed recording shows the same to the last byte, the ledger too, and holds no stack.
#[test]
fn scrubbed_real_recordings() {
    let folder = Folder::new();
    for path in fixtures() {
        let (path, out) = (path.to_str().unwrap(), folder.at("out.prof"));
        succeed(&["--scrub", path, "-o", &out, "--force", "--no-local-files"]);
        for view in ["--folded", "--tree", "--limit=0"] {
            let show = |file| said(&report(&[file, view, "--no-local-files"]));
            assert_eq!(show(&out), show(path), "{path} {view}");
        }
        assert_eq!(without_sizes(json(&[&out])), without_sizes(json(&[path])), "{path}");
        assert!(succeed(&["--check", &out]).starts_with("whole: "), "{path}");
        let bytes = fs::read(&out).unwrap();
        let recording = Recording::open(&bytes).unwrap();
        assert!(recording.header().scrubbed);
        for segment in recording.segments() {
            let records = segment.records().unwrap();
            assert!(!records.iter().any(|record| matches!(record, Record::UnwindSlice(_))), "{path}");
            let mut samples = segment.samples();
            while let Some(sample) = samples.next().unwrap() {
                assert!(matches!(sample.user, UserState::None | UserState::Unwound(_)), "{path}");
            }
        }
    }
}

/// All bytes of a recording as they are before compression, as text.
fn decompressed(path: &str) -> String {
    let raw = RawRecording::take_apart(&fs::read(path).unwrap()).unwrap();
    let bytes = raw.frames.iter().flat_map(|frame| frame.content.iter().copied()).chain(raw.head.iter().copied());
    String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned()
}

/// With `--redact`, neither the host's name nor the command line, a folder or a cgroup is in the file; names of files and processes are.
#[test]
fn what_is_redacted_is_gone() {
    let folder = Folder::new();
    let (input, out) = (folder.put("a.prof", &minutes(&header(), 1, 1)), folder.at("out.prof"));
    succeed(&["--scrub", &input, "-o", &out]);
    assert!(
        ["secret-host", "secret-argument", "secret-user", "secret-build", "secret-service"]
            .iter()
            .all(|secret| decompressed(&out).contains(secret))
    );
    succeed(&["--scrub", "--redact", &input, "-o", &out, "--force"]);
    let left = decompressed(&out);
    assert!(!left.contains("secret"), "{left}");
    assert!(left.contains("app1") && left.contains("6.18.0"));
    assert_eq!(folded(&[&out]), folded(&[&input]));
}

/// Of a long recording, only segments are read that have some of the part; its header and totals are those of the part.
#[test]
fn a_cut_reads_and_tells_its_part() {
    let folder = Folder::new();
    let mut bytes = minutes(&header(), 60, 1);
    let damaged_at = Recording::open(&bytes).unwrap().index().unwrap()[40].offset as usize + 80;
    bytes[damaged_at] ^= 1;
    let (path, part) = (folder.put("hour.prof", &bytes), folder.at("part.prof"));
    let said = succeed(&["--cut", "90..150", "-o", &part, &path]);
    assert!(said.contains("10 samples, 60.0 s; read 2 of 60 segments, "), "{said}");
    let json = json(&[&part]);
    let recording = &json["recording"];
    assert_eq!((&recording["samples"], &recording["expected"]), (&Value::from(10), &Value::from(13)));
    assert_eq!(recording["duration_seconds"], 60.0);
    let bytes = fs::read(&part).unwrap();
    let header = Recording::open(&bytes).unwrap().header().clone();
    assert_eq!((header.start_monotonic, header.start_realtime), (START + 90 * SECOND, 1_090 * SECOND));
    assert!(succeed(&[&part, "--info"]).contains("60.000 s, cut off there"));
    assert!(refuse(&["--cut", "9000..", "-o", &folder.at("none"), &path]).contains("is 3600.000 s long"));
    // A time in which there is nothing but a loss.
    let loss = folder.at("loss.prof");
    succeed(&["--cut", "28.5..29.9", "-o", &loss, &path]);
    assert!(succeed(&["--check", &loss]).starts_with("whole: 0 samples"));
    succeed(&["--cut", "29.5..30.5", "-o", &loss, &path, "--force"]);
    assert!(succeed(&[&loss, "--info"]).contains("1 written + 3 lost, of 4 expected"));
}

/// Modules of different parts have the same number and are others: each part keeps its own. What was between the parts is told
/// under every view.
#[test]
fn parts_with_modules_of_their_own() {
    let folder = Folder::new();
    let later = Header { start_monotonic: START + 200 * SECOND, start_realtime: 1_200 * SECOND, ..header() };
    let renumbered = |mut bytes: Vec<u8>| {
        let mut raw = RawRecording::take_apart(&bytes).unwrap();
        for frame in raw.frames.iter_mut().filter(|frame| frame.kind == 1) {
            let path = frame.content.windows(4).position(|window| window == b"app1").unwrap();
            frame.content[path + 3] = b'2';
        }
        bytes = raw.put_together().unwrap();
        bytes
    };
    let (a, b) = (minutes(&header(), 2, 1), renumbered(minutes(&later, 1, 1)));
    let (a, b, all) = (folder.put("a.prof", &a), folder.put("b.prof", &b), folder.at("all.prof"));
    succeed(&["--merge", &b, &a, "-o", &all]);
    let sum = format!("{}{}", folded(&[&a]), folded(&[&b]));
    let mut lines = sum.lines().collect::<Vec<_>>();
    lines.sort_unstable();
    assert_eq!(folded(&[&all]).lines().collect::<Vec<_>>(), lines);
    assert!(folded(&[&all]).contains("app2+0x") && folded(&[&all]).contains("app1+0x"));
    for view in ["--limit=0", "--tree", "--folded", "--info", "--json"] {
        let said = said(&report(&[&all, view]));
        assert!(said.contains("nothing was recorded for 80.0 s: 120.0..200.0"), "{view}: {said}");
    }
    let json = json(&[&all]);
    assert_eq!(json["recording"]["gaps"][0]["from_seconds"], 120.0);
    assert_eq!((&json["recording"]["expected"], &json["recording"]["duration_seconds"]), (&39.into(), &260.0.into()));
    // A cut has the gap that is in its time.
    let part = folder.at("part.prof");
    succeed(&["--cut", "130..210", "-o", &part, &all]);
    assert!(said(&report(&[&part])).contains("nothing was recorded for 70.0 s: 0.0..70.0"));
}

/// What cannot be parts of one recording is refused, with what differs.
#[test]
fn what_does_not_belong_together() {
    let folder = Folder::new();
    let after = || Header { start_monotonic: START + 60 * SECOND, start_realtime: 1_060 * SECOND, ..header() };
    let first = folder.put("first.prof", &minutes(&header(), 1, 1));
    let (other, out) = (folder.at("other.prof"), folder.at("out.prof"));
    let cases: [(Header, &str); 7] = [
        (Header { host: "b".into(), ..after() }, "host (\"secret-host\" and \"b\")"),
        (Header { kernel: "6.1".into(), ..after() }, "kernel (6.18.0 and 6.1)"),
        (Header { period: SECOND, ..after() }, "rate (one tick in 6000.000 ms and one tick in 1000.000 ms)"),
        (Header { call_graph: CallGraph::Dwarf, ..after() }, "call graph (FramePointer and Dwarf)"),
        (Header { event: "cycles".into(), ..after() }, "event"),
        (Header { start_realtime: 1_062 * SECOND, ..after() }, "by 2.0 s: another boot"),
        (Header { start_monotonic: START + 59 * SECOND, ..after() }, "they overlap by 1.000 s"),
    ];
    for (header, words) in cases {
        fs::write(&other, minutes(&header, 1, 1)).unwrap();
        let said = refuse(&["--merge", &first, &other, "-o", &out]);
        assert!(said.contains(words) && said.contains("other.prof") && said.lines().count() == 1, "{said}");
        assert!(!Path::new(&out).exists());
    }
    fs::write(&other, minutes(&Header { start_realtime: 1_060 * SECOND + SECOND / 2, ..after() }, 1, 1)).unwrap();
    succeed(&["--merge", &first, &other, "-o", &out]);
    assert!(refuse(&["--merge", &first, &first, "-o", &other, "--force"]).contains("overlap by 60.000 s"));
}

/// A file that is there stays unless forced, nobody else can read what is written, and what is read is never written over.
#[test]
fn outputs_are_careful() {
    let folder = Folder::new();
    let input = folder.put("a.prof", &minutes(&header(), 1, 1));
    let precious = folder.put("precious", b"precious");
    fs::set_permissions(&precious, PermissionsExt::from_mode(0o644)).unwrap();
    assert!(refuse(&["--scrub", &input, "-o", &precious]).contains("--force"));
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
    succeed(&["--scrub", &input, "-o", &precious, "--force"]);
    assert_eq!(fs::metadata(&precious).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(&input).unwrap();
    std::os::unix::fs::symlink(&input, folder.at("link")).unwrap();
    for output in [&input, &folder.at("link")] {
        for arguments in [&["--scrub", &input][..], &["--merge", &input], &["--cut", "0..1", &input]] {
            let arguments = [arguments, &["-o", output, "--force"]].concat();
            assert!(refuse(&arguments).contains("read and written at once"), "{arguments:?}");
        }
    }
    assert_eq!(fs::read(&input).unwrap(), before);
    assert!(refuse(&["--scrub", &input, "-o", &folder.at("no/such/folder")]).contains("cannot create"));
}

/// Where writing fails, no file stays behind.
#[test]
fn a_failed_rewriting_leaves_nothing() {
    let folder = Folder::new();
    // Times without any order do not compress to less than the limit.
    let mut random = 88_172_645_463_325_252u64;
    let mut writer = Writer::create(Vec::new(), &header()).unwrap();
    for _ in 0..200_000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let time = START + random % (50 * SECOND);
        writer.sample(&Sample { time, ..Sample::default() }).unwrap();
    }
    let totals =
        Totals { samples: 200_000, expected: 200_000, end_monotonic: START + 60 * SECOND, ..Totals::default() };
    let input = folder.put("a.prof", &writer.finish(&totals).unwrap());
    let out = folder.at("out.prof");
    for arguments in [&["--scrub", &input][..], &["--merge", &input], &["--cut", "..40", &input]] {
        let mut command = Command::new("prlimit");
        command.args(["--fsize=100000", "env", "-i", "sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"]);
        command.arg(env!("CARGO_BIN_EXE_profrec-report")).args(arguments).args(["-o", &out]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains("cannot write "), "{}", said(&output));
        assert!(!Path::new(&out).exists(), "{arguments:?}");
    }
}

/// From a pipe to a pipe.
#[test]
fn pipes() {
    let folder = Folder::new();
    let bytes = minutes(&header(), 2, 1);
    let input = folder.put("a.prof", &bytes);
    let through = |arguments: &[&str], bytes: &[u8]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_profrec-report"));
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("wrote -: "));
        output.stdout
    };
    let part = through(&["--cut", "60..", "-o", "-", "-"], &bytes);
    let scrubbed = through(&["--scrub", "-", "-o", "-"], &part);
    let merged = through(&["--merge", "-", "-o", "-"], &scrubbed);
    let path = folder.put("merged.prof", &merged);
    assert_eq!(folded(&[&path]), folded(&[&input, "--time", "60.."]));
}

/// A recording that is damaged or was not closed is rewritten as far as it can be read, and the new one says so.
#[test]
fn damage_is_carried_over_as_loss() {
    let folder = Folder::new();
    let whole = minutes(&header(), 3, 1);
    let index = Recording::open(&whole).unwrap().index().unwrap().to_vec();
    let mut damaged = whole.clone();
    damaged[(index[1].offset + index[1].bytes) as usize - 1] ^= 1;
    let (damaged, out) = (folder.put("damaged.prof", &damaged), folder.at("out.prof"));
    for arguments in [&["--scrub", &damaged][..], &["--merge", &damaged]] {
        let output = report(&[arguments, &["-o", &out, "--force"]].concat());
        assert!(
            output.status.success() && said(&output).contains("note: the recording is damaged"),
            "{}",
            said(&output)
        );
        assert!(succeed(&["--check", &out]).starts_with("whole: 20 samples"));
        assert!(
            said(&report(&[&out]))
                .contains("20 samples, 39 expected, lost 9 samples (ring_full), 10 samples (unreadable)")
        );
    }
    // Damage counts in the cut that has its time, and in no other.
    for (range, words) in [("..50", "9 samples, 12 expected"), ("70..", "10 samples, 26 expected")] {
        succeed(&["--cut", range, &damaged, "-o", &out, "--force"]);
        assert!(said(&report(&[&out])).contains(words), "{range}: {}", said(&report(&[&out])));
    }
    let unclosed = folder.put("unclosed.prof", &whole[..index[2].offset as usize]);
    for arguments in [&["--scrub", &unclosed][..], &["--merge", &unclosed], &["--cut", "30..", &unclosed]] {
        succeed(&[arguments, &["-o", &out, "--force"]].concat());
        let said = said(&report(&[&out]));
        assert!(said.contains("that this one was made of was not closed"), "{said}");
        assert!(said.contains("lost 6 samples (ring_full)") && !said.contains("unreadable"), "{said}");
    }
}
