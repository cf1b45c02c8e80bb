//! Addresses to ask for: chosen at random in the code of an ELF file, the same in each run.

use std::collections::BTreeSet;
use std::ops::Range;

use anyhow::{Result, ensure};
use object::{Object, ObjectSection, SectionKind};

/// Chooses so many distinct addresses, or half of all if there are not as many. Ascending.
pub fn choose(file: &object::File<'_>, count: usize) -> Result<Vec<u64>> {
    let code = code(file);
    let total: u64 = code.iter().map(|range| range.end - range.start).sum();
    ensure!(total > 0, "it has no code");
    let count = count.min(total as usize / 2 + 1);
    let mut chance = 0x9e37_79b9_7f4a_7c15_u64;
    let mut chosen = BTreeSet::new();
    while chosen.len() < count {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        chosen.insert(at(&code, chance % total));
    }
    Ok(chosen.into_iter().collect())
}

/// The sections of text: `.text`, and what compilers split from it. Stubs of the linker have no debug information.
fn code(file: &object::File<'_>) -> Vec<Range<u64>> {
    let sections = file.sections().filter(|section| section.kind() == SectionKind::Text);
    let text = sections.filter(|section| section.name().is_ok_and(|name| name.starts_with(".text")));
    text.map(|section| section.address()..section.address() + section.size()).collect()
}

fn at(code: &[Range<u64>], mut place: u64) -> u64 {
    for range in code {
        let length = range.end - range.start;
        if place < length {
            return range.start + place;
        }
        place -= length;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Places count over all sections, without what lies between them.
    #[test]
    fn places_are_addresses() {
        let code = [10..12, 20..23];
        let all: Vec<_> = (0..5).map(|place| at(&code, place)).collect();
        assert_eq!(all, [10, 11, 20, 21, 22]);
    }
}
