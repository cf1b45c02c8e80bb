//! The legend of a flame graph: what its colours say. The drawing has no room for it, so all that is below the subtitle is moved
//! down by a line.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::Kind;

/// Height of the line.
const HEIGHT: u32 = 22;
/// Where the line above it stands.
const SUBTITLE: u32 = 48;
/// Width of a letter of the drawing's font, at most.
const LETTER: usize = 7;

/// Adds the legend of these kinds of frames to a drawing, and what is to be said beside it. One that is made in another way than
/// expected stays as it is.
pub(in crate::views) fn add(svg: Vec<u8>, kinds: &BTreeSet<Kind>, beside: &str) -> Vec<u8> {
    let Ok(text) = String::from_utf8(svg) else { return Vec::new() };
    if kinds.is_empty() && beside.is_empty() {
        return text.into_bytes();
    }
    moved(&text, &legend(kinds, beside)).unwrap_or(text).into_bytes()
}

/// How many pixels high a drawing is.
pub(super) fn height(svg: &[u8]) -> Option<f64> {
    let head = svg.get(..svg.len().min(4096))?;
    number(&String::from_utf8_lossy(head), "height=\"")
}

/// Squares of the colours, and what they mean; then a text without markup.
fn legend(kinds: &BTreeSet<Kind>, beside: &str) -> String {
    let mut legend = String::from("<g id=\"legend\">");
    let (mut x, y) = (10, SUBTITLE + HEIGHT);
    for kind in kinds {
        let super::Color { r, g, b } = kind.color(128);
        let (name, top, beside) = (kind.name(), y - 10, x + 16);
        // Writing to a string cannot fail.
        let _ = write!(
            legend,
            "<rect x=\"{x}\" y=\"{top}\" width=\"12\" height=\"12\" rx=\"2\" fill=\"rgb({r},{g},{b})\"/>\
             <text x=\"{beside}\" y=\"{y}\">{name}</text>"
        );
        x += 16 + name.len() * LETTER + 20;
    }
    let _ = write!(legend, "<text x=\"{x}\" y=\"{y}\">{beside}</text></g>");
    legend
}

/// The drawing with a line more: the picture is higher, and what was below the subtitle is lower.
fn moved(text: &str, legend: &str) -> Option<String> {
    let frames = text.find("<svg id=\"frames\"")?;
    let (before, frames) = text.split_at(frames);
    let height = number(before, "height=\"")?;
    let details = number(&before[before.find("id=\"details\"")?..], " y=\"")?;
    let before = before.replace(&format!("height=\"{height}\""), &format!("height=\"{}\"", height + f64::from(HEIGHT)));
    let before = before.replace(&format!(" {height}\""), &format!(" {}\"", height + f64::from(HEIGHT)));
    let lower = |y: f64| (format!(" y=\"{y:.2}\""), format!(" y=\"{:.2}\"", y + f64::from(HEIGHT)));
    let (old, new) = lower(details);
    let before = before.replacen(&old, &new, 1);
    let frames = frames.replacen("<svg id=\"frames\"", &format!("<svg id=\"frames\" y=\"{HEIGHT}\""), 1);
    Some(format!("{before}{legend}{frames}"))
}

/// The first number behind a text.
fn number(text: &str, before: &str) -> Option<f64> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once('"')?.0.parse().ok()
}
