//! Paths that share their beginnings, each of which is kept once: stacks from their outermost frames on.
//!
//! ```text
//! main─┬─parse───read        1 main, 2 parse, 3 read, 4 work; 0 is the path of nothing
//!      └─work                path 3 is main, parse, read
//! ```
//!
//! Numbers are in the order of a walk through the tree: what begins with a path follows it at once. So sums over all paths take one
//! look at each number.

use std::hash::Hash;

use foldhash::HashMap;

/// A path, by the number of its last value.
pub type PathId = u32;

/// The path of nothing, with which all others begin.
pub const NOTHING: PathId = 0;

/// Paths in the order of a walk.
#[derive(Clone, Debug)]
pub struct Paths<T> {
    /// Of path 1 and all that follow.
    steps: Vec<Step<T>>,
}

/// The last value of a path, and what is before it.
#[derive(Clone, Copy, Debug)]
struct Step<T> {
    before: PathId,
    value: T,
}

impl<T> Default for Paths<T> {
    fn default() -> Self {
        Self { steps: Vec::new() }
    }
}

impl<T: Copy> Paths<T> {
    /// How many numbers there are, with that of [`NOTHING`].
    pub fn count(&self) -> usize {
        self.steps.len() + 1
    }

    /// The values of a path, the last one first.
    pub fn from_last(&self, path: PathId) -> impl Iterator<Item = T> + '_ {
        let step = |path: PathId| self.steps.get((path as usize).checked_sub(1)?);
        std::iter::successors(step(path), move |last| step(last.before)).map(|step| step.value)
    }

    /// Each path as its number, what is before its last value, and that.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (PathId, PathId, T)> + '_ {
        self.steps.iter().enumerate().map(|(place, step)| (place as PathId + 1, step.before, step.value))
    }

    /// What becomes of each path, by its number, from what became of that before its last value.
    pub fn fold<S>(&self, nothing: S, mut next: impl FnMut(&S, T) -> S) -> Vec<S> {
        let mut states = Vec::with_capacity(self.count());
        states.push(nothing);
        for step in &self.steps {
            states.push(next(&states[step.before as usize], step.value));
        }
        states
    }

    /// For each path, the samples of it and of all that begin with it.
    pub fn totals(&self, own: impl IntoIterator<Item = (PathId, u64)>) -> Vec<u64> {
        let mut totals = vec![0; self.count()];
        own.into_iter().for_each(|(path, samples)| totals[path as usize] += samples);
        for (path, before, _) in self.iter().rev() {
            totals[before as usize] += totals[path as usize];
        }
        totals
    }

    /// The samples of the paths in which a key is, for each of so many keys; a path that has it several times counts once.
    pub fn samples_by(&self, keys: usize, totals: &[u64], key: impl Fn(T) -> Option<usize>) -> Vec<u64> {
        let mut samples = vec![0; keys];
        let mut times = vec![0u32; keys];
        let mut open: Vec<(PathId, Option<usize>)> = Vec::new();
        for (path, before, value) in self.iter() {
            while let Some((_, closed)) = open.pop_if(|(last, _)| *last != before) {
                closed.into_iter().for_each(|key| times[key] -= 1);
            }
            let key = key(value).filter(|key| *key < keys);
            if let Some(key) = key {
                samples[key] += if times[key] == 0 { totals[path as usize] } else { 0 };
                times[key] += 1;
            }
            open.push((path, key));
        }
        samples
    }
}

/// Stacks by their numbers, each of which is a path from its outermost frame on.
#[derive(Clone, Debug)]
pub struct StackPaths<T> {
    /// All of them, and their beginnings.
    pub paths: Paths<T>,
    /// Which path each stack is.
    pub ends: Vec<PathId>,
}

impl<T> Default for StackPaths<T> {
    fn default() -> Self {
        Self { paths: Paths::default(), ends: Vec::new() }
    }
}

impl<T: Copy> StackPaths<T> {
    /// The frames of a stack, innermost first.
    pub fn from_innermost(&self, stack: usize) -> impl Iterator<Item = T> + '_ {
        self.paths.from_last(self.ends.get(stack).copied().unwrap_or(NOTHING))
    }

    /// For each path, the samples of the stacks that begin with it.
    pub fn totals(&self, stack_samples: &[u64]) -> Vec<u64> {
        self.paths.totals(self.ends.iter().copied().zip(stack_samples.iter().copied()))
    }
}

/// Paths while they come, in the order in which they do.
#[derive(Debug)]
pub struct PathCollector<T> {
    steps: Vec<Step<T>>,
    known: HashMap<(PathId, T), PathId>,
}

impl<T> Default for PathCollector<T> {
    fn default() -> Self {
        Self { steps: Vec::new(), known: HashMap::default() }
    }
}

impl<T: Copy + Eq + Hash> PathCollector<T> {
    /// How many numbers there are, with that of [`NOTHING`].
    pub fn count(&self) -> usize {
        self.steps.len() + 1
    }

    /// The number of a path that goes on with a value.
    pub fn path(&mut self, before: PathId, value: T) -> PathId {
        let Self { steps, known } = self;
        *known.entry((before, value)).or_insert_with(|| {
            steps.push(Step { before, value });
            steps.len() as PathId
        })
    }

