//! Names that are too long for where they stand.

use crate::brackets::brackets;

/// What stands for the part of a name that was cut.
const CUT: char = '…';

/// How many columns of a terminal a text takes.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(wide).sum()
}

/// East Asian characters and pictures take two columns.
fn wide(character: char) -> usize {
    let is_wide = matches!(character,
        '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}' | '\u{f900}'..='\u{faff}'
            | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{1f300}'..='\u{1faff}' | '\u{20000}'..='\u{3fffd}');
    if is_wide { 2 } else { 1 }
}

/// A name in at most so many columns: first its parameters are cut, then its template arguments, and then its middle. It must
/// have been escaped: no escape is cut in two.
pub(super) fn shorten(name: &str, room: usize) -> String {
    if columns(name) <= room {
        return name.to_owned();
    }
    let mut name = name.to_owned();
    for first in [true, false] {
        name = without_contents(&name, room, first);
        if columns(&name) <= room {
            return name;
        }
    }
    without_middle(&name, room)
}

/// Cuts what stands in the last brackets, or else in the others, from the largest on, as far as it must be.
fn without_contents(name: &str, room: usize, last: bool) -> String {
    let mut groups = brackets(name);
    let parameters = groups.pop_if(|group| name[..group.start].ends_with('('));
    let mut groups = if last { parameters.into_iter().collect() } else { groups };
    groups.sort_by_key(|group| (std::cmp::Reverse(group.len()), group.start));
    let mut excess = columns(name).saturating_sub(room);
    let mut cuts = Vec::new();
    for group in groups {
        let width = columns(&name[group.clone()]);
        if excess == 0 || width < 2 {
            break;
        }
        let left = width.saturating_sub(excess + 1);
        excess = excess.saturating_sub(width - left - 1);
        cuts.push((group, left));
    }
    cuts.sort_by_key(|(group, _)| group.start);
    let mut text = String::with_capacity(name.len());
    let mut done = 0;
    for (group, left) in cuts {
        text.push_str(&name[done..group.start]);
        text.push_str(&start_of(&units(&name[group.clone()]), left));
        text.push(CUT);
        done = group.end;
    }
    text + &name[done..]
}

/// Cuts the middle: what a name ends with tells more than what it starts with.
fn without_middle(name: &str, room: usize) -> String {
    let units = units(name);
    let room = room.saturating_sub(1);
    let start = start_of(&units, room * 2 / 5);
    let mut left = room.saturating_sub(columns(&start));
    let fits = |unit: &&&str| {
        let width = columns(unit);
        let fits = width <= left;
        left = if fits { left - width } else { 0 };
        fits
    };
    let end: Vec<&str> = units.iter().rev().take_while(fits).copied().collect();
    let end: String = end.into_iter().rev().collect();
    format!("{start}{CUT}{end}")
}

fn start_of(units: &[&str], mut room: usize) -> String {
    let fits = |unit: &&&str| {
        let width = columns(unit);
        let fits = width <= room;
        room = if fits { room - width } else { 0 };
        fits
    };
    units.iter().take_while(fits).copied().collect()
}

/// What must stay together: characters, and the escapes of control characters (`\x1b`, `\u{202e}`).
fn units(text: &str) -> Vec<&str> {
    let mut units = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (unit, after) = rest.split_at(escape(rest).unwrap_or(first.len_utf8()));
        units.push(unit);
        rest = after;
    }
    units
}

/// The length of an escape at the start of a text.
fn escape(text: &str) -> Option<usize> {
    const DIGITS: usize = 2;
    let is_hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some(rest) = text.strip_prefix("\\x") {
        return rest.get(..DIGITS).filter(|digits| is_hexadecimal(digits)).map(|_| 2 + DIGITS);
    }
    let (code, _) = text.strip_prefix("\\u{")?.split_once('}')?;
    is_hexadecimal(code).then_some("\\u{}".len() + code.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What tells least goes first: parameters, then template arguments, then the middle.
    #[test]
    fn what_tells_least_goes_first() {
        let name = "ns::Map<std::string, int>::insert(std::pair<std::string, int> const&)";
        assert_eq!(shorten(name, 100), name);
        assert_eq!(shorten(name, 51), "ns::Map<std::string, int>::insert(std::pair<std::…)");
        assert_eq!(shorten(name, 36), "ns::Map<std::string, int>::insert(…)");
        assert_eq!(shorten(name, 30), "ns::Map<std::stri…>::insert(…)");
        assert_eq!(shorten(name, 12), "ns::…sert(…)");
    }

    /// The end of a path or name without brackets says more than its middle.
    #[test]
    fn the_middle_goes_last() {
        assert_eq!(shorten("/usr/include/c++/12/bits/hashtable.h:1734", 24), "/usr/incl…shtable.h:1734".to_owned());
        assert_eq!(shorten("", 0), "");
    }

    /// An escape of a control character is whole or not there.
    #[test]
    fn escapes_are_not_cut() {
        for room in 0..20 {
            let short = shorten("ab\\x1b\\u{202e}cd\\x9b[31mxyz", room);
            let rest = short.replace("\\x1b", "").replace("\\u{202e}", "").replace("\\x9b", "");
            assert!(!rest.contains('\\') && !rest.contains("\\u"), "{room}: {short}");
        }
    }

    proptest! {
        /// Whatever the name, it fits.
        #[test]
        fn every_name_fits(name in ".{0,60}|[a-z<>(){}:* ]{0,60}", room in 1usize..40) {
            prop_assert!(columns(&shorten(&name, room)) <= room);
        }
    }
}
