//! The analyzer of profrec: everything between a recording and a picture of it.
//!
//! ```text
//! recording ─► evidence   what it says about modules and the kernel
//!           ─► replay     the process as it was at that instant (world)
//!           ─► unwind     locations, and why the walk stopped
//!           ─► stacks     equal stacks counted once
//!           ─► symbols    each distinct location named once, or a reason
//!           ─► refine     which stacks, and how much of them
//!           ─► profile    functions, modules, processes, the ledger
//!           ─► views      tables, trees, flame graphs, JSON, diffs
//!
//! recordings ─► rewrite ─► a recording
//! ```

pub mod accounts;
pub mod address_space;
pub mod args;
pub mod brackets;
pub mod check;
pub mod collect;
pub mod container;
pub mod counter;
pub mod diff;
pub mod escape;
pub mod evidence;
pub mod facts;
pub mod filter;
pub mod jit;
mod kept_files;
pub mod ledger;
pub mod local_files;
pub mod losses;
pub mod measurements;
pub mod modules;
pub mod pace;
pub mod paths;
pub mod pipeline;
pub mod profile;
pub mod progress;
pub mod recording_file;
pub mod refine;
pub mod replay;
pub mod rewrite;
pub mod sections;
pub mod stacks;
pub mod symbols;
pub mod unwind;
pub mod views;
pub mod world;
