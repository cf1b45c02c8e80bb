//! A hash for addresses that is as fast as one multiplication.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// Multiplies by a number that is another one in each table: addresses of a hostile program, or recording, cannot be chosen to meet in one
/// place.
#[derive(Clone, Debug)]
pub(crate) struct AddressHash {
    factor: u64,
}

impl Default for AddressHash {
    fn default() -> Self {
        Self { factor: RandomState::new().hash_one(0) | 1 }
    }
}

impl BuildHasher for AddressHash {
    type Hasher = AddressHasher;

    fn build_hasher(&self) -> AddressHasher {
        AddressHasher { factor: self.factor, product: 0 }
    }
}

/// The hash of one address.
pub(crate) struct AddressHasher {
    factor: u64,
    product: u64,
}

impl Hasher for AddressHasher {
    #[inline]
    fn write_u64(&mut self, address: u64) {
        self.product = (self.product ^ address).wrapping_mul(self.factor);
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    /// The highest bits of the product depend on all of the address: they become the lowest, by which a table is searched.
    #[inline]
    fn finish(&self) -> u64 {
        self.product.rotate_left(26)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Addresses that meet in one place when they are multiplied by a known number, and neighbours, are spread.
    #[test]
    fn chosen_addresses_do_not_meet() {
        const KNOWN: u64 = 0xf135_7aea_2e62_a9c5;
        let inverse =
            (0..6).fold(1u64, |inverse, _| inverse.wrapping_mul(2u64.wrapping_sub(KNOWN.wrapping_mul(inverse))));
        assert_eq!(KNOWN.wrapping_mul(inverse), 1);
        for step in [inverse, 1, 8, 4096] {
            let hash = AddressHash::default();
            let places = (1..=4096u64).map(|number| hash.hash_one(number.wrapping_mul(step)) & 0xffff);
            let distinct = places.collect::<BTreeSet<_>>().len();
            assert!(distinct > 16, "{distinct} places with a step of {step:#x} and {hash:?}");
        }
    }
}
