//! The table of functions, by the samples that hit them.

use std::fmt::Write;

use super::folded::GUESSED;
use super::{Width, table};
use crate::ledger::grouped;
use crate::profile::{Function, Profile};

/// The functions with the most self samples, at most `limit` of them (0: all).
pub fn view(profile: &Profile, limit: usize, width: Width) -> String {
    let functions = profile.by_self();
    let shown = if limit == 0 { functions.len() } else { limit.min(functions.len()) };
    let rows: Vec<table::Row> = functions[..shown].iter().map(|function| row(profile, function)).collect();
    let mut text = String::new();
    table::write(&mut text, &["self %", "self", "total %", "total"], &rows, width);
    let more = functions.len() - shown;
    if more > 0 {
        let rest: u64 = functions[shown..].iter().map(|function| function.self_samples).sum();
        let (more, samples, percent) = (grouped(more as u64), grouped(rest), profile.percent(rest));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "... {more} more with {percent:.1}% ({samples} samples) of self; --limit 0 shows all");
    }
    text
}

fn row(profile: &Profile, function: &Function) -> table::Row {
    table::Row {
        figures: vec![
            format!("{:.2}", profile.percent(function.self_samples)),
            grouped(function.self_samples),
            format!("{:.2}", profile.percent(function.total_samples)),
            grouped(function.total_samples),
        ],
        function: marked(function),
        module: function.module.to_string(),
    }
}

/// A function's name, with the share of its samples in which it was guessed.
fn marked(function: &Function) -> String {
    match function.guessed_samples {
        0 => function.name.to_string(),
        guessed if guessed == function.total_samples => format!("{}{GUESSED}", function.name),
        guessed => format!("{}{GUESSED} in {}", function.name, grouped(guessed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::tests::sample_profile;

    /// The hottest function comes first, with self and total in samples and percent.
    #[test]
    fn the_hottest_function_comes_first() {
        let text = view(&sample_profile(), 2, Width::Unlimited);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "self %  self  total %  total  function  module");
        assert_eq!(lines[1], " 60.00     6    90.00      9  work      prog");
        assert_eq!(lines[2], " 30.00     3    30.00      3  do_sys    [kernel]");
        assert_eq!(lines[3], "... 2 more with 10.0% (1 samples) of self; --limit 0 shows all");
    }
}
