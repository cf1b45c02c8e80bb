//! What came of a comparison, counted.

use std::collections::BTreeMap;
use std::fmt::Write;

use profrec_report::stacks::Verdict;
use profrec_report::unwind::WalkedFrame;
use serde::Serialize;

use super::classes::Relation;
use super::peer::{SpaceId, Walk};

/// The samples of a recording, compared.
#[derive(Debug, Default)]
pub struct Tally {
    /// Samples that were compared.
    pub samples: u64,
    /// Our frames.
    pub frames: u64,
    /// Our stacks that are complete.
    pub complete: u64,
    /// Address spaces that the peers were told of.
    pub spaces: SpaceId,
    /// By peer, how many samples are how.
    pub relations: BTreeMap<(&'static str, Relation), u64>,
    /// What differs, and why.
    pub differences: BTreeMap<Difference, Seen>,
}

/// A class of differences.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// With whom.
    pub peer: &'static str,
    /// How.
    pub how: String,
    /// What is particular about the place where the walks part.
    pub why: String,
    /// Who else has our stack, and who has that of this peer.
    pub others: String,
}

/// How often a class was seen, and one of it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Samples.
    pub samples: u64,
    /// The walks of one of them.
    pub example: String,
}

impl Tally {
    /// Counts a sample.
    pub fn count(&mut self, frames: usize, verdict: Verdict) {
        self.samples += 1;
        self.frames += frames as u64;
        self.complete += u64::from(verdict == Verdict::Complete);
    }

    /// Adds what the peers found of it.
    pub fn add(&mut self, comm: &str, ours: &[WalkedFrame], found: Vec<(&'static str, Relation, String, Walk)>) {
        for (peer, relation, why, walk) in &found {
            *self.relations.entry((*peer, *relation)).or_default() += 1;
            if *relation == Relation::Equal {
                continue;
            }
            let others = found.iter().filter(|(other, ..)| other != peer).map(|(other, relation, _, its)| {
                let sides = match (*relation == Relation::Equal, its.frames == walk.frames) {
                    (true, _) => "as here",
                    (false, true) => "as there",
                    (false, false) => "neither",
                };
                format!("{other}: {sides}")
            });
            let others = others.collect::<Vec<_>>().join(", ");
            let difference = Difference { peer, how: relation.to_string(), why: why.clone(), others };
            let seen = self.differences.entry(difference).or_default();
            seen.samples += 1;
            if seen.example.is_empty() {
                seen.example = example(comm, ours, walk);
            }
        }
    }

    /// Samples in which a peer has our stack.
    pub fn equal(&self, peer: &'static str) -> u64 {
        self.relations.get(&(peer, Relation::Equal)).copied().unwrap_or_default()
    }
}

/// Both walks, side by side.
fn example(comm: &str, ours: &[WalkedFrame], theirs: &Walk) -> String {
    let mut text = format!("in {comm}; there: {}\n", theirs.end);
    for depth in 0..ours.len().max(theirs.frames.len()) {
        let our = ours.get(depth).map(|frame| format!("{:#x}{}", frame.address, if frame.guessed { "?" } else { "" }));
        let their = theirs.frames.get(depth).map(|frame| format!("{frame:#x}"));
        let location = ours.get(depth).map(|frame| format!("{:x?}", frame.location)).unwrap_or_default();
        let (our, their) = (our.unwrap_or_default(), their.unwrap_or_default());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "    {our:>16} {their:>16} {location}");
    }
    text
}
