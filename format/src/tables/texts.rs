//! Texts by number: each is spelled out once in a table.

use rustc_hash::FxHashMap;

use crate::columns::{Columns, Spans};
use crate::error::Error;

/// The writer's side: from text to number.
#[derive(Debug, Default)]
pub(super) struct TextsWriter {
    numbers: FxHashMap<Box<str>, u32>,
}

impl TextsWriter {
    /// Puts the token of `text` into one column, and into another one, `new`, what is new.
    pub(super) fn put<const N: usize>(&mut self, columns: &mut Columns<N>, column: usize, new: usize, text: &str) {
        if let Some(number) = self.numbers.get(text) {
            return columns.put(column, u64::from(*number) + 1);
        }
        self.numbers.insert(text.into(), self.numbers.len() as u32);
        columns.put(column, 0);
        put_new(columns, new, text);
    }
}

/// A text of its own.
pub(super) fn put_new<const N: usize>(columns: &mut Columns<N>, column: usize, text: &str) {
    columns.put(column, text.len() as u64);
    columns.put_bytes(column, text.as_bytes());
}

/// The reader's side: from number to text.
#[derive(Debug, Default)]
pub(super) struct TextsReader<'a> {
    texts: Vec<&'a str>,
}

impl<'a> TextsReader<'a> {
    /// The text of the next token in a column.
    pub(super) fn take<const N: usize>(
        &mut self,
        (bytes, spans): (&'a [u8], &mut Spans<N>),
        column: usize,
        new: usize,
    ) -> Result<&'a str, Error> {
        let token = spans.take(bytes, column)?;
        if token == 0 {
            let text = take_new((bytes, spans), new)?;
            self.texts.push(text);
            return Ok(text);
        }
        let known = usize::try_from(token - 1).ok().and_then(|number| self.texts.get(number));
        known.copied().ok_or_else(|| spans.unexpected(column, "the number of a text"))
    }
}

/// A text of its own.
pub(super) fn take_new<'a, const N: usize>(
    (bytes, spans): (&'a [u8], &mut Spans<N>),
    column: usize,
) -> Result<&'a str, Error> {
    let length = spans.take(bytes, column)?;
    let text = spans.take_bytes(bytes, column, length)?;
    str::from_utf8(text).map_err(|_| spans.unexpected(column, "a text in UTF-8"))
}
