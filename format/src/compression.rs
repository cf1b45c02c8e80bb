//! Compression: how much is worth trying.

use std::io;

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

/// Of a flush of counts, which comes once in many seconds: the best matches are looked for, and what is alike is told apart, which zstd does
/// for windows of this size. Tables are of the size of a flush: those of a level that does the same take longer to clear than to use.
const FLUSH: [CParameter; 7] = [
    CParameter::WindowLog(17),
    CParameter::HashLog(15),
    CParameter::ChainLog(16),
    CParameter::SearchLog(5),
    CParameter::MinMatch(3),
    CParameter::TargetLength(64),
    CParameter::Strategy(Strategy::ZSTD_btultra),
];

/// Of samples with many new words: one table of matches of six bytes takes two thirds of the time that level 3's two tables take, and gives a fiftieth
/// more bytes.
const BUSY: [CParameter; 4] = [
    CParameter::WindowLog(WINDOW_LOG),
    CParameter::HashLog(17),
    CParameter::MinMatch(6),
    CParameter::Strategy(Strategy::ZSTD_fast),
];

/// Starts a stream for samples, or a frame of records, of a flush of counts.
pub(crate) fn flush_stream() -> Result<Encoder<'static>, Error> {
    new_stream_with(&FLUSH)
}

/// Starts a stream for samples of which little repeats.
pub(crate) fn busy_stream() -> Result<Encoder<'static>, Error> {
    new_stream_with(&BUSY)
}

fn new_stream_with(parameters: &[CParameter]) -> Result<Encoder<'static>, Error> {
    let mut stream = Encoder::new(zstd::DEFAULT_COMPRESSION_LEVEL)?;
    parameters.iter().try_for_each(|parameter| stream.set_parameter(*parameter))?;
    Ok(stream)
}

/// Replaces `compressed` with the next piece of a stream: all of `raw`, to the last byte.
pub(crate) fn compress_piece(stream: &mut Encoder<'_>, raw: &[u8], compressed: &mut Vec<u8>) -> Result<(), Error> {
    compress(stream, raw, compressed, |stream, output| stream.flush(output))
}

/// The same of its last piece.
pub(crate) fn compress_last(mut stream: Encoder<'_>, raw: &[u8], compressed: &mut Vec<u8>) -> Result<(), Error> {
    compress(&mut stream, raw, compressed, |stream, output| stream.finish(output, true))
}

/// Compresses a piece, after which `end` is called until nothing is left.
fn compress<'a>(
    stream: &mut Encoder<'a>,
    raw: &[u8],
    compressed: &mut Vec<u8>,
    end: impl Fn(&mut Encoder<'a>, &mut OutBuffer<'_, [u8]>) -> io::Result<usize>,
) -> Result<(), Error> {
    compressed.resize(compress_bound(raw.len()) + 64, 0);
    let mut input = InBuffer::around(raw);
    let mut output = OutBuffer::around(&mut compressed[..]);
    while input.pos < raw.len() {
        stream.run(&mut input, &mut output)?;
    }
    while end(stream, &mut output)? > 0 {}
    let length = output.pos();
    compressed.truncate(length);
    Ok(())
}
