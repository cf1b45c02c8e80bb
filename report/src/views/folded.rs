//! One line a stack, for scripts and for other tools: `comm;outermost;...;innermost count`.
//! Kernel frames end in `_[k]`, guessed ones in `_[g]`. Sorted, each stack once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;

use crate::escape;
use crate::profile::{Code, PathCount, PathFrame, Profile};

/// Bytes of the text of all stacks.
const MAX_TEXT: usize = 2 << 30;

/// Refuses a profile whose stacks would be gigabytes of text.
pub fn require_room(profile: &Profile) -> io::Result<()> {
    let length = |count: &PathCount| {
        let names = profile.paths[count.path].iter().map(|frame| &profile.functions[frame.function as usize].name);
        names.fold(count.root.as_ref().map_or(0, String::len), |sum, name| sum + name.len() + 5)
    };
    if profile.counts.iter().map(length).fold(0, usize::saturating_add) <= MAX_TEXT {
        return Ok(());
    }
    let why = "the stacks would be more than 2 GiB of text: choose fewer samples with --time, --pid or --comm";
    Err(io::Error::new(io::ErrorKind::InvalidData, why))
}

/// Which frames are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Annotations {
    /// Kernel frames and guessed frames.
    Few,
    /// JIT frames (`_[j]`) and inlined frames (`_[i]`) too, to be told apart in a flame graph.
    All,
}

/// All stacks as lines.
pub fn view(profile: &Profile) -> String {
    let mut text = String::new();
    for (stack, samples) in stacks(profile, Annotations::Few) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{stack} {samples}");
    }
    text
}

/// Each distinct stack, folded, and its samples. Stacks that read the same are one.
pub fn stacks(profile: &Profile, annotations: Annotations) -> BTreeMap<String, u64> {
    let names = profile.functions.iter().map(|function| escape::folded_frame(&function.name));
    let names: Vec<_> = names.collect();
    let mut stacks = BTreeMap::new();
    for count in &profile.counts {
        *stacks.entry(fold(profile, &names, count, annotations)).or_default() += count.samples;
    }
    stacks
}

/// `names` has the functions' names as they stand in a folded line.
fn fold(profile: &Profile, names: &[Cow<'_, str>], count: &PathCount, annotations: Annotations) -> String {
    let mut stack = count.root.as_deref().map(escape::folded_frame).unwrap_or_default().into_owned();
    for frame in profile.shown(count.path) {
        let place = frame.function as usize;
        if !stack.is_empty() {
            stack.push(';');
        }
        stack.push_str(&names[place]);
        stack.push_str(annotation(profile.functions[place].code, frame, annotations));
    }
    stack
}

fn annotation(code: Code, frame: &PathFrame, annotations: Annotations) -> &'static str {
    match (code, annotations) {
        (Code::Kernel, _) => "_[k]",
        _ if frame.guessed => "_[g]",
        (_, Annotations::Few) => "",
        (Code::Jit, _) => "_[j]",
        _ if frame.inlined => "_[i]",
        _ => "",
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
