//! The comparisons of names as tables (Markdown).

use std::collections::BTreeMap;
use std::fmt::Write;

use super::chain::Chain;
use super::tools::Tool;
use super::{Difference, Seen, Tally};

/// One table of all files, one of the rules that explain differences, and one of what they do not explain; perhaps examples.
pub fn tables(compared: &[(String, Tally)], examples: bool) -> String {
    let mut text = String::from(
        "| file | addresses | with | equal | explained | unexplained | equal or explained |\n|---|---|---|---|---|---|---|\n",
    );
    for (name, tally) in compared {
        for (&tool, &asked) in &tally.asked {
            let equal = tally.equal.get(&tool).copied().unwrap_or_default();
            let unexplained = tally.unexplained(tool);
            let explained = asked - equal - unexplained;
            let percent = 100.0 * (equal + explained) as f64 / asked.max(1) as f64;
            let tool = tool.name();
            // Writing to a string cannot fail; so below.
            let _ = writeln!(
                text,
                "| {name} | {asked} | {tool} | {equal} | {explained} | {unexplained} | {percent:.3} % |"
            );
        }
    }
    let explained: Classes<'_> = classes(compared, |tally| {
        tally.explained.iter().map(|((tool, rules), seen)| ((*tool, rules.clone()), seen)).collect()
    });
    text += "\n| with | explained by | addresses | files |\n|---|---|---|---|\n";
    put_classes(&mut text, &explained);
    let unexplained: Classes<'_> = classes(compared, |tally| {
        let class = |it: &Difference| [it.class, &it.others].join(" | ");
        tally.unexplained.iter().map(|(difference, seen)| ((difference.tool, class(difference)), seen)).collect()
    });
    if !unexplained.is_empty() {
        text += "\n| with | not explained | others | addresses | files |\n|---|---|---|---|---|\n";
        put_classes(&mut text, &unexplained);
    }
    if examples {
        text.push('\n');
        let all = explained.iter().chain(&unexplained);
        all.for_each(|((tool, class), files)| put_examples(&mut text, *tool, class, files));
    }
    text
}

/// By tool and class, in which files it was seen.
type Classes<'c> = BTreeMap<(Tool, String), Vec<(&'c str, &'c Seen)>>;

fn classes<'c>(
    compared: &'c [(String, Tally)],
    of_one: impl Fn(&'c Tally) -> Vec<((Tool, String), &'c Seen)>,
) -> Classes<'c> {
    let mut classes = Classes::new();
    for (name, tally) in compared {
        for (class, seen) in of_one(tally) {
            classes.entry(class).or_default().push((name, seen));
        }
    }
    classes
}

fn put_classes(text: &mut String, classes: &Classes<'_>) {
    for ((tool, class), files) in classes {
        let all: usize = files.iter().map(|(_, seen)| seen.addresses).sum();
        let of = files.iter().map(|(name, seen)| format!("{name} {}", seen.addresses)).collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "| {} | {class} | {all} | {of} |", tool.name());
    }
}

fn put_examples(text: &mut String, tool: Tool, class: &str, files: &[(&str, &Seen)]) {
    let _ = writeln!(text, "\n{}: {class}", tool.name());
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
