//! The refinement of one recording's stacks.

use std::hash::Hash;

use anyhow::{Result, bail};

use super::matching::{Choice, Matches, Met};
use super::{FunctionPattern, Pattern, Refinement, Side, nearest};
use crate::evidence::Evidence;
use crate::paths::{NOTHING, PathCollector, StackPaths};
use crate::stacks::{Frame, Stacks};
use crate::symbols::{NamedFrame, NamedLocations, Names, home_name};

/// Frames of all stacks with inlined functions, where those that stacks share count once: they take up to 4 GB.
const MAX_FRAMES: usize = 1 << 26;
/// That there are more.
const NO_INLINED: &str = "there are more than 67,108,864 frames with functions that were inlined: these are left out, as with --no-inline; \
                          --time, --pid or --comm choose a part";

/// Samples that were left out, by the option that did it, in the order in which they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut(Vec<(&'static str, u64)>);

impl LeftOut {
    /// The options that were given, without dashes, each with what it left out.
    pub fn by_option(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().copied()
    }

    /// Whether no such option was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// By all of them together.
    pub fn samples(&self) -> u64 {
        self.0.iter().map(|(_, samples)| samples).sum()
    }

    fn add(&mut self, option: &'static str, samples: u64) {
        if let Some((_, sum)) = self.0.iter_mut().find(|(known, _)| *known == option) {
            *sum += samples;
        }
    }
}

/// A frame of a stack. There are very many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeenFrame(u32);

impl SeenFrame {
    fn new(frame: u32, guessed: bool) -> Self {
        Self(frame << 1 | u32::from(guessed))
    }

    /// Which of [`Selection::frames`].
    pub fn frame(self) -> u32 {
        self.0 >> 1
    }

    /// Whether it was found by a rule of thumb.
    pub fn guessed(self) -> bool {
        self.0 & 1 != 0
    }
}

/// What is left of a recording's stacks.
pub struct Selection<'a> {
    /// Every distinct frame, with those that were inlined.
    pub frames: &'a [NamedFrame],
    locations: &'a NamedLocations,
    /// Functions that were inlined are frames too.
    has_inlined: bool,
    /// What was left out.
    pub left_out: LeftOut,
    /// Options that match nothing in the recording, and that there is too much, in words.
    pub notes: Vec<String>,
    matches: Matches,
}

impl<'a> Selection<'a> {
    /// Refines the stacks, and takes the samples of those out that are left out. Fails when a function is asked for that is not there.
    pub fn of(refinement: &Refinement, stacks: &mut Stacks, names: &'a Names, evidence: &Evidence) -> Result<Self> {
        Self::no_more(MAX_FRAMES, refinement, stacks, names, evidence)
    }

    /// The same, with inlined functions where there are no more than so many frames.
    fn no_more(
        max_frames: usize,
        refinement: &Refinement,
        stacks: &mut Stacks,
        names: &'a Names,
        evidence: &Evidence,
    ) -> Result<Self> {
        let (frames, locations) = (names.locations.frames(), &names.locations);
        let places = stacks.paths.iter().map(|(.., frame)| locations.places(frame.location() as usize).len());
        let has_inlined = places.sum::<usize>() <= max_frames;
        let notes = (!has_inlined).then(|| NO_INLINED.to_owned()).into_iter().collect();
        let (left_out, matches) = Default::default();
        let mut selection = Self { frames, locations, has_inlined, left_out, notes, matches };
        selection.matches = selection.matches(refinement, stacks, names, evidence)?;
        if !selection.matches.given.is_empty() {
            selection.leave_out(stacks);
        }
        Ok(selection)
    }

    /// Takes the samples of the stacks out that an option leaves out.
    fn leave_out(&mut self, stacks: &mut Stacks) {
        let met = stacks.paths.fold(Met::default(), |&before, frame| {
            let mut met = before;
            for seen in self.seen(frame) {
                self.matches.go_on(&mut met, seen.frame());
            }
            met
        });
        let refusal = |end| self.matches.refusal(met[end as usize]);
        self.left_out.0 = self.matches.given.iter().map(|(choice, _)| (choice.name(), 0)).collect();
        let Stacks { stacks: known, counts, .. } = stacks;
        counts.retain(|count| match known.get(count.stack as usize).and_then(|stack| refusal(stack.end)) {
            Some(option) => {
                self.left_out.add(option, count.samples);
                false
            }
            None => true,
        });
        stacks.samples = stacks.counts.iter().map(|count| count.samples).sum();
    }

