//! Where functions live, and what that is called.

use std::sync::Arc;

use crate::evidence::{Evidence, ModuleEvidence, ModuleIndex};

/// Where a function lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Home {
    /// In a module of a process.
    Module(ModuleIndex),
    /// In the kernel, or in the kernel module of this name.
    Kernel(Arc<str>),
    /// In code that was made at run time.
    Jit,
    /// In no known module.
    Outside,
}

/// How the kernel is called where modules are listed.
pub const KERNEL: &str = "[kernel]";
/// How code that was made at run time is called, as perf calls it.
pub const JIT: &str = "[JIT]";
/// How code outside every module is called.
pub const OUTSIDE: &str = "[unknown]";

/// A module's name: the last part of its path.
pub fn short_name(module: &ModuleEvidence) -> &str {
    let path = module.module.path.as_str();
    match path.rsplit('/').find(|part| !part.is_empty()) {
        Some(name) => name,
        None => OUTSIDE,
    }
}

/// The name of the module that a function lives in.
pub fn home_name(home: &Home, evidence: &Evidence) -> String {
    match home {
        Home::Module(index) => evidence.modules.get(*index as usize).map_or(OUTSIDE, short_name).to_owned(),
        Home::Kernel(module) if module.is_empty() => KERNEL.to_owned(),
        Home::Kernel(module) => format!("[{module}]"),
        Home::Jit => JIT.to_owned(),
        Home::Outside => OUTSIDE.to_owned(),
    }
}
