//! The addresses that samples have shown in code that a process made at run time, and which of them have names.

/// Addresses of one process that are remembered.
const ADDRESSES: usize = 1 << 16;

/// Addresses that want a name.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Ascending, but for what was added last.
    addresses: Vec<u64>,
    is_sorted: bool,
    /// There were more than are remembered.
    pub(crate) is_full: bool,
}

impl Wanted {
    /// Samples have shown these too.
    pub(crate) fn add(&mut self, addresses: impl Iterator<Item = u64>) {
        let before = self.addresses.len();
        self.addresses.extend(addresses);
        self.is_sorted &= self.addresses.len() == before;
        if self.addresses.len() > 2 * ADDRESSES {
            self.settle();
        }
    }

    /// Brings them in order: from here on they can be asked for.
    pub(crate) fn settle(&mut self) {
        if self.is_sorted {
            return;
        }
        self.addresses.sort_unstable();
        self.addresses.dedup();
        self.is_full |= self.addresses.len() > ADDRESSES;
        self.addresses.truncate(ADDRESSES);
        self.is_sorted = true;
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether a piece of code holds one of them. A return address may be one past its end: a call was its last instruction.
    pub(crate) fn are_in(&self, address: u64, size: u64) -> bool {
        let first = self.addresses.partition_point(|wanted| *wanted < address);
        self.addresses.get(first).is_some_and(|wanted| wanted - address <= size)
    }

    /// Leaves those that none of these ranges holds: their names may be told later.
    pub(crate) fn forget_named(&mut self, mut ranges: Vec<(u64, u64)>) {
        self.settle();
        ranges.sort_unstable();
        let mut ranges = ranges.into_iter().peekable();
        let mut end = 0;
        self.addresses.retain(|address| {
            while let Some((_, size_end)) = ranges.next_if(|(start, _)| start <= address) {
                end = end.max(size_end);
            }
            *address >= end
        });
        self.is_full = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Code is wanted that holds an address, or ends just before it.
    #[test]
    fn code_with_an_address_is_wanted() {
        let mut wanted = Wanted::default();
        wanted.add([50, 10, 50].into_iter());
        wanted.settle();
        let asked = [(0, 9), (0, 10), (10, 1), (11, 38), (11, 39), (51, u64::MAX)];
        assert_eq!(asked.map(|(address, size)| wanted.are_in(address, size)), [false, true, true, false, true, false]);
    }

    /// What has a name is forgotten, however ranges overlap; the rest waits for a later one.
    #[test]
    fn what_has_no_name_waits() {
        let mut wanted = Wanted::default();
        wanted.add([10, 20, 30, 40].into_iter());
        wanted.forget_named(vec![(15, 35), (16, 17), (40, 41)]);
        assert_eq!(wanted.addresses, [10]);
    }

    /// A process that jumps anywhere makes the recorder remember no more than so much, and that is known.
    #[test]
    fn addresses_are_bounded() {
        let mut wanted = Wanted::default();
        for start in 0..40 {
            wanted.add((0..10_000).map(|step| start * 10_000 + step));
        }
        wanted.settle();
        assert_eq!((wanted.addresses.len(), wanted.is_full), (ADDRESSES, true));
    }
}
