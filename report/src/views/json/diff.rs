//! What changed between two recordings.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::diff::{self, Diff};
use crate::profile::By;

#[derive(Serialize)]
struct DiffReport<'a> {
    before: Side,
    after: Side,
    by: &'static str,
    functions: Option<Vec<Change<'a>>>,
    rows: Option<Vec<Change<'a>>>,
}

#[derive(Serialize)]
struct Side {
    samples: u64,
    left_out: BTreeMap<&'static str, u64>,
    duration_seconds: f64,
    frequency_hz: f64,
    cpu_seconds: f64,
}

#[derive(Serialize)]
struct Change<'a> {
    name: &'a str,
    module: &'a str,
    self_before: u64,
    self_after: u64,
    total_before: u64,
    total_after: u64,
    delta: f64,
    total_delta: f64,
    status: &'static str,
}

/// A diff as JSON, with at most `limit` changes (0: all), and none of less than `min_percent` points.
pub fn view(diff: &Diff, limit: usize, min_percent: f64) -> serde_json::Result<String> {
    let changes: Vec<_> = diff.shown(limit, min_percent).into_iter().map(|change| self::change(diff, change)).collect();
    let (functions, rows) = if diff.by == By::Function { (Some(changes), None) } else { (None, Some(changes)) };
    let report =
        DiffReport { before: side(&diff.before), after: side(&diff.after), by: diff.by.name(), functions, rows };
    super::print(&report)
}

fn side(side: &diff::Side) -> Side {
    Side {
        samples: side.samples,
        left_out: side.left_out.by_option().collect(),
        duration_seconds: side.seconds,
        frequency_hz: (side.frequency * 1e3).round() / 1e3,
        cpu_seconds: side.cpu_seconds,
    }
}

fn change<'a>(diff: &Diff, change: &'a diff::Change) -> Change<'a> {
    Change {
        name: &change.name,
        module: &change.module,
        self_before: change.self_before,
        self_after: change.self_after,
        total_before: change.total_before,
        total_after: change.total_after,
        delta: diff.self_delta(change),
        total_delta: diff.total_delta(change),
        status: change.status().name(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::profile::tests::sample_profile;

    /// The names that scripts rely on are there.
    #[test]
    fn fields_of_a_diff_are_stable() {
        let compared = Diff::compare(&sample_profile(), &sample_profile());
        let json: serde_json::Value = serde_json::from_str(&view(&compared, 0, 0.0).unwrap()).unwrap();
        for field in ["name", "module", "self_before", "self_after", "total_before", "total_after", "delta"] {
            assert!(json["functions"][0].get(field).is_some(), "{field}");
        }
        assert_eq!(json["functions"][0]["delta"], 0.0);
    }
}
