//! How command lines are read.

use clap::CommandFactory;

use super::*;

fn record(words: &[&str]) -> Result<RecordArgs, clap::Error> {
    let words = ["profrec", "record"].into_iter().chain(words.iter().copied());
    match Cli::try_parse_from(words)?.command {
        Command::Record(args) => Ok(*args),
        Command::Doctor(_) | Command::AskJvms | Command::Other(_) => unreachable!("the subcommand is record"),
    }
}

/// clap finds no contradiction in the definition of the command line.
#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

/// Pids come with commas or repeated; a command keeps its own options.
#[test]
fn targets_are_read() {
    assert_eq!(record(&["-p", "1,2", "-p", "3"]).unwrap().pids, [1, 2, 3]);
    assert_eq!(record(&["--", "ls", "-a", "-p"]).unwrap().command, ["ls", "-a", "-p"]);
    for wrong in [&["-a", "-p", "1"][..], &["-t", "1", "-p", "1"], &["-a", "-t", "1"], &["-t", "1", "--", "ls"]] {
        assert!(record(wrong).is_err(), "{wrong:?}");
    }
    assert!(record(&[]).unwrap().check().is_err());
}

/// What narrows goes with every target, or stands alone; a command is in the recorder's own group.
#[test]
fn narrowings_are_read() {
    let args = record(&["--comm", "a", "--comm", "b", "--uid", "0", "--cgroup", "/x", "-p", "1"]).unwrap();
    assert_eq!((args.comms.len(), args.users.len(), args.cgroups.len()), (2, 1, 1));
    assert!(record(&["--comm", "cc1plus"]).unwrap().check().is_ok());
    assert!(record(&["--comm", "cc1plus", "--", "make"]).is_ok());
    assert!(record(&["--cgroup", "/x", "--", "make"]).is_err());
    assert!(record(&["--comm", "sixteen letters!"]).is_err());
}

/// What is about counting needs it, the preset for weeks implies it, and a way to sample excludes it.
#[test]
fn counting_is_asked_for() {
    let counts = |words: &[&str]| {
        let args = record(&[&["-a"], words].concat())?;
        args.check().map(|()| (args.counts_every().is_some(), args.call_graph()))
    };
    let counted = (true, CallGraph::Fp);
    assert_eq!(counts(&[]).unwrap(), (false, CallGraph::Dwarf));
    assert_eq!(counts(&["--count", "--flush", "1s"]).unwrap(), counted);
    assert_eq!(counts(&["--count", "--call-graph", "fp"]).unwrap(), counted);
    assert_eq!(counts(&["--preset", "monitor", "--stack-entries", "1024"]).unwrap(), counted);
    assert_eq!(counts(&["--count=hybrid", "--ring-size", "1m"]).unwrap(), (true, CallGraph::Dwarf));
    assert_eq!(counts(&["--preset", "monitor", "--count=hybrid"]).unwrap(), (true, CallGraph::Dwarf));
    assert_eq!(counts(&["--preset", "monitor", "--call-graph", "dwarf"]).unwrap(), (false, CallGraph::Dwarf));
    for wrong in [
        &["--flush", "1s"][..],
        &["--count-entries", "2048"],
        &["--count", "--call-graph", "dwarf"],
        &["--count=hybrid", "--call-graph", "fp"],
        &["--count=hybrid", "--keep-raw"],
        &["--count", "--sample-every", "5"],
        &["--count", "--ring-size", "1m"],
        &["--count", "--whole-stack", "1m"],
        &["--preset", "monitor", "--call-graph", "dwarf", "--flush", "5s"],
    ] {
        assert!(counts(wrong).is_err(), "{wrong:?}");
    }
}

/// Rate, interval and preset give the same kind of number, and exclude each other.
#[test]
fn rates_are_periods() {
    assert_eq!(record(&["-a"]).unwrap().period(), 10_101_010);
    assert_eq!(record(&["-a", "--interval", "10ms"]).unwrap().period(), 10_000_000);
    assert_eq!(record(&["-a", "--preset", "monitor"]).unwrap().period(), 100_000_000);
    assert!(record(&["-a", "--preset", "dev", "-F", "9"]).is_err());
}

/// The budget is a percentage of the machine, on unless it is switched off, and larger for who looks closely.
#[test]
fn budgets_are_shares() {
    let budget = |words: &[&str]| record(&[&["-a"], words].concat()).unwrap().max_cpu();
    assert_eq!((budget(&[]), budget(&["--preset", "dev"])), (Some(10_000), Some(50_000)));
    assert_eq!((budget(&["--max-cpu", "0.5%"]), budget(&["--max-cpu", "0.00001"])), (Some(5_000), Some(1)));
    assert_eq!((budget(&["--max-cpu", "none"]), budget(&["--max-cpu", "0"])), (None, None));
}
