//! Sizes, times and shares, as people type them.

use std::time::Duration;

/// When a part of a recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// After this time.
    Time(Duration),
    /// When it has so many bytes.
    Size(u64),
}

/// What recording may cost, in millionths of the machine; `None` for whatever it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MaxCpu(pub(crate) Option<u32>);

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

/// A time between two flushes of counts.
pub(crate) fn parse_flush(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text)?;
    let fits = (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&time);
    if fits { Ok(time) } else { Err("expected a time from 100ms to 1h".to_owned()) }
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

/// A share of the machine such as `0.5%`, or `none`.
pub(crate) fn parse_max_cpu(text: &str) -> Result<MaxCpu, String> {
    if text == "none" {
        return Ok(MaxCpu(None));
    }
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    match number.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => {
            let millionths = (percent * 1e4).round() as u32;
            let is_none = percent <= 0.0;
            Ok(MaxCpu((!is_none).then_some(millionths.max(1))))
        }
        _ => Err("expected a percentage of the machine, such as 0.5%, or none".to_owned()),
    }
}

/// A time such as `30s`, `500ms`, `2m`, `1h` or `30` (seconds).
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("'{unit}' is not a unit of time: use ms, s, m or h")),
    };
    let number: f64 = number.parse().map_err(|_| "expected a number and a unit, such as 30s".to_owned())?;
    match Duration::try_from_secs_f64(number * seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("expected a time above zero".to_owned()),
    }
}

/// Whole pages of a stack.
pub(crate) fn parse_stack_size(text: &str) -> Result<u32, String> {
    const PAGE: u64 = 4096;
    let size = parse_bytes(text)?;
    let fits = size.is_multiple_of(PAGE) && (PAGE..=1 << 20).contains(&size);
    if fits { Ok(size as u32) } else { Err("expected a multiple of 4096, from 4k to 1m".to_owned()) }
}

/// What the kernel takes as a ring.
pub(crate) fn parse_ring_size(text: &str) -> Result<u32, String> {
    let size = parse_bytes(text)?;
    let fits = size.is_power_of_two() && (256 << 10..=1 << 30).contains(&size);
    if fits { Ok(size as u32) } else { Err("expected a power of two, from 256k to 1024m".to_owned()) }
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

    /// Times and sizes have the units that people type.
    #[test]
    fn units_are_known() {
        assert_eq!(parse_duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(parse_duration("1.5m").unwrap(), Duration::from_secs(90));
        assert_eq!(parse_duration("30").unwrap(), Duration::from_secs(30));
        for wrong in ["", "s", "0s", "5x", "-1s", "1e9999h"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_stack_size("64K").unwrap(), 65_536);
        assert_eq!(parse_ring_size("8m").unwrap(), 8 << 20);
        assert!(parse_ring_size("99999m").is_err());
        assert!(parse_stack_size("5000").is_err());
        assert!(parse_ring_size("3m").is_err());
    }

    /// What is no part of the machine is no budget.
    #[test]
    fn shares_are_read() {
        assert_eq!(parse_max_cpu("0.5%"), Ok(MaxCpu(Some(5_000))));
        for wrong in ["101%", "-1", "NaN", "", "%", "1%%", "half"] {
            assert!(parse_max_cpu(wrong).is_err(), "{wrong}");
        }
    }
}
