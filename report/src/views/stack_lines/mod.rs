//! Stacks as lines of text, in the order of their text, each made only when it is needed: all of them together can be
//! gigabytes, while the stacks themselves are numbers.
//!
//! ```text
//! main;a      a line ends with a frame, or goes on behind it: the text of a frame has a rank for either,
//! main;a b    because there may be other lines between the two
//! main;a;c
//! ```

mod drawing;
mod texts;

use std::io;

use crate::escape;
use crate::paths::{NOTHING, PathCollector, PathId, Paths};
use crate::profile::{Profile, StackCount};
use drawing::Drawing;
use texts::{FrameTexts, Texts};

/// Which frames are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Annotations {
    /// Kernel frames and guessed frames.
    Few,
    /// JIT frames (`_[j]`) and inlined frames (`_[i]`) too, to be told apart in a flame graph.
    All,
}

/// A number of a frame's text.
type TextId = u32;
/// The place of a frame's text in the order of all, where a line ends with it, or where it goes on.
type Rank = u32;

/// Frames that lines with the same beginning have at most, where those that they share count once: they take 4 GB.
const MAX_PATHS: usize = 1 << 26;
/// That lines have more frames than [`MAX_PATHS`].
const TOO_MANY: &str = "more than 67,108,864 frames that stacks do not share: choose fewer samples with --time, --pid or --comm; \
                        --max-depth draws less of them";

/// All stacks of a profile. They are brought into order one root after the other, or, where there are none, one first frame after the
/// other: there may be many, with the same frames behind them.
pub(super) struct StackLines<'p> {
    profile: &'p Profile,
    /// Frames of a stack that lines have at most, besides its root.
    deepest: usize,
    /// Frames that lines with the same beginning may have.
    max_paths: usize,
    texts: Vec<String>,
    /// For each text its rank where a line ends with it, and where it goes on.
    ranks: Vec<[Rank; 2]>,
    /// By rank: which text, and whether the line goes on behind it.
    ranked: Vec<(TextId, bool)>,
    /// The texts of the roots; `None` for one without a name, with which no line begins.
    roots: Vec<Option<TextId>>,
    frames: FrameTexts,
}

/// Lines in the order of their text, with the samples of each and of all that begin with it.
struct Lines {
    paths: Paths<Rank>,
    totals: Vec<u64>,
}

impl<'p> StackLines<'p> {
    /// The stacks of a profile.
    pub(super) fn of(profile: &'p Profile, annotations: Annotations) -> Self {
        Self::no_deeper(profile, annotations, usize::MAX)
    }

    /// The same, of each stack no more than its first frames, so many: one or more.
    pub(super) fn no_deeper(profile: &'p Profile, annotations: Annotations, deepest: usize) -> Self {
        let mut texts = Texts::default();
        let roots = profile.roots.iter().map(|root| {
            let text = (!root.is_empty()).then(|| escape::folded_frame(root));
            text.map(|text| texts.number(text.into_owned()))
        });
        let roots = roots.collect();
        let frames = FrameTexts::of(profile, annotations, deepest, &mut texts);
        let (ranks, ranked) = texts.ranked();
        Self { profile, deepest, max_paths: MAX_PATHS, texts: texts.in_order(), ranks, ranked, roots, frames }
    }

