//! The analyzer's own command line, on a recording that is written here. (Its presence also makes
//! cargo build the binary for the whole-product tests.)
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use profrec_format::{
    CallGraph, Header, KernelSymbol, KernelSymbols, LossCause, Mapping, Module, Process, Record, Recording, Sample,
    Symbol, SymbolSlice, Thread, Totals, UserState, Writer,
};

const START: u64 = 5_000_000_000;

fn report(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_profrec-report")).args(arguments).output().unwrap()
}

fn stdout(arguments: &[&str]) -> String {
    let output = report(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// `main` calls `hot`; every tenth sample is in the kernel, the second half is in a thread of its own name.
fn write_recording(path: &Path, samples: u64, close: bool) {
    let header = Header {
        host: "testhost".into(),
        kernel: "6.18.0".into(),
        event: "cpu-clock".into(),
        period: 10_000_000,
        call_graph: CallGraph::FramePointer,
        start_monotonic: START,
        ..Header::default()
    };
    let mut writer = Writer::create(fs::File::create(path).unwrap(), &header).unwrap();
    for record in definitions() {
        writer.record(&record).unwrap();
    }
    for index in 0..samples {
        let kernel_chain = if index % 10 == 0 { vec![0xffff_ffff_8000_0010] } else { Vec::new() };
        let second_half = index >= samples / 2;
        writer
            .sample(&Sample {
                time: START + index * 10_000_000,
                pid: 100,
                tid: if second_half { 101 } else { 100 },
                cpu: 0,
                kernel_chain,
                user: UserState::Chain(vec![0x40_2010, 0x40_1021]),
                ..Sample::default()
            })
            .unwrap();
    }
    writer.flush().unwrap();
    if close {
        let lost = vec![(LossCause::RingFull, 2)];
        let end_monotonic = START + 1_000_000_000;
        let totals = Totals { end_monotonic, expected: samples + 2, samples, lost, ..Totals::default() };
        writer.finish(&totals).unwrap();
    }
}

/// Segments of a minute, each with a process of its own out of ten, and a sample every six seconds.
fn write_segments(path: &Path, segments: u64) {
    let header = Header { period: 6_000_000_000, start_monotonic: START, ..Header::default() };
    let mut writer = Writer::create(fs::File::create(path).unwrap(), &header).unwrap();
    for segment in 0..segments {
        let time = START + segment * 60_000_000_000;
        let pid = 100 + (segment % 10) as u32;
        writer.start_segment().unwrap();
        for record in definitions() {
            writer.record(&record).unwrap();
        }
        let process = Process { time, pid, comm: format!("app{pid}"), ..Process::default() };
        writer.record(&Record::Process(process)).unwrap();
        let mapping = Mapping { time, pid, start: 0x40_0000, end: 0x41_0000, offset: 0, module: 1 };
        writer.record(&Record::Mapping(mapping)).unwrap();
        for number in 0..10 {
            let user = UserState::Chain(vec![0x40_2010 + number, 0x40_1021]);
            let time = time + number * 6_000_000_000;
            writer.sample(&Sample { time, pid, tid: pid, user, ..Sample::default() }).unwrap();
        }
    }
    let (samples, end_monotonic) = (segments * 10, START + segments * 60_000_000_000);
    writer.finish(&Totals { end_monotonic, expected: samples, samples, ..Totals::default() }).unwrap();
}

fn definitions() -> Vec<Record> {
    let thread = |tid, comm: &str| Record::Thread(Thread { time: START, pid: 100, tid, comm: comm.into() });
    let symbol = |address, name: &str| Symbol { address, size: 0x100, name: name.into() };
    let kernel =
        KernelSymbol { address: 0xffff_ffff_8000_0000, size: 256, name: "do_page".into(), ..Default::default() };
    vec![
        Record::Process(Process { time: START, pid: 100, comm: "app".into(), ..Process::default() }),
        Record::Module(Module { id: 1, path: "/opt/app/app\x1b[31m".into(), ..Module::default() }),
        Record::Mapping(Mapping { time: START, pid: 100, start: 0x40_0000, end: 0x41_0000, offset: 0, module: 1 }),
        thread(100, "app"),
        thread(101, "worker"),
        Record::SymbolSlice(SymbolSlice {
            module: 1,
            symbols: vec![symbol(0x1000, "main"), symbol(0x2000, "_Z3hoti")],
        }),
        Record::KernelSymbols(KernelSymbols { symbols: vec![kernel] }),
    ]
}

fn recording(folder: &tempfile::TempDir, name: &str, samples: u64) -> String {
    let path: PathBuf = folder.path().join(name);
    write_recording(&path, samples, true);
    path.to_str().unwrap().to_owned()
}

/// `--help` shows examples with the name that users type, and fits a terminal.
#[test]
fn help_reads_well() {
    let help = stdout(&["--help"]);
    assert!(help.contains("Usage: profrec report"));
    assert!(help.contains("--diff before.prof after.prof"));
}

/// Wrong usage exits with 2, everything else that fails with 1 and one line that names the file.
#[test]
fn failures_are_told_apart() {
    assert_eq!(report(&[]).status.code(), Some(2));
    assert_eq!(report(&["--nonsense"]).status.code(), Some(2));

    let missing = report(&["/nonexistent/a.prof"]);
    assert_eq!(missing.status.code(), Some(1));
    let message = String::from_utf8(missing.stderr).unwrap();
    assert_eq!(message.lines().count(), 1);
    assert!(message.contains("/nonexistent/a.prof") && message.contains("No such file"), "{message}");

    let no_folder = report(&["/nonexistent/a.prof", "--symbols", "/nonexistent/debug"]);
    assert!(String::from_utf8_lossy(&no_folder.stderr).contains("--symbols /nonexistent/debug"));

    let other = report(&[env!("CARGO_BIN_EXE_profrec-report")]);
    assert_eq!(other.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&other.stderr).contains("not a profrec recording"));
}

/// The table of functions, with names from the recording and the ledger under it.
#[test]
fn the_table_shows_functions_and_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let text = stdout(&[&recording(&folder, "a.prof", 100)]);
    assert!(text.contains(" 90.00    90   100.00    100     hot(int)  app\\x1b[31m\n"), "{text}");
    assert!(text.contains(" 10.00    10    10.00     10  k  do_page   [kernel]\n"), "{text}");
    assert!(text.contains("100 samples, 102 expected, lost 2 samples (ring_full)"), "{text}");
}

