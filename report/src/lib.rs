//! The analyzer.
#![allow(missing_docs, reason = "the first draft")]

pub mod evidence;
pub mod stacks;
