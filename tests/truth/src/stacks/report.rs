//! The comparisons of stacks as tables for people (Markdown), and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;
use serde::Serialize;

use super::classes::Relation;
use super::tally::{Difference, Seen, Tally};

/// One table of all recordings, and one of the classes of differences; perhaps an example of each.
pub fn tables(compared: &[(String, Tally)], examples: bool) -> String {
    let mut text = String::from(
        "| recording | samples | frames | complete | with | equal | longer here | longer there | different |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for (name, tally) in compared {
        for peer in peers(tally) {
            let of = |relation| tally.relations.get(&(peer, relation)).copied().unwrap_or_default();
            let percent = |part: u64| 100.0 * part as f64 / tally.samples.max(1) as f64;
            // Writing to a string cannot fail; so below.
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {:.2} % | {peer} | {} ({:.2} %) | {} | {} | {} |",
                tally.samples,
                tally.frames,
                percent(tally.complete),
                of(Relation::Equal),
                percent(of(Relation::Equal)),
                of(Relation::LongerHere),
                of(Relation::LongerThere),
                of(Relation::Different)
            );
        }
    }
    let mut classes: BTreeMap<&Difference, (u64, Vec<&str>, &Seen)> = BTreeMap::new();
    for (name, tally) in compared {
        for (difference, seen) in &tally.differences {
            let class = classes.entry(difference).or_insert((0, Vec::new(), seen));
            class.0 += seen.samples;
            class.1.push(name);
        }
    }
    text += "\n| with | how | where the walks part | others | samples | recordings |\n|---|---|---|---|---|---|\n";
    for (Difference { peer, how, why, others }, (samples, names, _)) in &classes {
        let _ = writeln!(text, "| {peer} | {how} | {why} | {others} | {samples} | {} |", names.join(", "));
    }
    if examples {
        for (difference, (_, _, seen)) in &classes {
            let _ = writeln!(text, "\n{difference:?}\n{}", seen.example);
        }
    }
    text
}

fn peers(tally: &Tally) -> Vec<&'static str> {
    let mut peers: Vec<_> = tally.relations.keys().map(|(peer, _)| *peer).collect();
    peers.dedup();
    peers
}

#[derive(Serialize)]
struct Compared<'a> {
    recording: &'a str,
    samples: u64,
    complete: u64,
    equal: BTreeMap<&'static str, u64>,
    differences: Vec<Counted<'a>>,
}

#[derive(Serialize)]
struct Counted<'a> {
    #[serde(flatten)]
    difference: &'a Difference,
    samples: u64,
    example: &'a str,
}

/// For scripts: a list, with all classes of each recording.
pub fn json(compared: &[(String, Tally)]) -> Result<String> {
    let list: Vec<_> = compared.iter().map(|(name, tally)| Compared::of(name, tally)).collect();
    Ok(serde_json::to_string(&list)? + "\n")
}

impl<'a> Compared<'a> {
    fn of(recording: &'a str, tally: &'a Tally) -> Self {
        let counted = |(difference, seen): (&'a Difference, &'a Seen)| {
            let Seen { samples, example } = seen;
            Counted { difference, samples: *samples, example }
        };
        Self {
            recording,
            samples: tally.samples,
            complete: tally.complete,
            equal: peers(tally).into_iter().map(|peer| (peer, tally.equal(peer))).collect(),
            differences: tally.differences.iter().map(counted).collect(),
        }
    }
}
