//! Names of kernel functions for the kernel addresses of a segment. The running kernel is asked about
//! the very addresses that were recorded: neither the 100,000 lines of /proc/kallsyms nor the right
//! to see addresses there is needed.

use std::collections::BTreeMap;

use profrec_format::{KernelSymbol, KernelSymbols};
use rustc_hash::FxHashSet;

/// What is known of the kernel's functions, and what the segment still needs.
#[derive(Default)]
pub(crate) struct KernelNames {
    /// By first address: of the kernel itself all that were ever named, and of its modules those of this segment.
    known: BTreeMap<u64, KernelSymbol>,
    /// Addresses that this segment has shown.
    seen: FxHashSet<u64>,
    /// First addresses of the symbols that this segment has.
    given: FxHashSet<u64>,
    wanted: Vec<u64>,
}

impl KernelNames {
    /// Addresses that a sample has shown.
    pub(crate) fn want(&mut self, addresses: &[u64]) {
        let seen = &mut self.seen;
        self.wanted.extend(addresses.iter().filter(|address| seen.insert(**address)));
    }

    /// Forgets what the segment before was given, and what may be other code by now: modules and BPF programs come and go.
    pub(crate) fn start_segment(&mut self) {
        self.known.retain(|_, symbol| symbol.module.is_empty());
        self.seen.clear();
        self.given.clear();
    }

    /// The symbols that became necessary, asking `ask` about addresses that no known symbol covers.
    pub(crate) fn take<E>(
        &mut self,
        mut ask: impl FnMut(&[u64]) -> Result<Vec<String>, E>,
    ) -> Result<Option<KernelSymbols>, E> {
        let wanted = std::mem::take(&mut self.wanted);
        // A return address behind a call that does not return is the start of the next function.
        let addresses: Vec<u64> = wanted.iter().flat_map(|address| [*address, address.wrapping_sub(1)]).collect();
        let unknown: Vec<u64> = addresses.iter().copied().filter(|address| self.find(*address).is_none()).collect();
        if !unknown.is_empty() {
            let names = ask(&unknown)?;
            for symbol in unknown.iter().zip(&names).filter_map(|(address, name)| parse(*address, name)) {
                self.known.insert(symbol.address, symbol);
            }
        }
        let mut symbols: Vec<&KernelSymbol> = addresses
            .iter()
            .filter_map(|address| self.find(*address))
            .filter(|symbol| !self.given.contains(&symbol.address))
            .collect();
        symbols.sort_unstable_by_key(|symbol| symbol.address);
        symbols.dedup_by_key(|symbol| symbol.address);
        let symbols: Vec<KernelSymbol> = symbols.into_iter().cloned().collect();
        self.given.extend(symbols.iter().map(|symbol| symbol.address));
        Ok((!symbols.is_empty()).then_some(KernelSymbols { symbols }))
    }

    fn find(&self, address: u64) -> Option<&KernelSymbol> {
        let (_, symbol) = self.known.range(..=address).next_back()?;
        (address - symbol.address < symbol.size).then_some(symbol)
    }
}

/// Reads `name+0x12/0x34` or `name+0x12/0x34 [module]`, as `%pS` prints an address in the kernel;
/// `None` for a bare number: an address outside every function.
fn parse(address: u64, text: &str) -> Option<KernelSymbol> {
    let (place, module) = match text.split_once(' ') {
        Some((place, module)) => (place, module.trim_start_matches('[').split([' ', ']']).next()?),
        None => (text, ""),
    };
    let (name, rest) = place.rsplit_once('+')?;
    let (offset, size) = rest.split_once('/')?;
    let number = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    Some(KernelSymbol {
        address: address.checked_sub(number(offset)?)?,
        size: number(size)?,
        name: name.to_owned(),
        module: module.to_owned(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// The kernel's three ways to print an address.
    #[test]
    fn printed_addresses_are_read() {
        let symbol = parse(0x1012, "do_idle+0x12/0x34").unwrap();
        assert_eq!((symbol.address, symbol.size, symbol.name.as_str()), (0x1000, 0x34, "do_idle"));
        assert_eq!(parse(0x1012, "ext4_map+0x12/0x34 [ext4]").unwrap().module, "ext4");
        assert_eq!(parse(0x1012, "0xffffffffc0000000"), None);
        assert_eq!(parse(0x11, "early+0x12/0x34"), None);
    }

    /// A function is asked for once, and given once in each segment.
    #[test]
    fn a_function_is_given_once_a_segment() {
        let mut names = KernelNames::default();
        let mut asked = 0;
        let mut take = |names: &mut KernelNames| {
            names
                .take(|addresses| {
                    asked += 1;
                    let name = |address: &u64| format!("f+0x{:x}/0x100", address - 0x1000);
                    Ok::<_, Infallible>(addresses.iter().map(name).collect())
                })
                .unwrap()
        };
        names.want(&[0x1010, 0x1020]);
        assert_eq!(take(&mut names).unwrap().symbols.len(), 1);
        names.want(&[0x1010, 0x1030]);
        assert_eq!(take(&mut names), None);
        names.start_segment();
        names.want(&[0x1010]);
        assert_eq!(take(&mut names).unwrap().symbols.len(), 1);
        assert_eq!(asked, 1);
    }

    /// Where a module or a BPF program was, another one may be in the next segment.
    #[test]
    fn modules_are_asked_for_in_each_segment() {
        let mut names = KernelNames::default();
        for (name, expected) in [("one", "one"), ("other", "other")] {
            names.want(&[0x1010]);
            let ask = |addresses: &[u64]| {
                let name = |address: &u64| format!("{name}+0x{:x}/0x100 [bpf]", address - 0x1000);
                Ok::<_, Infallible>(addresses.iter().map(name).collect())
            };
            let symbols = names.take(ask).unwrap().unwrap().symbols;
            assert_eq!(symbols.iter().map(|symbol| &*symbol.name).collect::<Vec<_>>(), [expected]);
            names.start_segment();
        }
    }
}
