//! A diff as a table, and as a differential flame graph.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;

use inferno::flamegraph::Options;

use super::flamegraph::{Legend, Limits, Picture};
use super::folded;
use super::marks::Marks;
use super::stack_lines::{Annotations, StackLines, deeper_than};
use super::{Page, flamegraph, table};
use crate::diff::{Change, Diff, Side, Status, share};
use crate::ledger::grouped;
use crate::profile::{By, Profile};

/// The whole of a recording in the units of the differential flame graph: millionths.
const WHOLE: f64 = 1e6;

/// The functions that changed most, at most `limit` of them (0: all), and none that changed by less than `min_percent` points.
pub fn view(diff: &Diff, limit: usize, min_percent: f64, page: Page) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail; so below.
    let _ = writeln!(text, "before: {}\nafter:  {}", side(&diff.before), side(&diff.after));
    text.push_str("Shares are of each recording's own samples: its length and its rate do not count.\n\n");
    let rows: Vec<table::Row> = diff.shown(limit, min_percent).into_iter().map(|change| row(diff, change)).collect();
    let figures = &["change", "before %", "after %", "before", "after", "total", ""];
    let heading = table::Heading { figures, name: diff.by.name(), modules: diff.by == By::Function };
    table::write(&mut text, &heading, &rows, page);
    let more = diff.changes.len() - rows.len();
    if more > 0 {
        let all = if min_percent > 0.0 { "--limit 0 --min-percent 0 shows" } else { "--limit 0 shows" };
        let _ = writeln!(text, "... {} more; {all} all", grouped(more as u64));
    }
    text.push_str(
        "\nchange: percentage points of the share of self samples; before, after: self samples; \
         total: percentage points with callees\n",
    );
    text
}

fn side(side: &Side) -> String {
    let cpus = if side.seconds > 0.0 { side.cpu_seconds / side.seconds } else { 0.0 };
    format!(
        "{} samples at {:.0} Hz: {:.2} s of CPU time in {:.2} s ({cpus:.2} CPUs)",
        grouped(side.samples),
        side.frequency,
        side.cpu_seconds,
        side.seconds
    )
}

fn row(diff: &Diff, change: &Change) -> table::Row {
    let percent = |samples, all| format!("{:.2}", share(samples, all) * 100.0);
    let mark = match change.status() {
        Status::Both => "",
        Status::New => "new",
        Status::Vanished => "gone",
    };
    table::Row {
        figures: vec![
            points(diff.self_delta(change)),
            percent(change.self_before, diff.before.samples),
            percent(change.self_after, diff.after.samples),
            grouped(change.self_before),
            grouped(change.self_after),
            points(diff.total_delta(change)),
            mark.to_owned(),
        ],
        percent: diff.self_delta(change) * 100.0,
        marks: Marks::default(),
        function: change.name.to_string(),
        module: change.module.to_string(),
    }
}

/// A change of share in percentage points, with its sign.
fn points(delta: f64) -> String {
    let points = format!("{:+.2}", delta * 100.0);
    if points == "-0.00" || points == "+0.00" { "0.00".to_owned() } else { points }
}

/// The second profile's flame graph, coloured by the change of each frame's share: red grew, blue
/// shrank. Both recordings are scaled to one million, so that length and rate do not count.
pub fn flame_graph(before: &Profile, after: &Profile, limits: Limits) -> io::Result<Picture> {
    let scaled = |(stack, (old, new)): (String, (u64, u64))| {
        format!("{stack} {} {}", millionths(old, before.samples), millionths(new, after.samples))
    };
    let lines: Vec<String> =
        stacks(before, after, limits.deepest(), folded::DEPTH_HELPS)?.into_iter().map(scaled).collect();
    let deeper = [(" before", before), (" after", after)]
        .map(|(when, profile)| (when, deeper_than(profile, limits.deepest()), profile.samples));
    let deeper = limits.deeper(&deeper);
    let legend = Legend { beside: left_out(before, after), ..Legend::default() };
    let svg = flamegraph::draw(&mut options(before, after), &lines, limits, deeper.as_deref(), &legend)?;
    Ok(limits.picture(svg, deeper))
}

/// Both recordings as folded stacks with two counts a line: samples before and after, not scaled.
pub fn folded(before: &Profile, after: &Profile) -> io::Result<String> {
    let mut text = String::new();
    for (stack, (before, after)) in stacks(before, after, usize::MAX, "")? {
        let _ = writeln!(text, "{stack} {before} {after}");
    }
    Ok(text)
}

