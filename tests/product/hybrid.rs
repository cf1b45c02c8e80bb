//! Processes whose frame pointers do not lead through their stacks are sampled, the others are counted: shares over all of them
//! are unbiased, and every tick has its place.

use std::fs;
use std::process::Command;

use profrec_format::{Mapping, Record, Recording, UserState};

use crate::counting::two_parts;
use crate::programs::{Running, fixture, stderr, succeed, wait_for};
use crate::recorded::{Facts, Place, Recorded};
use crate::rights::needs_root;

/// Seconds of CPU time that the children of a shell took, as its `times` prints them.
fn cpu_seconds(times: &str) -> f64 {
    let minutes_and_seconds = |time: &str| -> Option<f64> {
        let (minutes, seconds) = time.strip_suffix('s')?.split_once('m')?;
        Some(60.0 * minutes.parse::<f64>().ok()? + seconds.parse::<f64>().ok()?)
    };
    let children = times.lines().last().unwrap_or_default();
    children.split_whitespace().filter_map(minutes_and_seconds).sum()
}

/// When the stack of a process was copied first, in seconds from the start. What was counted of it was before.
fn first_stack(recorded: &Recorded, pid: f64) -> f64 {
    let file = fs::read(recorded.path()).unwrap();
    let recording = Recording::open(&file).unwrap();
    let (mut first, mut last_chain) = (None, 0);
    for segment in recording.segments() {
        let mut samples = segment.samples();
        while let Some(sample) = samples.next().unwrap() {
            match &sample.user {
                _ if f64::from(sample.pid) != pid => {}
                UserState::Stack(_) => first = first.or(Some(sample.time)),
                UserState::Chain(chain) if !chain.is_empty() => last_chain = last_chain.max(sample.time),
                _ => {}
            }
        }
    }
    let first = first.expect("no stack was copied");
    assert!(last_chain < first, "counted at {last_chain}, and sampled at {first}");
    (first - recording.header().start_monotonic) as f64 / 1e9
}

/// Two programs on one CPU, one with frame pointers and one without: each has the share of CPU time that the kernel says. The stacks
/// of the one without are complete once it was judged, and in the proportions that it has by construction.
#[test]
fn shares_over_both_are_unbiased() {
    let _guard = needs_root!();
    let place = Place::new();
    let times = |name: &str| place.path().with_file_name(name);
    let script =
        "(taskset -c 0 \"$1\" 12 75; times >\"$3\") & (nice -n 3 taskset -c 0 \"$2\" 12 75; times >\"$4\") & wait";
    let mut command = place.record();
    command.args([
        "--count=hybrid",
        "--sample-every",
        "4",
        "--flush",
        "300ms",
        "-F",
        "1999",
        "--",
        "sh",
        "-c",
        script,
        "sh",
    ]);
    let programs = [fixture("framed_shares"), fixture("shares"), times("framed"), times("plain")];
    let output = succeed(command.args(programs));
    assert!(stderr(&output).contains("processes sampled, for their chains break"), "{}", stderr(&output));
    let [framed_seconds, plain_seconds] =
        ["framed", "plain"].map(|name| cpu_seconds(&fs::read_to_string(times(name)).unwrap()));
    let truth = framed_seconds / (framed_seconds + plain_seconds);
    let recorded = place.recorded(output);
    let facts = recorded.facts();
    facts.assert_accounts_close();
    assert_eq!(facts.lost_samples(), 0.0, "{}", facts.at("/recording"));
    let processes = facts.at("/processes").as_array().unwrap();
    let process = |comm: &str| processes.iter().find(|process| process["comm"] == comm).unwrap();
    let figure = |comm: &str, of: &str| process(comm)[of].as_f64().unwrap();
    let (framed, plain) = (figure("framed_shares", "samples"), figure("shares", "samples"));
    let share = framed / (framed + plain);
    assert!((share - truth).abs() < 0.03, "{share} of the ticks, {truth} of the CPU time: {processes:?}");
    assert!(figure("framed_shares", "complete_percent") > 95.0, "{processes:?}");
    // From when it is sampled on, all of its stacks are whole but for the last few, which it owes; how soon that is depends on the machine.
    let since = first_stack(&recorded, figure("shares", "pid"));
    let facts = Facts::parse(&recorded.report(&["--json", "--time", &format!("{since}..")]));
    let sampled =
        facts.at("/processes").as_array().unwrap().iter().find(|process| process["comm"] == "shares").unwrap();
    assert!(sampled["complete_percent"].as_f64() > Some(95.0), "{sampled}");
    assert!(sampled["samples"].as_f64() > Some(0.5 * plain), "sampled from {since} s on: {sampled} of {plain}");
    let folded = recorded.folded();
    let complete = |function: &str| folded.share(&format!("shares;_start;...;main;{function};...;spin_{function}"));
    let (alpha, beta) = (complete("alpha"), complete("beta"));
    assert!((alpha / (alpha + beta) - 0.75).abs() < 0.1, "{alpha} {beta}\n{folded}");
    assert!(facts.number("/recording/ways/sampled") >= 1.0, "{}", facts.at("/recording/ways"));
    assert!(facts.number("/recording/ways/counted") >= 1.0, "{}", facts.at("/recording/ways"));
    let info = recorded.report(&["--info"]);
    assert!(info.contains("of processes whose chains break, stacks are copied"), "{info}");
}