/// Folded stacks are root first under the thread's name, with kernel frames marked, and nothing else.
#[test]
fn folded_stacks_are_for_scripts() {
    let folder = tempfile::tempdir().unwrap();
    let path = recording(&folder, "a.prof", 100);
    let expected = "app;main;hot(int) 45\napp;main;hot(int);do_page_[k] 5\n\
                    worker;main;hot(int) 45\nworker;main;hot(int);do_page_[k] 5\n";
    assert_eq!(stdout(&[&path, "--folded"]), expected);
    assert_eq!(stdout(&[&path, "--folded"]), stdout(&[&path, "--folded"]));
}

/// Filters choose samples; percentages are of what is shown.
#[test]
fn filters_choose_samples() {
    let folder = tempfile::tempdir().unwrap();
    let path = recording(&folder, "a.prof", 100);
    assert_eq!(stdout(&[&path, "--folded", "--comm", "worker", "--user"]), "worker;main;hot(int) 45\n");
    assert_eq!(stdout(&[&path, "--folded", "--tid", "100", "--kernel"]), "app;main;hot(int);do_page_[k] 5\n");
    assert_eq!(stdout(&[&path, "--folded", "--time", "0.95..", "--cpu", "0"]), "worker;main;hot(int) 5\n");
    assert_eq!(stdout(&[&path, "--folded", "--pid", "4"]), "");
    assert!(stdout(&[&path, "--pid", "4"]).contains("0 of 100 samples shown, 102 expected"));
}

