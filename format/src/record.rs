//! The metadata of a recording: what happened to processes, what was lost, and the evidence the
//! analyzer needs. Each record is stored with a tag and a length, so that an older reader skips a
//! kind that it does not know.

mod bytes;
mod evidence;
mod process;

use serde::{Deserialize, Serialize};

use crate::loss::LossCause;
use crate::pace::Pace;
use crate::self_metrics::SelfMetrics;
pub use evidence::{
    CfiEntry, CfiSection, FunctionExtents, Image, JitSymbol, KernelSymbol, KernelSymbols, Layout, LoadSegment,
    MiniDebugInfo, Module, ModuleKind, PerfMap, RawStack, Symbol, SymbolSlice, UnwindSlice,
};
pub use process::{Exec, Exit, Fork, Mapping, Process, Thread};

/// A module's number within one recording. Every segment that refers to a module defines it
/// again, always under the same number.
pub type ModuleId = u32;

/// One piece of metadata. Records and samples are replayed together in the order of their times;
/// at equal times records come first, in the order in which they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record {
    /// A process as it is when its segment first refers to it.
    Process(Process),
    /// A thread's name, at its first use in a segment and whenever it changes.
    Thread(Thread),
    /// A process or a thread came into being.
    Fork(Fork),
    /// A process replaced its program: its address space is empty from here on.
    Exec(Exec),
    /// A thread ended.
    Exit(Exit),
    /// An executable mapping appeared; it replaces whatever it overlaps.
    Mapping(Mapping),
    /// What mappings refer to.
    Module(Module),
    /// Where a module's file offsets are in its own address space.
    Layout(Layout),
    /// Call frame information for code addresses of this recording.
    UnwindSlice(UnwindSlice),
    /// Names of functions of a module that hold code addresses of this recording.
    SymbolSlice(SymbolSlice),
    /// The compressed symbol table that a stripped module carries.
    MiniDebugInfo(MiniDebugInfo),
    /// A small module stored whole: the vDSO.
    Image(Image),
    /// Names of kernel functions that hold addresses of this recording.
    KernelSymbols(KernelSymbols),
    /// Something was lost.
    Loss(Loss),
    /// Where functions of a module begin and end.
    FunctionExtents(FunctionExtents),
    /// What the recorder cost and achieved in about a second.
    SelfMetrics(SelfMetrics),
    /// Names of code that a process made at run time.
    PerfMap(PerfMap),
    /// How samples are taken from here on, to keep within a budget.
    Pace(Pace),
    /// Registers and stack memory of one sample as they were.
    RawStack(RawStack),
}

impl Record {
    /// When it happened, in nanoseconds of CLOCK_MONOTONIC; `None` for evidence, which is true at any time.
    pub fn time(&self) -> Option<u64> {
        match self {
            Self::Process(process) => Some(process.time),
            Self::Thread(thread) => Some(thread.time),
            Self::Fork(fork) => Some(fork.time),
            Self::Exec(exec) => Some(exec.time),
            Self::Exit(exit) => Some(exit.time),
            Self::Mapping(mapping) => Some(mapping.time),
            Self::Loss(loss) => Some(loss.time),
            Self::Pace(pace) => Some(pace.time),
            Self::SelfMetrics(metrics) => Some(metrics.time),
            Self::RawStack(stack) => Some(stack.time),
            Self::Module(_)
            | Self::Layout(_)
            | Self::UnwindSlice(_)
            | Self::SymbolSlice(_)
            | Self::MiniDebugInfo(_)
            | Self::Image(_)
            | Self::KernelSymbols(_)
            | Self::FunctionExtents(_)
            | Self::PerfMap(_) => None,
        }
    }

    /// The number of the module that it is about; `None` when it is about none.
    pub fn module_mut(&mut self) -> Option<&mut ModuleId> {
        match self {
            Self::Mapping(mapping) => Some(&mut mapping.module),
            Self::Module(module) => Some(&mut module.id),
            Self::Layout(layout) => Some(&mut layout.module),
            Self::UnwindSlice(slice) => Some(&mut slice.module),
            Self::SymbolSlice(slice) => Some(&mut slice.module),
            Self::MiniDebugInfo(info) => Some(&mut info.module),
            Self::Image(image) => Some(&mut image.module),
            Self::FunctionExtents(extents) => Some(&mut extents.module),
            Self::Process(_)
            | Self::Thread(_)
            | Self::Fork(_)
            | Self::Exec(_)
            | Self::Exit(_)
            | Self::KernelSymbols(_)
            | Self::Loss(_)
            | Self::PerfMap(_)
            | Self::Pace(_)
            | Self::RawStack(_)
            | Self::SelfMetrics(_) => None,
        }
    }
}

/// Something was lost, at about this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Nanoseconds of CLOCK_MONOTONIC when the last of it was lost, as far as that is known.
    pub time: u64,
    /// Why.
    pub cause: LossCause,
    /// How many, since the last such record: ticks or process events, as the cause says.
    pub count: u64,
    /// When the first of it was lost, as far as that is known; else 0.
    pub since: u64,
    /// On which CPU; `None` when that is not known.
    pub cpu: Option<u32>,
}

impl Loss {
    /// A loss of which no more is known than that it was at about this time.
    pub fn at(time: u64, cause: LossCause, count: u64) -> Self {
        Self { time, cause, count, since: 0, cpu: None }
    }
}