    /// The same, where it is known.
    pub fn known(&self, before: PathId, value: T) -> Option<PathId> {
        self.known.get(&(before, value)).copied()
    }

    /// What is before the last value of a path, and that.
    pub fn step(&self, path: PathId) -> Option<(PathId, T)> {
        let step = self.steps.get((path as usize).checked_sub(1)?)?;
        Some((step.before, step.value))
    }

    /// How many values each path has.
    pub fn depths(&self) -> Vec<u32> {
        let mut depths = vec![0; self.count()];
        for (path, step) in (1..).zip(&self.steps) {
            depths[path] = depths[step.before as usize] + 1;
        }
        depths
    }

    /// The paths with other values, in the order of these, and for each old number the new one.
    pub fn finish<U: Copy + Ord>(self, mut value: impl FnMut(T) -> U) -> (Paths<U>, Vec<PathId>) {
        drop(self.known);
        let steps = self.steps.into_iter().map(|step| Step { before: step.before, value: value(step.value) });
        in_order(steps.collect())
    }
}

/// Brings steps, each of which comes after what is before it, into the order of a walk, by their values; and gives for each old number
/// the new one.
fn in_order<T: Copy + Ord>(steps: Vec<Step<T>>) -> (Paths<T>, Vec<PathId>) {
    // What goes on from a path: a range of `next` for each, the ends of which are in `ends`.
    let mut ends = vec![0u32; steps.len() + 1];
    steps.iter().for_each(|step| ends[step.before as usize] += 1);
    let mut sum = 0;
    for end in &mut ends {
        sum += std::mem::replace(end, sum);
    }
    let mut next = vec![NOTHING; steps.len()];
    for (place, step) in steps.iter().enumerate() {
        let end = &mut ends[step.before as usize];
        next[*end as usize] = place as PathId + 1;
        *end += 1;
    }
    let range = |path: PathId| {
        let start = (path as usize).checked_sub(1).map_or(0, |before| ends[before]);
        start as usize..ends[path as usize] as usize
    };
    let value = |path: &PathId| steps[*path as usize - 1].value;
    let mut new_ids = vec![NOTHING; steps.len() + 1];
    let mut ordered = Vec::with_capacity(steps.len());
    // The last of it comes first.
    let mut open = Vec::new();
    let mut current = NOTHING;
    loop {
        let goes_on = &mut next[range(current)];
        goes_on.sort_unstable_by_key(value);
        open.extend(goes_on.iter().rev());
        let Some(path) = open.pop() else { break };
        let Step { before, value } = steps[path as usize - 1];
        ordered.push(Step { before: new_ids[before as usize], value });
        new_ids[path as usize] = ordered.len() as PathId;
        current = path;
    }
    (Paths { steps: ordered }, new_ids)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// Paths of these values, the first one outermost, and the number of each.
    pub(crate) fn paths<T: Copy + Ord + Hash>(all: &[Vec<T>]) -> (Paths<T>, Vec<PathId>) {
        let mut collector = PathCollector::default();
        let mut end = |path: &Vec<T>| path.iter().fold(NOTHING, |before, value| collector.path(before, *value));
        let ends: Vec<PathId> = all.iter().map(&mut end).collect();
        let (paths, new_ids) = collector.finish(|value| value);
        (paths, ends.iter().map(|end| new_ids[*end as usize]).collect())
    }

    /// The tree of the head of this file.
    #[test]
    fn beginnings_are_kept_once() {
        let (paths, ends) = paths(&[vec!['m', 'w'], vec!['m', 'p', 'r'], vec!['m'], vec![]]);
        assert_eq!((paths.count(), ends), (5, vec![4, 3, 1, 0]));
        assert_eq!(paths.from_last(3).collect::<String>(), "rpm");
        assert_eq!(paths.totals([(4, 5), (3, 2), (1, 1)]), [8, 8, 2, 2, 5]);
    }

    proptest! {
        /// Whatever the paths and their order: each is what it was, and sums are those of the paths one by one.
        #[test]
        fn paths_are_what_they_were(all in proptest::collection::vec(proptest::collection::vec(0u8..5, 0..7), 0..30)) {
            let (paths, ends) = paths(&all);
            for (path, end) in all.iter().zip(&ends) {
                prop_assert!(paths.from_last(*end).eq(path.iter().rev().copied()));
            }
            let mut beginnings: BTreeMap<&[u8], u64> = BTreeMap::new();
            let mut with_value = vec![0u64; 5];
            for path in &all {
                (0..=path.len()).for_each(|length| *beginnings.entry(&path[..length]).or_default() += 1);
                path.iter().collect::<BTreeSet<_>>().iter().for_each(|value| with_value[usize::from(**value)] += 1);
            }
            let totals = paths.totals(ends.iter().map(|end| (*end, 1)));
            // The order of a walk is that of the text.
            prop_assert_eq!(&totals[1..], &beginnings.into_values().skip(1).collect::<Vec<_>>()[..]);
            prop_assert_eq!(paths.samples_by(5, &totals, |value| Some(usize::from(value))), with_value);
            let lengths = paths.fold(0, |length, _| length + 1);
            prop_assert!(all.iter().zip(&ends).all(|(path, end)| lengths[*end as usize] == path.len()));
        }
    }
}
