//! What the options make of a stack, frame by frame from the outermost on: so stacks share the work for what they have in common.

use super::Side;

/// An option that chooses by frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Focus,
    Ignore,
    Hide,
    Show,
    Root,
    Around(Side),
}

impl Choice {
    /// The option, without dashes.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Focus => "focus",
            Self::Ignore => "ignore",
            Self::Hide => "hide",
            Self::Show => "show",
            Self::Root => "root",
            Self::Around(side) => side.name(),
        }
    }
}

/// For each option that is given, in the order in which they are asked, which frames it means.
#[derive(Default)]
pub(super) struct Matches {
    pub(super) given: Vec<(Choice, Vec<bool>)>,
}

/// What was met in a stack so far: a bit for each option that is given, and one for any frame at all.
#[derive(Clone, Copy, Default)]
pub(super) struct Met(u8);

/// Any frame at all.
const ANY: u8 = 1 << 7;

impl Matches {
    /// Goes on to a stack's next frame, and says whether it is shown.
    pub(super) fn go_on(&self, met: &mut Met, frame: u32) -> bool {
        met.0 |= ANY;
        for (place, (choice, frames)) in self.given.iter().enumerate() {
            let bit = 1 << place;
            let (matches, was_met) = (frames[frame as usize], met.0 & bit != 0);
            let (meets, is_shown) = match choice {
                Choice::Focus | Choice::Ignore => (matches, true),
                Choice::Hide => (!matches, !matches),
                Choice::Show => (matches, matches),
                Choice::Root | Choice::Around(Side::Callees) => (matches, was_met || matches),
                Choice::Around(Side::Callers) => (matches && !was_met, !was_met),
            };
            met.0 |= if meets { bit } else { 0 };
            if !is_shown {
                return false;
            }
        }
        true
    }

    /// The option by which a stack goes of which all frames were met.
    pub(super) fn refusal(&self, met: Met) -> Option<&'static str> {
        let stays = |(place, (choice, _)): &(usize, &(Choice, Vec<bool>))| {
            let was_met = met.0 & 1 << place != 0;
            match choice {
                Choice::Ignore => !was_met,
                Choice::Hide => was_met || met.0 & ANY == 0,
                _ => was_met,
            }
        };
        self.given.iter().enumerate().find(|given| !stays(given)).map(|(_, (choice, _))| choice.name())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRAMES: usize = 6;

    /// The same for a whole stack at once: what is left of it, or the option by which it goes.
    fn whole(given: &[(Choice, Vec<bool>)], stack: &[u32]) -> Result<Vec<u32>, &'static str> {
        let mut left = stack.to_vec();
        for (choice, frames) in given {
            let matches = |frame: &u32| frames[*frame as usize];
            let outermost = left.iter().position(matches);
            let had_frames = !left.is_empty();
            let stays = match choice {
                Choice::Focus => outermost.is_some(),
                Choice::Ignore => outermost.is_none(),
                Choice::Hide => {
                    left.retain(|frame| !matches(frame));
                    !had_frames || !left.is_empty()
                }
                Choice::Show => {
                    left.retain(matches);
                    !left.is_empty()
                }
                Choice::Around(Side::Callers) => {
                    left.truncate(outermost.map_or(0, |place| place + 1));
                    outermost.is_some()
                }
                Choice::Root | Choice::Around(Side::Callees) => {
                    left.drain(..outermost.unwrap_or(left.len()));
                    outermost.is_some()
                }
            };
            if !stays {
                return Err(choice.name());
            }
        }
        Ok(left)
    }

    proptest! {
        /// Frame by frame, the options make of a stack what they make of the whole, whichever of them are given.
        #[test]
        fn frame_by_frame_is_as_the_whole(
            meant in proptest::collection::vec(proptest::option::of(proptest::collection::vec(any::<bool>(), FRAMES)), 7),
            stack in proptest::collection::vec(0..FRAMES as u32, 0..6),
        ) {
            let around = if meant[6].is_some() { Side::Callers } else { Side::Callees };
            let choices =
                [Choice::Focus, Choice::Ignore, Choice::Hide, Choice::Show, Choice::Root, Choice::Around(around)];
            let given = choices.into_iter().zip(meant).filter_map(|(choice, frames)| Some((choice, frames?)));
            let matches = Matches { given: given.collect() };
            let mut met = Met::default();
            let shown: Vec<u32> = stack.iter().copied().filter(|frame| matches.go_on(&mut met, *frame)).collect();
            let outcome = matches.refusal(met).map_or(Ok(shown), Err);
            prop_assert_eq!(outcome, whole(&matches.given, &stack));
        }
    }
}