    /// The stacks as they are shown, as paths of what `value` makes of their frames. Where `merged` makes one of two neighbours, they are
    /// one. Of stacks that are left out, nothing is shown.
    pub fn paths<T: Copy + Ord + Hash>(
        &self,
        stacks: &Stacks,
        value: impl Fn(SeenFrame) -> T,
        merged: impl Fn(T, T) -> Option<T>,
    ) -> StackPaths<T> {
        let mut collector = PathCollector::default();
        let states = stacks.paths.fold((NOTHING, Met::default()), |&(mut path, mut met), frame| {
            for seen in self.seen(frame).filter(|seen| self.matches.go_on(&mut met, seen.frame())) {
                let next = value(seen);
                let last = collector.step(path).and_then(|(before, last)| Some((before, merged(last, next)?)));
                let (before, last) = last.unwrap_or((path, next));
                path = collector.path(before, last);
            }
            (path, met)
        });
        let (paths, new_ids) = collector.finish(|value| value);
        let end = |(path, met)| if self.matches.refusal(met).is_some() { NOTHING } else { new_ids[path as usize] };
        let ends = stacks.stacks.iter().map(|stack| end(states[stack.end as usize])).collect();
        StackPaths { paths, ends }
    }

    /// The frames at the place of one, inlined functions after those that they were inlined into.
    fn seen(&self, frame: Frame) -> impl Iterator<Item = SeenFrame> + use<> {
        let mut frames = self.locations.places(frame.location() as usize);
        if !self.has_inlined {
            frames.start = frames.start.max(frames.end.saturating_sub(1));
        }
        frames.rev().map(move |number| SeenFrame::new(number, frame.guessed()))
    }

    fn matches(
        &mut self,
        refinement: &Refinement,
        stacks: &Stacks,
        names: &Names,
        evidence: &Evidence,
    ) -> Result<Matches> {
        let Refinement { focus, ignore, hide, show, root, around } = refinement;
        let mut matches = Matches::default();
        let patterns = [
            (Choice::Focus, focus),
            (Choice::Ignore, ignore),
            (Choice::Hide, hide),
            (Choice::Show, show),
            (Choice::Root, root),
        ];
        let patterns = patterns.iter().filter_map(|(choice, pattern)| Some((*choice, pattern.as_ref()?)));
        let patterns: Vec<(Choice, &Pattern)> = patterns.collect();
        let asked = names.functions.iter().filter(|_| !patterns.is_empty());
        let modules: Vec<String> = asked.map(|function| home_name(&function.home, evidence)).collect();
        for (choice, pattern) in patterns {
            let found = self.frames_of_pattern(pattern, names, &modules);
            if !found.contains(&true) {
                let option = choice.name();
                self.notes.push(format!("--{option} matches no function, source file or module here"));
            }
            matches.given.push((choice, found));
        }
        if let Some(around) = around {
            let functions = around.function.find(names.functions.iter().map(|function| &*function.name));
            if !functions.contains(&true) {
                bail!(missing(&around.function, around.side, stacks, names));
            }
            let found = self.frames.iter().map(|frame| functions[frame.function as usize]).collect();
            matches.given.push((Choice::Around(around.side), found));
        }
        Ok(matches)
    }

    /// Which frames an expression means. It is asked once for each function and file.
    fn frames_of_pattern(&self, pattern: &Pattern, names: &Names, modules: &[String]) -> Vec<bool> {
        let functions = names.functions.iter().zip(modules);
        let functions: Vec<bool> =
            functions.map(|(function, module)| pattern.matches(&function.name) || pattern.matches(module)).collect();
        let mut files = foldhash::HashMap::<&str, bool>::default();
        let mut in_file = |file: &'a str| *files.entry(file).or_insert_with(|| pattern.matches(file));
        let frames = self.frames.iter();
        frames
            .map(|frame| functions[frame.function as usize] || frame.file.as_deref().is_some_and(&mut in_file))
            .collect()
    }
}

