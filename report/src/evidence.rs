//! What a recording itself knows about modules and the kernel, gathered over all its segments.

use profrec_format::{CfiEntry, CfiSection, KernelSymbol, Layout, Module, Symbol};

/// Everything that the recording says about modules and the kernel. `modules` is indexed by
/// [`ModuleIndex`], which numbers distinct modules, whatever their numbers in the file.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Distinct modules, in the order of their first definition.
    pub modules: Vec<ModuleEvidence>,
    /// Kernel functions, by ascending address, without duplicates.
    pub kernel: Vec<KernelSymbol>,
}

/// A module's place in [`Evidence::modules`].
pub type ModuleIndex = u32;

/// What the recording knows about one module.
#[derive(Debug, Default)]
pub struct ModuleEvidence {
    /// Path, kind and build-id.
    pub module: Module,
    /// Program headers, if the recorder could read them.
    pub layout: Option<Layout>,
    /// Embedded CIEs and FDEs, as they stand in the file.
    pub cies: Vec<(CfiSection, CfiEntry)>,
    /// See `cies`.
    pub fdes: Vec<(CfiSection, CfiEntry)>,
    /// Embedded symbols by ascending address, without duplicates.
    pub symbols: Vec<Symbol>,
    /// The whole image (vDSO).
    pub image: Option<Vec<u8>>,
}
