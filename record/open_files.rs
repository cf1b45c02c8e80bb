//! How many files may be open: each program and library that is recorded stays open, so that evidence can be read from it after it
//! was deleted.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More modules than any machine runs at once.
const ENOUGH: u64 = 16 << 10;
/// For everything that is not a module's file: rings and clocks of all CPUs, `/proc`, the recording.
const OTHERS: u64 = 512;
const FEWEST: u64 = 64;

/// Raises the limit as far as that is allowed, which needs no rights, and gives the number of modules that may be open. A command that is
/// recorded must have been started before: it keeps the limit that it would have without us.
pub(crate) fn allow_more() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(ENOUGH, |maximum| maximum.min(ENOUGH));
    let current = limit.current.unwrap_or(ENOUGH);
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    let allowed = if current < wanted && setrlimit(Resource::Nofile, raised).is_ok() { wanted } else { current };
    for_modules(allowed) as usize
}

fn for_modules(allowed: u64) -> u64 {
    allowed.min(ENOUGH).saturating_sub(OTHERS).max(FEWEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Something is left for everything else, and something for modules.
    #[test]
    fn modules_leave_room() {
        assert_eq!([10, 1024, u64::MAX].map(for_modules), [64, 512, (16 << 10) - 512]);
        assert!(allow_more() >= 64);
    }
}
