//! The metadata of a recording: what happened to processes, what was lost, and the evidence the
//! analyzer needs. Each record is stored with a tag and a length, so that an older reader skips a
//! kind that it does not know.

use serde::{Deserialize, Serialize};

use crate::loss::LossCause;
use crate::pace::Pace;
use crate::self_metrics::SelfMetrics;

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

/// A process as it is at `time`. It opens an empty address space; the mappings that follow it fill it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub time: u64,
    /// Process id.
    pub pid: u32,
    /// Process id of its parent, 0 when unknown.
    pub parent: u32,
    /// Name of its main thread (the kernel's `comm`).
    pub comm: String,
    /// A kernel thread: it has no user stack.
    pub kernel_thread: bool,
    /// Path of its cgroup as its host shows it, such as `/system.slice/nginx.service`; empty when unknown. A process that was
    /// gone before it could be asked has its parent's. When a process is moved, a second definition tells.
    pub cgroup: String,
}

/// The name of a thread from `time` on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub time: u64,
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// The thread's name (the kernel's `comm`).
    pub comm: String,
}

/// `PERF_RECORD_FORK`: when `pid` differs from `parent`, the new process starts with a copy of
/// its parent's address space.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub time: u64,
    /// Process id of the new task.
    pub pid: u32,
    /// Thread id of the new task.
    pub tid: u32,
    /// Process id of the creator.
    pub parent: u32,
    /// Thread id of the creator.
    pub parent_tid: u32,
}

/// `PERF_RECORD_COMM` with the exec flag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub time: u64,
    /// Process id.
    pub pid: u32,
    /// The new name.
    pub comm: String,
}

/// `PERF_RECORD_EXIT`; the process ends when its last thread does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub time: u64,
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
}

/// An executable mapping in a process's address space.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub time: u64,
    /// Process id.
    pub pid: u32,
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// Offset in the module of the byte at `start`.
    pub offset: u64,
    /// What is mapped.
    pub module: ModuleId,
}

/// What a module is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ModuleKind {
    /// A file: an executable or a shared library.
    #[default]
    File,
    /// The kernel's vDSO; its image is in the recording.
    Vdso,
    /// Executable memory without a file: code made by a JIT compiler.
    Anonymous,
}

/// Something that can be mapped executable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Its number in this recording.
    pub id: ModuleId,
    /// What it is.
    pub kind: ModuleKind,
    /// Its path as the recorded machine showed it: a hint for people, never a command. Bytes that
    /// are not UTF-8 are replaced.
    pub path: String,
    /// The GNU build-id, when the kernel or the recorder could read it; else empty.
    pub build_id: Vec<u8>,
}

/// A loadable segment of a module (ELF `PT_LOAD`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadSegment {
    /// Offset of the first byte in the file (`p_offset`).
    pub offset: u64,
    /// Address of the first byte as the module states it (`p_vaddr`).
    pub address: u64,
    /// Bytes in the file (`p_filesz`).
    pub file_size: u64,
    /// Whether it is executable.
    pub executable: bool,
}

/// The program headers of a module that matter: file offset to the module's own addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Which module.
    pub module: ModuleId,
    /// The GNU build-id as read from the file; empty when it has none.
    pub build_id: Vec<u8>,
    /// What identifies the file when it has no build-id (see [`ElfHeaders::fingerprint`]); else empty.
    ///
    /// [`ElfHeaders::fingerprint`]: crate::ElfHeaders::fingerprint
    pub fingerprint: Vec<u8>,
    /// Its loadable segments, in the file's order.
    pub loads: Vec<LoadSegment>,
}

/// Which rules of encoding the entries follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CfiSection {
    /// `.eh_frame` or a section of its form, such as `.bolt.org.eh_frame`. Entry addresses are the module's own.
    #[default]
    EhFrame,
    /// `.debug_frame`. Entry addresses are offsets in the section.
    DebugFrame,
}

