//! Compression of frames: how much is worth trying, and where blocks end.
//!
//! A block has one table of how often each byte comes. In a flush of counts, which is compressed once in many seconds, each column of
//! some length is a block of its own, and the best matches are looked for, in tables that are no larger than a flush.

use std::ops::Range;

use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::{Strategy, compress_bound};

use crate::error::Error;
use crate::segment::WINDOW_LOG;

/// A column that is shorter is no block of its own.
const SHORT: usize = 200;
/// What is searched for matches in a flush of counts: the whole of most.
const FLUSH_WINDOW_LOG: u32 = 17;

/// Starts a stream of the usual kind.
pub(crate) fn new_stream(level: i32) -> Result<Encoder<'static>, Error> {
    let mut stream = Encoder::new(level)?;
    stream.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
    Ok(stream)
}

/// Starts a stream for a flush of counts.
pub(crate) fn new_flush_stream() -> Result<Encoder<'static>, Error> {
    let mut stream = Encoder::new(zstd::DEFAULT_COMPRESSION_LEVEL)?;
    for parameter in [
        CParameter::WindowLog(FLUSH_WINDOW_LOG),
        CParameter::HashLog(15),
        CParameter::ChainLog(16),
        CParameter::SearchLog(5),
        CParameter::MinMatch(3),
        CParameter::TargetLength(64),
        CParameter::Strategy(Strategy::ZSTD_btultra),
    ] {
        stream.set_parameter(parameter)?;
    }
    Ok(stream)
}

/// Replaces `compressed` with the next piece of a stream: all of `raw`, to the last byte. Columns of some length are blocks of their own.
pub(crate) fn compress_piece(
    stream: &mut Encoder<'_>,
    raw: &[u8],
    columns: impl Iterator<Item = Range<usize>>,
    compressed: &mut Vec<u8>,
) -> Result<(), Error> {
    let cuts = columns.filter(|column| column.len() >= SHORT).flat_map(|column| [column.start, column.end]);
    let (mut at, mut length) = (0, 0);
    for cut in cuts.chain([raw.len()]) {
        let block = raw.get(at..cut).unwrap_or_default();
        if block.is_empty() && cut < raw.len() {
            continue;
        }
        compressed.resize(length + compress_bound(block.len()) + 64, 0);
        let mut input = InBuffer::around(block);
        let mut output = OutBuffer::around_pos(&mut compressed[..], length);
        while input.pos < block.len() {
            stream.run(&mut input, &mut output)?;
        }
        while stream.flush(&mut output)? > 0 {}
        (at, length) = (cut, output.pos());
    }
    compressed.truncate(length);
    Ok(())
}

/// The same of a stream that ends with `raw`.
pub(crate) fn compress_alone(
    mut stream: Encoder<'_>,
    raw: &[u8],
    columns: impl Iterator<Item = Range<usize>>,
    compressed: &mut Vec<u8>,
) -> Result<(), Error> {
    compress_piece(&mut stream, raw, columns, compressed)?;
    let length = compressed.len();
    compressed.resize(length + 64, 0);
    let mut output = OutBuffer::around_pos(&mut compressed[..], length);
    while stream.finish(&mut output, true)? > 0 {}
    let length = output.pos();
    compressed.truncate(length);
    Ok(())
}
