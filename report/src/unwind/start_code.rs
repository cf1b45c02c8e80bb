//! Code that stacks start in, as a file's own symbols tell: where a chain of frame pointers ends that did not break off.

use object::{Object, ObjectSymbol};
use profrec_format::start_code::{FUNCTION_ALIGNMENT, HANDWRITTEN_START, is_start_code, stands_behind_start_code};

/// Where a file has such code.
#[derive(Debug, Default)]
pub(super) struct StartCode {
    /// The first address of each function that has the name of start code, and one past its last; ascending and apart.
    named: Vec<(u64, u64)>,
    /// Where functions begin that stand behind start code without a name; ascending.
    behind: Vec<u64>,
    /// Where a program begins.
    entry: u64,
}

impl StartCode {
    /// Finds it; nothing in what is no ELF file.
    pub(super) fn find(bytes: &[u8]) -> Self {
        let Ok(file) = object::File::parse(bytes) else { return Self::default() };
        let mut start_code = Self { entry: file.entry(), ..Self::default() };
        for symbol in file.symbols().chain(file.dynamic_symbols()).filter(ObjectSymbol::is_definition) {
            let Ok(name) = symbol.name() else { continue };
            let address = symbol.address();
            if is_start_code(name) {
                start_code.named.push((address, address.saturating_add(symbol.size().max(1))));
            }
            if stands_behind_start_code(name) {
                start_code.behind.push(address);
            }
        }
        start_code.named = apart(start_code.named);
        start_code.behind.sort_unstable();
        start_code.behind.dedup();
        start_code
    }

    /// Whether an address is in such code. `function` gives the first address of the function that covers an address, and one
    /// past its last, where call frame information tells.
    pub(super) fn holds(&self, address: u64, function: impl Fn(u64) -> Option<(u64, u64)>) -> bool {
        let after = self.named.partition_point(|&(start, _)| start <= address);
        let nearest = after.checked_sub(1).and_then(|index| self.named.get(index));
        nearest.is_some_and(|&(_, end)| address < end)
            || match function(address) {
                Some((start, end)) => {
                    let next = end.checked_next_multiple_of(FUNCTION_ALIGNMENT).unwrap_or(end);
                    self.behind.binary_search(&next).is_ok()
                        || (self.entry > 0 && start <= self.entry && self.entry < end)
                }
                None => self.entry > 0 && address.checked_sub(self.entry).is_some_and(|at| at < HANDWRITTEN_START),
            }
    }
}

/// The same ranges in ascending order; those that overlap or touch are one.
fn apart(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let is_one = next.0 <= kept.1;
        if is_one {
            kept.1 = kept.1.max(next.1);
        }
        is_one
    });
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A long function that begins before a short one still holds what is behind the short one.
    #[test]
    fn overlapping_functions_are_one_range() {
        let named = apart(vec![(0x300, 0x301), (0x110, 0x118), (0x100, 0x140), (0x140, 0x150)]);
        assert_eq!(named, [(0x100, 0x150), (0x300, 0x301)]);
        let start_code = StartCode { named, ..StartCode::default() };
        let held = [0xff, 0x100, 0x130, 0x14f, 0x150, 0x300, 0x301].map(|address| start_code.holds(address, |_| None));
        assert_eq!(held, [false, true, true, true, false, true, false]);
    }

    /// A name, the function behind, and the entry point tell it; nothing else does.
    #[test]
    fn start_code_is_told_in_three_ways() {
        let start_code = StartCode { named: vec![(0x100, 0x120)], behind: vec![0x300], entry: 0x500 };
        let function = |address: u64| match address {
            0x280..0x2f5 => Some((0x280, 0x2f5)),
            0x300..0x400 => Some((0x300, 0x400)),
            _ => None,
        };
        for address in [0x11f, 0x2f4, 0x500, 0x53f] {
            assert!(start_code.holds(address, function), "{address:x}");
        }
        for address in [0x120, 0x27f, 0x300, 0x4ff, 0x540] {
            assert!(!start_code.holds(address, function), "{address:x}");
        }
    }

    /// A file without any says so.
    #[test]
    fn no_file_has_no_start_code() {
        assert!(!StartCode::find(b"no ELF").holds(0, |_| None));
    }
}
