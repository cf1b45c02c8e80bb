//! The recording format of profrec.
#![forbid(unsafe_code)]

mod header;
mod loss;
mod record;
mod sample;

pub use header::{Arch, CallGraph, Header, StopReason, Totals};
pub use loss::LossCause;
pub use record::{
    CfiEntry, CfiSection, Exec, Exit, Fork, Image, KernelSymbol, KernelSymbols, Layout, LoadSegment, Loss, Mapping,
    Module, ModuleId, ModuleKind, Process, Record, Symbol, SymbolSlice, Thread, UnwindSlice,
};
pub use sample::{MAX_REGISTERS, Registers, Sample, StackRange, StackWord, UserStack, UserState};
