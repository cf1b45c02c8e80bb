//! A stack as its difference from the same thread's stack before.
//!
//! Outer frames rarely change from one sample to the next, so both stacks are walked from their
//! high ends: words that are equal in place and value are copied, words that only the new one has are inserted, words that
//! only the old one has are passed over. All numbers of a stack stand in one column, one word after the other: what
//! a function leaves on the stack comes again as a whole, and is found again as a whole when it is compressed.

use crate::columns::{Column, ColumnReader, ColumnWriter};
use crate::dictionary::{DictionaryReader, DictionaryWriter};
use crate::error::Error;
use crate::sample::{StackRange, StackWord};
use crate::varint::{fold_words, unfold_words};

/// More words are in no stack: twice what the recorder's largest copies of both ends have.
pub(crate) const WORDS_LIMIT: usize = 512 << 10;
/// Distances between words, in words, that leave room for the bit that tells stack from code.
const NEAR: std::ops::Range<u64> = 1..1 << 62;

/// The part of the address space in which a value counts as a pointer into the stack.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StackSpan<'a> {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// What of it was captured: between a signal stack and the first one lie whole libraries.
    pub(crate) ranges: &'a [StackRange],
}

impl StackSpan<'_> {
    /// Whether a value counts as a pointer into the stack; where it may be code all the same, the dictionary is told.
    #[inline]
    fn holds(self, value: u64, dictionary: &mut DictionaryWriter) -> bool {
        let holds = value.wrapping_sub(self.start) < self.end.wrapping_sub(self.start);
        if holds && !self.ranges.iter().any(|range| range.start <= value && value < range.end) {
            dictionary.show_without_token(value);
        }
        holds
    }
}

/// Writes a register: a pointer into the stack as 0 and its distance from the stack pointer, code as 1 more than its token.
#[inline]
pub(crate) fn put_register(
    columns: &mut ColumnWriter,
    dictionary: &mut DictionaryWriter,
    span: StackSpan<'_>,
    sp: u64,
    value: u64,
) {
    if span.holds(value, dictionary) {
        columns.put(Column::Stack, 0);
        columns.put(Column::Stack, fold_words(value.wrapping_sub(sp)));
    } else {
        let token = dictionary.token(columns, value);
        columns.put(Column::Stack, token + 1);
    }
}

/// Reads what [`put_register`] wrote.
#[inline]
pub(crate) fn take_register(
    columns: &mut ColumnReader,
    dictionary: &mut DictionaryReader,
    sp: u64,
) -> Result<u64, Error> {
    match columns.take(Column::Stack)? {
        0 => Ok(sp.wrapping_add(unfold_words(columns.take(Column::Stack)?))),
        token => dictionary.address(columns, token - 1),
    }
}

