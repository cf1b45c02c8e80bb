//! Samples added up: of stacks, places, functions and lines.

use std::cmp::Reverse;
use std::sync::Arc;

use foldhash::HashMap;

use super::{Function, PathFrame};
use crate::paths::StackPaths;
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

/// Adds up self and total; a function that appears several times in a stack counts once.
/// `places` are those of the paths' functions in `functions`.
pub(super) fn count(
    functions: &mut [Function],
    places: impl Fn(FunctionId) -> usize,
    stacks: &StackPaths<PathFrame>,
    stack_samples: &[u64],
) {
    let totals = stacks.totals(stack_samples);
    let of = |is_counted: fn(PathFrame) -> bool| {
        let place = |frame: PathFrame| is_counted(frame).then(|| places(frame.function()));
        stacks.paths.samples_by(functions.len(), &totals, place)
    };
    let [all, inlined, guessed] = [of(|_| true), of(PathFrame::inlined), of(PathFrame::guessed)];
    for (place, function) in functions.iter_mut().enumerate() {
        function.total_samples += all[place];
        function.inlined_samples += inlined[place];
        function.guessed_samples += guessed[place];
    }
    for (stack, samples) in stack_samples.iter().enumerate() {
        if let Some(innermost) = stacks.from_innermost(stack).next() {
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
