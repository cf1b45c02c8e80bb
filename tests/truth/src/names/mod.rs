//! Names, address by address: ours against those of other symbolizers, for the same file.
//!
//! ```text
//! addresses ─► tools (ours, llvm-symbolizer, eu-addr2line) ─► chains ─► classes ─► tables
//! ```

pub mod addresses;
pub mod chain;
pub mod classes;
pub mod report;
pub mod tools;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use chain::Chain;
use classes::{Functions, difference};
use tools::{Ours, Tool};

/// What came of one file.
#[derive(Debug, Default)]
pub struct Tally {
    /// Addresses that a tool was asked about.
    pub asked: BTreeMap<Tool, usize>,
    /// Addresses to which a tool gave our answer, by tool.
    pub equal: BTreeMap<Tool, usize>,
    /// The others.
    pub differences: BTreeMap<Difference, Seen>,
}

/// A class of differences.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// With whom.
    pub tool: Tool,
    /// In what.
    pub class: &'static str,
    /// What the other tools say.
    pub others: String,
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
/// beside it, spread evenly. Symbols may be in files below these folders.
pub fn compare(path: &Path, count: usize, tools: &[(Tool, usize)], folders: &[PathBuf]) -> Result<Tally> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let file = object::File::parse(&bytes[..]).with_context(|| format!("reading {}", path.display()))?;
    let addresses = addresses::choose(&file, count).with_context(|| path.display().to_string())?;
    let mut functions = Functions::default();
    let ours = Ours::find(path, &bytes, folders)?;
    functions.add(&bytes);
    functions.add(ours.symbols());
    let own = ours.ask(&addresses);
    let mut answers = Vec::new();
    let mut tally = Tally::default();
    for &(tool, count) in tools {
        let asked: Vec<_> = addresses.iter().copied().step_by(addresses.len().div_ceil(count.max(1))).collect();
        tally.asked.insert(tool, asked.len());
        answers.push((tool, asked.iter().copied().zip(tool.ask(path, &asked)?).collect::<HashMap<_, _>>()));
    }
    for (&address, own) in addresses.iter().zip(&own) {
        let of_tools: Vec<_> =
            answers.iter().filter_map(|(tool, chains)| Some((*tool, chains.get(&address)?))).collect();
        tally.add(&functions, address, own, &of_tools);
    }
    Ok(tally)
}

impl Tally {
    fn add(&mut self, functions: &Functions, address: u64, ours: &Chain, theirs: &[(Tool, &Chain)]) {
        for &(tool, chain) in theirs {
            let Some(class) = difference(functions, address, ours, chain) else {
                *self.equal.entry(tool).or_default() += 1;
                continue;
            };
            let others = theirs.iter().filter(|(other, _)| *other != tool).map(|(other, its)| {
                let side = match (*its == ours, *its == chain) {
                    (true, _) => "as here",
                    (_, true) => "as there",
                    _ => "neither",
                };
                format!("{}: {side}", other.name())
            });
            let others = others.collect::<Vec<_>>().join(", ");
            let seen = self.differences.entry(Difference { tool, class, others }).or_default();
            seen.addresses += 1;
            if seen.examples.len() < EXAMPLES {
                seen.examples.push((address, ours.clone(), chain.clone()));
            }
        }
    }
}
