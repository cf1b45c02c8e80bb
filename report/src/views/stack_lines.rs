//! Stacks as lines of text, in the order of their text, each made only when it is needed: all of them together can be
//! gigabytes, while the stacks themselves are numbers.
//!
//! ```text
//! main;a      a line ends with a frame, or goes on behind it: the text of a frame has a rank for either,
//! main;a b    because there may be other lines between the two
//! main;a;c
//! ```

use std::io;

use foldhash::HashMap;

use crate::escape;
use crate::profile::{Code, PathFrame, Profile};

/// Which frames are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Annotations {
    /// Kernel frames and guessed frames.
    Few,
    /// JIT frames (`_[j]`) and inlined frames (`_[i]`) too, to be told apart in a flame graph.
    All,
}

/// What stands behind the names of frames.
const MARKS: [&str; 5] = ["", "_[k]", "_[g]", "_[j]", "_[i]"];

/// A number of a frame's text.
type TextId = u32;

/// All stacks of a profile. They are brought into order as far as lines are made.
pub(super) struct StackLines<'p> {
    profile: &'p Profile,
    annotations: Annotations,
    /// Frames of a stack that lines have at most, besides its root.
    deepest: usize,
    texts: Vec<String>,
    /// For each text its place in the order of all, where a line ends with it, and where it goes on.
    ranks: Vec<[u32; 2]>,
    /// For each function, its text with each mark.
    of_functions: Vec<[TextId; MARKS.len()]>,
    stacks: Vec<FoldedStack>,
}

/// A stack under a root, and its samples.
#[derive(Clone, Copy)]
struct FoldedStack {
    root: Option<TextId>,
    path: usize,
    samples: u64,
}

impl<'p> StackLines<'p> {
    /// The stacks of a profile.
    pub(super) fn of(profile: &'p Profile, annotations: Annotations) -> Self {
        Self::no_deeper(profile, annotations, usize::MAX)
    }

    /// The same, of each stack no more than its first frames, so many.
    pub(super) fn no_deeper(profile: &'p Profile, annotations: Annotations, deepest: usize) -> Self {
        let mut texts = Texts::default();
        let stacks = profile.counts.iter().map(|count| {
            // A line does not begin with a frame without a name.
            let root = count.root.as_deref().filter(|root| !root.is_empty());
            let root = root.map(|root| texts.number(escape::folded_frame(root).into_owned()));
            FoldedStack { root, path: count.path, samples: count.samples }
        });
        let stacks = stacks.collect();
        let of_functions = vec![[NO_TEXT; MARKS.len()]; profile.functions.len()];
        let (numbered, ranks) = Default::default();
        let mut lines = Self { profile, annotations, deepest, texts: numbered, ranks, of_functions, stacks };
        lines.number_frames(&mut texts);
        lines.ranks = texts.ranks();
        lines.texts = texts.texts;
        lines
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
    pub(super) fn drawn(&self, fewest: f64, mut hand_over: impl FnMut(&str, u64) -> io::Result<()>) -> io::Result<()> {
        let is_left_out = |samples: u64| (samples as f64) < fewest;
        let mut stacks = self.stacks.clone();
        let mut last = Line::default();
        // Ranges of stacks that begin with the same frames: so many of them. Only the innermost range is in order.
        let mut open = vec![(0..stacks.len(), 0)];
        self.sort(&mut stacks, 0);
        while let Some((range, depth)) = open.pop() {
            let Some(&first) = stacks.get(range.start).filter(|_| !range.is_empty()) else { continue };
            let text = self.frame(&first, depth);
            let rest = stacks[range.clone()].iter();
            let same = range.start..range.start + rest.take_while(|stack| self.frame(stack, depth) == text).count();
            let samples = stacks[same.clone()].iter().map(|stack| stack.samples).sum();
            open.push((same.end..range.end, depth));
            let (goes_on, is_one) = (self.frame(&stacks[same.end - 1], depth + 1).is_some(), same.len() == 1);
            if text.is_some() && !is_left_out(samples) && !is_one {
                self.sort(&mut stacks[same.clone()], depth + 1);
                open.push((same, depth + 1));
                last.takes_more_at = None;
            } else if last.takes_more_at == Some(depth) && is_left_out(last.samples + samples) {
                last.samples += samples;
            } else {
                last.hand_over(&mut hand_over)?;
                let frames = if is_left_out(samples) { depth + 1 } else { usize::MAX };
                self.write(&first, frames, &mut last.text);
                last.samples = samples;
                // Otherwise the same frame may come again, behind others, and must not be joined to this one.
                last.takes_more_at = (goes_on && is_left_out(samples)).then_some(depth);
            }
        }
        last.hand_over(&mut hand_over)
    }

    /// Brings stacks that begin with the same frames into the order of their next one.
    fn sort(&self, stacks: &mut [FoldedStack], depth: usize) {
        let rank = |stack: &FoldedStack| {
            let text = self.frame(stack, depth)?;
            Some(self.ranks[text as usize][usize::from(self.frame(stack, depth + 1).is_some())])
        };
        let first = stacks.first().map(rank);
        if stacks.iter().any(|stack| Some(rank(stack)) != first) {
            stacks.sort_by_cached_key(rank);
        }
    }

    fn number_frames(&mut self, texts: &mut Texts) {
        for stack in &self.stacks {
            for frame in self.profile.shown(stack.path).take(self.deepest) {
                let mark = self.mark(frame);
                let text = &mut self.of_functions[frame.function() as usize][mark];
                if *text == NO_TEXT {
                    let name = &self.profile.functions[frame.function() as usize].name;
                    *text = texts.number(escape::folded_frame(name).into_owned() + MARKS[mark]);
                }
            }
        }
    }

    /// The place in [`MARKS`] of what stands behind a frame's name.
    fn mark(&self, frame: &PathFrame) -> usize {
        match (self.profile.functions[frame.function() as usize].code, self.annotations) {
            (Code::Kernel, _) => 1,
            _ if frame.guessed() => 2,
            (_, Annotations::Few) => 0,
            (Code::Jit, _) => 3,
            _ if frame.inlined() => 4,
            _ => 0,
        }
    }

    /// The texts of a stack's frames.
    fn frames(&self, stack: &FoldedStack) -> impl Iterator<Item = TextId> + '_ {
        let shown = self.profile.shown(stack.path).take(self.deepest);
        let frames = shown.map(|frame| self.of_functions[frame.function() as usize][self.mark(frame)]);
        stack.root.into_iter().chain(frames)
    }

