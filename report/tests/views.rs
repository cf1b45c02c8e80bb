//! The views through the program: which stacks they show, what they bring together, and how they look.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use profrec_format::{
    CallGraph, Header, KernelSymbol, KernelSymbols, Mapping, Module, Process, Record, Sample, Symbol, SymbolSlice,
    Thread, Totals, UserState, Writer,
};
use serde_json::Value;

/// A stack's frames and its innermost kernel address, its CPU, its thread, and how often it is there.
type Stack = (&'static [u64], &'static [u64], u32, u32, u64);

const MAIN: u64 = 0x40_1010;
const WALK: u64 = 0x40_2010;
const LEAF: u64 = 0x40_3010;
const KERNEL: u64 = 0xffff_ffff_8000_0010;

/// `main` calls `walk`, which calls itself and then `leaf`; once in three times it is in the kernel instead.
const STACKS: [Stack; 3] = [
    (&[LEAF, WALK, WALK, MAIN], &[], 0, 100, 6),
    (&[WALK, MAIN], &[KERNEL], 1, 101, 3),
    (&[LEAF, MAIN], &[], 1, 100, 1),
];

fn write_recording(path: &Path) {
    let header = Header { period: 10_000_000, call_graph: CallGraph::FramePointer, ..Header::default() };
    let mut writer = Writer::create(fs::File::create(path).unwrap(), &header).unwrap();
    let symbol = |address, name: &str| Symbol { address, size: 0x100, name: name.into() };
    let symbols = vec![symbol(0x1000, "main"), symbol(0x2000, "_ZN2ns4walkEi"), symbol(0x3000, "leaf")];
    let kernel = KernelSymbol { address: KERNEL - 0x10, size: 256, name: "do_page".into(), ..Default::default() };
    let process = Process { pid: 100, comm: "app".into(), cgroup: "/web".into(), ..Process::default() };
    for record in [
        Record::Process(process),
        Record::Module(Module { id: 1, path: "/opt/app".into(), ..Module::default() }),
        Record::Mapping(Mapping { pid: 100, start: 0x40_0000, end: 0x41_0000, module: 1, ..Mapping::default() }),
        Record::Thread(Thread { pid: 100, tid: 101, comm: "worker".into(), ..Thread::default() }),
        Record::SymbolSlice(SymbolSlice { module: 1, symbols }),
        Record::KernelSymbols(KernelSymbols { symbols: vec![kernel] }),
    ] {
        writer.record(&record).unwrap();
    }
    let mut time = 1_000;
    for (frames, kernel_chain, cpu, tid, count) in STACKS {
        let user = UserState::Chain(frames.to_vec());
        for _ in 0..count {
            time += 1_000;
            let (kernel_chain, user) = (kernel_chain.to_vec(), user.clone());
            writer.sample(&Sample { time, pid: 100, tid, cpu, kernel_chain, user, ..Sample::default() }).unwrap();
        }
    }
    let totals = Totals { samples: 10, expected: 10, end_monotonic: time, ..Totals::default() };
    writer.finish(&totals).unwrap();
}

/// A folder with a recording in it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        write_recording(&place.path());
        place
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("a.prof")
    }

    fn report(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_profrec-report"));
        if arguments.contains(&"--diff") {
            command.arg("--diff").arg(self.path()).arg(self.path())
        } else {
            command.arg(self.path())
        };
        let arguments = arguments.iter().filter(|argument| **argument != "--diff");
        command.args(arguments).output().unwrap()
    }

    /// What a view says on standard output, and on standard error.
    fn said(&self, arguments: &[&str]) -> (String, String) {
        let output = self.report(arguments);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(output.stderr));
        (text(output.stdout), text(output.stderr))
    }

    fn shown(&self, arguments: &[&str]) -> String {
        self.said(arguments).0
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.shown(&[arguments, &["--json"]].concat())).unwrap()
    }
}

