//! Where stacks start: the one definition that recorder and report share. A chain of frame pointers whose outermost frame is
//! in such code did not break off.

/// What functions are aligned to, in bytes: the next one begins at most so far behind the end of one.
pub const FUNCTION_ALIGNMENT: u64 = 16;

/// Bytes of start code that is written by hand, without call frame information, from the entry point of its file on.
pub const HANDWRITTEN_START: u64 = 64;

/// Whether a function of this name is one that nothing calls, or that calls a program's or a thread's first function.
#[must_use]
pub fn is_start_code(name: &str) -> bool {
    let name = name.split_once('@').map_or(name, |(name, _version)| name);
    let name = name.strip_suffix(".abi0").unwrap_or(name);
    name.starts_with("__libc_start_main")
        || matches!(
            name,
            "_start"
                | "_start_c"
                | "__libc_start_call_main"
                | "libc_start_main_stage2"
                | "start_thread"
                | "clone"
                | "__clone"
                | "clone3"
                | "__clone3"
                | "runtime.goexit"
                | "runtime.mstart"
                | "runtime.mstart0"
                | "runtime.rt0_go"
                | "_rt0_amd64_linux"
        )
}

/// Whether the function before one of this name is start code: in glibc, the one that calls `main` stands before
/// `__libc_start_main`, and the one that calls a thread's function before `pthread_create`. A stripped glibc names only these.
#[must_use]
pub fn stands_behind_start_code(name: &str) -> bool {
    let name = name.split_once('@').map_or(name, |(name, _version)| name);
    matches!(name, "__libc_start_main" | "pthread_create")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names count with the versions and suffixes that symbol tables give them; others do not.
    #[test]
    fn start_code_has_many_names() {
        for name in ["_start", "__libc_start_main_impl", "clone@@GLIBC_2.2.5", "runtime.goexit.abi0", "__clone3"] {
            assert!(is_start_code(name), "{name}");
        }
        for name in ["main", "clone_file", "runtime.goexit1", "", "start"] {
            assert!(!is_start_code(name), "{name}");
        }
        assert!(stands_behind_start_code("pthread_create@@GLIBC_2.34") && !stands_behind_start_code("qsort"));
    }
}
