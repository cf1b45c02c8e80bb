//! The comparisons of names as tables (Markdown).

use std::collections::BTreeMap;
use std::fmt::Write;

use super::chain::Chain;
use super::{Difference, Seen, Tally};

/// One table of all files, and one of the classes of differences; perhaps examples of each.
pub fn tables(compared: &[(String, Tally)], examples: bool) -> String {
    let mut text = String::from("| file | addresses | with | equal | different |\n|---|---|---|---|---|\n");
    for (name, tally) in compared {
        for (tool, &asked) in &tally.asked {
            let equal = tally.equal.get(tool).copied().unwrap_or_default();
            let percent = 100.0 * equal as f64 / asked.max(1) as f64;
            // Writing to a string cannot fail; so below.
            let _ =
                writeln!(text, "| {name} | {asked} | {} | {equal} ({percent:.3} %) | {} |", tool.name(), asked - equal);
        }
    }
    let mut classes: BTreeMap<&Difference, Vec<(&str, &Seen)>> = BTreeMap::new();
    for (name, tally) in compared {
        for (difference, seen) in &tally.differences {
            classes.entry(difference).or_default().push((name, seen));
        }
    }
    text += "\n| with | difference | others | addresses | files |\n|---|---|---|---|---|\n";
    for (Difference { tool, class, others }, files) in &classes {
        let all: usize = files.iter().map(|(_, seen)| seen.addresses).sum();
        let of = files.iter().map(|(name, seen)| format!("{name} {}", seen.addresses)).collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "| {} | {class} | {others} | {all} | {of} |", tool.name());
    }
    if examples {
        classes.iter().for_each(|(difference, files)| put_examples(&mut text, difference, files));
    }
    text
}

fn put_examples(text: &mut String, difference: &Difference, files: &[(&str, &Seen)]) {
    let _ = writeln!(text, "\n{}: {} ({})", difference.tool.name(), difference.class, difference.others);
    for (name, seen) in files {
        for (address, ours, theirs) in &seen.examples {
            let _ = writeln!(text, "  {name} {address:#x}\n    here  {}\n    there {}", line(ours), line(theirs));
        }
    }
}

/// The chain, with long names cut.
fn line(chain: &Chain) -> String {
    const LONGEST: usize = 60;
    let cut = |name: &str| name.chars().take(LONGEST).collect::<String>();
    let frames = chain.iter().map(|frame| format!("{} {}:{}", cut(&frame.name), frame.file, frame.line));
    frames.collect::<Vec<_>>().join(" < ")
}
