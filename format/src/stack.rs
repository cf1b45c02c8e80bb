//! A stack as its difference from the same thread's stack before.
//!
//! Outer frames rarely change from one sample to the next, so both stacks are walked from their
//! high ends: words that are equal in place and value are copied; what only the old one has is
//! dropped; what only the new one has is inserted. An edit is (copy, drop, insert); what is left of
//! the old stack after the last edit is dropped without a word.

use crate::columns::{Column, ColumnReader, ColumnWriter};
use crate::dictionary::{DictionaryReader, DictionaryWriter};
use crate::error::Error;
use crate::sample::StackWord;
use crate::varint::{fold_words, unfold_words};

/// More words than this are in no stack: 16 MiB of pointers.
const WORDS_LIMIT: usize = 2 << 20;

/// The part of the address space in which a value counts as a pointer into the stack.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StackSpan {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl StackSpan {
    fn holds(self, value: u64) -> bool {
        value.wrapping_sub(self.start) < self.end.wrapping_sub(self.start)
    }
}

/// Writes a pointer that stands at `place`: into the stack as a distance, into code as a token.
#[inline]
pub(crate) fn put_pointer(
    columns: &mut ColumnWriter,
    dictionary: &mut DictionaryWriter,
    column: Column,
    span: StackSpan,
    place: u64,
    value: u64,
) {
    if span.holds(value) {
        columns.put(column, 0);
        columns.put(Column::StackOffsets, fold_words(value.wrapping_sub(place)));
    } else {
        let token = dictionary.token(columns, value);
        columns.put(column, token + 1);
    }
}

/// Reads what [`put_pointer`] wrote.
#[inline]
pub(crate) fn take_pointer(
    columns: &mut ColumnReader,
    dictionary: &mut DictionaryReader,
    column: Column,
    place: u64,
) -> Result<u64, Error> {
    match columns.take(column)? {
        0 => Ok(place.wrapping_add(unfold_words(columns.take(Column::StackOffsets)?))),
        token => dictionary.address(columns, token - 1),
    }
}

/// Writes a stack's words, by ascending address, as the edits that make them of the stack before.
/// `ceiling` is the address from which the distance of the highest word is counted. `inserted` is told
/// of each word that was not copied.
pub(crate) fn put_words(
    columns: &mut ColumnWriter,
    dictionary: &mut DictionaryWriter,
    (span, ceiling): (StackSpan, u64),
    edits: &[Edit],
    new: &[StackWord],
    mut inserted: impl FnMut(u64),
) {
    columns.put(Column::Edits, edits.len() as u64);
    let mut left = new.len();
    let mut above = ceiling;
    for edit in edits {
        columns.put(Column::Edits, edit.copy as u64);
        columns.put(Column::Edits, edit.drop as u64);
        columns.put(Column::Edits, edit.insert as u64);
        left -= edit.copy;
        if edit.copy > 0 {
            above = new[left].address;
        }
        for word in new[left - edit.insert..left].iter().rev() {
            columns.put(Column::Gaps, above.wrapping_sub(word.address).rotate_right(3));
            put_pointer(columns, dictionary, Column::Pointers, span, word.address, word.value);
            inserted(word.value);
            above = word.address;
        }
        left -= edit.insert;
    }
}

/// Reads what [`put_words`] wrote into `new`, by ascending address.
pub(crate) fn take_words(
    columns: &mut ColumnReader,
    dictionary: &mut DictionaryReader,
    ceiling: u64,
    old: &[StackWord],
    new: &mut Vec<StackWord>,
) -> Result<(), Error> {
    new.clear();
    let mut left = old.len();
    let mut above = ceiling;
    for _ in 0..columns.take(Column::Edits)? {
        let copy = take_count(columns, left)?;
        let copied = &old[left - copy..left];
        new.extend(copied.iter().rev());
        if let Some(lowest) = copied.first() {
            above = lowest.address;
        }
        left -= copy;
        left -= take_count(columns, left)?;
        for _ in 0..take_count(columns, WORDS_LIMIT - new.len().min(WORDS_LIMIT))? {
            above = above.wrapping_sub(columns.take(Column::Gaps)?.rotate_left(3));
            let value = take_pointer(columns, dictionary, Column::Pointers, above)?;
            new.push(StackWord { address: above, value });
        }
    }
    new.reverse();
    Ok(())
}

