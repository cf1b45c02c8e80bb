//! Which stacks are shown, by the functions in them, and how much of each: focus, ignore, hide, show and root as pprof has them, and
//! what is above or below a function.
//!
//! An expression is looked for in the name of a frame's function, in its source file and in its module's name. In this order:
//! 1. `focus` keeps the samples that have a matching frame, `ignore` those that have none;
//! 2. `hide` takes matching frames out of the stacks, `show` all others. The sample stays, and belongs to the innermost frame
//!    that is left; where none is left, it goes;
//! 3. `root` takes away what is above the outermost matching frame, and samples without one;
//! 4. `callers` takes away what is below the outermost frame of a function, `callees` what is above it, and both the samples without one.

mod matching;
mod nearest;
mod pattern;
mod selection;

pub use pattern::{FunctionPattern, Pattern};
pub use selection::{LeftOut, SeenFrame, Selection};

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Refinement {
    /// Only samples that have such a frame.
    pub focus: Option<Pattern>,
    /// Only samples that have no such frame.
    pub ignore: Option<Pattern>,
    /// Without such frames.
    pub hide: Option<Pattern>,
    /// Only such frames.
    pub show: Option<Pattern>,
    /// From the outermost such frame on.
    pub root: Option<Pattern>,
    /// What is above or below a function.
    pub around: Option<Around>,
}

/// One side of a function in its stacks.
#[derive(Clone, Debug)]
pub struct Around {
    /// The function.
    pub function: FunctionPattern,
    /// Which side.
    pub side: Side,
}

/// Above or below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who calls it.
    Callers,
    /// What it calls.
    Callees,
}

impl Side {
    /// The option that asks for it, without dashes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Callers => "callers",
            Self::Callees => "callees",
        }
    }
}
