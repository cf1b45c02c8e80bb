//! What a text is written for: a terminal, with its width and colours, or a pipe.

use std::io::{self, IsTerminal};

use super::marks::Marks;
use crate::profile::Code;

/// How wide a text view may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// A terminal: longer names are cut.
    Columns(usize),
    /// A pipe or a file: nothing is cut.
    Unlimited,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Also in a pipe, for example to `less -R`
    Always,
    /// Not at all
    Never,
}

/// What a text is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// How wide it is.
    pub width: Width,
    /// Whether it has colours.
    pub color: bool,
}

/// How a piece of text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Heading,
    Faint,
    Hot,
    Kernel,
    Inlined,
    Jit,
    Guessed,
}

/// Shares from here on are hot, in percent.
const HOT: f64 = 5.0;

impl Page {
    /// One without colours.
    pub fn plain(width: Width) -> Self {
        Self { width, color: false }
    }

    /// Standard output. Colours follow what was asked for, else <https://no-color.org> and what the terminal says that it is.
    pub fn of_stdout(when: ColorWhen) -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|name| name == "dumb");
        let color = match when {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => is_terminal && !is_dumb && !is_set("NO_COLOR"),
        };
        let width = match rustix::termios::tcgetwinsize(&stdout) {
            Ok(size) if is_terminal && size.ws_col > 0 => Width::Columns(usize::from(size.ws_col)),
            _ => Width::Unlimited,
        };
        Self { width, color }
    }

    /// A text in its style; it must not be padded any more.
    pub(super) fn paint(self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Plain => "",
            Style::Heading => "1",
            Style::Faint => "2",
            Style::Hot => "1;31",
            Style::Kernel => "33",
            Style::Inlined => "36",
            Style::Jit => "32",
            Style::Guessed => "35",
        };
        if !self.color || code.is_empty() || text.is_empty() {
            return text.to_owned();
        }
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

impl Style {
    /// That of a name with these marks.
    pub(super) fn of(marks: Marks) -> Self {
        match marks {
            Marks { guessed: true, .. } => Self::Guessed,
            Marks { unnamed: true, .. } => Self::Faint,
            Marks { code: Code::Kernel, .. } => Self::Kernel,
            Marks { code: Code::Jit, .. } => Self::Jit,
            Marks { inlined: true, .. } => Self::Inlined,
            _ => Self::Plain,
        }
    }

    /// That of a share, or of its change, in percent.
    pub(super) fn of_percent(percent: f64) -> Self {
        if percent.abs() >= HOT { Self::Hot } else { Self::Plain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Colours are where they were asked for, and nowhere else.
    #[test]
    fn colours_are_asked_for() {
        assert_eq!(Page::plain(Width::Unlimited).paint(Style::Hot, "9.00"), "9.00");
        let page = Page { color: true, ..Page::plain(Width::Unlimited) };
        assert_eq!(page.paint(Style::Hot, "9.00"), "\x1b[1;31m9.00\x1b[0m");
        assert_eq!([page.paint(Style::Plain, "f"), page.paint(Style::Hot, "")], ["f", ""]);
        assert!(Page::of_stdout(ColorWhen::Always).color && !Page::of_stdout(ColorWhen::Never).color);
    }
}
