//! Lines of figures and names: figures right-aligned, names cut only where a terminal ends.

use std::fmt::Write;

use super::marks::{Legend, Marks};
use super::page::Style;
use super::shorten::{columns, shorten};
use super::{Page, Width};
use crate::escape;

/// Names are never cut below this.
const MIN_NAME: usize = 12;
/// In a pipe, a name column is at least this wide if some name is; longer names push the rest to the right.
const PIPE_NAME: usize = 40;
/// On a terminal, a module's name gets no more than this, and than a quarter of what figures leave, but so much as `libc.so.6` needs.
const MAX_MODULE: usize = 28;
const MIN_MODULE: usize = 9;

/// What the columns are called.
pub(super) struct Heading<'a> {
    pub(super) figures: &'a [&'a str],
    pub(super) name: &'a str,
    /// Whether rows have a module.
    pub(super) modules: bool,
}

/// A row: figures, a function's name, a module's name.
pub(super) struct Row {
    /// Already formatted.
    pub(super) figures: Vec<String>,
    /// What decides whether the first figure is hot.
    pub(super) percent: f64,
    /// What kind of function it is.
    pub(super) marks: Marks,
    /// Not yet escaped.
    pub(super) function: String,
    /// Not yet escaped.
    pub(super) module: String,
}

/// How wide each column is.
struct Widths {
    figures: Vec<usize>,
    /// 0 where no row has any.
    marks: usize,
    name: usize,
    module: usize,
    cut: bool,
}

/// Writes a table with its heading, and the legend of its marks.
pub(super) fn write(text: &mut String, heading: &Heading<'_>, rows: &[Row], page: Page) {
    let widths = Widths::of(heading, rows, page);
    let mut line = String::new();
    for (figure, width) in heading.figures.iter().zip(&widths.figures) {
        // Writing to a string cannot fail; so below.
        let _ = write!(line, "{figure:>width$}  ");
    }
    let marks = if widths.marks > 0 { " ".repeat(widths.marks + 2) } else { String::new() };
    let name =
        if heading.modules { format!("{:1$}  module", heading.name, widths.name) } else { heading.name.to_owned() };
    let _ = writeln!(text, "{}", page.paint(Style::Heading, &format!("{line}{marks}{name}")));
    let mut legend = Legend::default();
    for row in rows {
        legend.add(row.marks);
        self::row(text, row, heading.modules, &widths, page);
    }
    text.push_str(&legend.text());
}

fn row(text: &mut String, row: &Row, has_module: bool, widths: &Widths, page: Page) {
    for (place, (figure, width)) in row.figures.iter().zip(&widths.figures).enumerate() {
        let style = if place == 0 { Style::of_percent(row.percent) } else { Style::Plain };
        let _ = write!(text, "{}{}  ", " ".repeat(width.saturating_sub(columns(figure))), page.paint(style, figure));
    }
    if widths.marks > 0 {
        let _ = write!(text, "{:1$}  ", row.marks.letters(), widths.marks);
    }
    let (function, module) = (escape::text(&row.function), escape::text(&row.module));
    let (function, module) = if widths.cut {
        (shorten(&function, widths.name), shorten(&module, widths.module))
    } else {
        (function.into_owned(), module.into_owned())
    };
    text.push_str(&page.paint(Style::of(row.marks), &function));
    if has_module {
        let _ = write!(text, "{}  {}", " ".repeat(widths.name.saturating_sub(columns(&function))), module);
    }
    text.push('\n');
}

impl Widths {
    fn of(heading: &Heading<'_>, rows: &[Row], page: Page) -> Self {
        let figures = figure_widths(heading.figures, rows);
        let widest = |of: fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or(0);
        let marks = widest(|row| row.marks.letters().len());
        let module = if heading.modules { widest(|row| columns(&escape::text(&row.module))).max(6) } else { 0 };
        let longest = widest(|row| columns(&escape::text(&row.function))).max(columns(heading.name));
        let Width::Columns(all) = page.width else {
            return Self { figures, marks, name: longest.min(PIPE_NAME), module, cut: false };
        };
        let figures_width: usize = figures.iter().map(|width| width + 2).sum();
        let marks_width = if marks > 0 { marks + 2 } else { 0 };
        let left = all.saturating_sub(figures_width + marks_width);
        let module = module.min(MAX_MODULE).min((left / 4).max(MIN_MODULE));
        let beside = if heading.modules { module + 2 } else { 0 };
        let name = left.saturating_sub(beside).clamp(MIN_NAME, longest.max(MIN_NAME));
        Self { figures, marks, name, module, cut: true }
    }
}

fn figure_widths(heading: &[&str], rows: &[Row]) -> Vec<usize> {
    let widest =
        |column: usize| rows.iter().filter_map(|row| row.figures.get(column)).map(|figure| columns(figure)).max();
    heading.iter().enumerate().map(|(column, heading)| columns(heading).max(widest(column).unwrap_or(0))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Code;

    fn table(page: Page) -> String {
        let row = |figure: &str, function: &str, code| Row {
            figures: vec![figure.to_owned()],
            percent: 9.0,
            marks: Marks { code, ..Marks::default() },
            function: function.to_owned(),
            module: "libc.so.6".to_owned(),
        };
        let mut text = String::new();
        let heading = Heading { figures: &["self"], name: "function", modules: true };
        let rows = [row("1,000", &"long".repeat(20), Code::User), row("1", "f", Code::Kernel)];
        write(&mut text, &heading, &rows, page);
        text
    }

    /// On a terminal no line is longer than it is wide.
    #[test]
    fn a_terminal_is_never_wrapped() {
        for columns in [40, 60, 80, 200] {
            let text = table(Page::plain(Width::Columns(columns)));
            assert!(text.lines().all(|line| super::columns(line) <= columns), "{text}");
        }
    }

    /// In a pipe nothing is lost, figures stand right-aligned, and kernel functions are marked.
    #[test]
    fn a_pipe_gets_whole_names() {
        let text = table(Page::plain(Width::Unlimited));
        assert!(text.contains(&"long".repeat(20)));
        assert!(text.starts_with(" self     function"));
        let expected = "    1  k  f                                         libc.so.6\nmarks: k kernel\n";
        assert!(text.ends_with(expected), "{text}");
    }

    /// Colours change no column: without them, the text is the same.
    #[test]
    fn colours_change_no_column() {
        let colored = table(Page { color: true, ..Page::plain(Width::Columns(60)) });
        let stripped = regex::Regex::new("\x1b\\[[0-9;]*m").map(|codes| codes.replace_all(&colored, "").into_owned());
        assert_eq!(stripped.as_deref(), Ok(table(Page::plain(Width::Columns(60))).as_str()));
        assert!(colored.contains("\x1b[33mf\x1b[0m"), "{colored:?}");
    }
}