/// One CIE or FDE, byte for byte, including its length field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CfiEntry {
    /// Where it stood (see [`CfiSection`]).
    pub address: u64,
    /// Where its CIE stood; its own address for a CIE.
    pub cie: u64,
    /// Its bytes; the CIE pointer inside is as it was and means nothing outside its section.
    pub bytes: Vec<u8>,
}

/// The FDEs that cover code addresses of this recording in one module, and their CIEs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnwindSlice {
    /// Which module.
    pub module: ModuleId,
    /// How the entries are encoded.
    pub section: CfiSection,
    /// CIEs that this segment has not yet defined.
    pub cies: Vec<CfiEntry>,
    /// FDEs that this segment has not yet defined.
    pub fdes: Vec<CfiEntry>,
}

/// A function's name and place in a module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symbol {
    /// Address of its first byte as the module states it.
    pub address: u64,
    /// Its size in bytes, 0 when unknown.
    pub size: u64,
    /// Its name as the symbol table has it (mangled).
    pub name: String,
}

/// The symbols of one module that cover code addresses of this recording.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SymbolSlice {
    /// Which module.
    pub module: ModuleId,
    /// The symbols, in the order of their addresses.
    pub symbols: Vec<Symbol>,
}

/// The section `.gnu_debugdata` of a module, byte for byte: an ELF file with a symbol table, compressed with xz.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MiniDebugInfo {
    /// Which module.
    pub module: ModuleId,
    /// The compressed bytes.
    pub bytes: Vec<u8>,
}

/// Where functions of a module that hold code addresses of this recording begin and end. It stands for the call frame information
/// that said so, in a recording that needs it for nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionExtents {
    /// Which module.
    pub module: ModuleId,
    /// For each function the address of its first byte as the module states it, and one past its last.
    pub ranges: Vec<(u64, u64)>,
}

/// A module's whole image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Which module.
    pub module: ModuleId,
    /// Its bytes as mapped.
    pub bytes: Vec<u8>,
}

/// A kernel function that holds a recorded address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelSymbol {
    /// Address of its first byte.
    pub address: u64,
    /// Its size in bytes, 0 when unknown.
    pub size: u64,
    /// Its name.
    pub name: String,
    /// The kernel module that it belongs to; empty for the kernel itself.
    pub module: String,
}

/// Kernel functions that hold recorded addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelSymbols {
    /// In the order of their addresses.
    pub symbols: Vec<KernelSymbol>,
}

/// A piece of code that a process made at run time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JitSymbol {
    /// Since when it is there, or was first seen, in nanoseconds of CLOCK_MONOTONIC.
    pub time: u64,
    /// Address of its first byte in the process.
    pub address: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Its name as its maker told it. Bytes that are not UTF-8 are replaced.
    pub name: String,
}

/// Names of code addresses of this recording in code that a process made at run time, as a JIT compiler does: what the process
/// told of it in `/tmp/perf-PID.map` or in a jitdump. At any time, an address belongs to the latest piece of code before that
/// time which covers it; if there is none, to the first one after it, which was seen late. Of pieces of the same time the
/// last one counts, in the order of the recording. What was told late can stand in a later segment than the samples.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerfMap {
    /// Process id.
    pub pid: u32,
    /// The code, in the order in which it was made.
    pub symbols: Vec<JitSymbol>,
    /// Why there are no names, or not all, in words; else empty.
    pub trouble: String,
}

/// All registers and all memory that were captured for one sample, before any was left out: what the program was working on
/// is in it. No recorder writes it unless it is told to, to check unwinders against each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawStack {
    /// The time of the sample as a reader gives it: rounded up to a multiple of 1,024.
    pub time: u64,
    /// Thread id of the sample.
    pub tid: u32,
    /// Registers by their DWARF numbers; x86-64 has the instruction pointer at 16.
    pub registers: Vec<u64>,
    /// Pieces of memory by ascending address, and the address of each. Some may touch; pages that could not be read are zeros.
    pub memory: Vec<(u64, Vec<u8>)>,
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
