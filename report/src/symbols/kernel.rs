//! Kernel functions, from the slice of the kernel's own table that the recording carries.

use profrec_format::KernelSymbol;

/// The kernel function that covers an address; `symbols` is sorted by address. A function of
/// unknown size reaches to the next symbol of the slice.
pub fn find(symbols: &[KernelSymbol], address: u64) -> Option<&KernelSymbol> {
    let after = symbols.partition_point(|symbol| symbol.address <= address);
    let symbol = symbols.get(after.checked_sub(1)?)?;
    (symbol.size == 0 || address - symbol.address < symbol.size).then_some(symbol)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slice has gaps: an address in a gap has no name.
    #[test]
    fn finds_the_covering_function_only() {
        let symbols = [
            KernelSymbol { address: 0x1000, size: 0x10, name: "a".into(), module: String::new() },
            KernelSymbol { address: 0x2000, size: 0, name: "b".into(), module: "ext4".into() },
        ];
        let name = |address| find(&symbols, address).map(|symbol| symbol.name.as_str());
        assert_eq!([name(0xfff), name(0x100f), name(0x1010), name(0x2fff)], [None, Some("a"), None, Some("b")]);
        assert_eq!(find(&[], 1), None);
    }
}
