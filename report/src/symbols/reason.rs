//! Why a location has no name.

/// Why a location has no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// No file of this machine has the module's build-id, and no symbols are in the recording.
    NoLocalFile,
    /// The file at the module's path is another build.
    OtherBuild,
    /// The module has no build-id: no local file can be proven to be it.
    Unidentified,
    /// The module's files hold no symbols.
    NoSymbols,
    /// The module's files name only the functions that it exports.
    Stripped,
    /// The module has symbols, but none covers the address.
    NotCovered,
    /// The address is in code that was made at run time, and the process has told no names.
    NoPerfMap,
    /// The process has told names of code that it made at run time, but none covers the address.
    NotInPerfMap,
    /// The address is outside of all that is known to be mapped.
    OutsideModules,
    /// The kernel's name for it is not in the recording.
    KernelHidden,
}

impl Reason {
    /// A stable name, used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoLocalFile => "no_local_file",
            Self::OtherBuild => "other_build",
            Self::Unidentified => "unidentified",
            Self::NoSymbols => "no_symbols",
            Self::Stripped => "stripped",
            Self::NotCovered => "not_covered",
            Self::NoPerfMap => "no_perf_map",
            Self::NotInPerfMap => "not_in_perf_map",
            Self::OutsideModules => "outside_modules",
            Self::KernelHidden => "kernel_hidden",
        }
    }

    /// What it means, in words.
    pub fn explain(self) -> &'static str {
        match self {
            Self::NoLocalFile => "no local file with this build-id (try --symbols DIR or record --embed symbols)",
            Self::OtherBuild => "the local file is another build (try --symbols DIR)",
            Self::Unidentified => "the recorder could not read its file, so no local file can be trusted",
            Self::NoSymbols => "no symbols in its files (try --symbols DIR)",
            Self::Stripped => "stripped: only exported functions have names (try --symbols DIR)",
            Self::NotCovered => "no symbol covers the address",
            Self::NoPerfMap => {
                "JIT code without a perf map (node --perf-basic-prof, python -X perf; for Java: record --jvm-perfmap)"
            }
            Self::NotInPerfMap => "JIT code that is not in the perf map",
            Self::OutsideModules => "outside of all known mappings",
            Self::KernelHidden => "the kernel's symbols are not in the recording",
        }
    }
}
