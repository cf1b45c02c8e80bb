//! What a file's symbol table says of its functions, read without profrec: what differences are judged by.

use std::collections::{BTreeMap, BTreeSet};

use object::{Object, ObjectSymbol, SymbolKind};
use profrec_report::symbols::demangle::demangle;

/// The symbols of code, and the names of source files.
#[derive(Debug, Default)]
pub struct Symbols {
    by_address: BTreeMap<u64, Here>,
    files: BTreeSet<String>,
}

/// The symbols at one address.
#[derive(Debug, Default)]
struct Here {
    /// Readable names, and the end of each; that of one without a size is its beginning.
    names: BTreeMap<String, u64>,
}

/// How many addresses with symbols may lie between the beginning of a function and an address in it.
const MOST_LABELS: usize = 64;

impl Symbols {
    /// Adds a file's symbols; what is no ELF file has none.
    pub fn add(&mut self, bytes: &[u8]) {
        let Ok(file) = object::File::parse(bytes) else { return };
        for symbol in file.symbols().chain(file.dynamic_symbols()) {
            let name = symbol.name().unwrap_or_default();
            match symbol.kind() {
                SymbolKind::File => {
                    self.files.insert(name.to_owned());
                }
                SymbolKind::Text | SymbolKind::Unknown if symbol.section_index().is_some() => {
                    self.add_symbol(&demangle(name), symbol.address(), symbol.size());
                }
                _ => {}
            }
        }
    }

    /// Adds one symbol.
    pub fn add_symbol(&mut self, name: &str, address: u64, size: u64) {
        let end = self.by_address.entry(address).or_default().names.entry(name.to_owned()).or_default();
        *end = (*end).max(address.saturating_add(size));
    }

    /// Whether a symbol with a size covers the address.
    pub fn covers(&self, address: u64) -> bool {
        self.before(address).any(|(_, here)| here.names.values().any(|&end| address < end))
    }

    /// Where a symbol of this name begins whose size covers the address.
    pub fn start(&self, name: &str, address: u64) -> Option<u64> {
        let mut before = self.before(address);
        before.find(|(_, here)| here.names.get(name).is_some_and(|&end| address < end)).map(|(start, _)| start)
    }

    /// Whether two names are symbols of one address, and either a size that stands there covers the address, or none has a
    /// size and no other symbol is between.
    pub fn are_aliases(&self, one: &str, other: &str, address: u64) -> bool {
        self.before(address).enumerate().any(|(between, (start, here))| {
            let both = here.names.contains_key(one) && here.names.contains_key(other);
            let is_unsized = between == 0 && here.names.values().all(|&end| end == start);
            both && (is_unsized || here.names.values().any(|&end| address < end))
        })
    }

    /// Whether a symbol of this name, and without a size, stands at the address or before it, not before `start`.
    pub fn is_label(&self, name: &str, start: u64, address: u64) -> bool {
        let mut inside = self.by_address.range(start..=address);
        inside.any(|(at, here)| here.names.get(name).is_some_and(|end| end == at))
    }

    /// Whether a symbol says that this is a source file.
    pub fn is_file(&self, name: &str) -> bool {
        self.files.contains(name)
    }

    fn before(&self, address: u64) -> impl Iterator<Item = (u64, &Here)> {
        self.by_address.range(..=address).rev().take(MOST_LABELS).map(|(start, here)| (*start, here))
    }
}
