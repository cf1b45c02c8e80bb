//! Names that kernel functions often have, by number. They are the same in each recording, and many in each flush of counts: as text they would be a
//! sixth of it.
//!
//! What compilers put behind a name (`.isra.0`) is none of it. The list has the names that 14 loads (of files, sockets, pipes, processes, memory, a compiler, a web
//! server) showed most often on Linux 6.18. It is part of the format, and never changes: nobody has to make it again.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;

/// In the order of their addresses in a kernel: neighbours there are neighbours here.
const LIST: &str = include_str!("kernel_names.txt");

static NAMES: LazyLock<Vec<&str>> = LazyLock::new(|| LIST.lines().collect());
static NUMBERS: LazyLock<FxHashMap<&str, u32>> = LazyLock::new(|| NAMES.iter().copied().zip(0..).collect());

/// Where in the list the name before was.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// One past it.
    next: u32,
}

impl Place {
    /// How far a name is behind the one before, at least 1: the list goes on from its end to its start. And what stands behind the name. `None` for one that is not there.
    pub(super) fn step_to<'a>(&mut self, name: &'a str) -> Option<(u64, &'a str)> {
        let (known, rest) = name.split_at(name.find('.').unwrap_or(name.len()));
        let number = *NUMBERS.get(known)?;
        let missing = if number < self.next { NAMES.len() as u32 } else { 0 };
        let step = number + missing - self.next + 1;
        self.next = number + 1;
        Some((step.into(), rest))
    }

    /// The name that is so far behind the one before; `None` where that is farther than the list is long.
    pub(super) fn step(&mut self, step: u64) -> Option<&'static str> {
        let step = u32::try_from(step).ok().filter(|step| (1..=NAMES.len()).contains(&(*step as usize)))?;
        let number = (self.next + step - 1) % NAMES.len() as u32;
        self.next = number + 1;
        NAMES.get(number as usize).copied()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Each name is there once, and found from each other one.
    #[test]
    fn each_name_is_found() {
        assert_eq!(NAMES.len(), NUMBERS.len());
        for name in NAMES.iter() {
            assert!(!name.is_empty() && !name.contains('.'));
            for start in [0, 7, NAMES.len() as u32] {
                let (mut one, mut other) = (Place { next: start }, Place { next: start });
                let (step, rest) = one.step_to(name).unwrap();
                assert_eq!((rest, other.step(step), other.next), ("", Some(*name), one.next));
            }
        }
        assert_eq!([0, NAMES.len() as u64 + 1, u64::MAX].map(|step| Place::default().step(step)), [None; 3]);
    }

    /// What a compiler puts behind a name is apart from it; other names are none.
    #[test]
    fn what_is_behind_a_name_is_apart() {
        let step = |name| Place::default().step_to(name);
        let (place, _) = step("schedule").unwrap();
        assert_eq!(step("schedule.isra.0"), Some((place, ".isra.0")));
        assert_eq!(["schedules", "", ".schedule"].map(step), [None; 3]);
    }

    /// The list never changes: recordings have its numbers.
    #[test]
    fn the_list_is_what_it_was() {
        assert_eq!((NAMES.len(), crc32c::crc32c(LIST.as_bytes())), (2_998, 3_147_947_366));
    }
}
