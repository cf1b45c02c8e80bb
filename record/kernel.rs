//! The version of the running kernel.

/// The first two numbers of `uname -r`; zeros where there are none.
pub(crate) fn version() -> (u32, u32) {
    parse_version(&rustix::system::uname().release().to_string_lossy())
}

fn parse_version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(['.', '-', '+']).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distributions append to the numbers, and release candidates have two of them.
    #[test]
    fn versions_are_read() {
        assert_eq!(parse_version("6.1.0-18-amd64"), (6, 1));
        assert_eq!(parse_version("7.0-rc1"), (7, 0));
        assert_eq!(parse_version("5.15+"), (5, 15));
        assert_eq!(parse_version("unknown"), (0, 0));
    }
}