fn take_count(columns: &mut ColumnReader, limit: usize) -> Result<usize, Error> {
    let count = usize::try_from(columns.take(Column::Edits)?).unwrap_or(usize::MAX);
    if count > limit {
        return Err(columns.unexpected(Column::Edits, "an edit of the words that are left"));
    }
    Ok(count)
}

/// One step from an old stack to a new one, from the high end down: so many words of the old one are copied, then so many
/// dropped, then so many of the new one inserted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edit {
    copy: usize,
    drop: usize,
    insert: usize,
}

/// Fills `edits` with what makes `new` of `old`, from the high end down.
pub(crate) fn edit(old: &[StackWord], new: &[StackWord], edits: &mut Vec<Edit>) {
    edits.clear();
    let (mut olds, mut news) = (old.len(), new.len());
    while news > 0 {
        let copy = common(&old[..olds], &new[..news]);
        olds -= copy;
        news -= copy;
        let (drop, insert) = differing(&old[..olds], &new[..news]);
        olds -= drop;
        news -= insert;
        edits.push(Edit { copy, drop, insert });
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

    fn round_trip(stacks: &[Vec<StackWord>], span: StackSpan, ceiling: u64) -> Vec<Vec<StackWord>> {
        let mut columns = ColumnWriter::default();
        let mut dictionary = DictionaryWriter::default();
        let mut edits = Vec::new();
        let mut old: &[StackWord] = &[];
        for new in stacks {
            edit(old, new, &mut edits);
            put_words(&mut columns, &mut dictionary, (span, ceiling), &edits, new, |_| {});
            old = new;
        }
        let mut bytes = Vec::new();
        columns.drain_into(&mut bytes);
        let mut columns = ColumnReader::parse(bytes).unwrap();
        let mut dictionary = DictionaryReader::default();
        let mut read: Vec<Vec<StackWord>> = Vec::new();
        for _ in stacks {
            let mut new = Vec::new();
            let old = read.last().map_or(&[][..], Vec::as_slice);
            take_words(&mut columns, &mut dictionary, ceiling, old, &mut new).unwrap();
            read.push(new);
        }
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
            let span = StackSpan { start: 0x7000, end: 0x7140 };
            prop_assert_eq!(round_trip(&stacks, span, 0x7140), stacks);
        }

        /// Nothing depends on words being ordered, aligned or inside the span.
        #[test]
        fn odd_stacks_round_trip(stacks in vec(vec((any::<u64>(), any::<u64>()), 0..12), 1..5), ceiling: u64) {
            let stacks: Vec<Vec<StackWord>> = stacks
                .into_iter()
                .map(|words| words.into_iter().map(|(address, value)| StackWord { address, value }).collect())
                .collect();
            let span = StackSpan { start: u64::MAX - 8, end: 8 };
            prop_assert_eq!(round_trip(&stacks, span, ceiling), stacks);
        }
    }

    /// A word that changes in the middle costs one insertion; the words below it are copied again.
    #[test]
    fn a_change_in_the_middle_is_one_edit() {
        let word = |slot: u64, value| StackWord { address: 0x1000 + slot * 8, value };
        let old = [word(0, 1), word(1, 2), word(2, 3)];
        let new = [word(0, 1), word(1, 9), word(2, 3)];
        let expected = [Edit { copy: 1, drop: 1, insert: 1 }, Edit { copy: 1, drop: 0, insert: 0 }];
        let mut edits = Vec::new();
        edit(&old, &new, &mut edits);
        assert_eq!(edits, expected);
    }
}
