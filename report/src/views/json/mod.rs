//! The facts and the functions for scripts. The field names are stable; `docs/json.md` explains them.

pub mod diff;
mod recording;
mod shown;
mod tree;

use std::collections::BTreeMap;

use serde::Serialize;

use self::recording::{Recording, recording};
use self::shown::{
    Function, Module, Process, Row, Stacks, Unnamed, function, left_out, module, process, row, stacks, unnamed,
};
use self::tree::{Branch, branches, tree};
use crate::escape;
use crate::profile::{By, Profile};
use crate::refine::Side;
use crate::views::recorder::{self, Recorder};
use crate::views::top::Rows;

#[derive(Serialize)]
struct Report<'a> {
    recording: Recording<'a>,
    #[serde(rename = "self")]
    recorder: Option<Recorder>,
    stacks: Stacks,
    left_out: BTreeMap<&'static str, u64>,
    unnamed: BTreeMap<&'static str, Unnamed>,
    notes: &'a [String],
    processes: Vec<Process<'a>>,
    modules: Vec<Module<'a>>,
    by: &'static str,
    functions: Option<Vec<Function<'a>>>,
    rows: Option<Vec<Row<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    callers: Option<Vec<Branch<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    callees: Option<Vec<Branch<'a>>>,
}

/// A profile as JSON, with these of its functions.
pub fn view(profile: &Profile, rows: Rows) -> serde_json::Result<String> {
    let (shown, ..) = rows.of(profile);
    let is_of_functions = profile.by == By::Function;
    let tree = tree(profile)?;
    let branches = |side| {
        let tree = tree.as_ref().filter(|_| profile.side == Some(side));
        tree.map(|tree| branches(profile, tree, rows.min_percent))
    };
    let report = Report {
        recording: recording(&profile.facts),
        recorder: profile
            .facts
            .measurements
            .total()
            .map(|_| Recorder::new(&profile.facts.measurements, recorder::ROWS)),
        stacks: stacks(profile),
        left_out: left_out(profile),
        unnamed: unnamed(profile),
        notes: &profile.ledger.notes,
        processes: profile.processes.iter().map(process).collect(),
        modules: profile.modules.iter().map(module).collect(),
        by: profile.by.name(),
        functions: is_of_functions.then(|| shown.iter().copied().map(function).collect()),
        rows: (!is_of_functions).then(|| shown.iter().copied().map(row).collect()),
        callers: branches(Side::Callers),
        callees: branches(Side::Callees),
    };
    print(&report)
}

/// Anything as JSON, with no character that is not what it looks like.
pub fn print(report: &impl Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string_pretty(report)? + "\n";
    Ok(escape::json(&text).into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::profile::tests::sample_profile;
    use profrec_format::LossCause;

    /// The names that scripts rely on are there, with the right figures.
    #[test]
    fn fields_are_stable() {
        let json: serde_json::Value = serde_json::from_str(&view(&sample_profile(), Rows::default()).unwrap()).unwrap();
        for field in
            ["samples", "expected", "lost", "duration_seconds", "frequency_hz", "bytes", "host", "kernel", "arch"]
        {
            assert!(json["recording"].get(field).is_some(), "{field}");
        }
        for field in ["total", "complete", "truncated", "no_cfi", "implausible", "guessed"] {
            assert!(json["stacks"].get(field).is_some(), "{field}");
        }
        for field in ["name", "build_id", "samples", "symbols", "why"] {
            assert!(json["modules"][0].get(field).is_some(), "{field}");
        }
        for field in ["name", "module", "file", "line", "self", "total"] {
            assert!(json["functions"][0].get(field).is_some(), "{field}");
        }
        assert_eq!(json["functions"][0]["name"], "work");
        assert_eq!(json["functions"][0]["self"], 6);
        assert_eq!(json["processes"][0]["pid"], 7);
        assert_eq!(json["processes"][0]["complete_percent"], 90.0);
    }

    /// Causes that a later version adds share a name here: their losses are all counted.
    #[test]
    fn unknown_causes_hid_each_other() {
        let mut profile = sample_profile();
        profile.facts.lost.add([(LossCause::Other(6), 1), (LossCause::Other(8), 2)]);
        let json: serde_json::Value = serde_json::from_str(&view(&profile, Rows::default()).unwrap()).unwrap();
        assert_eq!(json["recording"]["lost"]["other_samples"], 3);
    }
}
