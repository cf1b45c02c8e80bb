//! The recording format of profrec, both directions.
//!
//! # The file
//!
//! All numbers are little-endian. A recording starts with a head:
//!
//! ```text
//!  0  "profrec\0"
//!  8  format version, u16 (this crate writes and reads version 1)
//! 10  minor version, u16: 0; no reader refuses another
//! 12  length of the header, u32
//! 16  CRC-32C of the header, u32
//! 20  the header: a [`Header`] as bincode 1 writes it (fixed-width integers)
//! ```
//!
//! Then come *frames*. Each has a head of 52 bytes with a sync word, its kind, lengths, numbers, times and a checksum, and a
//! content compressed with zstd. A frame is what can be lost: the recorder writes one at least once a
//! second, and where ticks are counted, once a flush. A frame whose checksum does not fit is damaged; a kind that the reader does not know is skipped.
//!
//! | kind | content |
//! |---|---|
//! | 1 records | metadata records: 16-bit tag, 32-bit length, bincode; unknown tags are skipped. Compressed by itself. |
//! | 6 samples | samples in columns; of earlier versions, kind 2. One zstd stream with a window of 1 MiB goes through all such frames of a segment; each frame is flushed to its end. |
//! | 7 counts | samples of ticks that were counted, in columns; packed by itself. Earlier versions wrote them as kind 6, and pass over these: they show none of the samples, and say that the index does not agree with the segments. |
//! | 3 index | a [`SegmentSummary`] for each segment, each with a 16-bit tag (1) and a 32-bit length in front. Compressed by itself. |
//! | 4 totals | [`Totals`]; of a recording that was closed. Compressed by itself. |
//! | 5 footer | the offset of the index, u64, not compressed; the last frame of a recording that was closed. A file that lacks it alone lacks nothing of the recording, and is read from its start. |
//!
//! Frames of records and samples form *segments* of about a minute or 8 MB. The first frame of a segment carries a flag; the
//! zstd stream and all state of the sample columns begin anew there, and all that its samples refer to
//! (processes, mappings, modules, threads, evidence) is recorded again. So each segment alone is a valid recording, and
//! damage costs at most the rest of its segment: the reader looks for the next sync word, uses the metadata that follows,
//! and goes on with samples where the next segment starts. Frames are numbered through the file, so that a missing one is noticed.
//!
//! The index says where each segment is, when its samples were taken and of which processes they are, and when something was lost. A
//! reader that wants a part of a recording finds the footer at the file's end, and reads no other segments.
//!
//! # Records and time
//!
//! Times are nanoseconds of CLOCK_MONOTONIC. Records and samples are replayed together in the order of their times; at equal
//! times records come first. Evidence (modules, layouts, call frame information, symbols, images) has no time: it holds for
//! the whole segment and may follow the samples that need it.
//!
//! What happened to processes, modules and their layouts, and names of kernel functions, are stored in *tables*: columns that stand for many
//! records.
//!
//! # Samples
//!
//! A frame of samples is a number of columns, each with its length in front, all numbers LEB128. Code addresses are
//! tokens of a dictionary that grows through the segment. A stack is stored as the difference from the same thread's stack
//! before: its words (see [`UserStack`]) are compared from the high end down, and written as edits (copy, insert, skip).
//! Inserted words have their distance from the word above and either a distance into the stack or a code token.
//! Kernel chains are numbered as a whole. Of a chain, only the frames are stored that the chain before has not, callers first: each is what its caller
//! called last, or is told by its distance from that. Times are kept in steps of 1,024 ns, as what they deviate from a period after the
//! last tick of their CPU. A recorder that has to slow down says of each sample how many ticks it stands for (its
//! weight); [`Pace`] records say when and why. All of it, number by number, is in the [`specification`].
//! That it is enough is tested: `tests/second_reader` in the repository is a reader in Python that was written from it alone.
//!
//! Where ticks were counted in the kernel, a flush is a segment, and so small that what a general compressor has to say of itself is a part of it, and what repeats in
//! it is known beforehand. So its columns are packed number by number, by chances that are learned from the numbers before; samples of one stack follow each other, and have it told once; and
//! the usual names of kernel functions are numbers of a list that is part of the format.
//!
//! A recording can be passed on without its stacks: unwound once, with locations for words. Such an [`UnwoundStack`] is stored as
//! a chain, which is what the kernel finds by frame pointers: its first 4,096 frames, innermost first, each address but the
//! first one more than the frame's, as a return address is. Its shape is that of a chain (1) with the flag 16, and for each such
//! stack three further columns say the number of its [`Verdict`], which frames were guessed, and what frames there are
//! beyond the chain. Call frame information is not needed any more, but for where functions begin ([`FunctionExtents`]). (A reader that does not know the flag shows the frames of the chain, and judges by itself how it ended.)
//!
//! # Evolution
//!
//! What a later version adds, this version reads over; what an earlier version did not have, this one reads as nothing:
//!
//! - a kind of frame, in a segment or behind the index; a tag of records, a tag in the index: skipped when unknown;
//! - a field: only at the end of the header, the totals, a record or a summary in the index, never of a struct inside a list. A
//!   reader leaves unread what follows the fields that it knows, and reads missing fields as zero: 0, empty, false, `None`.
//!   A field is therefore chosen so that zero means "not known". A list of more than what there is becomes a field of its own;
//! - a column: behind all others; a flag of a sample's shape: passed over when unknown. Samples must be right, if poorer,
//!   without them. So a new kind of user side is one of the known kinds with a flag, and what the flag adds stands in columns of its
//!   own, which must not define anything in the dictionary that others share;
//! - a variant of [`LossCause`], [`Outcome`], [`StopReason`], [`CallGraph`], [`PaceReason`] or [`Verdict`]: read as `Other`; of another enum, it needs a new tag of records. Causes of loss that are samples have even numbers from 100
//!   on, others odd ones, and outcomes that are ticks have even numbers, so that the equations of samples and ticks close with
//!   causes and outcomes that a reader has never heard of.
//!
//! The major version changes when an older reader would read something wrong. It is refused with an error that says so.
//!
//! # What a hostile file can cost
//!
//! A recording comes from an untrusted machine, and a few compressed bytes can stand for very much. So a reader takes
//! no more than this, whatever the bytes:
//!
//! | | at most |
//! |---|---|
//! | a frame, before and after compression | 32 MiB |
//! | metadata of a segment, before compression | 256 MiB |
//! | samples of a segment, before compression | 128 MiB |
//! | records of a segment | 4,194,304 |
//! | threads of a segment | 4,194,304 |
//! | records of a table | 16 MiB, and all of a segment count for its metadata |
//! | a record, or the header | 16 MiB |
//! | addresses of a segment's distinct kernel chains | 16,777,216: 128 MiB |
//! | words of one stack | 524,288: 4 MiB, twice the recorder's largest copy |
//! | frames of one unwound stack | 524,288 beyond the chain |
//! | bytes after decompression, and words of stacks, in all | the [allowance](Segment::allowance): 4 billion, and 2,048 for each byte of the file; a sample counts as 512 more, a byte of the columns of counts as 16 more |
//!
//! What is beyond is an [`Error`] of its segment, which says so. Memory is needed for one segment at a time, and for a few
//! dozen bytes for each frame of the file; time grows with the length of the file.
#![forbid(unsafe_code)]