    /// Every distinct text of a frame.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(String::as_str)
    }

    /// Hands over every distinct stack's line and its samples, until that fails. Stacks that read the same are one.
    pub(super) fn each(&self, hand_over: impl FnMut(&str, u64) -> io::Result<()>) -> io::Result<()> {
        self.drawn(0.0, hand_over)
    }

    /// Hands over the lines of a drawing that leaves out all frames with fewer than `fewest` samples, until that fails. What is
    /// below such a frame has no lines of its own, and neighbours that are left out may share one.
    pub(super) fn drawn(&self, fewest: f64, hand_over: impl FnMut(&str, u64) -> io::Result<()>) -> io::Result<()> {
        let counts = self.profile.counts.iter();
        let mut counts: Vec<(Option<Rank>, &StackCount)> = counts.map(|count| (self.first(count), count)).collect();
        counts.sort_by_key(|(first, _)| *first);
        let mut drawing = Drawing::new(&self.texts, &self.ranked, fewest, hand_over);
        let text = |(first, _): &(Option<Rank>, _)| first.map(|rank| self.ranked[rank as usize].0);
        for counts in counts.chunk_by(|one, other| text(one) == text(other)) {
            let samples = counts.iter().map(|(_, count)| count.samples).sum();
            if let ([(Some(first), _), ..], Some((Some(last), _))) = (counts, counts.last())
                && drawing.is_left_out(samples)
            {
                drawing.leave_out(&[], self.ranked[*first as usize], samples, self.ranked[*last as usize].1)?;
                continue;
            }
            drawing.add(&self.lines(counts.iter().map(|(_, count)| *count))?)?;
        }
        drawing.finish()
    }

    /// The rank of what a line begins with: its root, or its first frame where it has none; `None` for a line of nothing.
    fn first(&self, count: &StackCount) -> Option<Rank> {
        let (text, frames) = match count.root.and_then(|root| self.roots[root as usize]) {
            Some(root) => (root, 0),
            None => (self.frames.text(self.profile, self.profile.first_shown(count.stack)?), 1),
        };
        let mut behind = self.profile.stacks.from_innermost(count.stack as usize).take(self.deepest);
        Some(self.ranks[text as usize][usize::from(behind.nth(frames).is_some())])
    }

    /// The lines of some stacks; an error where they share too little.
    fn lines<'c>(&self, counts: impl Iterator<Item = &'c StackCount>) -> io::Result<Lines> {
        let mut collector = LineCollector { ranks: &self.ranks, ..LineCollector::default() };
        let (mut shown, mut line) = (Vec::new(), Vec::new());
        for count in counts {
            self.profile.show(count.stack, &mut shown);
            line.clear();
            line.extend(count.root.and_then(|root| self.roots[root as usize]));
            line.extend(shown.iter().take(self.deepest).map(|frame| self.frames.text(self.profile, *frame)));
            collector.add(&line, count.samples);
            if collector.paths.count() - 1 > self.max_paths {
                return Err(io::Error::new(io::ErrorKind::InvalidData, TOO_MANY));
            }
        }
        let LineCollector { paths, own, .. } = collector;
        let (paths, new_ids) = paths.finish(|rank| rank);
        let totals = paths.totals(new_ids.into_iter().zip(own));
        Ok(Lines { paths, totals })
    }
}

/// Samples of the stacks of a profile that have more frames than so many.
pub(super) fn deeper_than(profile: &Profile, deepest: usize) -> u64 {
    if deepest == usize::MAX {
        return 0;
    }
    let depths = profile.stacks.paths.fold(0, |depth, _| depth + 1);
    let is_deeper = |count: &&StackCount| depths[profile.stacks.ends[count.stack as usize] as usize] > deepest;
    profile.counts.iter().filter(is_deeper).map(|count| count.samples).sum()
}

/// Lines while they come.
#[derive(Default)]
struct LineCollector<'r> {
    ranks: &'r [[Rank; 2]],
    paths: PathCollector<Rank>,
    /// The samples of each path.
    own: Vec<u64>,
    /// The frames that the last line goes on behind, and the path of each: neighbours have most of them in common.
    last: Vec<(TextId, PathId)>,
}