/// Every stack of either, no deeper than so many frames, with its samples before and after. Gigabytes are refused, with what helps
/// besides fewer samples.
fn stacks(before: &Profile, after: &Profile, deepest: usize, helps: &str) -> io::Result<BTreeMap<String, (u64, u64)>> {
    let mut counts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut length = 0;
    let mut add = |stack: &str, before: u64, after: u64| -> io::Result<()> {
        let samples = match counts.get_mut(stack) {
            Some(samples) => samples,
            None => {
                length += stack.len();
                folded::require_length(length, helps)?;
                counts.entry(stack.to_owned()).or_default()
            }
        };
        samples.0 += before;
        samples.1 += after;
        Ok(())
    };
    let [before, after] = [before, after].map(|profile| StackLines::no_deeper(profile, Annotations::Few, deepest));
    before.each(|stack, samples| add(stack, samples, 0))?;
    after.each(|stack, samples| add(stack, 0, samples))?;
    Ok(counts)
}

fn millionths(samples: u64, all: u64) -> u64 {
    (share(samples, all) * WHOLE).round() as u64
}

/// What was left out of each for its stacks, in words.
fn left_out(before: &Profile, after: &Profile) -> String {
    let texts = [("before", before), ("after", after)];
    let texts = texts.iter().filter_map(|(name, profile)| Some(format!("{name}, {}", profile.ledger.left_out_text()?)));
    texts.collect::<Vec<_>>().join("; ")
}

fn options(before: &Profile, after: &Profile) -> Options<'static> {
    let mut options = Options::default();
    options.title = "Change of CPU time: red grew, blue shrank".to_owned();
    options.subtitle = Some(format!(
        "widths: after ({} samples); colours: change of share against before ({} samples); both scaled to one million; what vanished has no width",
        grouped(after.samples),
        grouped(before.samples)
    ));
    options.count_name = "millionths of the samples".to_owned();
    options
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::paths::StackPaths;
    use crate::paths::tests::paths;
    use crate::profile::tests::sample_profile;
    use crate::views::Width;

    /// New functions are marked, figures stand in their columns, and the text says how it was normalised.
    #[test]
    fn the_table_says_what_it_compares() {
        let text = view(&Diff::compare(&Profile::default(), &sample_profile()), 1, 0.0, Page::plain(Width::Unlimited));
        assert!(text.contains("Shares are of each recording's own samples"));
        let expected = "+60.00      0.00    60.00       0      6  +90.00  new  work      prog";
        assert!(text.lines().any(|line| line == expected), "{text}");
        assert!(text.contains("... 3 more;"));
    }

    /// A change too small to show has no sign.
    #[test]
    fn nothing_has_no_sign() {
        assert_eq!([points(-1e-9), points(0.001), points(-0.5)], ["0.00", "+0.10", "-50.00"]);
    }

    /// The differential flame graph scales both sides to the same whole.
    #[test]
    fn both_sides_are_scaled() {
        let of = |limits| flame_graph(&sample_profile(), &sample_profile(), limits).unwrap();
        let svg = String::from_utf8(of(Limits::default()).svg).unwrap();
        assert!(svg.contains("work (900,000 millionths of the samples, 90.00%; 0.00%)"));
        let picture = of(Limits { max_depth: NonZeroUsize::new(2), ..Limits::default() });
        let svg = String::from_utf8(picture.svg).unwrap();
        let told = "stacks are drawn 2 frames deep, 90.0% before, 90.0% after of the samples have more";
        assert!(picture.note.unwrap().contains(told) && svg.contains(told) && !svg.contains("do_sys"));
        let limits = Limits { max_depth: NonZeroUsize::new(2), ..Limits::default() };
        let note = flame_graph(&Profile::default(), &sample_profile(), limits).unwrap().note.unwrap();
        assert!(note.contains("deep, 90.0% after of the samples have more"), "{note}");
    }

    /// A picture is refused by what is drawn of the stacks, and the refusal names what helps.
    #[test]
    fn what_is_not_drawn_takes_no_room() {
        let mut profile = sample_profile();
        let mut stack = Vec::new();
        profile.show(0, &mut stack);
        profile.functions[stack[0].function() as usize].name = "x".repeat(1 << 20).into();
        let (paths, ends) = paths(&vec![vec![stack[0]; 2_100]; 3]);
        profile.stacks = StackPaths { paths, ends };
        let picture = |max_depth| flame_graph(&profile, &profile, Limits { max_depth, ..Limits::default() });
        let refusal = picture(None).unwrap_err().to_string();
        assert!(refusal.contains("more than 2 GiB") && refusal.contains("--max-depth"), "{refusal}");
        assert!(picture(NonZeroUsize::new(1)).is_ok());
        assert!(folded::require_room(&profile).is_err());
    }
}