/// What `--folded` shows of each option on stacks, and what it leaves out. Kernel frames, source files and modules can be meant, too.
#[test]
fn stacks_are_chosen_by_their_frames() {
    let place = Place::new();
    let leaf = "app;main;leaf 1\n";
    let deep = "app;main;ns::walk(int);ns::walk(int);leaf 6\n";
    let kernel = "worker;main;ns::walk(int);do_page_[k] 3\n";
    for (option, expression, expected, left_out) in [
        ("--focus", "walk", format!("{deep}{kernel}"), 1),
        ("--focus", r"^\[kernel\]$", kernel.to_owned(), 7),
        ("--ignore", "walk|nothing", leaf.to_owned(), 9),
        ("--hide", "^ns::", "app;main;leaf 7\nworker;main;do_page_[k] 3\n".to_owned(), 0),
        (
            "--hide",
            "main|leaf",
            "app;ns::walk(int);ns::walk(int) 6\nworker;ns::walk(int);do_page_[k] 3\n".to_owned(),
            1,
        ),
        ("--show", "leaf", "app;leaf 7\n".to_owned(), 3),
        (
            "--root",
            "walk",
            "app;ns::walk(int);ns::walk(int);leaf 6\nworker;ns::walk(int);do_page_[k] 3\n".to_owned(),
            1,
        ),
        ("--root", "leaf", "app;leaf 7\n".to_owned(), 3),
        ("--focus", "^app$", format!("{leaf}{deep}{kernel}"), 0),
    ] {
        let (folded, ledger) = place.said(&["--folded", option, expression]);
        assert_eq!(
            folded.lines().collect::<Vec<_>>().len(),
            expected.lines().count(),
            "{option} {expression}: {folded}"
        );
        assert!(
            expected.lines().all(|line| folded.lines().any(|shown| shown == line)),
            "{option} {expression}: {folded}"
        );
        assert!(
            ledger.contains(&format!(" of 10 samples: {left_out} by {option}\n")),
            "{option} {expression}: {ledger}"
        );
    }
}

/// The options are asked in pprof's order, whatever the order in which they are given, and each tells what it left out.
#[test]
fn options_on_stacks_are_asked_in_order() {
    let place = Place::new();
    let (folded, ledger) =
        place.said(&["--folded", "--root", "leaf", "--hide", "walk", "--ignore", "do_page", "--focus", "walk"]);
    assert_eq!(folded, "app;leaf 6\n");
    let line = "left out: 40.0% of 10 samples: 1 by --focus, 3 by --ignore, 0 by --hide, 0 by --root\n";
    assert!(ledger.contains(line), "{ledger}");
}

/// Under every view, and in every picture, it is said what was left out.
#[test]
fn every_view_tells_what_was_left_out() {
    let place = Place::new();
    let line = "left out: 10.0% of 10 samples: 1 by --focus";
    for view in [
        &[][..],
        &["--tree"],
        &["--info"],
        &["--by", "module"],
        &["--callers", "walk"],
        &["--callees", "walk"],
        &["--flamegraph=-"],
        &["--diff"],
    ] {
        let text = place.shown(&[view, &["--focus", "walk"]].concat());
        assert!(text.contains(line), "{view:?}: {text}");
    }
    for view in [&["--folded"][..], &["--folded", "--diff"], &["--flamegraph=-", "--diff"]] {
        let (_, ledger) = place.said(&[view, &["--focus", "walk"]].concat());
        assert!(ledger.contains(line), "{view:?}: {ledger}");
    }
    assert!(
        place.shown(&["--flamegraph=-", "--diff", "--focus", "walk"]).contains("before, left out: 10.0% of 10 samples")
    );
    let json = place.json(&["--focus", "walk", "--callers", "leaf"]);
    assert_eq!(json["left_out"], serde_json::json!({"focus": 1, "callers": 3}));
    assert_eq!(place.json(&["--diff", "--focus", "walk"])["after"]["left_out"], serde_json::json!({"focus": 1}));
    assert!(!place.shown(&[]).contains("left out"));
    assert!(place.shown(&["--ignore", "."]).contains("left out: 100% of 10 samples: 10 by --ignore"));
}

/// Shares are of what is left, and the counts of modules, processes and stacks are of it, too.
#[test]
fn figures_are_of_what_is_left() {
    let json = Place::new().json(&["--ignore", "do_page"]);
    assert_eq!((&json["stacks"]["total"], &json["processes"][0]["samples"]), (&7.into(), &7.into()));
    assert_eq!((&json["modules"][0]["samples"], json["modules"].as_array().unwrap().len()), (&7.into(), 1));
}

/// An expression that matches nothing is told, and one that is none is wrong usage.
#[test]
fn expressions_that_match_nothing() {
    let place = Place::new();
    assert!(
        place.shown(&["--hide", "nowhere"]).contains("note: --hide matches no function, source file or module here")
    );
    let wrong = place.report(&["--focus", "a("]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("unclosed group"));
}

