//! The bytes of an ELF file's sections, which may be compressed, and may say that they are as large as they like.

use std::borrow::Cow;

use object::{CompressionFormat, ObjectSection};

/// Sections grow to at most so many times their length in the file; debug info grows to about five times.
const MAX_GROWTH: u64 = 64;

/// A section's bytes, decompressed; `None` when they cannot be, or would be far more than they are.
pub fn bytes<'a>(section: &impl ObjectSection<'a>) -> Option<Cow<'a, [u8]>> {
    let compressed = section.compressed_data().ok()?;
    let limit = MAX_GROWTH * compressed.data.len() as u64;
    if compressed.format != CompressionFormat::None && compressed.uncompressed_size > limit {
        return None;
    }
    compressed.decompress().ok()
}
