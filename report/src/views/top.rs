//! The table of functions, or of what samples are brought together by, by the samples that hit them.

use std::fmt::Write;

use super::marks::Marks;
use super::{Page, table};
use crate::ledger::grouped;
use crate::profile::{By, Function, Profile, SortBy};

/// What of a table is shown, and in which order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rows {
    /// The order.
    pub sort: SortBy,
    /// At most so many; 0 for all.
    pub limit: usize,
    /// None with less than this share of the samples in total, in percent.
    pub min_percent: f64,
}

impl Rows {
    /// The rows, and how many more there are and their self samples.
    pub fn of(self, profile: &Profile) -> (Vec<&Function>, u64, u64) {
        let rows = profile.rows(self.sort);
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        let is_heavy = |row: &&Function| profile.percent(row.total_samples) >= self.min_percent;
        let shown: Vec<&Function> = rows.iter().copied().filter(is_heavy).take(limit).collect();
        let samples = |rows: &[&Function]| rows.iter().map(|row| row.self_samples).sum::<u64>();
        let (more, rest) = (rows.len() - shown.len(), samples(&rows) - samples(&shown));
        (shown, more as u64, rest)
    }
}

/// The rows as a table.
pub fn view(profile: &Profile, rows: Rows, page: Page) -> String {
    let (shown, more, rest) = rows.of(profile);
    let by = profile.by;
    let figures: &[&str] =
        if by.is_of_samples() { &["total %", "total"] } else { &["self %", "self", "total %", "total"] };
    let heading = table::Heading { figures, name: by.name(), modules: by == By::Function };
    let shown: Vec<table::Row> = shown.into_iter().map(|function| row(profile, function)).collect();
    let mut text = String::new();
    table::write(&mut text, &heading, &shown, page);
    if more > 0 {
        let (more, samples, percent) = (grouped(more), grouped(rest), profile.percent(rest));
        let all = if rows.min_percent > 0.0 { "--limit 0 --min-percent 0 shows" } else { "--limit 0 shows" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "... {more} more with {percent:.1}% ({samples} samples) of self; {all} all");
    }
    text
}

fn row(profile: &Profile, function: &Function) -> table::Row {
    let with_share = |samples| [format!("{:.2}", profile.percent(samples)), grouped(samples)];
    let (own, total) = (with_share(function.self_samples), with_share(function.total_samples));
    let figures = if profile.by.is_of_samples() { total.to_vec() } else { [own, total].concat() };
    table::Row {
        figures,
        percent: profile.percent(function.self_samples),
        marks: Marks::of(function),
        function: function.name.to_string(),
        module: function.module.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Shape;
    use crate::profile::tests::{sample_profile, shaped};
    use crate::views::Width;

    fn lines(profile: &Profile, rows: Rows) -> Vec<String> {
        view(profile, rows, Page::plain(Width::Unlimited)).lines().map(str::to_owned).collect()
    }

    /// The hottest function comes first, with self and total in samples and percent.
    #[test]
    fn the_hottest_function_comes_first() {
        let lines = lines(&sample_profile(), Rows { limit: 2, ..Rows::default() });
        assert_eq!(lines[0], "self %  self  total %  total     function  module");
        assert_eq!(lines[1], " 60.00     6    90.00      9     work      prog");
        assert_eq!(lines[2], " 30.00     3    30.00      3  k  do_sys    [kernel]");
        assert_eq!(lines[3], "marks: k kernel");
        assert_eq!(lines[4], "... 2 more with 10.0% (1 samples) of self; --limit 0 shows all");
    }

    /// Other orders, and shares below which nothing is shown.
    #[test]
    fn orders_and_shares() {
        let names = |sort, min_percent| {
            let (profile, rows) = (sample_profile(), Rows { sort, min_percent, limit: 0 });
            rows.of(&profile).0.into_iter().map(|row| row.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(SortBy::Total, 0.0), ["work", "main", "do_sys", "prog+0x9000"]);
        assert_eq!(names(SortBy::Name, 30.0), ["do_sys", "main", "work"]);
    }

    /// What samples are of as a whole has one figure, and no module.
    #[test]
    fn samples_of_cpus() {
        let shape = Shape { by: By::Cpu, ..Shape::default() };
        let lines = lines(&shaped(&shape), Rows::default());
        assert_eq!(lines, ["total %  total  cpu", "  70.00      7  CPU 0", "  30.00      3  CPU 1"]);
    }
}
