//! Names, address by address: ours against those of other symbolizers, for the same file.
//!
//! ```text
//! addresses ─► tools (ours, llvm-symbolizer, eu-addr2line) ─► chains ─► rules ─► classes ─► tables
//! ```

pub mod addresses;
pub mod chain;
pub mod classes;
pub mod debug_info;
pub mod entries;
pub mod report;
pub mod rules;
pub mod symbols;
pub mod tools;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use chain::Chain;
use classes::difference;
use debug_info::DebugInfo;
use rules::{Facts, explain};
use tools::{Ours, Tool};

/// What came of one file.
#[derive(Debug, Default)]
pub struct Tally {
    /// Addresses that a tool was asked about.
    pub asked: BTreeMap<Tool, usize>,
    /// Addresses to which a tool gave our answer, by tool.
    pub equal: BTreeMap<Tool, usize>,
    /// Addresses to which its answer differs as rules explain, by tool and rules.
    pub explained: BTreeMap<(Tool, String), Seen>,
    /// The others.
    pub unexplained: BTreeMap<Difference, Seen>,
}

/// A class of differences that no rule explains.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// With whom.
    pub tool: Tool,
    /// In what.
    pub class: &'static str,
    /// What the other tools say.
    pub others: String,
}

/// A file, and who is asked how.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The file.
    pub path: PathBuf,
    /// One with the same code whose symbols and debug information are all in it, if those of the file are not.
    pub whole: Option<PathBuf>,
    /// How many addresses a slow tool is asked about, if not all.
    pub few: Option<usize>,
}

/// How often a class was seen, and some of it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Addresses.
    pub addresses: usize,
    /// The first ones, with both answers.
    pub examples: Vec<(u64, Chain, Chain)>,
}

/// Examples that are kept of each class.
const EXAMPLES: usize = 3;

/// Compares what the tools say about so many random addresses of a file. Each tool is asked about as many of these as stand
/// beside it, spread evenly; its answers are `kept` in a folder. Symbols may be in files below these `folders`.
pub fn compare(
    subject: &Subject,
    count: usize,
    tools: &[(Tool, usize)],
    folders: &[PathBuf],
    kept: Option<&Path>,
) -> Result<Tally> {
    let bytes = read(&subject.path)?;
    let whole = subject.whole.as_deref().map(read).transpose()?;
    let file = object::File::parse(&bytes[..]).with_context(|| format!("reading {}", subject.path.display()))?;
    let addresses = addresses::choose(&file, count).with_context(|| subject.path.display().to_string())?;
    let ours = Ours::find(&subject.path, &bytes, folders)?;
    let mut facts = Facts::default();
    [&bytes, ours.symbols()].iter().for_each(|bytes| facts.symbols.add(bytes));
    let debug_info = whole.as_deref().unwrap_or(ours.debug_info());
    if let Ok(debug_info) = object::File::parse(debug_info) {
        facts.debug_info = DebugInfo::read(&debug_info).context("reading debug information")?;
    }
    let own = ours.ask(&addresses);
    let mut answers = Vec::new();
    let mut tally = Tally::default();
    for &(tool, count) in tools {
        let asked: Vec<_> = addresses.iter().copied().step_by(addresses.len().div_ceil(count.max(1))).collect();
        tally.asked.insert(tool, asked.len());
        answers.push((tool, asked.iter().copied().zip(tool.ask(subject, &asked, kept)?).collect::<HashMap<_, _>>()));
    }
    for (&address, own) in addresses.iter().zip(&own) {
        let of_tools: Vec<_> =
            answers.iter().filter_map(|(tool, chains)| Some((*tool, chains.get(&address)?))).collect();
        tally.add(&facts, address, own, &of_tools);
    }
    Ok(tally)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}

impl Tally {
    fn add(&mut self, facts: &Facts, address: u64, ours: &Chain, theirs: &[(Tool, &Chain)]) {
        for &(tool, chain) in theirs {
            let Some(class) = difference(&facts.symbols, address, ours, chain) else {
                *self.equal.entry(tool).or_default() += 1;
                continue;
            };
            let seen = match explain(facts, address, ours, chain) {
                Some(rules) => self.explained.entry((tool, rules.join("; "))).or_default(),
                None => {
                    let others = others(tool, ours, theirs);
                    self.unexplained.entry(Difference { tool, class, others }).or_default()
                }
            };
            seen.addresses += 1;
            if seen.examples.len() < EXAMPLES {
                seen.examples.push((address, ours.clone(), chain.clone()));
            }
        }
    }

    /// Addresses to which a tool's answer differs from ours without an explanation.
    pub fn unexplained(&self, tool: Tool) -> usize {
        let of_tool = self.unexplained.iter().filter(|(difference, _)| difference.tool == tool);
        of_tool.map(|(_, seen)| seen.addresses).sum()
    }
}

/// Whom the other tools agree with.
fn others(tool: Tool, ours: &Chain, theirs: &[(Tool, &Chain)]) -> String {
    let chain = theirs.iter().find(|(other, _)| *other == tool).map(|(_, chain)| *chain);
    let others = theirs.iter().filter(|(other, _)| *other != tool).map(|(other, its)| {
        let side = match (*its == ours, Some(*its) == chain) {
            (true, _) => "as here",
            (_, true) => "as there",
            _ => "neither",
        };
        format!("{}: {side}", other.name())
    });
    others.collect::<Vec<_>>().join(", ")
}
