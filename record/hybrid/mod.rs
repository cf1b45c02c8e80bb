//! `--count=hybrid`: processes whose frame pointers do not lead through their stacks are sampled, all others are counted.
//!
//! ```text
//! counted chains ──► chains: how many end in start code? ──► sampled: told to the kernel
//!                      │         ▲
//!                      ▼         │ (thread of evidence)
//!                    start_code: what the files say
//! ```

pub(crate) mod chains;
pub(crate) mod owed;
pub(crate) mod sampled;
pub(crate) mod start_code;
pub(crate) mod tally;