    /// The text of a frame; `None` behind the last.
    fn frame(&self, stack: &FoldedStack, depth: usize) -> Option<TextId> {
        let depth = match (stack.root, depth) {
            (Some(root), 0) => return Some(root),
            (Some(_), depth) => depth - 1,
            (None, depth) => depth,
        };
        let frame = self.profile.shown(stack.path).nth(depth).filter(|_| depth < self.deepest)?;
        Some(self.of_functions[frame.function() as usize][self.mark(frame)])
    }

    /// Writes the first frames of a stack; where it goes on, a separator ends them.
    fn write(&self, stack: &FoldedStack, frames: usize, line: &mut String) {
        for (place, text) in self.frames(stack).enumerate() {
            if !line.is_empty() {
                line.push(';');
            }
            if place == frames {
                break;
            }
            line.push_str(&self.texts[text as usize]);
        }
    }
}

/// Samples of the stacks of a profile that have more frames than so many.
pub(super) fn deeper_than(profile: &Profile, deepest: usize) -> u64 {
    let counts = profile.counts.iter().filter(|count| profile.shown(count.path).nth(deepest).is_some());
    counts.map(|count| count.samples).sum()
}

/// A line that may take in more samples.
#[derive(Default)]
struct Line {
    text: String,
    samples: u64,
    /// It is of a frame that is left out, at this depth.
    takes_more_at: Option<usize>,
}

impl Line {
    fn hand_over(&mut self, hand_over: &mut impl FnMut(&str, u64) -> io::Result<()>) -> io::Result<()> {
        let outcome = if self.samples > 0 { hand_over(&self.text, self.samples) } else { Ok(()) };
        self.text.clear();
        outcome
    }
}

/// What has no number yet.
const NO_TEXT: TextId = TextId::MAX;

/// Texts while they are being numbered.
#[derive(Default)]
struct Texts {
    texts: Vec<String>,
    known: HashMap<String, TextId>,
}

impl Texts {
    fn number(&mut self, text: String) -> TextId {
        if let Some(&known) = self.known.get(&text) {
            return known;
        }
        let number = self.texts.len() as TextId;
        self.texts.push(text.clone());
        self.known.insert(text, number);
        number
    }

