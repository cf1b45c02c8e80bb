//! Records and headers as bytes: the only place that knows bincode. The bytes are bincode 1 with
//! fixed-width integers, little-endian: strings and lists have a 64-bit length in front, enums a
//! 32-bit variant number.

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::record::Record;
use crate::tables;

/// No single record is larger than this.
const RECORD_LIMIT: u64 = 16 << 20;
/// A record's tag and length.
const HEAD_LENGTH: usize = 6;
/// All fields that are ever appended to one struct take at most so many bytes when they are zero.
const GROWTH: usize = 256;

fn options() -> impl Options {
    bincode::DefaultOptions::new().with_fixint_encoding().with_limit(RECORD_LIMIT).allow_trailing_bytes()
}

/// Appends the bytes of one value.
pub(crate) fn encode<T: Serialize>(out: &mut Vec<u8>, value: &T) -> Result<(), Error> {
    options().serialize_into(out, value).map_err(|error| Error::Io(std::io::Error::other(error)))
}

/// Reads one value. Structs grow at their ends only: the fields that a later version has appended are left unread, and those
/// that an earlier version did not have are read as zero: 0, empty, false, `None`.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], expected: &'static str) -> Result<T, Error> {
    let whole = options().deserialize(bytes);
    let grown = whole.or_else(|_| options().deserialize(&[bytes, &[0; GROWTH]].concat()));
    grown.map_err(|_| Error::content(0, expected))
}

/// Appends a tag, the length of what follows, and the bytes of one value.
pub(crate) fn put<T: Serialize>(out: &mut Vec<u8>, tag: u16, value: &T) -> Result<(), Error> {
    put_with(out, tag, |out| encode(out, value))
}

/// Reads the tag and the bytes of what stands at `at`, and moves `at` behind it.
pub(crate) fn take<'a>(bytes: &'a [u8], at: &mut usize) -> Result<(u16, &'a [u8]), Error> {
    let rest = bytes.get(*at..).unwrap_or_default();
    let Some(&[tag0, tag1, len0, len1, len2, len3]) = rest.first_chunk() else {
        return Err(Error::content(*at, "a record's tag and length"));
    };
    let length = u32::from_le_bytes([len0, len1, len2, len3]) as usize;
    let Some(content) = rest[HEAD_LENGTH..].get(..length) else {
        return Err(Error::content(*at, "a record of the stated length"));
    };
    *at += HEAD_LENGTH + length;
    Ok((u16::from_le_bytes([tag0, tag1]), content))
}

/// Declares, once, which tag belongs to which kind of record.
macro_rules! tags {
    ($($tag:literal $kind:ident $expected:literal),* $(,)?) => {
        /// Appends a record: 16-bit tag, 32-bit length, bytes.
        pub(crate) fn put_record(out: &mut Vec<u8>, record: &Record) -> Result<(), Error> {
            match record { $(Record::$kind(value) => put(out, $tag, value)),* }
        }

        fn decode_record(tag: u16, bytes: &[u8]) -> Result<Option<Record>, Error> {
            Ok(match tag {
                $($tag => Some(Record::$kind(decode(bytes, $expected)?)),)*
                _ => None,
            })
        }
    };
}

tags! {
    1 Process "a process record",
    2 Thread "a thread record",
    3 Fork "a fork record",
    4 Exec "an exec record",
    5 Exit "an exit record",
    6 Mapping "a mapping record",
    7 Module "a module record",
    8 Layout "a layout record",
    9 UnwindSlice "an unwind slice record",
    10 SymbolSlice "a symbol slice record",
    11 Image "an image record",
    12 KernelSymbols "a kernel symbols record",
    13 Loss "a loss record",
    14 MiniDebugInfo "a mini debug info record",
    15 FunctionExtents "a function extents record",
    17 SelfMetrics "a self metrics record",
    16 PerfMap "a perf map record",
    18 Pace "a pace record",
    19 RawStack "a raw stack record",
}

/// Reads the record at `at`, or the records of a table, and moves `at` behind it; nothing of a kind that this version does not know.
/// Gives what records of a table cost: they are more than the bytes that stand for them.
pub(crate) fn take_records(bytes: &[u8], at: &mut usize, records: &mut Vec<Record>) -> Result<u64, Error> {
    let (tag, content) = take(bytes, at)?;
    if let Some(cost) = tables::take(tag, content, records)? {
        return Ok(cost);
    }
    records.extend(decode_record(tag, content)?);
    Ok(0)
}

/// Appends a tag, the length of what follows, and what `put` appends.
pub(crate) fn put_with<R>(out: &mut Vec<u8>, tag: u16, put: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    out.extend_from_slice(&tag.to_le_bytes());
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    let result = put(out);
    let length = (out.len() - length_at - 4) as u32;
    out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    result
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::{Process, Thread};

    /// A record comes back as it was, and an unknown kind between two others is skipped.
    #[test]
    fn unknown_kinds_are_skipped() {
        let process = Record::Process(Process { pid: 7, comm: "init".into(), ..Process::default() });
        let thread = Record::Thread(Thread { tid: 9, ..Thread::default() });
        let mut bytes = Vec::new();
        put_record(&mut bytes, &process).unwrap();
        bytes.extend_from_slice(&[0xff, 0xff, 3, 0, 0, 0, 1, 2, 3]);
        put_record(&mut bytes, &thread).unwrap();
        let mut at = 0;
        let mut records = Vec::new();
        while at < bytes.len() {
            take_records(&bytes, &mut at, &mut records).unwrap();
        }
        assert_eq!(records, [process, thread]);
        assert_eq!(at, bytes.len());
    }

    /// A struct that has grown and one that has not yet grown are both read, in both directions.
    #[test]
    fn structs_grow_at_their_ends() {
        let small = (7u32, "seven".to_owned());
        let large = (7u32, "seven".to_owned(), vec![1u64], Some(3u32));
        let mut bytes = Vec::new();
        encode(&mut bytes, &large).unwrap();
        assert_eq!(decode::<(u32, String)>(&bytes, "").unwrap(), small);
        bytes.clear();
        encode(&mut bytes, &small).unwrap();
        assert_eq!(
            decode::<(u32, String, Vec<u64>, Option<u32>)>(&bytes, "").unwrap(),
            (small.0, small.1, vec![], None)
        );
    }

    proptest! {
        /// Arbitrary bytes give records or an error, never a panic and never a huge allocation.
        #[test]
        fn arbitrary_bytes_are_safe(tag in 0u16..24, bytes: Vec<u8>) {
            let mut framed = tag.to_le_bytes().to_vec();
            framed.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            framed.extend_from_slice(&bytes);
            let mut at = 0;
            while at < framed.len() && take_records(&framed, &mut at, &mut Vec::new()).is_ok() {}
        }
    }
}
