//! Sizes, and times or sizes, as people type them.

use std::time::Duration;

use crate::args::parse_duration;

/// When a part of a recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// After this time.
    Time(Duration),
    /// When it has so many bytes.
    Size(u64),
}

/// A size such as `65536`, `64k`, `100MB` or `1g`: k, m and g are powers of 1024, and the B may be left out.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix('b').unwrap_or(&lower);
    let (number, shift) = match lower.as_bytes() {
        [.., b'k'] => (&lower[..lower.len() - 1], 10),
        [.., b'm'] => (&lower[..lower.len() - 1], 20),
        [.., b'g'] => (&lower[..lower.len() - 1], 30),
        _ => (lower, 0),
    };
    let number: u64 = number.parse().map_err(|_| "expected a number of bytes, such as 100MB".to_owned())?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes < 1 << 62).ok_or_else(|| "too large".to_owned())
}

/// What a recording or a part of it can have: less would hold nothing.
pub(crate) fn parse_file_size(text: &str) -> Result<u64, String> {
    let bytes = parse_bytes(text)?;
    if bytes < 64 << 10 { Err("expected at least 64k".to_owned()) } else { Ok(bytes) }
}

/// What the memory of a flight recorder can have.
pub(crate) fn parse_memory(text: &str) -> Result<u64, String> {
    let bytes = parse_bytes(text)?;
    let fits = (1 << 20..=4 << 30).contains(&bytes);
    if fits { Ok(bytes) } else { Err("expected a size from 1m to 4g".to_owned()) }
}

/// A time of at least a second.
pub(crate) fn parse_long_time(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text)?;
    if time < Duration::from_secs(1) { Err("expected at least 1s".to_owned()) } else { Ok(time) }
}

/// A time, such as `10m`, or a size, which has a B: `100MB`.
pub(crate) fn parse_rotation(text: &str) -> Result<Rotation, String> {
    const EITHER: &str = "expected a time such as 10m (minutes), or a size such as 100MB";
    match text.as_bytes().last() {
        Some(b'b' | b'B') => parse_file_size(text).map(Rotation::Size),
        Some(b's' | b'm' | b'h') => parse_long_time(text).map(Rotation::Time),
        Some(b'd') => Err("'d' is not a unit of time: use h".to_owned()),
        Some(b'k' | b'K' | b'M' | b'g' | b'G') => Err(format!("{EITHER}: '{text}' could be either, a size has a B")),
        _ => Err(EITHER.to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Sizes with and without their B, up to what a disk has.
    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [("65536", 65_536), ("64k", 65_536), ("100MB", 100 << 20), ("2g", 2 << 30), ("7B", 7)] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "b", "k", "-1m", "1.5g", "9999999999g", "10x", "1kk", "٣k"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
        assert!(parse_file_size("63k").is_err() && parse_memory("5g").is_err());
    }

    /// A time is never taken for a size, nor the other way round: what could be either is refused with both ways to say it.
    #[test]
    fn times_and_sizes_are_told_apart() {
        assert_eq!(parse_rotation("10m"), Ok(Rotation::Time(Duration::from_secs(600))));
        assert_eq!(parse_rotation("90s"), Ok(Rotation::Time(Duration::from_secs(90))));
        assert_eq!(parse_rotation("10mb"), Ok(Rotation::Size(10 << 20)));
        assert_eq!(parse_rotation("1GB"), Ok(Rotation::Size(1 << 30)));
        for either in ["10M", "100k", "1G", "10", ""] {
            let error = parse_rotation(either).unwrap_err();
            assert!(error.contains("10m (minutes)") && error.contains("100MB"), "{either}: {error}");
        }
        for wrong in ["10ms", "500ms", "1d", "1B", "m", "-5m"] {
            assert!(parse_rotation(wrong).is_err(), "{wrong}");
        }
    }
}
