//! Tests of the whole product: the two programs as a user runs them, on real processes.
//!
//! Rooms that serve the tests: [`rights`] (who may record here), [`programs`] (what is run),
//! [`recorded`] (a recording and what the report says about it), [`folded`] (stacks as text).
//! All others are tests.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod folded;
mod programs;
mod recorded;
mod rights;

mod commands;
mod comparison;
mod construction;
mod dependencies;
mod disk_full;
mod elsewhere;
mod endings;
mod formats;
mod golden;
mod killed;
mod losses;
mod pipes;
mod privacy;
mod refusals;
mod targets;
mod truth;
