//! Lines of figures and names: figures right-aligned, names cut only where a terminal ends.

use std::fmt::Write;

use super::Width;
use crate::escape;

/// What stands for the part of a name that was cut.
const CUT: char = '…';
/// Names are never cut below this.
const MIN_NAME: usize = 16;
/// In a pipe, a name column is at least this wide if some name is; longer names push the rest to the right.
const PIPE_NAME: usize = 40;
/// A module's name gets no more than this on a terminal.
const MAX_MODULE: usize = 28;

/// A row: figures, a function's name, a module's name.
pub(super) struct Row {
    /// Already formatted.
    pub(super) figures: Vec<String>,
    /// Not yet escaped.
    pub(super) function: String,
    /// Not yet escaped.
    pub(super) module: String,
}

/// Writes a table with its heading.
pub(super) fn write(text: &mut String, heading: &[&str], rows: &[Row], width: Width) {
    let widths = figure_widths(heading, rows);
    let figures: usize = widths.iter().map(|width| width + 2).sum();
    let module = rows.iter().map(|row| length(&row.module)).max().unwrap_or(0).clamp(6, MAX_MODULE);
    let longest = rows.iter().map(|row| length(&row.function)).max().unwrap_or(0).max(8);
    let (name, cut) = match width {
        Width::Columns(columns) => {
            (columns.saturating_sub(figures + module + 2).clamp(MIN_NAME, longest.max(MIN_NAME)), true)
        }
        Width::Unlimited => (longest.min(PIPE_NAME), false),
    };
    for (heading, width) in heading.iter().zip(&widths) {
        // Writing to a string cannot fail; so below.
        let _ = write!(text, "{heading:>width$}  ");
    }
    let _ = writeln!(text, "{:name$}  module", "function");
    for row in rows {
        for (figure, width) in row.figures.iter().zip(&widths) {
            let _ = write!(text, "{figure:>width$}  ");
        }
        let (function, module) = (escape::text(&row.function), escape::text(&row.module));
        if cut {
            let _ = writeln!(text, "{:name$}  {}", shorten(&function, name), shorten(&module, MAX_MODULE));
        } else {
            let _ = writeln!(text, "{function:name$}  {module}");
        }
    }
}

fn figure_widths(heading: &[&str], rows: &[Row]) -> Vec<usize> {
    let widest =
        |column: usize| rows.iter().filter_map(|row| row.figures.get(column)).map(|figure| length(figure)).max();
    heading.iter().enumerate().map(|(column, heading)| length(heading).max(widest(column).unwrap_or(0))).collect()
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// A name cut to `columns` characters, its end replaced.
pub(super) fn shorten(name: &str, columns: usize) -> String {
    if length(name) <= columns {
        return name.to_owned();
    }
    let mut short: String = name.chars().take(columns.saturating_sub(1)).collect();
    short.push(CUT);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(width: Width) -> String {
        let row = |figure: &str, function: &str| Row {
            figures: vec![figure.to_owned()],
            function: function.to_owned(),
            module: "libc.so.6".to_owned(),
        };
        let mut text = String::new();
        write(&mut text, &["self"], &[row("1,000", &"long".repeat(20)), row("1", "f")], width);
        text
    }

    /// On a terminal no line is longer than it is wide.
    #[test]
    fn a_terminal_is_never_wrapped() {
        assert!(table(Width::Columns(60)).lines().all(|line| length(line) <= 60));
    }

    /// In a pipe nothing is lost, and figures stand right-aligned.
    #[test]
    fn a_pipe_gets_whole_names() {
        let text = table(Width::Unlimited);
        assert!(text.contains(&"long".repeat(20)));
        assert!(text.starts_with(" self  function"));
        assert!(text.ends_with("    1  f                                         libc.so.6\n"));
    }
}
