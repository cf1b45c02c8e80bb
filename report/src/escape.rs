//! Names come from untrusted machines: no name may move the cursor, colour the terminal or hide
//! text. Every text output passes through here.

use std::borrow::Cow;
use std::fmt::Write;

/// Control characters, and those that change the direction of text, have no width or look like nothing.
fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Text for a terminal or a file of lines: hostile characters become `\x1b` or `\u{202e}`.
pub fn text(raw: &str) -> Cow<'_, str> {
    if !raw.contains(is_hostile) {
        return Cow::Borrowed(raw);
    }
    let mut escaped = String::with_capacity(raw.len() + 8);
    for character in raw.chars() {
        if is_hostile(character) {
            push_escape(&mut escaped, character);
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

fn push_escape(escaped: &mut String, character: char) {
    let code = u32::from(character);
    // Writing to a string cannot fail.
    let _ = if code < 0x100 { write!(escaped, "\\x{code:02x}") } else { write!(escaped, "\\u{{{code:x}}}") };
}

/// A frame of a folded stack: as [`text`], and `;`, which separates frames, becomes `:`, as
/// other tools for folded stacks write it. A number at its end (`worker 3`) stands behind a `_`: behind a blank,
/// it would be read as the count of samples.
pub fn folded_frame(raw: &str) -> Cow<'_, str> {
    let mut escaped = text(raw);
    if escaped.contains(';') {
        escaped = Cow::Owned(escaped.replace(';', ":"));
    }
    let number = escaped.rsplit_once(char::is_whitespace);
    let number = number.filter(|(_, end)| end.chars().all(|character| character.is_ascii_digit() || character == '.'));
    match number {
        Some((start, end)) => Cow::Owned(format!("{start}_{end}")),
        None => escaped,
    }
}

/// A finished JSON text in which only strings can hold hostile characters: these are written as
/// `\uXXXX`. (The serializer escapes only those below 0x20.)
pub fn json(serialized: &str) -> Cow<'_, str> {
    let hostile = |character: char| is_hostile(character) && character != '\n';
    if !serialized.contains(hostile) {
        return Cow::Borrowed(serialized);
    }
    let mut escaped = String::with_capacity(serialized.len() + 64);
    for character in serialized.chars() {
        if hostile(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An escape sequence in a name cannot reach the terminal; ordinary names are untouched.
    #[test]
    fn control_characters_are_shown_not_obeyed() {
        assert_eq!(text("a\x1b[31mb\n\u{9b}\u{202e}"), "a\\x1b[31mb\\x0a\\x9b\\u{202e}");
        assert_eq!(text("std::vec<größe>"), "std::vec<größe>");
    }

    /// A name cannot pretend to be two frames.
    #[test]
    fn a_semicolon_does_not_split_a_frame() {
        assert_eq!(folded_frame("<[u8; 8]>::f"), "<[u8: 8]>::f");
    }

    /// A number at the end of a name is not taken for its samples.
    #[test]
    fn a_number_is_not_a_count() {
        assert_eq!([folded_frame("worker 3"), folded_frame("a 1.5")], ["worker_3", "a_1.5"]);
        assert_eq!([folded_frame("worker 3b"), folded_frame("f(int, 3)")], ["worker 3b", "f(int, 3)"]);
    }

    /// What cannot be seen is shown: marks of direction, tags, fillers, joiners.
    #[test]
    fn invisible_characters_are_shown() {
        assert_eq!(text("a\u{61c}b\u{e0041}c\u{3164}d\u{ad}"), "a\\u{61c}b\\u{e0041}c\\u{3164}d\\xad");
        assert_eq!(json("\"\u{e0041}\""), "\"\\udb40\\udc41\"");
    }

    /// JSON stays JSON, and terminals that show it stay safe.
    #[test]
    fn json_strings_hold_no_hostile_characters() {
        assert_eq!(json("{\"a\": \"\u{9b}\"}\n"), "{\"a\": \"\\u009b\"}\n");
    }
}
