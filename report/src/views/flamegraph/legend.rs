//! The legend of a flame graph: what its colours say, below the rest of a long subtitle. The drawing has no room for them, so all that is
//! below the subtitle's first line is moved down.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::Kind;

/// Height of a line.
const HEIGHT: u32 = 22;
/// Where the subtitle stands.
const SUBTITLE: u32 = 48;
/// Width of a letter of the drawing's font, at most.
const LETTER: usize = 7;

/// What a drawing says of itself: kinds of frames that it has, and what is to be said beside them, without markup.
#[derive(Debug, Default)]
pub(in crate::views) struct Legend {
    pub(in crate::views) kinds: BTreeSet<Kind>,
    pub(in crate::views) beside: String,
}

impl Legend {
    /// Adds it to a drawing, below lines that belong to the subtitle. A drawing that is made in another way than expected stays as it is.
    pub(super) fn add(&self, svg: Vec<u8>, subtitle: &[String]) -> Vec<u8> {
        let Ok(text) = String::from_utf8(svg) else { return Vec::new() };
        let mut y = SUBTITLE;
        let mut added = String::new();
        // Writing to a string cannot fail.
        for line in subtitle {
            y += HEIGHT;
            let _ = write!(added, "<text x=\"50%\" y=\"{y}\" text-anchor=\"middle\">{line}</text>");
        }
        if !self.kinds.is_empty() || !self.beside.is_empty() {
            y += HEIGHT;
            added += &self.line(y);
        }
        if added.is_empty() {
            return text.into_bytes();
        }
        moved(&text, &added, y - SUBTITLE).unwrap_or(text).into_bytes()
    }

    /// Squares of the colours, and what they mean; then what is said beside them.
    fn line(&self, y: u32) -> String {
        let mut line = String::from("<g id=\"legend\">");
        let mut x = 10;
        for kind in &self.kinds {
            let super::Color { r, g, b } = kind.color(128);
            let (name, top, beside) = (kind.name(), y - 10, x + 16);
            let _ = write!(
                line,
                "<rect x=\"{x}\" y=\"{top}\" width=\"12\" height=\"12\" rx=\"2\" fill=\"rgb({r},{g},{b})\"/>\
                 <text x=\"{beside}\" y=\"{y}\">{name}</text>"
            );
            x += 16 + name.len() * LETTER + 20;
        }
        let _ = write!(line, "<text x=\"{x}\" y=\"{y}\">{}</text></g>", self.beside);
        line
    }
}

/// The lines of a subtitle, whose parts are separated by semicolons: as many in each as there is room for in a picture of the usual width.
pub(super) fn subtitle_lines(text: &str) -> Vec<String> {
    const MOST: usize = 1200 / LETTER - 2;
    let mut lines: Vec<String> = Vec::new();
    for part in text.split("; ") {
        match lines.last_mut() {
            Some(line) if line.len() + 2 + part.len() <= MOST => {
                line.push_str("; ");
                line.push_str(part);
            }
            _ => lines.push(part.to_owned()),
        }
    }
    lines
}

/// How many pixels high a drawing is.
pub(super) fn height(svg: &[u8]) -> Option<f64> {
    let head = svg.get(..svg.len().min(4096))?;
    number(&String::from_utf8_lossy(head), "height=\"")
}

/// The drawing with what was added: the picture is higher, and what was below the subtitle is lower.
fn moved(text: &str, added: &str, by: u32) -> Option<String> {
    let frames = text.find("<svg id=\"frames\"")?;
    let (before, frames) = text.split_at(frames);
    let height = number(before, "height=\"")?;
    let details = number(&before[before.find("id=\"details\"")?..], " y=\"")?;
    let higher = height + f64::from(by);
    let before = before.replace(&format!("height=\"{height}\""), &format!("height=\"{higher}\""));
    let before = before.replace(&format!(" {height}\""), &format!(" {higher}\""));
    let lower = |y: f64| (format!(" y=\"{y:.2}\""), format!(" y=\"{:.2}\"", y + f64::from(by)));
    let (old, new) = lower(details);
    let before = before.replacen(&old, &new, 1);
    let frames = frames.replacen("<svg id=\"frames\"", &format!("<svg id=\"frames\" y=\"{by}\""), 1);
    Some(format!("{before}{added}{frames}"))
}

/// The first number behind a text.
fn number(text: &str, before: &str) -> Option<f64> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once('"')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line has as many parts as there is room for; nothing is left out, and one that is longer than a line has its own.
    #[test]
    fn a_long_subtitle_has_lines() {
        let long = "x".repeat(300);
        for (text, lines) in [
            ("none lost; all complete".to_owned(), 1),
            (["some words of a part"; 20].join("; "), 3),
            (format!("a; {long}; b; c"), 3),
        ] {
            let found = subtitle_lines(&text);
            assert_eq!((found.join("; "), found.len()), (text, lines));
        }
    }
}
