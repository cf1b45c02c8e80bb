//! Compression of a segment's samples, in pieces.

use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::{Strategy, compress_bound};

use crate::error::Error;
use crate::segment::WINDOW_LOG;

/// Starts a stream of a level.
pub(crate) fn new_stream(level: i32) -> Result<Encoder<'static>, Error> {
    let mut stream = Encoder::new(level)?;
    stream.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
    Ok(stream)
}

/// Of samples with many new words: one table of matches of six bytes takes two thirds of the time that level 3's two tables take, and gives a fiftieth
/// more bytes.
const BUSY: [CParameter; 4] = [
    CParameter::WindowLog(WINDOW_LOG),
    CParameter::HashLog(17),
    CParameter::MinMatch(6),
    CParameter::Strategy(Strategy::ZSTD_fast),
];

/// Starts a stream for samples of which little repeats.
pub(crate) fn busy_stream() -> Result<Encoder<'static>, Error> {
    let mut stream = Encoder::new(zstd::DEFAULT_COMPRESSION_LEVEL)?;
    BUSY.iter().try_for_each(|parameter| stream.set_parameter(*parameter))?;
    Ok(stream)
}
/// Replaces `compressed` with the next piece of a stream: all of `raw`, to the last byte.
pub(crate) fn compress_piece(stream: &mut Encoder<'_>, raw: &[u8], compressed: &mut Vec<u8>) -> Result<(), Error> {
    compressed.resize(compress_bound(raw.len()) + 64, 0);
    let mut input = InBuffer::around(raw);
    let mut output = OutBuffer::around(&mut compressed[..]);
    while input.pos < raw.len() {
        stream.run(&mut input, &mut output)?;
    }
    while stream.flush(&mut output)? > 0 {}
    let length = output.pos();
    compressed.truncate(length);
    Ok(())
}
