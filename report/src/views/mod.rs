//! One profile in, a text out. Every view ends with the ledger, or carries its figures.

pub mod diff;
pub mod flamegraph;
pub mod folded;
pub mod info;
pub mod json;
mod marks;
pub mod page;
pub mod recorder;
mod shorten;
mod stack_lines;
mod table;
pub mod top;
pub mod tree;
pub mod why;

pub use page::{ColorWhen, Page, Width};
