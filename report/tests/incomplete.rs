//! Recordings that were not closed, and those with samples that cannot be decoded: whatever is shown or made of them says
//! what is missing, and no more than that.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod folder;

use std::fs;
use std::process::{Command, Output};

use profrec_format::raw::RawRecording;
use profrec_format::{Header, Process, Record, Recording, Sample, StopReason, Totals, UserState, Writer};

use folder::Folder;

const SECOND: u64 = 1_000_000_000;
const START: u64 = 5 * SECOND;
/// Samples of a frame, one a second; three frames are a segment.
const FRAME: u64 = 10;
const SEGMENT: u64 = 3 * FRAME;

/// A closed recording that starts so many segments after `START`.
fn recording(first: u64, segments: u64) -> Vec<u8> {
    let start = START + first * SEGMENT * SECOND;
    let header =
        Header { period: SECOND, start_monotonic: start, start_realtime: 1_000 * SECOND + start, ..Header::default() };
    let mut writer = Writer::create(Vec::new(), &header).unwrap();
    for number in 0..segments * SEGMENT {
        let time = start + number * SECOND;
        if number % SEGMENT == 0 {
            writer.start_segment().unwrap();
            let time = time - SECOND / 10;
            let process = Process { time, pid: 7, comm: "app".into(), ..Process::default() };
            writer.record(&Record::Process(process)).unwrap();
        }
        let user = UserState::Chain(vec![0x40_2010 + number / SEGMENT, 0x40_1021]);
        writer.sample(&Sample { time, pid: 7, tid: 7, user, ..Sample::default() }).unwrap();
        if number % FRAME == FRAME - 1 {
            writer.flush().unwrap();
        }
    }
    let (samples, end_monotonic) = (segments * SEGMENT, start + segments * SEGMENT * SECOND);
    writer.finish(&Totals { end_monotonic, samples, expected: samples, ..Totals::default() }).unwrap()
}

/// The same as a recorder leaves it that was killed.
fn unclosed(recording: &[u8]) -> Vec<u8> {
    let opened = Recording::open(recording).unwrap();
    let last = opened.index().unwrap().last().unwrap();
    recording[..(last.offset + last.bytes) as usize].to_vec()
}

/// Without index, and with a frame whose content is not what its kind promises: the first of records (1), or the second of
/// samples (6).
fn undecodable(recording: &[u8], kind: u8) -> Vec<u8> {
    let mut raw = RawRecording::take_apart(recording).unwrap();
    raw.frames.retain(|frame| ![3, 5].contains(&frame.kind));
    let mut frames = raw.frames.iter_mut().filter(|frame| frame.kind == kind);
    frames.nth(usize::from(kind != 1)).unwrap().content.truncate(3);
    raw.put_together().unwrap()
}

fn report(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_profrec-report")).args(arguments).output().unwrap();
    assert!(output.status.code().is_some_and(|code| code != 1 && code != 2), "{arguments:?}: {}", said(&output));
    output
}

/// What both outputs of a run say.
fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The merged recording says that a part was not closed, also when the last one was, and when that part was itself made of
/// one that was not closed.
#[test]
fn merge_forgot_that_an_earlier_part_was_not_closed() {
    let folder = Folder::new();
    let (first, second) = (folder.put("1", &unclosed(&recording(0, 1))), folder.put("2", &recording(1, 1)));
    let (third, two, three) = (folder.put("3", &recording(2, 1)), folder.at("two"), folder.at("three"));
    report(&["--merge", &first, &second, "-o", &two]);
    report(&["--merge", &two, &third, "-o", &three]);
    for merged in [two, three] {
        let bytes = fs::read(&merged).unwrap();
        assert_eq!(Recording::open(&bytes).unwrap().totals().unwrap().stop, StopReason::NotClosed);
        let said = said(&report(&[&merged]));
        assert!(said.contains("that this one was made of was not closed"), "{said}");
    }
    report(&["--merge", &second, &third, "-o", &folder.at("closed")]);
    let bytes = fs::read(folder.at("closed")).unwrap();
    assert_eq!(Recording::open(&bytes).unwrap().totals().unwrap().stop, StopReason::Interrupted);
}

