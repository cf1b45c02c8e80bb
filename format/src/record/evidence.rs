//! What the analyzer needs of modules and other code: where it was, how its frames are left, and what it is called.

use serde::{Deserialize, Serialize};

use super::ModuleId;

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
    #[serde(with = "super::bytes")]
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
    #[serde(with = "super::bytes")]
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
    #[serde(with = "super::bytes")]
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