/// That there is no such function, and which are there.
fn missing(function: &FunctionPattern, side: Side, stacks: &Stacks, names: &Names) -> String {
    let mut samples = vec![0u64; names.functions.len()];
    for (location, count) in names.locations.iter().zip(stacks.samples_by_location()) {
        location.iter().for_each(|frame| samples[frame.function as usize] += count);
    }
    let functions = names.functions.iter().zip(samples).map(|(function, samples)| (&*function.name, samples));
    let meant = nearest::did_you_mean(function.text(), functions);
    format!("--{} {}: no function here has this name, or matches it{meant}", side.name(), function.text())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::paths::tests::paths;
    use crate::stacks::{Count, Location, Stack, Thread, Verdict};
    use crate::symbols::{Function, Home};

    /// One stack: `outer` has `inner` of a header inlined.
    fn stacks() -> (Stacks, Names) {
        let function = |name: &str| Function { name: name.into(), home: Home::Outside, unnamed: false };
        let frame =
            |function, file: &str, inlined| NamedFrame { function, file: Some(file.into()), line: Some(1), inlined };
        let mut names = Names::default();
        names.functions = vec![function("outer"), function("inner")];
        let location = vec![frame(1, "/usr/include/map.h", true), frame(0, "/src/main.c", false)];
        names.locations = [location].into_iter().collect();
        let (paths, ends) = paths(&[vec![Frame::new(0, true)]]);
        let stack = Stack { end: ends[0], verdict: Verdict::Complete };
        let threads = vec![Thread { comm: "c".into(), pid: 1, tid: 1, cpu: None, cgroup: "".into() }];
        let counts = vec![Count { thread: 0, stack: 0, samples: 5 }];
        let locations = vec![Location::Process { pid: 1, address: 8 }];
        let stacks = vec![stack];
        (Stacks { locations, paths, stacks, threads, counts, samples: 5, ..Stacks::default() }, names)
    }

    fn refined(refinement: &Refinement) -> (Vec<String>, u64) {
        let (mut stacks, names) = stacks();
        let selection = Selection::of(refinement, &mut stacks, &names, &Evidence::default()).unwrap();
        let seen = selection.paths(&stacks, |seen| seen, |_, _| None);
        assert!(seen.from_innermost(0).all(|seen| seen.guessed()));
        let frames = seen.from_innermost(0).map(|seen| &selection.frames[seen.frame() as usize]);
        let mut names: Vec<_> = frames.map(|frame| names.functions[frame.function as usize].name.to_string()).collect();
        names.reverse();
        (names, stacks.samples)
    }

    /// Of frames that would be too many with those that were inlined, the function is left that has the code, and it is told.
    #[test]
    fn too_many_inlined_frames() {
        let (mut stacks, names) = stacks();
        let mut selected = |max_frames| {
            let all = Refinement::default();
            let selection = Selection::no_more(max_frames, &all, &mut stacks, &names, &Evidence::default()).unwrap();
            let seen = selection.paths(&stacks, SeenFrame::frame, |_, _| None);
            (seen.from_innermost(0).collect::<Vec<_>>(), selection.notes)
        };
        assert_eq!(selected(2), (vec![0, 1], vec![]));
        assert_eq!(selected(1), (vec![1], vec![NO_INLINED.to_owned()]));
    }

    /// Frames are found by their source files, and an inlined function is a frame of its own, which is as guessed as its place.
    #[test]
    fn inlined_frames_and_files() {
        let pattern = |text: &str| text.parse().ok();
        let all = Refinement::default;
        assert_eq!(refined(&all()), (vec!["outer".to_owned(), "inner".to_owned()], 5));
        assert_eq!(refined(&Refinement { hide: pattern("/usr/include"), ..all() }), (vec!["outer".to_owned()], 5));
        assert_eq!(refined(&Refinement { root: pattern("map.h"), ..all() }), (vec!["inner".to_owned()], 5));
        assert_eq!(refined(&Refinement { hide: pattern("^/"), ..all() }), (vec![], 0));
    }
}
