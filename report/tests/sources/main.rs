//! Where names come from: one cell for each source, with files that the real toolchain makes. Cells whose tools are
//! not there are skipped, and say so.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod answers;
mod compressed;
mod debug_files;
mod go;
mod kernel;
mod program;
mod server;
mod servers;
mod stripped;
mod tls;
mod toolchain;
mod why;
