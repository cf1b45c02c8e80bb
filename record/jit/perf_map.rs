//! The lines of `/tmp/perf-PID.map`: `START SIZE NAME`, the numbers in hexadecimal digits. A process writes it for whoever
//! profiles it, so it can hold anything.

use std::io::{self, BufRead, Read};

/// Bytes of a line that are used: what is longer is a name that nobody can read.
const MAX_LINE: u64 = 1024;

/// What a line tells of a piece of code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) address: u64,
    pub(crate) size: u64,
    pub(crate) name: &'a [u8],
}

/// Visits each line of the right form, and tells where in the file it ends. A last line without an end may be half written: it
/// does not count.
pub(crate) fn read(mut source: impl BufRead, mut visit: impl FnMut(u64, Line<'_>)) -> io::Result<()> {
    let mut line = Vec::new();
    let mut end = 0;
    loop {
        line.clear();
        end += (&mut source).take(MAX_LINE).read_until(b'\n', &mut line)? as u64;
        let ends = line.last() == Some(&b'\n') || skip_line(&mut source, &mut end)?;
        if line.is_empty() || !ends {
            return Ok(());
        }
        if let Some(line) = parse(&line) {
            visit(end, line);
        }
    }
}

/// Skips what is left of a line; false when the file ends before the line does.
pub(crate) fn skip_line(source: &mut impl BufRead, end: &mut u64) -> io::Result<bool> {
    loop {
        let bytes = source.fill_buf()?;
        let line_end = bytes.iter().position(|byte| *byte == b'\n');
        let length = line_end.map_or(bytes.len(), |place| place + 1);
        source.consume(length);
        *end += length as u64;
        if line_end.is_some() || length == 0 {
            return Ok(line_end.is_some());
        }
    }
}

/// Reads a line; `None` when it is of another form. HotSpot writes `0x` in front of numbers.
pub(crate) fn parse(line: &[u8]) -> Option<Line<'_>> {
    let (address, rest) = number(line)?;
    let (size, rest) = number(rest)?;
    let name = rest.trim_ascii();
    (size > 0 && !name.is_empty()).then_some(Line { address, size, name })
}

/// A number and what follows the blank behind it.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let text = text.trim_ascii_start();
    let text = text.strip_prefix(b"0x").unwrap_or(text);
    let length = text.iter().position(|byte| *byte == b' ')?;
    let digits = str::from_utf8(&text[..length]).ok()?;
    let number = u64::from_str_radix(digits.strip_prefix('+').map_or(digits, |_| ""), 16).ok()?;
    Some((number, &text[length + 1..]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(bytes: &[u8]) -> Vec<(u64, u64, u64, String)> {
        let mut lines = Vec::new();
        read(bytes, |end, line| {
            lines.push((end, line.address, line.size, String::from_utf8_lossy(line.name).into_owned()));
        })
        .unwrap();
        lines
    }

    /// Lines as node, HotSpot and CPython write them.
    #[test]
    fn lines_of_the_runtimes() {
        let parsed = |line: &'static str| parse(line.as_bytes()).map(|line| (line.address, line.size, line.name));
        assert_eq!(
            parsed("7f9ecc005d40 3d8 JS:*hash /srv/a b.js:2:14"),
            Some((0x7f9e_cc00_5d40, 0x3d8, &b"JS:*hash /srv/a b.js:2:14"[..]))
        );
        assert_eq!(
            parsed("0x00007f9e4c8a0a00 0x0000000000000180 int Main.fib(int)"),
            Some((0x7f9e_4c8a_0a00, 0x180, &b"int Main.fib(int)"[..]))
        );
        assert_eq!(parsed("7f00 b py::f:/a.py\n"), Some((0x7f00, 0xb, &b"py::f:/a.py"[..])));
    }

    /// What is no such line gives nothing.
    #[test]
    fn other_lines_give_nothing() {
        for line in ["", "\n", "7f00", "7f00 10", "7f00 10 ", "7f00 0 f", "x 10 f", "+7f 10 f", "1ffffffffffffffff 1 f"]
        {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }

    /// Garbage between lines, a line without end and one that is far too long cost themselves only.
    #[test]
    fn garbage_costs_itself() {
        let long = [b"20 4 ", &[b'x'; 5000][..], b"\n"].concat();
        let file = [b"10 4 a\n\xff\xfe\0 no\n\n", &long[..], b"30 4 b\n40 4 half"].concat();
        let read = lines(&file);
        let names: Vec<_> = read.iter().map(|(end, address, _, name)| (*end, *address, name.len())).collect();
        assert_eq!(names, [(7, 0x10, 1), (5021, 0x20, 1024 - 5), (5028, 0x30, 1)]);
    }

    proptest! {
        /// Any bytes are read to their end, and lines end where a line feed is.
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(prop_oneof![Just(b' '), Just(b'\n'), Just(b'1'), any::<u8>()], 0..300)) {
            for (end, ..) in lines(&bytes) {
                prop_assert_eq!(bytes[end as usize - 1], b'\n');
            }
        }
    }
}
