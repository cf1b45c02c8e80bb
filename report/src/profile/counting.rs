//! Samples added up: of stacks, places, functions and lines.

use std::cmp::Reverse;
use std::sync::Arc;

use foldhash::HashMap;

use super::{Function, PathFrame};
use crate::stacks::Stacks;
use crate::symbols::{FunctionId, Names};

pub(super) fn samples_by_stack(stacks: &Stacks) -> Vec<u64> {
    let mut samples = vec![0; stacks.stacks.len()];
    for count in &stacks.counts {
        if let Some(samples) = samples.get_mut(count.stack as usize) {
            *samples += count.samples;
        }
    }
    samples
}

/// For each function, the last stack in which it was seen.
struct LastSeen(Vec<usize>);

impl LastSeen {
    fn of(functions: &[Function]) -> Self {
        Self(vec![usize::MAX; functions.len()])
    }

    /// Whether a function was not yet seen in this stack.
    fn is_new(&mut self, place: usize, stack: usize) -> bool {
        std::mem::replace(&mut self.0[place], stack) != stack
    }
}

/// Adds up self and total; a function that appears several times in a stack counts once.
/// `places` are those of the paths' functions in `functions`.
pub(super) fn count(
    functions: &mut [Function],
    places: impl Fn(FunctionId) -> usize,
    paths: &[Vec<PathFrame>],
    stack_samples: &[u64],
) {
    let [mut seen, mut inlined, mut guessed] = [(); 3].map(|()| LastSeen::of(functions));
    for (stack, (path, &samples)) in
        paths.iter().zip(stack_samples).enumerate().filter(|(_, (_, samples))| **samples > 0)
    {
        for frame in path {
            let place = places(frame.function());
            let function = &mut functions[place];
            if seen.is_new(place, stack) {
                function.total_samples += samples;
            }
            if frame.inlined() && inlined.is_new(place, stack) {
                function.inlined_samples += samples;
            }
            if frame.guessed() && guessed.is_new(place, stack) {
                function.guessed_samples += samples;
            }
        }
        if let Some(innermost) = path.last() {
            functions[places(innermost.function())].self_samples += samples;
        }
    }
}

/// Gives each function the line that most of its frames were at; the first such line of several.
pub(super) fn find_lines(functions: &mut [Function], names: &Names, location_samples: &[u64]) {
    let mut lines: HashMap<(FunctionId, &Arc<str>, u32), u64> = HashMap::default();
    for (frames, &samples) in names.locations.iter().zip(location_samples) {
        for frame in frames {
            if let (Some(file), Some(line)) = (&frame.file, frame.line) {
                *lines.entry((frame.function, file, line)).or_default() += samples;
            }
        }
    }
    let mut most = vec![(0, None); functions.len()];
    for ((function, file, line), samples) in lines.into_iter().filter(|(_, samples)| *samples > 0) {
        let most = &mut most[function as usize];
        *most = (samples, Some(Reverse((file, line)))).max(*most);
    }
    for (function, (_, line)) in functions.iter_mut().zip(most) {
        if let Some(Reverse((file, line))) = line {
            (function.file, function.line) = (Some(file.clone()), Some(line));
        }
    }
}
