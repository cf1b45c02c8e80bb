//! Tests of the whole product: the two programs as a user runs them, on real processes.
//!
//! Rooms that serve the tests: [`rights`] (who may record here), [`programs`] (what is run),
//! [`recorded`] (a recording and what the report says about it), [`every_kind`] (a recording that was made up), [`folded`]
//! (stacks as text).
//! All others are tests.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod every_kind;
mod folded;
mod programs;
mod recorded;
mod rights;

mod budget;
mod cgroups;
mod commands;
mod comparison;
mod construction;
mod counting;
mod debugged;
mod dependencies;
mod disk_full;
mod doctor;
mod elsewhere;
mod endings;
mod formats;
mod given_up;
mod golden;
mod hostile_hosts;
mod hotplug;
mod hybrid;
mod jit;
mod killed;
mod least_privilege;
mod losses;
mod narrowed;
mod parts;
mod pipes;
mod privacy;
mod processes;
mod refusals;
mod rings;
mod second_reader;
mod self_metrics;
mod short_lives;
mod stuck_mounts;
mod targets;
mod toolchains;
mod truth;
mod undisturbed;
