//! Names that could have been meant where one matches nothing.

use std::cmp::Reverse;

use crate::brackets::without_parameters;

/// How many are told.
const SHOWN: usize = 3;
/// Longer names are compared by this many characters: what is typed is shorter.
const COMPARED: usize = 64;
/// No more names are compared.
const CANDIDATES: usize = 20_000;

/// The names that are most like `wanted`: those that have it in them, whatever the case, and those that are a few letters away.
/// Of equally good ones, the first of `names` comes first.
pub(super) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted: Vec<char> = letters(wanted);
    let mut found: Vec<(usize, usize, &str)> = Vec::new();
    for (place, name) in names.take(CANDIDATES).enumerate() {
        let distance = distance(&wanted, name);
        if distance <= wanted.len() / 3 + 1 && !found.iter().any(|(.., known)| *known == name) {
            found.push((distance, place, name));
            found.sort_unstable();
            found.truncate(SHOWN);
        }
    }
    found.into_iter().map(|(.., name)| name).collect()
}

/// How far a name is from what is wanted: 0 when it is in it, else letters to change in the whole name or its last part.
fn distance(wanted: &[char], name: &str) -> usize {
    let plain = without_parameters(name);
    let last = plain.rsplit("::").next().unwrap_or(plain);
    let whole = letters(plain);
    if !wanted.is_empty() && whole.windows(wanted.len()).any(|part| part == wanted) {
        return 0;
    }
    edits(wanted, &whole).min(edits(wanted, &letters(last)))
}

fn letters(text: &str) -> Vec<char> {
    text.chars().take(COMPARED).flat_map(char::to_lowercase).collect()
}

/// Letters to add, take away or change to make one word of another (Levenshtein's distance).
fn edits(one: &[char], other: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, other) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

/// The names in words, or nothing: `; did you mean a or b?`.
pub(super) fn did_you_mean<'a>(wanted: &str, functions: impl Iterator<Item = (&'a str, u64)>) -> String {
    let mut functions: Vec<_> = functions.collect();
    functions.sort_by_key(|(name, samples)| (Reverse(*samples), *name));
    match nearest(wanted, functions.into_iter().map(|(name, _)| name)).as_slice() {
        [] => String::new(),
        [name] => format!("; did you mean {name}?"),
        [first @ .., last] => format!("; did you mean {} or {last}?", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Typing errors, other cases and parts of names are found, and what is not like it is not.
    #[test]
    fn names_that_were_meant() {
        let names = || ["_int_malloc", "ns::walk_tree(int)", "main", "malloc"].into_iter();
        assert_eq!(nearest("walk_tee", names()), ["ns::walk_tree(int)"]);
        assert_eq!(nearest("MALLOC", names()), ["_int_malloc", "malloc"]);
        assert_eq!(nearest("mian", names()), ["main"]);
        assert_eq!(nearest("quicksort", names()), [""; 0]);
    }

    /// The heaviest are told first, and long lists are cut.
    #[test]
    fn a_few_in_words() {
        let functions = || [("f1", 1), ("f2", 9), ("f3", 3), ("f4", 2)].into_iter();
        assert_eq!(did_you_mean("f", functions()), "; did you mean f2, f3 or f4?");
        assert_eq!(did_you_mean("nothing", functions()), "");
    }
}
