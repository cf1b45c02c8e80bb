//! One line a stack, for scripts and for other tools: `comm;outermost;...;innermost count`.
//! Kernel frames end in `_[k]`, guessed ones in `_[g]`. Sorted, each stack once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;

use crate::escape;
use crate::profile::{PathCount, PathFrame, Profile};

/// Bytes of the text of all stacks.
const MAX_TEXT: usize = 2 << 30;

/// Refuses a profile whose stacks would be gigabytes of text.
pub fn require_room(profile: &Profile) -> io::Result<()> {
    let length = |count: &PathCount| {
        let names = profile.paths[count.path].iter().map(|frame| &profile.functions[frame.function as usize].name);
        names.fold(count.comm.len(), |sum, name| sum + name.len() + 5)
    };
    if profile.counts.iter().map(length).fold(0, usize::saturating_add) <= MAX_TEXT {
        return Ok(());
    }
    let why = "the stacks would be more than 2 GiB of text: choose fewer samples with --time, --pid or --comm";
    Err(io::Error::new(io::ErrorKind::InvalidData, why))
}

/// What stands behind the name of a frame that was guessed.
pub(super) const GUESSED: &str = "_[g]";

/// How frames are marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// Kernel frames and guessed frames.
    Kernel,
    /// Inlined frames (`_[i]`) too, to be told apart in a flame graph.
    KernelAndInlined,
}

/// All stacks as lines.
pub fn view(profile: &Profile) -> String {
    let mut text = String::new();
    for (stack, samples) in stacks(profile, Marks::Kernel) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{stack} {samples}");
    }
    text
}

/// Each distinct stack, folded, and its samples. Stacks that read the same are one.
pub fn stacks(profile: &Profile, marks: Marks) -> BTreeMap<String, u64> {
    let names = profile.functions.iter().map(|function| escape::folded_frame(&function.name));
    let names: Vec<_> = names.collect();
    let mut stacks = BTreeMap::new();
    for count in &profile.counts {
        *stacks.entry(fold(profile, &names, count, marks)).or_default() += count.samples;
    }
    stacks
}

/// `names` has the functions' names as they stand in a folded line.
fn fold(profile: &Profile, names: &[Cow<'_, str>], count: &PathCount, marks: Marks) -> String {
    let mut stack = escape::folded_frame(&count.comm).into_owned();
    for frame in &profile.paths[count.path] {
        let place = frame.function as usize;
        stack.push(';');
        stack.push_str(&names[place]);
        push_mark(&mut stack, profile.functions[place].kernel, frame, marks);
    }
    stack
}

fn push_mark(stack: &mut String, kernel: bool, frame: &PathFrame, marks: Marks) {
    if kernel {
        stack.push_str("_[k]");
    } else if frame.guessed {
        stack.push_str(GUESSED);
    } else if frame.inlined && marks == Marks::KernelAndInlined {
        stack.push_str("_[i]");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::tests::sample_profile;

    /// Root first under the thread's name, kernel frames marked, sorted, the count at the end.
    #[test]
    fn lines_are_root_first_and_sorted() {
        assert_eq!(view(&sample_profile()), "prog;main;work;do_sys_[k] 3\nprog;main;work;work 6\nprog;prog+0x9000 1\n");
    }
}