    /// For each text its rank where a line ends with it, and where a separator follows.
    fn ranks(&self) -> Vec<[u32; 2]> {
        let all = self.texts.iter().enumerate();
        let mut order: Vec<(usize, bool)> = all.flat_map(|(text, _)| [(text, false), (text, true)]).collect();
        let bytes = |(text, goes_on): (usize, bool)| self.texts[text].bytes().chain(goes_on.then_some(b';'));
        order.sort_unstable_by(|&a, &b| bytes(a).cmp(bytes(b)));
        let mut ranks = vec![[0; 2]; self.texts.len()];
        for (rank, (text, goes_on)) in order.into_iter().enumerate() {
            ranks[text][usize::from(goes_on)] = rank as u32;
        }
        ranks
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::profile::{Function, PathCount};

    /// A profile of these stacks of functions, with their samples, under one root or none.
    fn profile(stacks: &[(Vec<usize>, u64)]) -> Profile {
        const NAMES: [&str; 7] = ["a", "a b", "a!", "a;b", "b", "b 3", "largest"];
        let functions = NAMES.map(|name| Function::new(name.into(), "".into(), Code::User));
        let frame = |&function: &usize| PathFrame::new(function as u32, false, false);
        let paths = stacks.iter().map(|(stack, _)| stack.iter().map(frame).collect());
        let counts = stacks.iter().enumerate().map(|(path, (stack, samples))| PathCount {
            root: (stack.len() % 2 == 0).then(|| "main".to_owned()),
            path,
            samples: *samples,
        });
        let samples = stacks.iter().map(|(_, samples)| samples).sum();
        Profile {
            functions: functions.to_vec(),
            paths: paths.collect(),
            counts: counts.collect(),
            samples,
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

    /// Lines with their samples.
    type Lines = Vec<(String, u64)>;

    /// All lines that are handed over.
    fn lines_of(hand_over: impl FnOnce(&mut dyn FnMut(&str, u64) -> io::Result<()>) -> io::Result<()>) -> Lines {
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
        let profile = profile(&[(vec![0], 1), (vec![1], 1), (vec![2], 1), (vec![4], 1)]);
        let mut lines = 0;
        let outcome = StackLines::of(&profile, Annotations::All).each(|_, _| {
            lines += 1;
            if lines < 2 { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
        });
        assert_eq!((outcome.map_err(|error| error.kind()), lines), (Err(io::ErrorKind::StorageFull), 2));
    }

    fn stacks() -> impl Strategy<Value = Vec<(Vec<usize>, u64)>> {
        proptest::collection::vec((proptest::collection::vec(0usize..7, 1..6), 1u64..50), 1..40)
    }

    proptest! {
        /// Lines come in the order of their text, each once, whatever separates names and ends them.
        #[test]
        fn lines_are_in_the_order_of_their_text(stacks in stacks()) {
            let profile = profile(&stacks);
            let mut expected: BTreeMap<String, u64> = BTreeMap::new();
            for count in &profile.counts {
                let path = profile.paths[count.path].iter().map(|frame| &*profile.functions[frame.function() as usize].name);
                let line: Vec<_> = count.root.iter().map(String::as_str).chain(path).map(escape::folded_frame).collect();
                *expected.entry(line.join(";")).or_default() += count.samples;
            }
            let lines = lines_of(|line| StackLines::of(&profile, Annotations::All).each(line));
            prop_assert_eq!(lines, expected.into_iter().collect::<Vec<_>>());
        }

        /// Lines that are no deeper are those of stacks without the frames below, each once; how many samples these have is known.
        #[test]
        fn lines_end_at_a_depth(stacks in stacks(), deepest in 1usize..7) {
            let cut = |(stack, samples): &(Vec<usize>, u64)| (stack[..deepest.min(stack.len())].to_vec(), *samples);
            let (mut whole, mut shortened) = (profile(&stacks), profile(&stacks.iter().map(cut).collect::<Vec<_>>()));
            // Roots are by the lengths of stacks.
            whole.counts.iter_mut().chain(&mut shortened.counts).for_each(|count| count.root = Some("main".to_owned()));
            let lines = StackLines::no_deeper(&whole, Annotations::All, deepest);
            let expected = lines_of(|line| StackLines::of(&shortened, Annotations::All).each(line));
            prop_assert_eq!(lines_of(|line| lines.each(line)), expected);
            let deeper = stacks.iter().filter(|(stack, _)| stack.len() > deepest).map(|(_, samples)| samples);
            prop_assert_eq!(deeper_than(&whole, deepest), deeper.sum::<u64>());
        }

        /// A drawing of fewer lines has the same frames at the same places, and its lines are in order.
        #[test]
        fn what_is_left_out_does_not_show(stacks in stacks(), fewest in 0f64..100.0) {
            let profile = profile(&stacks);
            let lines = StackLines::of(&profile, Annotations::All);
            let all = lines_of(|line| lines.each(line));
            let drawn = lines_of(|line| lines.drawn(fewest, line));
            prop_assert!(drawn.is_sorted_by(|(a, _), (b, _)| a < b), "{:?}", drawn);
            prop_assert_eq!(frames(&drawn, fewest), frames(&all, fewest));
        }
    }
}