/// Writes a stack's words, by ascending address, as the edits that make them of the stack before, and gives the
/// lowest address. `ceiling` is the address from which the distance of the highest word is counted.
pub(crate) fn put_words(
    columns: &mut ColumnWriter,
    dictionary: &mut DictionaryWriter,
    (span, ceiling): (StackSpan<'_>, u64),
    (mut old, mut new): (&[StackWord], &[StackWord]),
) -> u64 {
    let mut above = ceiling;
    loop {
        let edit = edit(old, new);
        let (copied_too, copied) = new.split_at(new.len() - edit.copy);
        let (rest, words) = copied_too.split_at(copied_too.len() - edit.insert);
        above = copied.first().map_or(above, |lowest| lowest.address);
        columns.put(Column::Stack, edit.copy as u64);
        columns.put(Column::Stack, (edit.insert as u64) << 1 | u64::from(rest.is_empty()));
        for word in words.iter().rev() {
            put_word(columns, dictionary, span, above, *word);
            above = word.address;
        }
        if rest.is_empty() {
            return above;
        }
        columns.put(Column::Stack, edit.skip as u64);
        old = &old[..old.len() - edit.copy - edit.passed - edit.skip];
        new = rest;
    }
}

#[inline]
fn put_word(
    columns: &mut ColumnWriter,
    dictionary: &mut DictionaryWriter,
    span: StackSpan<'_>,
    above: u64,
    word: StackWord,
) {
    let on_stack = span.holds(word.value, dictionary);
    let distance = above.wrapping_sub(word.address);
    let slots = distance.rotate_right(3);
    if NEAR.contains(&slots) {
        columns.put(Column::Stack, slots << 1 | u64::from(on_stack));
    } else {
        columns.put(Column::Stack, u64::from(on_stack));
        columns.put(Column::Stack, distance);
    }
    let value = match on_stack {
        true => fold_words(word.value.wrapping_sub(word.address)),
        false => dictionary.token(columns, word.value),
    };
    columns.put(Column::Stack, value);
}

/// Reads what [`put_words`] wrote into `new`, and gives the lowest address. Here, both stacks are by descending address.
pub(crate) fn take_words(
    columns: &mut ColumnReader,
    dictionary: &mut DictionaryReader,
    ceiling: u64,
    mut old: &[StackWord],
    new: &mut Vec<StackWord>,
) -> Result<u64, Error> {
    new.clear();
    let mut above = ceiling;
    loop {
        let copied = take_some(columns, &mut old)?;
        above = copied.last().map_or(above, |lowest| lowest.address);
        let insert = columns.take(Column::Stack)?;
        if (insert >> 1).saturating_add((new.len() + copied.len()) as u64) > WORDS_LIMIT as u64 {
            return Err(columns.unexpected(Column::Stack, "a stack of at most 524,288 words"));
        }
        new.extend_from_slice(copied);
        for _ in 0..insert >> 1 {
            let word = take_word(columns, dictionary, above)?;
            above = word.address;
            new.push(word);
        }
        if insert & 1 != 0 {
            return Ok(above);
        }
        if insert > 0 {
            let passed = old.iter().take_while(|word| word.address >= above).count();
            old = &old[passed..];
        }
        take_some(columns, &mut old)?;
    }
}

/// Takes a number, and so many of the words that are left.
fn take_some<'a>(columns: &mut ColumnReader, words: &mut &'a [StackWord]) -> Result<&'a [StackWord], Error> {
    let count = usize::try_from(columns.take(Column::Stack)?).unwrap_or(usize::MAX);
    let split = words.split_at_checked(count);
    let (taken, rest) = split.ok_or_else(|| columns.unexpected(Column::Stack, "an edit of the words that are left"))?;
    *words = rest;
    Ok(taken)
}

#[inline]
fn take_word(columns: &mut ColumnReader, dictionary: &mut DictionaryReader, above: u64) -> Result<StackWord, Error> {
    let number = columns.take(Column::Stack)?;
    let distance = match number >> 1 {
        0 => columns.take(Column::Stack)?,
        slots => slots.rotate_left(3),
    };
    let address = above.wrapping_sub(distance);
    let value = columns.take(Column::Stack)?;
    let value = match number & 1 {
        0 => dictionary.address(columns, value)?,
        _ => address.wrapping_add(unfold_words(value)),
    };
    Ok(StackWord { address, value })
}

/// One step from an old stack to a new one, from the high end down: so many words are copied and so many inserted. Then the
/// old one goes on below the last inserted word: so many of its words are passed, and so many skipped besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Edit {
    copy: usize,
    insert: usize,
    passed: usize,
    skip: usize,
}

/// The next step that makes `new` of `old`.
fn edit(old: &[StackWord], new: &[StackWord]) -> Edit {
    let copy = common(old, new);
    let (old, new) = (&old[..old.len() - copy], &new[..new.len() - copy]);
    let (drop, insert) = differing(old, new);
    let passed = match insert {
        0 => 0,
        _ => old.iter().rev().take_while(|word| word.address >= new[new.len() - insert].address).count(),
    };
    match drop.checked_sub(passed) {
        Some(skip) => Edit { copy, insert, passed, skip },
        // Only where words do not ascend: all that is left is inserted.
        None => Edit { copy, insert: new.len(), passed: 0, skip: 0 },
    }
}

/// How many words at the high ends are the same.
fn common(old: &[StackWord], new: &[StackWord]) -> usize {
    const STRIDE: usize = 4;
    let most = old.len().min(new.len());
    let (old, new) = (&old[old.len() - most..], &new[new.len() - most..]);
    let mut left = most;
    while left >= STRIDE && old[left - STRIDE..left] == new[left - STRIDE..left] {
        left -= STRIDE;
    }
    while left > 0 && old[left - 1] == new[left - 1] {
        left -= 1;
    }
    most - left
}

