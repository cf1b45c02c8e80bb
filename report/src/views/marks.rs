//! What kind of frame or function a name is of: its marks, and the legend that explains them.

use std::collections::BTreeSet;

use crate::profile::{Code, Function};

/// What is particular about a frame, or about most samples of a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Marks {
    pub(super) code: Code,
    pub(super) inlined: bool,
    pub(super) guessed: bool,
    pub(super) unnamed: bool,
}

/// Each mark, and what it means.
const MEANINGS: [(char, &str); 4] = [
    ('k', "kernel"),
    ('j', "made at run time (JIT)"),
    ('i', "inlined into its caller"),
    ('g', "guessed: found by a rule of thumb"),
];

impl Marks {
    /// Those of a function: inlined in at least half of the samples in which it appears, guessed in any of them.
    pub(super) fn of(function: &Function) -> Self {
        let guessed = function.guessed_samples > 0;
        Self { guessed, ..Self::of_part(function, function.total_samples, function.inlined_samples) }
    }

    /// Those of a function that is inlined in some of these samples.
    pub(super) fn of_part(function: &Function, samples: u64, inlined: u64) -> Self {
        let inlined = inlined > 0 && inlined >= samples.div_ceil(2);
        Self { code: function.code, inlined, guessed: false, unnamed: function.unnamed }
    }

    /// One character for each.
    pub(super) fn letters(self) -> String {
        let Self { code, inlined, guessed, .. } = self;
        let marked = [code == Code::Kernel, code == Code::Jit, inlined, guessed];
        MEANINGS.iter().zip(marked).filter(|(_, marked)| *marked).map(|((letter, _), _)| *letter).collect()
    }

    /// The same behind a name, as other tools for stacks write it: `_[k]`; nothing without marks.
    pub(super) fn suffix(self) -> String {
        let letters = self.letters();
        if letters.is_empty() { letters } else { format!("_[{letters}]") }
    }
}

/// The marks that were used.
#[derive(Default)]
pub(super) struct Legend(BTreeSet<char>);

impl Legend {
    /// Notes marks.
    pub(super) fn add(&mut self, marks: Marks) {
        self.0.extend(marks.letters().chars());
    }

    /// What they mean, in a line; nothing when there were none.
    pub(super) fn text(&self) -> String {
        let used = MEANINGS.iter().filter(|(letter, _)| self.0.contains(letter));
        let used: Vec<_> = used.map(|(letter, meaning)| format!("{letter} {meaning}")).collect();
        if used.is_empty() { String::new() } else { format!("marks: {}\n", used.join("; ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kinds of frames have their letters, and the legend explains those that were used.
    #[test]
    fn marks_are_explained() {
        let marks = Marks { code: Code::Kernel, guessed: true, ..Marks::default() };
        assert_eq!((marks.letters(), marks.suffix()), ("kg".to_owned(), "_[kg]".to_owned()));
        assert_eq!(Marks::default().suffix(), "");
        let mut legend = Legend::default();
        assert_eq!(legend.text(), "");
        legend.add(marks);
        assert_eq!(legend.text(), "marks: k kernel; g guessed: found by a rule of thumb\n");
    }
}
