//! One line of the doctor's, for people and for scripts.

use std::fmt::Write;

use anyhow::Error;

use crate::remedy::Refused;
use crate::subcommand;

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// Recording works, with less than there could be.
    Note,
    /// Recording does not work.
    Fail,
}

/// Something that was looked at or tried.
#[derive(Clone, Debug)]
pub(super) struct Check {
    name: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// What helps, a command where there is one.
    remedy: Option<String>,
}

impl Check {
    /// It is as it should be.
    pub(super) fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, found: found.into(), remedy: None }
    }

    /// Something is missing that can be done without.
    pub(super) fn note(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Note, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// Nothing can be recorded so.
    pub(super) fn fail(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Fail, found: found.into(), remedy: Some(remedy.into()) }
    }

    /// The same, for an error that may know what helps.
    pub(super) fn error(name: &'static str, error: &Error) -> Self {
        match error.downcast_ref::<Refused>() {
            Some(Refused { what, remedy }) => Self::fail(name, what, remedy),
            None => Self { name, verdict: Verdict::Fail, found: format!("{error:#}"), remedy: None },
        }
    }

    /// Nothing is missing.
    #[cfg(test)]
    pub(super) fn is_ok(&self) -> bool {
        self.verdict == Verdict::Ok
    }

    /// It does not hinder a recording.
    pub(super) fn works(&self) -> bool {
        self.verdict != Verdict::Fail
    }
}

/// The checks in lines, and a last one that says what they come to.
pub(super) fn text(checks: &[Check], colours: bool) -> String {
    let (machine, kernel) = subcommand::machine();
    let mut text = format!("{} on {machine}, Linux {kernel}\n\n", subcommand::version());
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut said: Vec<&str> = Vec::new();
    for check in checks {
        let (mark, colour) = match check.verdict {
            Verdict::Ok => ("ok  ", "32"),
            Verdict::Note => ("note", "33"),
            Verdict::Fail => ("FAIL", "31;1"),
        };
        let mark = if colours { format!("\x1b[{colour}m{mark}\x1b[0m") } else { mark.to_owned() };
        let found = check.found.replace('\n', " ");
        let _infallible = writeln!(text, "  {mark}  {:width$}  {found}", check.name);
        if let Some(remedy) = check.remedy.as_deref().filter(|remedy| !said.contains(remedy)) {
            said.push(remedy);
            let _infallible = writeln!(text, "        {:width$}  -> {remedy}", "");
        }
    }
    text.push('\n');
    text.push_str(&conclusion(checks));
    text
}

fn conclusion(checks: &[Check]) -> String {
    let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    match (count(Verdict::Fail), count(Verdict::Note)) {
        (0, 0) => "Recording works.\n".to_owned(),
        (0, notes) => format!("Recording works; {notes} could be better.\n"),
        (1, _) => "Recording does not work: one thing is in its way.\n".to_owned(),
        (fails, _) => {
            format!("Recording does not work: {fails} things are in its way, the first perhaps of the others.\n")
        }
    }
}

/// The checks as JSON; docs/doctor.md describes it.
pub(super) fn json(checks: &[Check]) -> String {
    let (machine, kernel) = subcommand::machine();
    let works = checks.iter().all(Check::works);
    let lines: Vec<String> = checks
        .iter()
        .map(|check| {
            let verdict = match check.verdict {
                Verdict::Ok => "ok",
                Verdict::Note => "note",
                Verdict::Fail => "fail",
            };
            let remedy = check.remedy.as_ref().map_or_else(|| "null".to_owned(), |remedy| quoted(remedy));
            let (name, found) = (quoted(check.name), quoted(&check.found));
            format!("    {{\"name\": {name}, \"verdict\": \"{verdict}\", \"found\": {found}, \"remedy\": {remedy}}}")
        })
        .collect();
    format!(
        "{{\n  \"recorder\": {},\n  \"host\": {},\n  \"kernel\": {},\n  \"works\": {works},\n  \"checks\": [\n{}\n  ]\n}}\n",
        quoted(&subcommand::version()),
        quoted(&machine),
        quoted(&kernel),
        lines.join(",\n"),
    )
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => {
                let _infallible = write!(quoted, "\\u{:04x}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever a host tells is one string of JSON.
    #[test]
    fn strings_are_quoted() {
        assert_eq!(quoted("a \"b\"\\\n\x1b"), r#""a \"b\"\\\u000a\u001b""#);
    }

    /// The columns stand under each other, a remedy under what was first found so, and the last line counts.
    #[test]
    fn lines_are_aligned() {
        let checks = [
            Check::ok("a", "fine"),
            Check::note("long name", "odd", "do"),
            Check::fail("b", "bad\nworse", "act"),
            Check::note("c", "odd too", "do"),
        ];
        let text = text(&checks, false);
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "  ok    a          fine",
                "  note  long name  odd",
                "                   -> do",
                "  FAIL  b          bad worse",
                "                   -> act",
                "  note  c          odd too",
                "",
                "Recording does not work: one thing is in its way."
            ]
        );
        assert!(conclusion(&checks[..1]) == "Recording works.\n" && conclusion(&checks[..2]).contains("1 could"));
    }

    /// An error that knows what helps is a finding with a remedy, also behind a context.
    #[test]
    fn an_error_keeps_its_remedy() {
        let error = Error::from(Refused::new("closed", "open it")).context("trying");
        let check = Check::error("door", &error);
        assert_eq!((check.found.as_str(), check.remedy.as_deref()), ("closed", Some("open it")));
        assert_eq!(Check::error("door", &Error::msg("stuck")).found, "stuck");
    }
}