/// A function that calls itself counts once in each sample, wherever totals are shown.
#[test]
fn recursion_is_counted_once_everywhere() {
    let place = Place::new();
    let total = |json: &Value, list: &str, name: &str, field: &str| {
        let rows = json[list].as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).unwrap()[field].as_u64().unwrap()
    };
    assert_eq!(total(&place.json(&[]), "functions", "ns::walk(int)", "total"), 9);
    assert_eq!(total(&place.json(&["--by", "module"]), "rows", "app", "total"), 10);
    assert_eq!(total(&place.json(&["--by", "file"]), "rows", "[no file in app]", "total"), 10);
    assert_eq!(total(&place.json(&["--by", "line"]), "rows", "[no line in app]", "total"), 10);
    assert_eq!(total(&place.json(&["--diff"]), "functions", "ns::walk(int)", "total_before"), 9);
    assert_eq!(total(&place.json(&["--diff", "--by", "module"]), "rows", "app", "total_after"), 10);
    for side in ["callers", "callees"] {
        let json = place.json(&[&format!("--{side}"), "ns::walk"]);
        assert_eq!((&json[side][0]["total"], &json[side][0]["parent"]), (&9.into(), &Value::Null));
    }
    assert_eq!(total(&place.json(&[]), "modules", "app", "samples"), 10);
    assert!(place.shown(&[]).contains("  90.00      9     ns::walk(int)  app\n"), "{}", place.shown(&[]));
    assert!(place.shown(&["--tree", "--root", "walk"]).contains("  66.67         6         0  ns::walk(int)\n"));
}

/// Who calls a function, outward to the root, and what it calls; from its outermost frame on, with all that recursion costs.
#[test]
fn callers_and_callees() {
    let place = Place::new();
    let callers = place.shown(&["--callers", "leaf"]);
    let expected = "\
total %     total            below each function, who calls it
 100.00         7            leaf
  85.71         6            ├─ns::walk(int)
  85.71         6            │ ns::walk(int)
  85.71         6            │ main
  14.29         1            └─main
";
    assert!(callers.starts_with(expected), "{callers}");
    assert_eq!(place.shown(&["--callers", "walk", "--folded"]), "ns::walk(int);main 9\n");
    assert_eq!(
        place.shown(&["--callees", "walk", "--folded"]),
        "ns::walk(int);do_page_[k] 3\nns::walk(int);ns::walk(int);leaf 6\n"
    );
    assert_eq!(
        place.shown(&["--callers", "walk", "--folded", "--by", "cpu"]),
        "CPU_0;ns::walk(int);main 6\nCPU_1;ns::walk(int);main 3\n"
    );
    assert!(place.shown(&["--callers", "walk", "--flamegraph=-"]).contains("main (9 samples, 100.00%)"));
    let json = place.json(&["--callees", "walk"]);
    let branch = &json["callees"][3];
    assert_eq!((&branch["name"], &branch["parent"], &branch["marks"]), (&"do_page".into(), &0.into(), &"k".into()));
}

