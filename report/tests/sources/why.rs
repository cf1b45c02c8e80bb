//! `--why` as it is typed.

use std::fs::File;
use std::process::{Command, Output};

use profrec_format::{CallGraph, Header, Mapping, Module, Process, Record, Sample, Totals, UserState, Writer};

use super::program::Program;
use super::server::Server;

pub(crate) fn record(program: &Program) -> String {
    let path = program.path("a.prof");
    let header = Header { period: 1_000_000, call_graph: CallGraph::FramePointer, ..Header::default() };
    let mut writer = Writer::create(File::create(&path).unwrap(), &header).unwrap();
    let module =
        Module { id: 1, path: program.recorded.clone(), build_id: program.identity.clone(), ..Module::default() };
    let mapping = Mapping { time: 0, pid: 7, start: 0x40_0000, end: 0x50_0000, offset: 0, module: 1 };
    writer.record(&Record::Process(Process { pid: 7, comm: "prog".into(), ..Process::default() })).unwrap();
    writer.record(&Record::Module(module)).unwrap();
    writer.record(&Record::Mapping(mapping)).unwrap();
    let user = UserState::Chain(vec![0x40_0000 + program.hidden.start, 0x40_0000 + program.exported.start + 5]);
    writer.sample(&Sample { time: 1, pid: 7, tid: 7, user, ..Sample::default() }).unwrap();
    writer.finish(&Totals { end_monotonic: 9, samples: 1, expected: 1, ..Totals::default() }).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Runs the report with these servers and a cache of its own.
pub(crate) fn report(program: &Program, urls: &str, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_profrec-report"));
    command.args(arguments).env("DEBUGINFOD_URLS", urls).env("DEBUGINFOD_CACHE_PATH", program.path("cache"));
    command.envs(variables.iter().copied()).output().unwrap()
}

/// The files tried stand in their order, in text and as JSON, and `--why` may stand before the recording.
#[test]
fn files_are_told_in_order() {
    let program = Program::new();
    let recording = record(&program);
    let folder = program.folder.path().to_str().unwrap();
    let output = report(&program, "", &[], &["--why", &recording, "--symbols", "/usr/include/asm-generic"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let order =
        ["--symbols", "recorded path", "debug files", "debuginfod         left out: DEBUGINFOD_URLS is not set"];
    let places: Vec<_> = order.iter().map(|step| text.find(&format!("\n  {step}"))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");

    let output = report(&program, "", &[], &[&recording, "--why", "nonexistent/prog", "--json", "--symbols", folder]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let tried = &json["modules"][0]["tried"][0];
    assert_eq!((&tried["step"], &tried["outcome"]), (&"symbols_folder".into(), &"used".into()), "{json}");
    assert!(tried["place"].as_str().unwrap().ends_with("/prog"), "{json}");
    assert_eq!(json["modules"][0]["symbols"], "debug_info");

    let output = report(&program, "", &[], &[&recording, "--why", "libnothing"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no module with samples"));
}

/// A recording by itself has nobody asked: servers come from the environment alone, and not with `--no-debuginfod` or
/// `--no-local-files`.
#[test]
fn only_the_user_says_who_is_asked() {
    let program = Program::new();
    let recording = record(&program);
    let file = std::fs::read(program.path("prog")).unwrap();
    let server = Server::with_files(vec![(super::servers::place(&program.identity, "debuginfo"), file)]);
    for quiet in ["--no-debuginfod", "--no-local-files"] {
        assert!(report(&program, &server.url, &[], &[&recording, quiet]).status.success());
    }
    let why = report(&program, &server.url, &[], &[&recording, "--no-debuginfod", "--why"]);
    assert!(String::from_utf8_lossy(&why.stdout).contains("left out: --no-debuginfod"), "{why:?}");
    assert!(server.requests().is_empty());
    let output = report(&program, &server.url, &[], &[&recording]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("hidden"), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with("debuginfod: debuginfo of /nonexistent/prog from http://127.0.0.1:"), "{told}");
    assert_eq!(server.requests().len(), 1);

    // What has come is used, whoever may be asked now.
    let output = report(&program, &server.url, &[], &[&recording, "--no-debuginfod"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("hidden"), "{output:?}");
    let why = report(&program, &server.url, &[], &[&recording, "--no-debuginfod", "--why"]);
    let why = String::from_utf8(why.stdout).unwrap();
    assert!(why.contains("debuginfod's cache") && server.requests().len() == 1, "{why}");
}
