//! What the command line takes and refuses.

use super::filter::time_range;
use super::*;
use clap::CommandFactory;

/// clap's own check of the definition.
#[test]
fn the_definition_is_consistent() {
    Args::command().debug_assert();
}

/// A time range may be open at either end; anything else is refused in words.
#[test]
fn time_ranges() {
    let range = |from, to| Ok(TimeRange { from, to });
    assert_eq!(time_range("10..20.5"), range(Some(10_000_000_000), Some(20_500_000_000)));
    assert_eq!(time_range("..2s"), range(None, Some(2_000_000_000)));
    assert_eq!(time_range("1.."), range(Some(1_000_000_000), None));
    for wrong in ["5", "a..b", "3..2", "-1..2", "nan..", "1e99.."] {
        assert!(time_range(wrong).is_err(), "{wrong}");
    }
}

/// One view at a time, and a file or a diff.
#[test]
fn contradictions_are_refused() {
    let parse = |line: &str| Args::try_parse_from(line.split(' '));
    assert!(parse("report a.prof --tree").is_ok());
    assert!(parse("report a.prof --why libc --json").is_ok());
    assert!(parse("report --check a.prof --json").is_ok());
    assert!(parse("report --diff a b --flamegraph c.svg --max-depth 9").is_ok());
    assert!(parse("report a --callers f --flamegraph c.svg --focus x --by cpu").is_ok());
    assert!(parse("report --diff a b --by module --root x").is_ok());
    assert!(parse("report --cut 1..2 -o b a").is_ok());
    assert!(parse("report --merge a b c -o d --force").is_ok());
    assert!(parse("report --scrub a -o b --redact --no-local-files").is_ok());
    for wrong in [
        "report",
        "report a --max-depth 9",
        "report a --flamegraph b --max-depth 0",
        "report a --tree --json",
        "report a --tree --why libc",
        "report a --diff b c",
        "report --diff a",
        "report --diff a b --tree",
        "report --check",
        "report --check a --tree",
        "report --check a --pid 4",
        "report a --kernel --user",
        "report --cut 1..2 a",
        "report --cut 1..2 -o b",
        "report --cut 2..1 a -o b",
        "report --cut 1..2 --scrub a -o b",
        "report --cut 1..2 a -o b --tree",
        "report --scrub a -o b --pid 7",
        "report --scrub --check a -o b",
        "report --merge -o b",
        "report --merge a b -o c d",
        "report --cut 1..2 --redact a -o b",
        "report a -o b",
        "report a --force",
        "report a --callers f --callees g",
        "report --diff a b --callers f",
        "report a --tree --sort name",
        "report a --focus (",
        "report --cut 1..2 a -o b --by module",
        "report --check a --by module",
    ] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

/// The recorder's own measurements know the time alone: --self refuses every filter but --time, also those that are added later.
#[test]
fn self_refuses_what_it_would_ignore() {
    let command = Args::command();
    let filters = command.get_groups().find(|group| group.get_id() == "FilterArgs").unwrap();
    let filters: Vec<_> = filters.get_args().map(clap::Id::as_str).collect();
    assert!(filters.contains(&"time") && filters.len() > 7, "{filters:?}");
    for filter in filters {
        let option = command.get_arguments().find(|option| option.get_id() == filter).unwrap();
        let mut line = vec!["report".to_owned(), "a.prof".to_owned(), format!("--{}", option.get_long().unwrap())];
        if option.get_action().takes_values() {
            line.push(if filter == "time" { "1..2" } else { "4" }.to_owned());
        }
        assert!(Args::try_parse_from(&line).is_ok(), "{line:?}");
        line.push("--self".to_owned());
        assert_eq!(Args::try_parse_from(&line).is_ok(), filter == "time", "{line:?}");
    }
}

/// No view takes an option of which it would make nothing, and each is taken where it matters.
#[test]
fn views_refuse_what_they_would_ignore() {
    let is_taken = |view: &str, option: &str| {
        let line =
            if view == "--diff b c" { format!("report {view} {option}") } else { format!("report a {view} {option}") };
        Args::try_parse_from(line.split_whitespace()).is_ok()
    };
    let names =
        ["--symbols d", "--no-local-files", "--no-debuginfod", "--no-inline", "--fold-clones", "--no-cache"].as_slice();
    for (views, ignored) in [
        (&["--tree", "--flamegraph x", "--callers f", "--callees f", "--callers f --json"][..], &["--limit 5"][..]),
        (&["--folded", "--info", "--diff b c --folded"], &["--limit 5", "--min-percent 1"]),
        (
            &["--why libc", "--why libc --json"],
            &[
                "--limit 5",
                "--min-percent 1",
                "--callers f",
                "--callees f",
                "--by cpu",
                "--sort name",
                "--no-inline",
                "--fold-clones",
            ],
        ),
        (&["--info"], &["--no-inline", "--fold-clones"]),
        (&["--check", "--self"], names),
        (&["--scrub -o b", "--cut 1..2 -o b"], &["--no-inline", "--fold-clones", "--no-cache"]),
    ] {
        for (view, option) in views.iter().flat_map(|view| ignored.iter().map(move |option| (view, option))) {
            assert!(!is_taken(view, option), "{view} {option}");
        }
    }
    for (view, option) in [
        ("", "--limit 5"),
        ("--json", "--limit 5 --min-percent 1"),
        ("--self", "--limit 5"),
        ("--diff b c", "--limit 5 --min-percent 1"),
        ("--tree", "--min-percent 1"),
        ("--flamegraph x", "--min-percent 1 --max-depth 9"),
        ("--callers f", "--min-percent 1"),
        ("--why libc", "--symbols d --no-cache --focus f"),
        ("--folded", "--symbols d --no-inline --fold-clones"),
    ] {
        assert!(is_taken(view, option), "{view} {option}");
    }
}

/// Lines are looked for where a view shows them or a pattern may mean a file, and only there.
#[test]
fn lines_where_they_are_needed() {
    let needs = |line: &str| Args::try_parse_from(line.split(' ')).unwrap().needs_lines();
    for with in ["--json", "--by line", "--by file --tree", "--focus a.c", "--hide a.c", "--folded --root a.c"] {
        assert!(needs(&format!("report a {with}")), "{with}");
    }
    for without in ["--tree", "--folded", "--by module", "--flamegraph x.svg", "--info", "--callers f"] {
        assert!(!needs(&format!("report a {without}")), "{without}");
    }
}

/// `--why` takes a module, or nothing, and the recording may stand on either side of it.
#[test]
fn why_of_one_module_or_all() {
    let of = |line: &str| {
        let args = Args::try_parse_from(line.split(' ')).unwrap();
        let (file, why) = args.file_and_why();
        (file.map(Path::to_owned), why.map(|module| module.map(str::to_owned)))
    };
    let file = Some(PathBuf::from("a"));
    assert_eq!(of("report a --why"), (file.clone(), Some(None)));
    assert_eq!(of("report --why a"), (file.clone(), Some(None)));
    assert_eq!(of("report a --why libc"), (file.clone(), Some(Some("libc".to_owned()))));
    assert_eq!(of("report --why libc a"), (file.clone(), Some(Some("libc".to_owned()))));
    assert_eq!(of("report a"), (file, None));
}

/// Only --scrub looks for names and unwind information in files: the others refuse what they would ignore.
#[test]
fn cut_and_merge_ignored_where_files_are() {
    for option in ["--symbols c", "--no-local-files"] {
        let parse = |line: &str| Args::try_parse_from(format!("report {line} a -o b {option}").split(' '));
        assert!(parse("--scrub").is_ok(), "{option}");
        assert!(parse("--cut 1..2").is_err(), "{option}");
        assert!(parse("--merge").is_err(), "{option}");
    }
}
