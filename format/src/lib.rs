//! The recording format of profrec, both directions.
//!
//! # The file
//!
//! All numbers are little-endian. A recording starts with a head:
//!
//! ```text
//!  0  "profrec\0"
//!  8  format version, u16 (this crate writes and reads version 1)
//! 10  zero, u16
//! 12  length of the header, u32
//! 16  CRC-32C of the header, u32
//! 20  the header: a [`Header`] as bincode 1 writes it (fixed-width integers)
//! ```
//!
//! Then come *frames*. Each has a head of 52 bytes with a sync word, its kind, lengths, numbers, times and a checksum, and a
//! content compressed with zstd. A frame is what can be lost: the recorder writes one at least once a
//! second. A frame whose checksum does not fit is damaged; a kind that the reader does not know is skipped.
//!
//! | kind | content |
//! |---|---|
//! | 1 records | metadata records: 16-bit tag, 32-bit length, bincode; unknown tags are skipped. Compressed by itself. |
//! | 2 samples | samples in columns. One zstd stream with a window of 1 MiB goes through all such frames of a segment; each frame is flushed to its end. |
//! | 3 index | a list of segments: offset, first and last time, samples. |
//! | 4 totals | [`Totals`]; the last frame of a recording that was closed. |
//!
//! Frames of kind 1 and 2 form *segments* of about a minute or 8 MB. The first frame of a segment carries a flag; the
//! zstd stream and all state of the sample columns begin anew there, and all that its samples refer to
//! (processes, mappings, modules, threads, evidence) is recorded again. So each segment alone is a valid recording, and
//! damage costs at most the rest of its segment.
//!
//! # Records and time
//!
//! Times are nanoseconds of CLOCK_MONOTONIC. Records and samples are replayed together in the order of their times; at equal
//! times records come first. Evidence (modules, layouts, call frame information, symbols, images) has no time: it holds for
//! the whole segment and may follow the samples that need it.
//!
//! # Samples
//!
//! A frame of samples is a number of columns, each with its length in front, all numbers LEB128. Code addresses are
//! tokens of a dictionary that grows through the segment. A stack is stored as the difference from the same thread's stack
//! before: its words (see [`UserStack`]) are compared from the high end down, and written as edits (copy, drop, insert).
//! Inserted words have their distance from the word above and either a distance into the stack or a code token.
//! Kernel chains are numbered as a whole. The columns and their order are listed in `columns.rs`.
#![forbid(unsafe_code)]

mod columns;
mod dictionary;
mod error;
mod fingerprint;
mod frame;
mod header;
mod loss;
mod metadata;
mod reader;
mod record;
mod sample;
mod samples;
mod segment;
mod stack;
mod varint;
mod writer;

pub use error::Error;
pub use fingerprint::ElfHeaders;
pub use header::{Arch, CallGraph, Header, StopReason, Totals};
pub use loss::LossCause;
pub use reader::{Damage, Recording};
pub use record::{
    CfiEntry, CfiSection, Exec, Exit, Fork, Image, KernelSymbol, KernelSymbols, Layout, LoadSegment, Loss, Mapping,
    MiniDebugInfo, Module, ModuleId, ModuleKind, Process, Record, Symbol, SymbolSlice, Thread, UnwindSlice,
};
pub use sample::{MAX_REGISTERS, Registers, Sample, StackRange, StackWord, UserStack, UserState};
pub use samples::NewAddresses;
pub use segment::{ByteCounts, Samples, Segment};
pub use writer::Writer;

const FILE_MAGIC: [u8; 8] = *b"profrec\0";
const VERSION: u16 = 1;
