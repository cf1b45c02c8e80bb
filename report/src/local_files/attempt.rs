//! What was looked at for a module, in order, and what came of it.

use std::fmt;

use super::hex;

/// One file, folder or server that was looked at for a module, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Why it was looked at.
    pub step: Step,
    /// Which one: a path or a URL; empty where the step as a whole was left out.
    pub place: String,
    /// Whether it was used, or why not.
    pub outcome: Outcome,
}

/// The sources of files, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A folder given with `--symbols`.
    SymbolsFolder,
    /// The path that the recorded machine had.
    RecordedPath,
    /// The tree of the system's debug files, by build-id.
    SystemDebug,
    /// The debug file that a found binary names (`.gnu_debuglink`).
    DebugLink,
    /// The file that debug files of one package share (`.gnu_debugaltlink`, as dwz makes it).
    DebugAltLink,
    /// What debuginfod's clients have fetched before.
    DebuginfodCache,
    /// A debuginfod server.
    Debuginfod,
    /// The kernel's own file with its debug info.
    Vmlinux,
}

impl Step {
    /// A stable name, used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::SymbolsFolder => "symbols_folder",
            Self::RecordedPath => "recorded_path",
            Self::SystemDebug => "system_debug",
            Self::DebugLink => "debug_link",
            Self::DebugAltLink => "debug_alt_link",
            Self::DebuginfodCache => "debuginfod_cache",
            Self::Debuginfod => "debuginfod",
            Self::Vmlinux => "vmlinux",
        }
    }

    /// How it is called on the terminal.
    pub fn title(self) -> &'static str {
        match self {
            Self::SymbolsFolder => "--symbols",
            Self::RecordedPath => "recorded path",
            Self::SystemDebug => "debug files",
            Self::DebugLink => ".gnu_debuglink",
            Self::DebugAltLink => ".gnu_debugaltlink",
            Self::DebuginfodCache => "debuginfod's cache",
            Self::Debuginfod => "debuginfod",
            Self::Vmlinux => "vmlinux",
        }
    }
}

/// What of a module a file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Code, and what belongs to it: exported functions and call frame information.
    pub code: bool,
    /// The full symbol table.
    pub symbols: bool,
    /// DWARF.
    pub debug_info: bool,
    /// What debug files of one package share.
    pub shared_debug_info: bool,
}

impl Parts {
    /// Whether there is nothing of it all.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            (self.code, "code"),
            (self.symbols, "symbol table"),
            (self.debug_info, "debug info"),
            (self.shared_debug_info, "shared debug info"),
        ];
        let held: Vec<&str> = all.iter().filter(|(held, _)| *held).map(|(_, what)| *what).collect();
        write!(f, "{}", held.join(", "))
    }
}

/// What came of looking at a file, a folder or a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was used, for this.
    Taken(Parts),
    /// A server gave it, so many bytes; what it is good for is told of the place where it is kept.
    Fetched(u64),
    /// It belongs to the module, but holds nothing that was still missing.
    NothingNew,
    /// There is no such file; a server has none.
    NoSuchFile,
    /// Nothing in the folder has this build-id.
    NoneOfThisBuild,
    /// It could not be opened, or the server could not be asked.
    Unreadable(String),
    /// It is not an ELF file.
    NotElf(String),
    /// Its build-id is another.
    OtherBuild(Vec<u8>),
    /// It has no build-id, and its headers are not those of the module.
    OtherHeaders,
    /// Its checksum is not the one in `.gnu_debuglink`.
    OtherChecksum,
    /// It is not the file of the recorded kernel.
    OtherKernel(&'static str),
    /// It was not opened or not asked, for this reason.
    LeftOut(String),
}

impl Outcome {
    /// A stable name, used in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Taken(_) => "used",
            Self::Fetched(_) => "fetched",
            Self::NothingNew => "nothing_new",
            Self::NoSuchFile => "no_such_file",
            Self::NoneOfThisBuild => "none_of_this_build",
            Self::Unreadable(_) => "unreadable",
            Self::NotElf(_) => "not_elf",
            Self::OtherBuild(_) => "other_build",
            Self::OtherHeaders => "other_headers",
            Self::OtherChecksum => "other_checksum",
            Self::OtherKernel(_) => "other_kernel",
            Self::LeftOut(_) => "left_out",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(parts) => write!(f, "used: {parts}"),
            Self::Fetched(length) => write!(f, "fetched, {length} bytes"),
            Self::NothingNew => write!(f, "belongs to the module, but holds nothing that was still missing"),
            Self::NoSuchFile => write!(f, "no such file"),
            Self::NoneOfThisBuild => write!(f, "nothing in this folder has the module's build-id"),
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
            Self::NotElf(error) => write!(f, "not an ELF file: {error}"),
            Self::OtherBuild(build_id) => write!(f, "its build-id is another: {}", hex(build_id)),
            Self::OtherHeaders => write!(f, "has no build-id, and its headers are not those of the module"),
            Self::OtherChecksum => write!(f, "its checksum is not the one in .gnu_debuglink"),
            Self::OtherKernel(why) => write!(f, "{why}"),
            Self::LeftOut(why) => write!(f, "left out: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file was used for is told part by part.
    #[test]
    fn an_outcome_in_words() {
        let parts = Parts { code: true, debug_info: true, ..Parts::default() };
        assert_eq!(Outcome::Taken(parts).to_string(), "used: code, debug info");
        assert_eq!(Outcome::OtherBuild(vec![0xab, 1]).to_string(), "its build-id is another: ab01");
    }
}
