//! One profile in, a text out. Every view ends with the ledger, or carries its figures.

pub mod diff;
pub mod flamegraph;
pub mod folded;
pub mod info;
pub mod json;
pub mod recorder;
mod table;
pub mod top;
pub mod tree;
pub mod why;

/// How wide a text view may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// A terminal: longer names are cut.
    Columns(usize),
    /// A pipe or a file: nothing is cut.
    Unlimited,
}
