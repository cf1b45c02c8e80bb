//! Files as a reader may meet them: parts of them, damaged ones, and those of later versions.
#![allow(clippy::unwrap_used, missing_docs)]

mod copied;
mod counts;
mod evolution;
mod frames;
mod parts;
mod refused;
