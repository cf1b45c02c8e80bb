//! One line a stack, for scripts and for other tools: `comm;outermost;...;innermost count`.
//! Kernel frames end in `_[k]`, guessed ones in `_[g]`. Sorted, each stack once.

use std::io::{self, Write};

use super::stack_lines::{Annotations, StackLines};
use crate::profile::{PathFrame, Profile, StackCount};

/// Bytes of the text of all stacks.
const MAX_TEXT: usize = 2 << 30;
/// What makes the lines of a picture shorter.
pub(super) const DEPTH_HELPS: &str = "; --max-depth draws less of them";

/// Refuses a profile whose stacks would be gigabytes of text.
pub fn require_room(profile: &Profile) -> io::Result<()> {
    let name = |frame: PathFrame| profile.functions[frame.function() as usize].name.len() + 5;
    let lengths = profile.stacks.paths.fold(0usize, |length, frame| length.saturating_add(name(frame)));
    let length = |count: &StackCount| {
        let end = profile.stacks.ends[count.stack as usize];
        lengths[end as usize].saturating_add(profile.root(count).map_or(0, str::len))
    };
    require_length(profile.counts.iter().map(length).fold(0, usize::saturating_add), "")
}

/// Refuses text of gigabytes, and says what helps besides fewer samples.
pub(super) fn require_length(text: usize, besides: &str) -> io::Result<()> {
    if text <= MAX_TEXT {
        return Ok(());
    }
    let why = "the stacks would be more than 2 GiB of text: choose fewer samples with --time, --pid or --comm";
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("{why}{besides}")))
}

/// Writes all stacks as lines.
pub fn write(profile: &Profile, out: &mut impl Write) -> io::Result<()> {
    StackLines::of(profile, Annotations::Few).each(|stack, samples| writeln!(out, "{stack} {samples}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::tests::sample_profile;

    /// Root first under the thread's name, kernel frames marked, sorted, the count at the end.
    #[test]
    fn lines_are_root_first_and_sorted() {
        let mut lines = Vec::new();
        assert!(write(&sample_profile(), &mut lines).is_ok());
        assert_eq!(lines, b"prog;main;work;do_sys_[k] 3\nprog;main;work;work 6\nprog;prog+0x9000 1\n");
    }
}
