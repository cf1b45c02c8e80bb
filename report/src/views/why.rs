//! Why modules have the names that they have: what was looked at for each, in order, and what came of it.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use crate::escape;
use crate::ledger::grouped;
use crate::profile::{Module, Profile};

/// The modules that have samples and whose path has `wanted` in it, or whose build-id begins with it; without it, all.
pub fn choose<'p>(profile: &'p Profile, wanted: Option<&str>) -> Vec<&'p Module> {
    let fits = |module: &Module| {
        wanted.is_none_or(|wanted| {
            let is_build_id = wanted.len() >= 4 && module.build_id.starts_with(&wanted.to_ascii_lowercase());
            is_build_id || module.path.contains(wanted) || module.name.contains(wanted)
        })
    };
    profile.modules.iter().filter(|module| fits(module)).collect()
}

/// The modules in words.
pub fn view(modules: &[&Module]) -> String {
    let mut text = String::new();
    for module in modules {
        if !text.is_empty() {
            text.push('\n');
        }
        describe(&mut text, module);
    }
    text
}

fn describe(text: &mut String, module: &Module) {
    let name = if module.path.is_empty() { &module.name } else { &module.path };
    // Writing to a string cannot fail; so below.
    let _ = writeln!(text, "{}", escape::text(name));
    let mut line = |title: &str, value: &str| {
        let _ = writeln!(text, "  {title:<18} {}", escape::text(value));
    };
    line("build-id", if module.build_id.is_empty() { "none is known" } else { &module.build_id });
    line("samples", &grouped(module.samples));
    line("names", &format!("{}: {}", module.symbols, module.why));
    if !module.recorded.is_empty() {
        line("recording", &module.recorded);
    }
    for attempt in &module.tried {
        let place = if attempt.place.is_empty() { String::new() } else { format!("{}: ", attempt.place) };
        line(attempt.step.title(), &format!("{place}{}", attempt.outcome));
    }
}

#[derive(Serialize)]
struct Why<'p> {
    left_out: BTreeMap<&'static str, u64>,
    notes: &'p [String],
    modules: Vec<WhyModule<'p>>,
}

#[derive(Serialize)]
struct WhyModule<'p> {
    name: &'p str,
    path: &'p str,
    build_id: &'p str,
    samples: u64,
    symbols: &'static str,
    why: &'p str,
    recording: &'p str,
    tried: Vec<Tried<'p>>,
}

#[derive(Serialize)]
struct Tried<'p> {
    step: &'static str,
    place: &'p str,
    outcome: &'static str,
    detail: String,
}

/// These modules of a profile for scripts.
pub fn json(profile: &Profile, modules: &[&Module]) -> serde_json::Result<String> {
    let modules = modules.iter().map(|module| WhyModule {
        name: &module.name,
        path: &module.path,
        build_id: &module.build_id,
        samples: module.samples,
        symbols: module.symbols,
        why: &module.why,
        recording: &module.recorded,
        tried: module
            .tried
            .iter()
            .map(|attempt| Tried {
                step: attempt.step.name(),
                place: &attempt.place,
                outcome: attempt.outcome.name(),
                detail: attempt.outcome.to_string(),
            })
            .collect(),
    });
    let ledger = &profile.ledger;
    let left_out = ledger.left_out.by_option().collect();
    super::json::print(&Why { left_out, notes: &ledger.notes, modules: modules.collect() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::local_files::{Attempt, Outcome, Step};
    use crate::profile::tests::sample_profile;

    /// Each place that was looked at has a line, in order, and no name in it can steer the terminal.
    #[test]
    fn every_attempt_is_told() {
        let mut profile = sample_profile();
        let attempt = |step, place: &str, outcome| Attempt { step, place: place.to_owned(), outcome };
        profile.modules[0].tried = vec![
            attempt(Step::RecordedPath, "/opt/prog\u{1b}[31m", Outcome::NoSuchFile),
            attempt(Step::Debuginfod, "", Outcome::LeftOut("DEBUGINFOD_URLS is not set".to_owned())),
        ];
        let text = view(&choose(&profile, Some("prog")));
        assert!(text.contains("  recorded path      /opt/prog\\x1b[31m: no such file\n"), "{text}");
        assert!(text.contains("  debuginfod         left out: DEBUGINFOD_URLS is not set\n"), "{text}");
        assert!(text.contains("  recording          2 symbols\n"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&json(&profile, &choose(&profile, None)).unwrap()).unwrap();
        assert_eq!(json["modules"][0]["tried"][0]["outcome"], "no_such_file");
        assert_eq!(json["modules"].as_array().unwrap().len(), 2);
    }

    /// A module is chosen by a part of its path or by the start of its build-id.
    #[test]
    fn modules_are_chosen() {
        let profile = sample_profile();
        let names = |wanted| choose(&profile, Some(wanted)).iter().map(|module| &*module.name).collect::<Vec<_>>();
        assert_eq!([names("/opt"), names("07070"), names("kernel")], [vec!["prog"], vec!["prog"], vec!["[kernel]"]]);
        assert!(names("0707x").is_empty());
    }
}
