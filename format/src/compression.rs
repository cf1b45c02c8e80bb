//! Compression of a segment's samples, in pieces.

use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::compress_bound;

use crate::error::Error;
use crate::segment::WINDOW_LOG;

/// Starts a stream of a level.
pub(crate) fn new_stream(level: i32) -> Result<Encoder<'static>, Error> {
    let mut stream = Encoder::new(level)?;
    stream.set_parameter(CParameter::WindowLog(WINDOW_LOG))?;
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