/// `--why` tells under the modules what was left out, and also where that is why there is none of this name.
#[test]
fn why_tells_what_was_left_out() {
    let place = Place::new();
    let line = "left out: 100% of 10 samples: 10 by --focus\n";
    let note = "note: --focus matches no function, source file or module here\n";
    let output = place.report(&["--why", "app", "--focus", "nowhere"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        message.contains(line) && message.contains(note) && message.contains("no module with samples"),
        "{message}"
    );
    let all = place.shown(&["--why", "--focus", "nowhere"]);
    assert!(all.contains(line) && all.contains(note), "{all}");
    let text = place.shown(&["--why", "app", "--focus", "walk"]);
    assert!(text.starts_with("/opt/app\n") && text.contains("\n\n9 of 10 samples shown"), "{text}");
    assert!(text.contains("left out: 10.0% of 10 samples: 1 by --focus\n"), "{text}");
    let json = place.json(&["--why", "app", "--focus", "walk"]);
    assert_eq!((&json["left_out"], &json["notes"]), (&serde_json::json!({"focus": 1}), &serde_json::json!([])));
}

/// Where there is nothing to draw, the ledger tells why, in lines of its own before the error.
#[test]
fn nothing_to_draw_is_told_in_lines() {
    let place = Place::new();
    for view in [&["--flamegraph=-"][..], &["--flamegraph=-", "--diff"]] {
        let output = place.report(&[view, &["--pid", "99999"]].concat());
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(message.lines().any(|line| line.starts_with("0 of 10 samples shown")), "{message}");
        let error = "\nprofrec report: cannot draw the flame graph: no samples to draw\n";
        assert!(message.ends_with(error) && !message.contains("\\x0a"), "{message}");
    }
}

/// A function that is not there is an error that names what could have been meant.
#[test]
fn a_missing_function_is_told() {
    let place = Place::new();
    let output = place.report(&["--callers", "wolk"]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains("--callers wolk: no function here has this name, or matches it; did you mean ns::walk(int)?"),
        "{message}"
    );
}

/// What samples are brought together by, in the table, in trees, in folded stacks, in JSON and in diffs.
#[test]
fn samples_are_brought_together() {
    let place = Place::new();
    for (by, rows, folded) in [
        ("module", &["app 7", "[kernel] 3"][..], "worker;app;[kernel]_[k] 3"),
        ("file", &["[no file in app] 7"], "app;[no file in app] 7"),
        ("line", &["[no line in [kernel]] 3"], "app;[no line in app] 7"),
        ("thread", &["app (100/100) 7", "worker (100/101) 3"], "worker (100/101);main;ns::walk(int);do_page_[k] 3"),
        ("comm", &["app 7", "worker 3"], "app;main;leaf 1"),
        ("process", &["app (100) 10"], "app (100);main;leaf 1"),
        ("cpu", &["CPU 0 6", "CPU 1 4"], "CPU_1;main;leaf 1"),
        ("cgroup", &["/web 10"], "/web;main;leaf 1"),
    ] {
        let json = place.json(&["--by", by]);
        let shown: Vec<_> = json["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| format!("{} {}", row["name"].as_str().unwrap(), row["self"]))
            .collect();
        assert!(rows.iter().all(|row| shown.iter().any(|shown| shown == row)), "{by}: {shown:?}");
        assert!(json["functions"].is_null() && json["by"] == by);
        let lines = place.shown(&["--by", by, "--folded"]);
        assert!(lines.lines().any(|line| line == folded), "{by}: {lines}");
        let name = rows[0].rsplit_once(' ').unwrap().0;
        for view in [&[][..], &["--tree"], &["--diff"]] {
            let text = place.shown(&[&["--by", by], view].concat());
            assert!(text.contains(name) && (by == "module" || !text.contains("  module")), "{by}: {text}");
        }
    }
}

/// Orders, limits and shares of the table and of JSON.
#[test]
fn order_and_size() {
    let place = Place::new();
    let names = |arguments: &[&str]| {
        let json = place.json(arguments);
        json["functions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["leaf", "do_page", "main", "ns::walk(int)"]);
    assert_eq!(names(&["--sort", "total", "--limit", "2"]), ["main", "ns::walk(int)"]);
    assert_eq!(names(&["--sort", "name", "--min-percent", "50"]), ["leaf", "main", "ns::walk(int)"]);
    let text = place.shown(&["--limit", "1"]);
    assert!(text.contains("... 3 more with 30.0% (3 samples) of self; --limit 0 shows all"), "{text}");
    let unchanged = place.shown(&["--diff", "--min-percent", "1"]);
    assert!(unchanged.contains("... 4 more; --limit 0 --min-percent 0 shows all"), "{unchanged}");
}

/// In a pipe there are no colours unless they are asked for; then NO_COLOR does not matter.
#[test]
fn colours_in_a_pipe() {
    let place = Place::new();
    for view in ["--tree", "--limit=5", "--diff"] {
        assert!(!place.shown(&[view]).contains('\x1b'));
        assert!(place.shown(&[view, "--color", "always"]).contains("\x1b[1m"), "{view}");
    }
}

/// On a terminal, lines fit its width, and there are colours unless they are not wanted.
#[test]
fn a_terminal_gets_what_fits() {
    let place = Place::new();
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("skipped: there is no `script` to have a terminal from");
        return;
    }
    let on_terminal = |environment: &str, arguments: &str| {
        let report = format!("{} {} {arguments}", env!("CARGO_BIN_EXE_profrec-report"), place.path().display());
        let line = format!("stty cols 60; export TERM=xterm; {environment} {report}");
        let output = Command::new("script").args(["-qec", &line, "/dev/null"]).env_remove("NO_COLOR").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let colored = on_terminal("", "--tree");
    assert!(colored.contains("\x1b[33mdo_page_[k]\x1b[0m"), "{colored}");
    for plain in [on_terminal("NO_COLOR=1", ""), on_terminal("TERM=dumb", ""), on_terminal("", "--color never")] {
        assert!(!plain.contains('\x1b'), "{plain}");
        assert!(plain.lines().take(5).all(|line| line.trim_end().chars().count() <= 60), "{plain}");
    }
}
