//! The texts of frames, each kept once, and their order.

use foldhash::HashMap;

use super::{Annotations, Rank, TextId};
use crate::escape;
use crate::paths::PathId;
use crate::profile::{Code, PathFrame, Profile};
use crate::refine::Side;

/// What stands behind the names of frames.
const MARKS: [&str; 5] = ["", "_[k]", "_[g]", "_[j]", "_[i]"];

/// What has no number yet.
const NO_TEXT: TextId = TextId::MAX;

/// For each function, its text with each mark.
pub(super) struct FrameTexts {
    of_functions: Vec<[TextId; MARKS.len()]>,
    annotations: Annotations,
}

impl FrameTexts {
    /// The texts of the first frames of stacks, so many of each.
    pub(super) fn of(profile: &Profile, annotations: Annotations, deepest: usize, texts: &mut Texts) -> Self {
        let of_functions = vec![[NO_TEXT; MARKS.len()]; profile.functions.len()];
        let mut all = Self { of_functions, annotations };
        let samples = profile.samples_by_stack();
        if profile.side == Some(Side::Callers) && deepest < usize::MAX {
            for (stack, _) in samples.iter().enumerate().filter(|(_, samples)| **samples > 0) {
                let frames = profile.stacks.from_innermost(stack).take(deepest);
                frames.for_each(|frame| all.add(profile, frame, texts));
            }
            return all;
        }
        // Frames that stacks share are looked at once.
        let totals = profile.stacks.totals(&samples);
        let depths = profile.stacks.paths.fold(0, |depth, _| depth + 1);
        let is_shown = |path: PathId| totals[path as usize] > 0 && depths[path as usize] <= deepest;
        for (_, _, frame) in profile.stacks.paths.iter().filter(|(path, ..)| is_shown(*path)) {
            all.add(profile, frame, texts);
        }
        all
    }

    fn add(&mut self, profile: &Profile, frame: PathFrame, texts: &mut Texts) {
        let mark = mark(profile, frame, self.annotations);
        let text = &mut self.of_functions[frame.function() as usize][mark];
        if *text == NO_TEXT {
            let name = &profile.functions[frame.function() as usize].name;
            *text = texts.number(escape::folded_frame(name).into_owned() + MARKS[mark]);
        }
    }

    /// The text of a frame that is shown.
    pub(super) fn text(&self, profile: &Profile, frame: PathFrame) -> TextId {
        self.of_functions[frame.function() as usize][mark(profile, frame, self.annotations)]
    }
}

/// The place in [`MARKS`] of what stands behind a frame's name.
fn mark(profile: &Profile, frame: PathFrame, annotations: Annotations) -> usize {
    match (profile.functions[frame.function() as usize].code, annotations) {
        (Code::Kernel, _) => 1,
        _ if frame.guessed() => 2,
        (_, Annotations::Few) => 0,
        (Code::Jit, _) => 3,
        _ if frame.inlined() => 4,
        _ => 0,
    }
}

/// Texts while they are being numbered.
#[derive(Default)]
pub(super) struct Texts {
    texts: Vec<String>,
    known: HashMap<String, TextId>,
}

impl Texts {
    /// The number of a text.
    pub(super) fn number(&mut self, text: String) -> TextId {
        if let Some(&known) = self.known.get(&text) {
            return known;
        }
        let number = self.texts.len() as TextId;
        self.texts.push(text.clone());
        self.known.insert(text, number);
        number
    }

    /// The texts by their numbers.
    pub(super) fn in_order(self) -> Vec<String> {
        self.texts
    }

    /// For each text its rank where a line ends with it, and where a separator follows; and for each rank which that is.
    pub(super) fn ranked(&self) -> (Vec<[Rank; 2]>, Vec<(TextId, bool)>) {
        let all = 0..self.texts.len() as TextId;
        let mut order: Vec<(TextId, bool)> = all.flat_map(|text| [(text, false), (text, true)]).collect();
        let bytes = |(text, goes_on): (TextId, bool)| self.texts[text as usize].bytes().chain(goes_on.then_some(b';'));
        order.sort_unstable_by(|&a, &b| bytes(a).cmp(bytes(b)));
        let mut ranks = vec![[0; 2]; self.texts.len()];
        for (rank, &(text, goes_on)) in (0..).zip(&order) {
            ranks[text as usize][usize::from(goes_on)] = rank;
        }
        (ranks, order)
    }
}
