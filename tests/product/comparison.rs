//! Two recordings compared: programs whose shares are known differ by what is known.

use std::path::Path;
use std::process::Command;

use crate::programs::{fixture, profrec_report, stdout, succeed};
use crate::recorded::{Facts, Place, Recorded, record};
use crate::rights::needs_root;

fn with_alphas_share(percent: &str) -> Recorded {
    record(&[], &[&fixture("shares"), Path::new("1"), Path::new(percent)])
}

fn at_rate(rate: &str, seconds: &str) -> Recorded {
    let place = Place::new();
    let arguments = ["-q", "-F", rate, "--"];
    let output = succeed(place.record().args(arguments).arg(fixture("shares")).args([seconds, "30"]));
    place.recorded(output)
}

fn diff(before: &Recorded, after: &Recorded, arguments: &[&str]) -> String {
    let mut command = Command::new(profrec_report());
    stdout(&succeed(command.arg("--diff").args([before.path(), after.path()]).args(arguments)))
}

/// A function that went from 20 to 60 percent is found with about these shares, and the other with its loss.
#[test]
fn shares_by_construction() {
    let _guard = needs_root!();
    let (before, after) = (with_alphas_share("20"), with_alphas_share("60"));
    let facts = Facts::parse(&diff(&before, &after, &["--json"]));
    let functions = facts.at("/functions").as_array().unwrap();
    for (name, share_before, share_after) in [("alpha", 0.2, 0.6), ("beta", 0.8, 0.4)] {
        let function = functions.iter().find(|function| function["name"] == name).unwrap();
        let number = |field: &str| function[field].as_f64().unwrap();
        let of = |field: &str, recorded: &Recorded| number(field) / recorded.facts().number("/recording/samples");
        assert!((of("total_before", &before) - share_before).abs() < 0.05, "{function}");
        assert!((of("total_after", &after) - share_after).abs() < 0.05, "{function}");
    }
}

/// A recording compared with itself has no difference.
#[test]
fn no_difference() {
    let _guard = needs_root!();
    let recorded = with_alphas_share("50");
    let facts = Facts::parse(&diff(&recorded, &recorded, &["--json"]));
    for function in facts.at("/functions").as_array().unwrap() {
        assert_eq!(function["delta"].as_f64(), Some(0.0), "{function}");
    }
}

/// Recordings of different rate and length are normalised: the same program has the same shares.
#[test]
fn different_rates() {
    let _guard = needs_root!();
    let slow = at_rate("199", "1");
    let fast = at_rate("999", "0.5");
    let text = diff(&slow, &fast, &["--limit", "0"]);
    assert!(text.contains("alpha"), "{text}");
    assert!(text.contains("199 Hz") && text.contains("999 Hz") && text.contains("share"), "{text}");
}

/// The differential flame graph is a picture.
#[test]
fn a_differential_flame_graph() {
    let _guard = needs_root!();
    let (before, after) = (with_alphas_share("20"), with_alphas_share("60"));
    let picture = before.path().with_file_name("diff.svg");
    diff(&before, &after, &["--flamegraph", picture.to_str().unwrap()]);
    let svg = std::fs::read_to_string(picture).unwrap();
    assert!(svg.contains("<svg") && svg.contains("spin_alpha"), "{svg:.300}");
}
