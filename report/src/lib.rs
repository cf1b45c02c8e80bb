//! The analyzer.
#![allow(missing_docs, reason = "the first draft")]

pub mod escape;
pub mod evidence;
pub mod facts;
pub mod ledger;
pub mod local_files;
pub mod profile;
pub mod stacks;
pub mod symbols;