/// JSON for scripts: the documented fields with the recording's figures.
#[test]
fn json_has_the_documented_fields() {
    let folder = tempfile::tempdir().unwrap();
    let text = stdout(&[&recording(&folder, "a.prof", 100), "--json"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["recording"]["samples"], 100);
    assert_eq!(json["recording"]["expected"], 102);
    assert_eq!(json["recording"]["lost"]["ring_full"], 2);
    assert_eq!(json["recording"]["frequency_hz"], 100.0);
    assert_eq!(json["recording"]["duration_seconds"], 1.0);
    assert_eq!(json["stacks"]["total"], 100);
    assert_eq!(json["functions"][0]["name"], "hot(int)");
    assert_eq!(json["functions"][0]["self"], 90);
    assert_eq!(json["processes"][0]["pid"], 100);
}

/// The other views work on the same recording.
#[test]
fn every_view_shows_something() {
    let folder = tempfile::tempdir().unwrap();
    let path = recording(&folder, "a.prof", 100);
    assert!(stdout(&[&path, "--tree"]).contains("main"));
    let info = stdout(&[&path, "--info"]);
    assert!(info.contains("testhost") && info.contains("100 written + 2 lost, of 102 expected"), "{info}");
    let svg = folder.path().join("out.svg");
    stdout(&[&path, "--flamegraph", svg.to_str().unwrap()]);
    assert!(fs::read_to_string(svg).unwrap().contains("hot(int) (50 samples, 50.00%)"));
}

/// A recording compared with one of half its length: shares are equal, samples are not.
#[test]
fn a_diff_does_not_count_length() {
    let folder = tempfile::tempdir().unwrap();
    let (before, after) = (recording(&folder, "a.prof", 50), recording(&folder, "b.prof", 100));
    let text = stdout(&["--diff", &before, &after]);
    assert!(text.contains("0.00     90.00    90.00      45     90   0.00    hot(int)"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&stdout(&["--diff", &before, &after, "--json"])).unwrap();
    assert_eq!(json["functions"][0]["delta"], 0.0);
    assert_eq!(json["before"]["samples"], 50);
    let svg = folder.path().join("diff.svg");
    stdout(&["--diff", &before, &after, "--flamegraph", svg.to_str().unwrap()]);
    assert!(fs::read_to_string(svg).unwrap().contains("hot(int)"));
}

/// A recording whose recorder was killed is shown, and says that it was not closed.
#[test]
fn an_unclosed_recording_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("killed.prof");
    write_recording(&path, 100, false);
    let text = stdout(&[path.to_str().unwrap()]);
    assert!(text.contains("hot(int)") && text.contains("the recording was not closed"), "{text}");
}

/// Of a long recording, only the segments are read that can hold what is asked for. The result is that of reading all of it.
#[test]
fn a_part_is_read_without_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.prof");
    write_segments(&path, 60);
    let whole = folder.path().join("without_footer.prof");
    let bytes = fs::read(&path).unwrap();
    fs::write(&whole, &bytes[..bytes.len() - 60]).unwrap();
    let (path, whole) = (path.to_str().unwrap(), whole.to_str().unwrap());
    for (arguments, segments) in
        [(&["--time", "90..150"][..], 2), (&["--pid", "103"], 6), (&["--time", "..60", "--user"], 1)]
    {
        let folded = |path| stdout(&[&[path, "--folded"], arguments].concat());
        assert_eq!(folded(path), folded(whole), "{arguments:?}");
        let json = |path| -> serde_json::Value {
            serde_json::from_str(&stdout(&[&[path, "--json"], arguments].concat())).unwrap()
        };
        let (part, all) = (json(path), json(whole));
        assert_eq!(part["recording"]["segments_read"], segments);
        assert_eq!(all["recording"]["segments_read"], 60);
        let read = part["recording"]["bytes_read"].as_u64().unwrap();
        assert!(read < bytes.len() as u64 / 4, "{read} of {}", bytes.len());
        for field in ["functions", "processes", "stacks", "modules"] {
            assert_eq!(part[field], all[field], "{arguments:?} {field}");
        }
        let text = stdout(&[&[path], arguments].concat());
        assert!(text.contains(&format!("read {segments} of 60 segments, ")), "{text}");
    }
    assert!(!stdout(&[path]).contains("of 60 segments"));
    // What is not read is not looked at: damage there is no matter.
    let before = stdout(&[path, "--time", "90..150"]);
    let mut damaged = bytes.clone();
    let index = Recording::open(&bytes).unwrap().index().unwrap().to_vec();
    index.iter().skip(3).for_each(|segment| damaged[segment.offset as usize + 60] ^= 1);
    fs::write(path, damaged).unwrap();
    assert_eq!(stdout(&[path, "--time", "90..150"]), before);
}

