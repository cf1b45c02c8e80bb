//! The clock of everything in a recording: CLOCK_MONOTONIC as the kernel has it, which no change of the wall clock moves. A time
//! namespace, such as a restored container's, shows its processes another one: its offset is taken off.

use std::fs;
use std::sync::OnceLock;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of CLOCK_MONOTONIC.
pub(crate) fn now() -> u64 {
    static OFFSET: OnceLock<i64> = OnceLock::new();
    let time = clock_gettime(ClockId::Monotonic);
    let shown = time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
    shown.saturating_add_signed(OFFSET.get_or_init(own_offset).saturating_neg())
}

/// How far the clock that this process sees is ahead of the kernel's.
fn own_offset() -> i64 {
    // The offsets are those of children, which may be in another namespace than we are.
    let ours = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).ok();
    if ours("time") != ours("time_for_children") {
        return 0;
    }
    parse(&fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default()).unwrap_or(0)
}

/// The nanoseconds of a line such as `monotonic  86400  500`.
fn parse(offsets: &str) -> Option<i64> {
    let line = offsets.lines().find_map(|line| line.strip_prefix("monotonic"))?;
    let mut numbers = line.split_whitespace().map(|number| number.parse::<i64>().ok());
    numbers.next()??.checked_mul(1_000_000_000)?.checked_add(numbers.next()??)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The offset is that of the right clock, of either sign; without the file there is none.
    #[test]
    fn offsets_are_read() {
        assert_eq!(parse("monotonic         100          7\nboottime 1 2\n"), Some(100_000_000_007));
        assert_eq!(parse("monotonic         -2          5\n"), Some(-1_999_999_995));
        assert_eq!([parse(""), parse("boottime 1 2\n"), parse("monotonic x 1\n")], [None; 3]);
    }
}
