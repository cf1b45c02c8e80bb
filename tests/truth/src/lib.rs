//! Is it true? Compares profrec's stacks and names with those of tools that share no code with it, and says of each difference
//! what it is about. docs/truth.md has what came of it.

pub mod names;
pub mod positions;
pub mod stacks;