impl LineCollector<'_> {
    fn add(&mut self, line: &[TextId], samples: u64) {
        let (end, outer) = line.split_last().map_or((None, line), |(end, outer)| (Some(*end), outer));
        let same = self.last.iter().zip(outer).take_while(|((known, _), text)| known == *text).count();
        self.last.truncate(same);
        let mut path = self.last.last().map_or(NOTHING, |(_, path)| *path);
        for &text in &outer[same..] {
            path = self.paths.path(path, self.ranks[text as usize][1]);
            self.last.push((text, path));
        }
        if let Some(end) = end {
            path = self.paths.path(path, self.ranks[end as usize][0]);
        }
        self.own.resize(self.paths.count(), 0);
        self.own[path as usize] += samples;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::paths::StackPaths;
    use crate::paths::tests::paths;
    use crate::profile::{Code, Function, PathFrame};
    use crate::refine::Side;

    /// A profile of these stacks of functions, with their samples, under a few roots or none.
    fn profile(stacks: &[(Vec<usize>, u64)], has_roots: bool) -> Profile {
        const NAMES: [&str; 7] = ["a", "a b", "a!", "a;b", "b", "b 3", "largest"];
        let functions = NAMES.map(|name| Function::new(name.into(), "".into(), Code::User));
        let frame = |&function: &usize| PathFrame::new(function as u32, false, false);
        let frames: Vec<Vec<PathFrame>> = stacks.iter().map(|(stack, _)| stack.iter().map(frame).collect()).collect();
        let counts = (0..).zip(stacks).map(|(place, (stack, samples))| StackCount {
            root: has_roots.then_some(stack.len() as u32 % 3),
            stack: place,
            samples: *samples,
        });
        let (paths, ends) = paths(&frames);
        Profile {
            functions: functions.to_vec(),
            stacks: StackPaths { paths, ends },
            roots: ["main", "main b", "other"].map(str::to_owned).to_vec(),
            counts: counts.collect(),
            samples: stacks.iter().map(|(_, samples)| samples).sum(),
            ..Profile::default()
        }
    }

    /// The frames of a drawing of these lines: text, depth, where each begins, and its samples.
    fn frames(lines: &[(String, u64)], fewest: f64) -> Vec<(String, u64, u64)> {
        let mut frames: Vec<(String, u64, u64)> = Vec::new();
        let (mut last, mut start) = (Vec::new(), 0);
        for (line, samples) in lines {
            let texts: Vec<&str> = line.split(';').collect();
            let shared = texts.iter().zip(&last).take_while(|(one, other)| one == other).count();
            last.truncate(shared);
            for (depth, text) in texts.iter().enumerate() {
                match last.get(depth).is_some() {
                    true => {
                        let place = format!("{depth} {text}");
                        let open = frames.iter_mut().rev().find(|(other, ..)| *other == place);
                        open.into_iter().for_each(|(.., sum)| *sum += samples);
                    }
                    false => {
                        last.push(*text);
                        frames.push((format!("{depth} {text}"), start, *samples));
                    }
                }
            }
            start += samples;
        }
        frames.retain(|(.., samples)| *samples as f64 >= fewest);
        frames
    }

    /// All lines that are handed over.
    fn lines_of(
        hand_over: impl FnOnce(&mut dyn FnMut(&str, u64) -> io::Result<()>) -> io::Result<()>,
    ) -> Vec<(String, u64)> {
        let mut lines = Vec::new();
        let all = hand_over(&mut |line, samples| {
            lines.push((line.to_owned(), samples));
            Ok(())
        });
        assert!(all.is_ok());
        lines
    }

    /// Where a line is refused, no other is made.
    #[test]
    fn nothing_follows_what_is_refused() {
        let profile = profile(&[(vec![0], 1), (vec![1], 1), (vec![2], 1), (vec![4], 1)], false);
        let mut lines = 0;
        let outcome = StackLines::of(&profile, Annotations::All).each(|_, _| {
            lines += 1;
            if lines < 2 { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
        });
        assert_eq!((outcome.map_err(|error| error.kind()), lines), (Err(io::ErrorKind::StorageFull), 2));
    }

    /// Stacks whose frames are too many at once are refused. Where each begins with another frame, they are not at once, and those of a
    /// beginning that is left out are not looked at.
    #[test]
    fn frames_that_are_not_shared() {
        let profile = profile(&[(vec![0, 1, 2], 1), (vec![0, 2, 2], 1), (vec![1, 1, 2], 1), (vec![2, 1, 2], 1)], false);
        let with_room = |max_paths| StackLines { max_paths, ..StackLines::of(&profile, Annotations::All) };
        let refused = with_room(4).each(|_, _| Ok(()));
        assert!(refused.is_err_and(|error| error.to_string().contains("--max-depth")));
        assert!(with_room(5).each(|_, _| Ok(())).is_ok());
        assert!(with_room(0).drawn(3.0, |_, _| Ok(())).is_ok());
    }

    /// A line of gigabytes is refused before it is made.
    #[test]
    fn a_line_without_end() {
        let mut profile = profile(&[(vec![0; 2_100], 1)], false);
        profile.functions[0].name = "x".repeat(1 << 20).into();
        let lines = |deepest| StackLines::no_deeper(&profile, Annotations::All, deepest).each(|_, _| Ok(()));
        assert!(lines(usize::MAX).is_err_and(|error| error.to_string().contains("more than 2 GiB")));
        assert!(lines(2).is_ok());
    }

    fn stacks() -> impl Strategy<Value = Vec<(Vec<usize>, u64)>> {
        proptest::collection::vec((proptest::collection::vec(0usize..7, 0..6), 1u64..50), 1..40)
    }

    fn side() -> impl Strategy<Value = Option<Side>> {
        prop_oneof![Just(None), Just(Some(Side::Callers)), Just(Some(Side::Callees))]
    }

    proptest! {
        /// Lines come in the order of their text, each once, whatever separates names and ends them.
        #[test]
        fn lines_are_in_the_order_of_their_text(stacks in stacks(), has_roots: bool, side in side()) {
            let profile = Profile { side, ..profile(&stacks, has_roots) };
            let mut expected: BTreeMap<String, u64> = BTreeMap::new();
            let mut frames = Vec::new();
            for count in &profile.counts {
                profile.show(count.stack, &mut frames);
                let path = frames.iter().map(|frame| &*profile.functions[frame.function() as usize].name);
                let line: Vec<_> = profile.root(count).into_iter().chain(path).map(escape::folded_frame).collect();
                *expected.entry(line.join(";")).or_default() += count.samples;
            }
            let lines = lines_of(|line| StackLines::of(&profile, Annotations::All).each(line));
            prop_assert_eq!(lines, expected.into_iter().collect::<Vec<_>>());
        }

        /// Lines that are no deeper are those of stacks without the frames below, each once; how many samples these have is known.
        #[test]
        fn lines_end_at_a_depth(stacks in stacks(), deepest in 1usize..7, has_roots: bool) {
            let cut = |(stack, samples): &(Vec<usize>, u64)| (stack[..deepest.min(stack.len())].to_vec(), *samples);
            let (mut whole, mut shortened) = (profile(&stacks, has_roots), profile(&stacks.iter().map(cut).collect::<Vec<_>>(), has_roots));
            // Roots are by the lengths of stacks.
            whole.counts.iter_mut().chain(&mut shortened.counts).for_each(|count| count.root = count.root.map(|_| 0));
            let lines = StackLines::no_deeper(&whole, Annotations::All, deepest);
            let expected = lines_of(|line| StackLines::of(&shortened, Annotations::All).each(line));
            prop_assert_eq!(lines_of(|line| lines.each(line)), expected);
            let texts = |lines: &StackLines<'_>| lines.texts().map(str::to_owned).collect::<BTreeSet<_>>();
            prop_assert_eq!(texts(&lines), texts(&StackLines::of(&shortened, Annotations::All)));
            let deeper = stacks.iter().filter(|(stack, _)| stack.len() > deepest).map(|(_, samples)| samples);
            prop_assert_eq!(deeper_than(&whole, deepest), deeper.sum::<u64>());
        }

        /// A drawing of fewer lines has the same frames at the same places, and its lines are in order.
        #[test]
        fn what_is_left_out_does_not_show(stacks in stacks(), has_roots: bool, side in side(), fewest in 0f64..100.0) {
            let profile = Profile { side, ..profile(&stacks, has_roots) };
            let lines = StackLines::of(&profile, Annotations::All);
            let all = lines_of(|line| lines.each(line));
            let drawn = lines_of(|line| lines.drawn(fewest, line));
            prop_assert!(drawn.is_sorted_by(|(a, _), (b, _)| a < b), "{:?}", drawn);
            prop_assert_eq!(frames(&drawn, fewest), frames(&all, fewest));
        }
    }
}