/// A process that is sampled and becomes another program is counted again, and judged by that; what it owed stays its own.
#[test]
fn another_program_is_judged_anew() {
    let _guard = needs_root!();
    let place = Place::new();
    let script = "end=$(($(date +%s) + 6)); while [ $(date +%s) -lt $end ]; do \
                  i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done; done; exec \"$1\" 4";
    let mut command = place.record();
    command.args(["--count=hybrid", "--flush", "300ms", "-F", "499", "--", "sh", "-c", script, "sh"]);
    let recorded = place.recorded(succeed(command.arg(fixture("framed_shares"))));
    let facts = recorded.facts();
    facts.assert_accounts_close();
    let folded = recorded.folded();
    let (shell, framed) = (folded.of_comm("sh"), folded.of_comm("framed_shares"));
    let of_shell = folded.share("sh;...;__libc_start_main;...") * folded.samples() as f64;
    assert!(of_shell > 0.3 * shell as f64, "{folded}");
    let of_framed =
        folded.share("framed_shares;...;main;...;spin_alpha") + folded.share("framed_shares;...;main;...;spin_beta");
    assert!(of_framed * folded.samples() as f64 > 0.9 * framed as f64, "{folded}");
    assert!(
        !folded
            .stacks()
            .any(|stack| stack[0] == "framed_shares" && stack.iter().any(|frame| frame == "__libc_start_main")),
        "{folded}"
    );
}

/// Each part closes its accounts, with ticks of which no sample tells yet: those are the next part's.
#[test]
fn parts_close_their_accounts() {
    let _guard = needs_root!();
    for part in two_parts("shares", &["--count=hybrid", "--flush", "400ms"]) {
        part.assert_accounts_close();
        assert!(part.number("/recording/ticks") > 100.0, "{}", part.at("/recording"));
    }
}

/// A segment has the mappings that its stacks and chains lead through, and no others: of a process with many, the few whose code is called.
#[test]
fn a_segment_has_the_code_that_its_stacks_lead_through() {
    let _guard = needs_root!();
    let place = Place::new();
    let ready = place.path().with_file_name("ready");
    let script = "import ctypes, decimal, hashlib, json, lzma, sqlite3, ssl, sys\n\
                  open(sys.argv[1], 'w').close()\n\
                  while True: sorted(range(1000), key=lambda number: -number)";
    let python = Running::quiet(Command::new("/usr/bin/python3").args(["-c", script]).arg(&ready));
    wait_for(&ready);
    let mut command = place.record();
    command.args(["--count=hybrid", "--sample-every", "2", "--flush", "300ms", "-F", "999", "-d", "4s", "-p"]);
    succeed(command.arg(python.pid()));
    let file = fs::read(place.path()).unwrap();
    let recording = Recording::open(&file).unwrap();
    let mut stacks = 0;
    for segment in recording.segments() {
        let mapping = |record| if let Record::Mapping(mapping) = record { Some(mapping) } else { None };
        let told: Vec<Mapping> = segment.records().unwrap().into_iter().filter_map(mapping).collect();
        let mut used: Vec<bool> = vec![false; told.len()];
        let mut code = |address: u64| {
            // A call that is the last instruction of a mapping returns to the next one.
            let places = told.iter().map(|mapping| (mapping.start..=mapping.end).contains(&address));
            let mut found = false;
            places.zip(&mut used).for_each(|(is_in, used)| (*used, found) = (*used | is_in, found | is_in));
            found
        };
        let mut samples = segment.samples();
        while let Some(sample) = samples.next().unwrap() {
            match &sample.user {
                UserState::Chain(chain) => chain.iter().for_each(|address| _ = code(*address)),
                UserState::Stack(stack) => {
                    stacks += 1;
                    code(stack.ip);
                    let kept = stack.words.iter().map(|word| word.value);
                    for value in kept.chain(stack.registers.iter().map(|(_, value)| value)) {
                        let is_in_stack = stack.sp <= value && value < stack.top;
                        assert!(code(value) || is_in_stack, "{value:x} is in nothing that is told");
                    }
                }
                _ => {}
            }
        }
        assert!(used.iter().all(|used| *used), "{told:?} {used:?}");
        let mapped = fs::read_to_string(format!("/proc/{}/maps", python.pid())).unwrap();
        let executable = mapped.lines().filter(|line| line.split(' ').nth(1).is_some_and(|kind| kind.contains('x')));
        assert!(told.len() + 8 < executable.count(), "{told:?}\n{mapped}");
    }
    assert!(stacks > 50, "{stacks} stacks");
    // It is as long as without counting: not each flush says again what the one before has said.
    assert_eq!(recording.segments().len(), 1);
}
