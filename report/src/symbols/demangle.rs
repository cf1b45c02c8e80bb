//! Names as people wrote them: Rust without the hash, C++ with its parameters, as perf shows them.

use std::fmt::{self, Write};

use super::plt;

/// Longest name that is shown. A small mangled name can expand without bound.
const MAX_LENGTH: usize = 16 * 1024;
/// A longer name is not demangled: the time that it takes may grow faster than its length.
const MAX_MANGLED: usize = 64 * 1024;

/// The readable form of a symbol's name; a name that is not mangled stays as it is.
pub fn demangle(raw: &str) -> String {
    match raw.strip_suffix(plt::SUFFIX) {
        Some(function) => demangle_function(function) + plt::SUFFIX,
        None => demangle_function(raw),
    }
}

fn demangle_function(raw: &str) -> String {
    let raw = without_version(raw);
    if raw.len() > MAX_MANGLED {
        return bounded(format_args!("{raw}"));
    }
    if let Ok(rust) = rustc_demangle::try_demangle(raw) {
        return bounded(format_args!("{rust:#}"));
    }
    if let Some(cpp) = demangle_cpp(raw) {
        return cpp;
    }
    bounded(format_args!("{raw}"))
}

/// `memcpy@@GLIBC_2.14` is `memcpy`: the version says which of several, not what it is.
fn without_version(raw: &str) -> &str {
    match raw.find('@') {
        Some(at) if at > 0 => &raw[..at],
        _ => raw,
    }
}

fn demangle_cpp(raw: &str) -> Option<String> {
    if !raw.starts_with("_Z") && !raw.starts_with("__Z") && !raw.starts_with("_GLOBAL_") {
        return None;
    }
    // What does not parse as a C++ name is shown as it is.
    let symbol = cpp_demangle::Symbol::new(raw).ok()?;
    let mut name = Bounded::default();
    match symbol.structured_demangle(&mut name, &cpp_demangle::DemangleOptions::default()) {
        Ok(()) => Some(name.text),
        Err(_) if name.full => Some(name.text + "..."),
        Err(_) => None,
    }
}

fn bounded(arguments: fmt::Arguments<'_>) -> String {
    let mut name = Bounded::default();
    if name.write_fmt(arguments).is_err() {
        name.text.push_str("...");
    }
    name.text
}

/// A string that refuses to grow past [`MAX_LENGTH`].
#[derive(Default)]
struct Bounded {
    text: String,
    full: bool,
}

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let room = MAX_LENGTH - self.text.len();
        if part.len() > room {
            self.full = true;
            let end = (0..=room).rev().find(|end| part.is_char_boundary(*end)).unwrap_or_default();
            self.text.push_str(&part[..end]);
            return Err(fmt::Error);
        }
        self.text.push_str(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rust names lose their hash, in both manglings.
    #[test]
    fn rust_names_lose_their_hash() {
        assert_eq!(demangle("_ZN4core3fmt5write17h0123456789abcdefE"), "core::fmt::write");
        assert_eq!(demangle("_RNvCs4VPobU5SDH_7mycrate3foo"), "mycrate::foo");
    }

    /// C++ names keep their parameters; the compiler's clones are told apart.
    #[test]
    fn cpp_names_keep_their_parameters() {
        assert_eq!(demangle("_ZN3foo3barEi"), "foo::bar(int)");
        assert_eq!(demangle("_Z3foov.constprop.0"), "foo() [clone .constprop.0]");
    }

    /// C names pass through, without the version of the symbol.
    #[test]
    fn c_names_pass_through() {
        assert_eq!(demangle("main"), "main");
        assert_eq!(demangle("memcpy@@GLIBC_2.14"), "memcpy");
        assert_eq!(demangle("_ZN3foo3barEi@plt"), "foo::bar(int)@plt");
        assert_eq!(demangle("@odd"), "@odd");
        assert_eq!(demangle("_Zbroken"), "_Zbroken");
    }

    /// A name without end is cut, not refused and not expanded.
    #[test]
    fn long_names_are_cut() {
        assert_eq!(demangle(&"x".repeat(100_000)), "x".repeat(MAX_LENGTH) + "...");
        assert_eq!(demangle(&"ä".repeat(100_000)), "ä".repeat(MAX_LENGTH / 2) + "...");
    }
}
