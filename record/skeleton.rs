//! The BPF programs and their maps as Rust sees them; the build writes it from bpf/.

/// Generated: its panics are for objects that are not the one it was generated from.
#[allow(missing_docs, unreachable_pub, unused_qualifications)]
#[allow(clippy::all, clippy::panic, clippy::undocumented_unsafe_blocks, clippy::unwrap_used)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/profrec.skel.rs"));
}

/// What the programs read and write while they run.
pub(crate) use generated::types::bss as Variables;
pub(crate) use generated::{OpenProfrecMaps, OpenProfrecSkel, ProfrecSkel, ProfrecSkelBuilder};
