//! Which CPUs are online.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};

const PATH: &str = "/sys/devices/system/cpu/online";
/// What sysfs says is never longer.
const PAGE: usize = 4096;

/// The kernel's list of them. It is opened once: it is looked at for as long as a recording runs.
pub(crate) struct OnlineCpus(File);

impl OnlineCpus {
    /// Finds the list.
    pub(crate) fn open() -> Result<Self> {
        File::open(PATH).map(Self).with_context(|| format!("opening {PATH}"))
    }

    /// The CPUs that are online now, in ascending order.
    pub(crate) fn read(&self) -> Result<Vec<u32>> {
        let mut bytes = [0; PAGE];
        let length = self.0.read_at(&mut bytes, 0).with_context(|| format!("reading {PATH}"))?;
        let text = String::from_utf8_lossy(&bytes[..length]);
        parse(&text).with_context(|| format!("{PATH} is not a list of CPUs: {text}"))
    }
}

/// A list such as `0-3,8`.
fn parse(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<u32>().ok()?..=last.parse().ok().filter(|last| *last < 1 << 16)?);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's lists of CPUs, with holes where some are offline.
    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(parse("0-2,5\n"), Some(vec![0, 1, 2, 5]));
        assert_eq!(parse("0\n"), Some(vec![0]));
        assert_eq!(parse(""), None);
        assert_eq!(parse("0-4294967295"), None);
    }
}