/// A recording of a later major version is refused by everything that reads one, and the message says what helps.
#[test]
fn a_newer_major_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = recording(&folder, "a.prof", 10);
    let out = folder.path().join("out.prof");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 2;
    fs::write(&path, bytes).unwrap();
    let (path, out) = (path.as_str(), out.to_str().unwrap());
    for arguments in [
        &[path][..],
        &["--check", path],
        &["--diff", path, path],
        &["--cut", "0..1", "-o", out, path],
        &["--merge", path, "-o", out],
        &["--scrub", path, "-o", out],
    ] {
        let output = report(arguments);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(
            message.contains("has format version 2") && message.contains("use a newer profrec-report"),
            "{message}"
        );
    }
    assert!(!Path::new(out).exists());
}

/// What damage costs is told in seconds and samples.
#[test]
fn the_cost_of_damage_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.prof");
    write_segments(&path, 3);
    let mut bytes = fs::read(&path).unwrap();
    let sync = [0xf7, b'p', b'r', b'e', b'c', 0x0d, 0x0a, 0x93];
    let frames = bytes.windows(8).enumerate().filter(|(_, window)| *window == sync).map(|(at, _)| at);
    let second_segment_samples = frames.collect::<Vec<_>>()[3];
    bytes[second_segment_samples + 60] ^= 1;
    fs::write(&path, bytes).unwrap();
    let text = stdout(&[path.to_str().unwrap()]);
    assert!(text.contains("20 of 30 samples shown"), "{text}");
    assert!(text.contains("where 66.0 s are lost") && text.contains("note: 10 samples lost to damage"), "{text}");
}

/// `--check` tells whole, truncated and damaged recordings apart, by words and by exit status.
#[test]
fn check_tells_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("it.prof");
    write_segments(&path, 3);
    let whole = fs::read(&path).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let unclosed = {
        write_recording(&path, 100, false);
        fs::read(&path).unwrap()
    };
    let more_than_totals_say = {
        let mut writer = Writer::create(Vec::new(), &Header::default()).unwrap();
        writer.sample(&Sample::default()).unwrap();
        writer.finish(&Totals { samples: 2, expected: 2, ..Totals::default() }).unwrap()
    };
    let cases = [
        (whole.clone(), 0, "whole", "whole: 30 samples and 27 records in 3 segments, 180.0 s"),
        (unclosed.clone(), 3, "truncated", "not closed: 100 samples and 7 records in 1 segments"),
        (unclosed[..unclosed.len() - 1].to_vec(), 3, "truncated", "truncated at byte"),
        (whole[..whole.len() - 1].to_vec(), 3, "truncated", "lost: 0 samples, 0.0 s"),
        (flipped(whole.len() / 2), 4, "damaged", "lost: 10 samples"),
        (flipped(whole.len() - 10), 4, "damaged", "lost: 0 samples"),
        (more_than_totals_say, 4, "damaged", "its totals say 2 samples, but it has 1"),
        (flipped(30), 1, "", "header is damaged"),
        (b"something else".to_vec(), 1, "", "not a profrec recording"),
    ];
    for (bytes, status, outcome, words) in cases {
        fs::write(&path, bytes).unwrap();
        let output = report(&["--check", path.to_str().unwrap()]);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(said.contains(words), "{words}: {said}");
        assert_eq!(output.status.code(), Some(status), "{said}");
        let output = report(&["--check", path.to_str().unwrap(), "--json"]);
        assert_eq!(output.status.code(), Some(status));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        assert_eq!(json["outcome"].as_str().unwrap_or_default(), outcome);
    }
}

/// A recording comes through a pipe as well.
#[test]
fn a_recording_is_read_from_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let path = recording(&folder, "a.prof", 100);
    let mut command = Command::new(env!("CARGO_BIN_EXE_profrec-report"));
    let output = command.args(["-", "--folded"]).stdin(fs::File::open(&path).unwrap()).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), stdout(&[&path, "--folded"]));
}

/// A reader that stops reading, such as `head`, is no failure.
#[test]
fn a_closed_pipe_is_a_quiet_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = recording(&folder, "a.prof", 100);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_profrec-report"));
    let output = command.args([&path]).stdout(writer).output().unwrap();
    assert!(output.status.success());
    assert!(output.stderr.is_empty());
}