/// How many words of each stack's high end come before the next word that both have.
fn differing(old: &[StackWord], new: &[StackWord]) -> (usize, usize) {
    let (mut olds, mut news) = (old.len(), new.len());
    while news > 0 {
        let Some(above) = olds.checked_sub(1).map(|last| old[last]) else {
            return (old.len(), new.len());
        };
        let word = new[news - 1];
        if above == word {
            break;
        }
        olds -= usize::from(above.address >= word.address);
        news -= usize::from(word.address >= above.address);
    }
    (old.len() - olds, new.len() - news)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn round_trip(stacks: &[Vec<StackWord>], span: StackSpan<'_>, ceiling: u64) -> Vec<Vec<StackWord>> {
        let mut columns = ColumnWriter::default();
        let mut dictionary = DictionaryWriter::default();
        let mut old: &[StackWord] = &[];
        let mut lowest = Vec::new();
        for new in stacks {
            lowest.push(put_words(&mut columns, &mut dictionary, (span, ceiling), (old, new)));
            old = new;
        }
        let mut bytes = Vec::new();
        columns.drain_into(&mut bytes);
        let mut columns = ColumnReader::parse(bytes).unwrap();
        let mut dictionary = DictionaryReader::default();
        let mut read: Vec<Vec<StackWord>> = Vec::new();
        for lowest in lowest {
            let mut new = Vec::new();
            let old = read.last().map_or(&[][..], Vec::as_slice);
            assert_eq!(take_words(&mut columns, &mut dictionary, ceiling, old, &mut new).unwrap(), lowest);
            read.push(new);
        }
        read.iter_mut().for_each(|words| words.reverse());
        read
    }

    fn words() -> impl Strategy<Value = Vec<StackWord>> {
        let place = (0u64..40, prop_oneof![0x7000u64..0x7140, 0x40_0000u64..0x40_0010, any::<u64>()]);
        vec(place, 0..30).prop_map(|mut places| {
            places.sort_by_key(|place| place.0);
            places.dedup_by_key(|place| place.0);
            places.into_iter().map(|(slot, value)| StackWord { address: 0x7000 + 8 * slot, value }).collect()
        })
    }

    proptest! {
        /// A run of stacks comes back word for word, whatever changed between them.
        #[test]
        fn stacks_round_trip(stacks in vec(words(), 1..8)) {
            let span = StackSpan { start: 0x7000, end: 0x7140, ranges: &[] };
            prop_assert_eq!(round_trip(&stacks, span, 0x7140), stacks);
        }

        /// Nothing depends on words being ordered, aligned or inside the span.
        #[test]
        fn odd_stacks_round_trip(
            stacks in vec(vec((prop_oneof![0u64..24, any::<u64>()], prop_oneof![0u64..3, any::<u64>()]), 0..12), 1..5),
            ceiling: u64,
        ) {
            let stacks: Vec<Vec<StackWord>> = stacks
                .into_iter()
                .map(|words| words.into_iter().map(|(address, value)| StackWord { address, value }).collect())
                .collect();
            let span = StackSpan { start: u64::MAX - 8, end: 8, ranges: &[] };
            prop_assert_eq!(round_trip(&stacks, span, ceiling), stacks);
        }
    }

    /// A word that changes in the middle costs one insertion; the words below it are copied again.
    #[test]
    fn a_change_in_the_middle_is_one_edit() {
        let word = |slot: u64, value| StackWord { address: 0x1000 + slot * 8, value };
        let old = [word(0, 1), word(1, 2), word(2, 3)];
        let new = [word(0, 1), word(1, 9), word(2, 3)];
        assert_eq!(edit(&old, &new), Edit { copy: 1, insert: 1, passed: 1, skip: 0 });
        assert_eq!(edit(&old[..1], &new[..1]), Edit { copy: 1, ..Edit::default() });
    }

    /// Arbitrary numbers are words or an error, and never more words than a stack can have.
    #[test]
    fn hostile_numbers_end() {
        for numbers in [[9, 0, 0], [0, u64::MAX - 1, 0], [0, 8 << 20, 1], [0, 2, 7], [0, 0, 5]] {
            let mut columns = ColumnWriter::default();
            numbers.into_iter().for_each(|number| columns.put(Column::Stack, number));
            let mut bytes = Vec::new();
            columns.drain_into(&mut bytes);
            let mut columns = ColumnReader::parse(bytes).unwrap();
            let taken = take_words(&mut columns, &mut DictionaryReader::default(), 0, &[], &mut Vec::new());
            assert!(taken.is_err(), "{numbers:?}");
        }
    }
}
