//! The refinement of one recording's stacks.

use anyhow::{Result, bail};

use super::{FunctionPattern, Pattern, Refinement, Side, nearest};
use crate::evidence::Evidence;
use crate::stacks::{Frame, Stacks};
use crate::symbols::{NamedFrame, Names, home_name};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    pub frames: Vec<&'a NamedFrame>,
    /// For each stack its frames, outermost first.
    pub stacks: Vec<Vec<SeenFrame>>,
    /// What was left out.
    pub left_out: LeftOut,
    /// Options that match nothing in the recording, in words.
    pub notes: Vec<String>,
}

/// For each option that is given, which frames it means.
struct Matches {
    given: Vec<(&'static str, Vec<bool>)>,
}

impl<'a> Selection<'a> {
    /// Refines the stacks, and takes the samples of those out that are left out. Fails when a function is asked for that is not there.
    pub fn of(refinement: &Refinement, stacks: &mut Stacks, names: &'a Names, evidence: &Evidence) -> Result<Self> {
        let (frames, first_frames) = number(names);
        let mut selection = Self { frames, stacks: Vec::new(), left_out: LeftOut::default(), notes: Vec::new() };
        let matches = selection.matches(refinement, stacks, names, evidence)?;
        let mut refused = vec![None; stacks.stacks.len()];
        let mut frames = Vec::new();
        for (stack, refused) in stacks.stacks.iter().zip(&mut refused) {
            frames.clear();
            frames.extend(stacks.frames(stack));
            let mut seen = seen(&frames, names, &first_frames);
            *refused = matches.refine(&mut seen).err();
            selection.stacks.push(if refused.is_none() { seen } else { Vec::new() });
        }
        selection.left_out.0 = matches.given.iter().map(|(option, _)| (*option, 0)).collect();
        stacks.counts.retain(|count| match refused.get(count.stack as usize).copied().flatten() {
            Some(option) => {
                selection.left_out.add(option, count.samples);
                false
            }
            None => true,
        });
        stacks.samples = stacks.counts.iter().map(|count| count.samples).sum();
        Ok(selection)
    }

    fn matches(
        &mut self,
        refinement: &Refinement,
        stacks: &Stacks,
        names: &Names,
        evidence: &Evidence,
    ) -> Result<Matches> {
        let Refinement { focus, ignore, hide, show, root, around } = refinement;
        let mut matches = Matches { given: Vec::new() };
        let patterns = [("focus", focus), ("ignore", ignore), ("hide", hide), ("show", show), ("root", root)];
        let patterns = patterns.iter().filter_map(|(option, pattern)| Some((*option, pattern.as_ref()?)));
        let patterns: Vec<(&'static str, &Pattern)> = patterns.collect();
        let asked = names.functions.iter().filter(|_| !patterns.is_empty());
        let modules: Vec<String> = asked.map(|function| home_name(&function.home, evidence)).collect();
        for (option, pattern) in patterns {
            let found = self.frames_of_pattern(pattern, names, &modules);
            if !found.contains(&true) {
                self.notes.push(format!("--{option} matches no function, source file or module here"));
            }
            matches.given.push((option, found));
        }
        if let Some(around) = around {
            let functions = around.function.find(names.functions.iter().map(|function| &*function.name));
            if !functions.contains(&true) {
                bail!(missing(&around.function, around.side, stacks, names));
            }
            let found = self.frames.iter().map(|frame| functions[frame.function as usize]).collect();
            matches.given.push((around.side.name(), found));
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

/// Every frame of every location, and for each location which of them is its first.
fn number(names: &Names) -> (Vec<&NamedFrame>, Vec<u32>) {
    let mut frames = Vec::new();
    let mut first_frames = Vec::with_capacity(names.locations.len());
    for location in &names.locations {
        first_frames.push(frames.len() as u32);
        frames.extend(location);
    }
    (frames, first_frames)
}

/// The frames of a stack that are given innermost first: outermost first, inlined functions after those that they were inlined into.
fn seen(frames: &[Frame], names: &Names, first_frames: &[u32]) -> Vec<SeenFrame> {
    let inner = |frame: &Frame| names.locations.get(frame.location() as usize).map_or(0, Vec::len);
    let mut seen = Vec::with_capacity(frames.iter().map(inner).sum());
    for frame in frames.iter().rev() {
        let place = frame.location() as usize;
        if let (Some(&first), Some(location)) = (first_frames.get(place), names.locations.get(place)) {
            let inner_first = first..first + location.len() as u32;
            seen.extend(inner_first.rev().map(|number| SeenFrame::new(number, frame.guessed())));
        }
    }
    seen
}

impl Matches {
    /// Takes frames out of a stack, or says by which option all of it goes.
    fn refine(&self, seen: &mut Vec<SeenFrame>) -> Result<(), &'static str> {
        for (option, frames) in &self.given {
            let matches = |seen: &SeenFrame| frames[seen.frame() as usize];
            let was_empty = seen.is_empty();
            let stays = match *option {
                "focus" => seen.iter().any(matches),
                "ignore" => !seen.iter().any(matches),
                "hide" => {
                    seen.retain(|seen| !matches(seen));
                    was_empty || !seen.is_empty()
                }
                "show" => {
                    seen.retain(matches);
                    !seen.is_empty()
                }
                from => {
                    let outermost = seen.iter().position(matches);
                    match outermost {
                        Some(place) if from == Side::Callers.name() => seen.truncate(place + 1),
                        Some(place) => drop(seen.drain(..place)),
                        None => {}
                    }
                    outermost.is_some()
                }
            };
            if !stays {
                return Err(option);
            }
        }
        Ok(())
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
    use crate::stacks::{Count, Location, Stack, Verdict};
    use crate::symbols::{Function, Home};

    /// One stack: `outer` has `inner` of a header inlined.
    fn stacks() -> (Stacks, Names) {
        let function = |name: &str| Function { name: name.into(), home: Home::Outside, unnamed: false };
        let frame =
            |function, file: &str, inlined| NamedFrame { function, file: Some(file.into()), line: Some(1), inlined };
        let mut names = Names::default();
        names.functions = vec![function("outer"), function("inner")];
        names.locations = vec![vec![frame(1, "/usr/include/map.h", true), frame(0, "/src/main.c", false)]];
        let (paths, ends) = paths(&[vec![Frame::new(0, true)]]);
        let stack = Stack { end: ends[0], verdict: Verdict::Complete };
        let count = Count { comm: "c".into(), pid: 1, tid: 1, cpu: None, cgroup: "".into(), stack: 0, samples: 5 };
        let locations = vec![Location::Process { pid: 1, address: 8 }];
        (Stacks { locations, paths, stacks: vec![stack], counts: vec![count], samples: 5, ..Stacks::default() }, names)
    }

    fn refined(refinement: &Refinement) -> (Vec<String>, u64) {
        let (mut stacks, names) = stacks();
        let selection = Selection::of(refinement, &mut stacks, &names, &Evidence::default()).unwrap();
        assert!(selection.stacks[0].iter().all(|seen| seen.guessed()));
        let frames = selection.stacks[0].iter().map(|seen| selection.frames[seen.frame() as usize]);
        (frames.map(|frame| names.functions[frame.function as usize].name.to_string()).collect(), stacks.samples)
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
