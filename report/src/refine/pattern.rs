//! What is looked for in names: regular expressions, and names of functions.

use std::str::FromStr;

use regex::{Regex, RegexBuilder};

use crate::brackets::without_parameters;

/// Memory of a compiled expression, and of each cache that it is run with.
const MAX_MEMORY: usize = 1 << 20;

/// A regular expression. It matches what has a part that it describes, as in pprof: `^` and `$` tie it to the ends.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let built = RegexBuilder::new(text).size_limit(MAX_MEMORY).dfa_size_limit(MAX_MEMORY).build();
        built.map(Self).map_err(|error| error.to_string())
    }
}

impl Pattern {
    /// Whether it describes a part of the text.
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// Functions: those of a name, with or without its parameters; where none has it, those whose names an expression describes.
#[derive(Clone, Debug)]
pub struct FunctionPattern {
    text: String,
    /// `None` where the text is no expression.
    pattern: Option<Pattern>,
}

impl FromStr for FunctionPattern {
    type Err = String;

    /// Names such as `operator()(int)` need not be expressions; so every text is one.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("expected the name of a function, or a regular expression".to_owned());
        }
        Ok(Self { text: text.to_owned(), pattern: text.parse().ok() })
    }
}

impl FunctionPattern {
    /// The text that it was made of.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Which of the names it means; all `false` where it means none.
    pub fn find<'a>(&self, names: impl Iterator<Item = &'a str> + Clone) -> Vec<bool> {
        let is_named = |name: &str| name == self.text || without_parameters(name) == self.text;
        let named: Vec<bool> = names.clone().map(is_named).collect();
        match &self.pattern {
            Some(pattern) if !named.contains(&true) => names.map(|name| pattern.matches(name)).collect(),
            _ => named,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["main", "main_loop", "Set<int>::operator()(int)", "Set<int>::size() const"];

    fn found(text: &str) -> Vec<&'static str> {
        let pattern: FunctionPattern = text.parse().unwrap();
        let found = pattern.find(NAMES.into_iter());
        NAMES.into_iter().zip(found).filter(|(_, found)| *found).map(|(name, _)| name).collect()
    }

    /// A whole name means its function alone, also when it is no expression; parameters may be left out.
    #[test]
    fn names_come_before_expressions() {
        assert_eq!(found("main"), ["main"]);
        assert_eq!(found("mai"), ["main", "main_loop"]);
        assert_eq!(found("Set<int>::operator()"), ["Set<int>::operator()(int)"]);
        assert_eq!(found("Set<int>::size"), ["Set<int>::size() const"]);
        assert_eq!(found("^Set"), NAMES[2..]);
        assert_eq!(found("(unclosed"), [""; 0]);
    }

    /// An expression that would take much memory is refused in words.
    #[test]
    fn expressions_are_bounded() {
        assert!("(\\w{200}){200}".parse::<Pattern>().is_err_and(|error| error.contains("size")));
        assert!("a(".parse::<Pattern>().is_err());
        assert!("(?i)MALLOC".parse::<Pattern>().unwrap().matches("_int_malloc"));
    }
}
