//! The unwinder over recordings, and over what debuggers have seen of running programs.

#![allow(clippy::unwrap_used, reason = "tests")]

mod aarch64;
mod cfi_forms;
mod dump;
mod marks;
mod sharing;
