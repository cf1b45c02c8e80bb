//! What the fuzz targets share: reading a recording, and the report's whole way from bytes to pictures.

pub mod mutate;

use std::num::NonZeroUsize;

use profrec_format::{Error, Recording, Sample};
use profrec_report::collect::collect;
use profrec_report::diff::Diff;
use profrec_report::evidence::Evidence;
use profrec_report::facts::Facts;
use profrec_report::filter::SampleFilter;
use profrec_report::local_files::LocalFiles;
use profrec_report::profile::{By, Profile, Shape};
use profrec_report::refine::{Around, Refinement, Side};
use profrec_report::symbols::{Names, Wanted};
use profrec_report::views::flamegraph::Limits;
use profrec_report::views::top::Rows;
use profrec_report::views::{self, Page, Width};

/// Every record and every sample of a recording, as far as it can be read.
pub fn read(recording: &Recording<'_>, mut visit: impl FnMut(&Sample)) -> Result<(), Error> {
    for segment in recording.segments() {
        segment.records()?;
        let mut samples = segment.samples();
        while let Some(sample) = samples.next()? {
            visit(sample);
        }
    }
    Ok(())
}

/// The report without local files, plain and with its stacks refined; nothing when the bytes are no recording.
pub fn profiles(file: &[u8]) -> Vec<Profile> {
    let around = |function: &str, side| function.parse().ok().map(|function| Around { function, side });
    let refinements = [
        Refinement::default(),
        Refinement { hide: "a".parse().ok(), root: "e".parse().ok(), ..Refinement::default() },
        Refinement { around: around("i", Side::Callers), ..Refinement::default() },
    ];
    let shapes = refinements.into_iter().zip([By::Function, By::Line, By::Thread]);
    shapes.filter_map(|(refinement, by)| profile(file, &Shape { refinement, by })).collect()
}

fn profile(file: &[u8], shape: &Shape) -> Option<Profile> {
    let recording = Recording::open(file).ok()?;
    let (evidence, numbers) = Evidence::gather(&recording);
    let files = LocalFiles::default();
    let collected = collect(&recording, (&evidence, &numbers), &files, &SampleFilter::default());
    let names = Names::find(&collected.stacks.locations, &evidence, &files, &Wanted::all());
    let mut facts = Facts::gather(&recording);
    facts.learn(&collected);
    facts.pace = evidence.pace.clone();
    Profile::build(facts, &evidence, collected.stacks, &names, shape).ok()
}

/// Draws every view. What comes out is for terminals and browsers: nothing in it may be more than text.
pub fn show(profile: &Profile) {
    for text in [
        views::top::view(profile, Rows::default(), Page::plain(Width::Unlimited)),
        views::top::view(profile, Rows { limit: 3, ..Rows::default() }, Page::plain(Width::Columns(80))),
        views::tree::view(profile, 0.0, Page::plain(Width::Unlimited)),
        views::info::view(profile),
        views::diff::view(&Diff::compare(profile, &Profile::default()), 0, 0.0, Page::plain(Width::Unlimited)),
        folded(profile),
        profile.ledger.text(),
    ] {
        require_harmless(&text);
    }
    if let Ok(json) = views::json::view(profile, Rows::default()) {
        require_harmless(&json);
    }
    for max_depth in [None, NonZeroUsize::new(3)] {
        if let Ok(picture) = views::flamegraph::view(profile, Limits { max_depth, ..Limits::default() }) {
            require_harmless(&String::from_utf8_lossy(&picture.svg));
        }
    }
}

fn folded(profile: &Profile) -> String {
    let mut lines = Vec::new();
    // Writing to memory cannot fail.
    let _ = views::folded::write(profile, &mut lines);
    String::from_utf8_lossy(&lines).into_owned()
}

/// No character that a terminal obeys but the line feed, and none that turns or hides text.
fn require_harmless(text: &str) {
    let hostile = |character: &char| {
        (character.is_control() && !matches!(character, '\n' | '\t'))
            || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let found = text.chars().find(hostile);
    assert_eq!(found, None, "a hostile character got through");
}
