//! Names come from untrusted machines: no name may move the cursor, colour the terminal or hide
//! text. Every text output passes through here.

use std::borrow::Cow;
use std::fmt::Write;

/// Control characters, and those that change the direction of text or have no width.
fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
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
/// other tools for folded stacks write it.
pub fn folded_frame(raw: &str) -> Cow<'_, str> {
    let escaped = text(raw);
    if escaped.contains(';') { Cow::Owned(escaped.replace(';', ":")) } else { escaped }
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
            // Writing to a string cannot fail. All hostile characters are below 0x10000.
            let _ = write!(escaped, "\\u{:04x}", u32::from(character));
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

    /// JSON stays JSON, and terminals that show it stay safe.
    #[test]
    fn json_strings_hold_no_hostile_characters() {
        assert_eq!(json("{\"a\": \"\u{9b}\"}\n"), "{\"a\": \"\\u009b\"}\n");
    }
}