/// What a recording of this file says: its samples, those expected, and those lost.
fn figures(path: &str) -> (u64, Option<u64>, u64) {
    let output = report(&[path, "--json", "--no-local-files"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let recording = &json["recording"];
    assert_eq!(recording["samples"], json["stacks"]["total"]);
    let lost = recording["lost"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    (recording["samples"].as_u64().unwrap(), recording["expected"].as_u64(), lost)
}

/// Samples that cannot be decoded are lost in the cut that has their frame's time, whole frames at a time, and in no other.
#[test]
fn cut_lost_samples_of_other_times() {
    let folder = Folder::new();
    let (samples, out) = (folder.put("samples", &undecodable(&recording(0, 2), 6)), folder.at("out"));
    let records = folder.put("records", &undecodable(&recording(0, 2), 1));
    for (path, range, shown, lost) in [
        (&samples, "..9.5", 10, 0),
        (&samples, "..12.5", 10, 10),
        (&samples, "12.5..15.5", 0, 10),
        (&samples, "12.5..20.5", 0, 20),
        (&samples, "5.5..", 34, 20),
        (&samples, "29.95..", 30, 0),
        (&records, "..9.5", 0, 10),
        (&records, "12.5..35.5", 6, 20),
        (&records, "29.95..35.5", 6, 0),
    ] {
        report(&["--cut", range, path, "-o", &out, "--force"]);
        assert_eq!(figures(&out), (shown, Some(shown + lost), lost), "{path} {range}");
    }
}

/// A cut of a recording without an index is that of the same recording with one, to the last byte: it has no segment that has
/// nothing of the time, nor one that only defines its processes then.
#[test]
fn cut_carried_segments_of_other_times_along() {
    let folder = Folder::new();
    let whole = recording(0, 4);
    let (closed, unclosed) = (folder.put("closed", &whole), folder.put("unclosed", &unclosed(&whole)));
    for (range, segments) in [("..29.95", 1), ("35..50", 1), ("50..70", 2), ("29.5..29.95", 0), ("0..118", 4)] {
        let cuts = [&closed, &unclosed].map(|path| {
            let out = folder.at("out");
            report(&["--cut", range, path, "-o", &out, "--force"]);
            fs::read(out).unwrap()
        });
        assert_eq!(Recording::open(&cuts[1]).unwrap().segments().len(), segments, "{range}");
        assert!(cuts[0] == cuts[1], "{range}");
    }
}

/// Samples that cannot be decoded are lost under every view, with the same number that --check has; samples shown and lost are
/// those expected, or, when nobody knows these, those that were found.
#[test]
fn report_forgot_samples_that_cannot_be_decoded() {
    let folder = Folder::new();
    for (kind, shown, lost) in [(6, 40, 20), (1, 30, 30)] {
        let bytes = undecodable(&recording(0, 2), kind);
        let path = folder.put("it.prof", &bytes);
        let words = format!("{shown} samples, 60 expected, lost {lost} samples (unreadable)");
        for view in ["--limit=0", "--tree", "--folded", "--info"] {
            let said = said(&report(&[&path, view]));
            assert!(said.contains(&words) && said.contains("note: the recording is not readable in part"), "{said}");
            assert!(!said.contains("lost to damage") && !said.contains("miscounted"), "{said}");
        }
        assert!(said(&report(&[&path, "--flamegraph=-"])).contains(&format!("lost {lost} samples (unreadable); ")));
        assert!(said(&report(&["--diff", &path, &path])).matches(&words).count() == 2);
        let info = said(&report(&[&path, "--info"]));
        assert!(info.contains(&format!("{shown} written + {lost} lost, of 60 expected")), "{info}");
        assert!(
            said(&report(&[&path, "--pid", "8"]))
                .contains(&format!("0 of {words}").replace("samples,", "samples shown,"))
        );
        assert_eq!(figures(&path), (shown, Some(60), lost));
        assert!(said(&report(&["--check", &path])).contains(&format!("lost: {lost} samples")));

        let mut raw = RawRecording::take_apart(&bytes).unwrap();
        raw.frames.retain(|frame| frame.kind != 4);
        let path = folder.put("unclosed.prof", &raw.put_together().unwrap());
        assert_eq!(figures(&path), (shown, None, lost));
        let said = said(&report(&[&path]));
        assert!(said.contains(&format!("its end may be missing: 59.0 s, {shown} samples recovered")), "{said}");
    }
}
