//! The analyzer.

pub mod address_space;
pub mod collect;
pub mod counter;
pub mod evidence;
pub mod filter;
pub mod modules;
pub mod replay;
pub mod stacks;
pub mod unwind;