#[doc = include_str!("specification.md")]
pub mod specification {}

mod address_hash;
mod chains;
mod columns;
mod compression;
mod damage;
mod dictionary;
mod error;
mod fingerprint;
mod frame;
mod frame_writer;
mod header;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod hostile;
mod index;
mod kernel_chains;
mod loss;
mod metadata;
mod numbers;
mod outcome;
mod pace;
mod range_coder;
#[cfg(any(test, feature = "raw"))]
#[doc(hidden)]
pub mod raw;
mod reader;
mod record;
mod record_buffer;
mod repeats;
mod sample;
mod samples;
mod segment;
mod self_metrics;
mod stack;
pub mod start_code;
mod tables;
mod threads;
mod times;
mod unwound;
mod variants;
mod varint;
mod weights;
mod writer;

pub use damage::{Damage, DamageKind, LostToDamage};
pub use error::Error;
pub use fingerprint::ElfHeaders;
pub use header::{Arch, CallGraph, Header, Machine, StopReason, Totals};
pub use index::{Part, SegmentSummary};
pub use loss::{LossCause, Lost};
pub use outcome::Outcome;
pub use pace::{Pace, PaceReason};
pub use reader::{Coverage, Recording};
pub use record::{
    CfiEntry, CfiSection, Exec, Exit, Fork, FunctionExtents, Image, JitSymbol, KernelSymbol, KernelSymbols, Layout,
    LoadSegment, Loss, Mapping, MiniDebugInfo, Module, ModuleId, ModuleKind, PerfMap, Process, RawStack, Record,
    Symbol, SymbolSlice, Thread, UnwindSlice,
};
pub use sample::{
    MAX_REGISTERS, Registers, Sample, StackRange, StackWord, UnwoundFrame, UnwoundStack, UserStack, UserState, Verdict,
};
pub use samples::NewAddresses;
pub use segment::{ByteCounts, Samples, Segment};
pub use self_metrics::SelfMetrics;
pub use writer::Writer;

const FILE_MAGIC: [u8; 8] = *b"profrec\0";
const VERSION: u16 = 1;
