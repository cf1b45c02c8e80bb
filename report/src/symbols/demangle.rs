//! Names as people wrote them: Rust without the hash, C++ with its parameters, as perf shows them.

use std::fmt::{self, Write};

use super::plt;

mod constructor;
mod literals;

/// Longest name that is shown. A small mangled name can expand without bound.
const MAX_LENGTH: usize = 16 * 1024;
/// A longer name is not demangled: the time that it takes may grow faster than its length.
const MAX_MANGLED: usize = 64 * 1024;

/// What gcc and clang append to the names of clones, beside numbers.
const CLONES: [&str; 9] = ["isra", "part", "constprop", "cold", "llvm", "lto_priv", "localalias", "clone", "__uniq"];

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
    let with_type = constructor::with_return_type(raw);
    // What does not parse as a C++ name is shown as it is.
    let symbol = cpp_demangle::Symbol::new(with_type.as_deref().unwrap_or(raw)).ok()?;
    let mut name = Bounded::default();
    match symbol.structured_demangle(&mut name, &cpp_demangle::DemangleOptions::default()) {
        Ok(()) => Some(literals::as_written(name.text)),
        Err(_) if name.full => Some(name.text + "..."),
        Err(_) => None,
    }
}

/// A name without what compilers append to the clones that they make of a function: `f.isra.0`, `f.part.1.cold`,
/// `f.llvm.123`.
pub fn without_clone(raw: &str) -> &str {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_clone = |suffix: &str| {
        let mut parts = suffix.split('.');
        let is_known = parts.next().is_some_and(|part| CLONES.contains(&part));
        is_known && parts.all(|part| is_number(part) || CLONES.contains(&part))
    };
    let dots = raw.match_indices('.').map(|(at, _)| at).filter(|&at| at > 0);
    let end = dots.into_iter().find(|at| is_clone(&raw[at + 1..]));
    end.map_or(raw, |end| &raw[..end])
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

    /// A constructor that is a template keeps its first parameter, also where it is inside of another name.
    #[test]
    fn templates_of_constructors_keep_their_first_parameter() {
        assert_eq!(demangle("_ZN3FooC1IiEET_i"), "Foo::Foo<int>(int, int)");
        assert_eq!(
            demangle("_ZN3FooIcEC2IiSsEET_T0_PKc"),
            "Foo<char>::Foo<int, std::string>(int, std::string, char const*)"
        );
        assert_eq!(demangle("_ZN3FooC1Ei"), "Foo::Foo(int)");
        assert_eq!(demangle("_ZN6abC1IxC1Ei"), "abC1Ix::abC1Ix(int)");
        let inside = "Foo::Foo<int>(int, int)::{lambda()#1}::operator()() const";
        assert_eq!(demangle("_ZZN3FooC1IiEET_iENKUlvE_clEv"), inside);
    }

    /// Numbers among a template's arguments, and packs without any, read as people write them.
    #[test]
    fn arguments_of_templates_read_as_written() {
        assert_eq!(demangle("_Z1fISt6bitsetILm32EEEvT_"), "void f<std::bitset<32ul> >(std::bitset<32ul>)");
        assert_eq!(demangle("_Z1fIiJEEvT_"), "void f<int>(int)");
    }

    /// What compilers append for clones is cut off, and nothing else is.
    #[test]
    fn clones_are_their_functions() {
        for (clone, function) in [
            ("f.isra.0", "f"),
            ("f.part.1.cold", "f"),
            ("_ZN1a1bE.constprop.0.isra.12", "_ZN1a1bE"),
            ("_ZN4core3fooE.llvm.6789ABCDEF", "_ZN4core3fooE"),
            ("inner.1234", "inner.1234"),
            ("a.b.cold", "a.b"),
            (".cold", ".cold"),
            ("cold", "cold"),
            ("f.part.x", "f.part.x"),
        ] {
            assert_eq!(without_clone(clone), function, "{clone}");
        }
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

    /// A constructor's name whose arguments double again and again is cut like any other: a few hundred bytes of it once
    /// took all memory.
    #[test]
    fn doubling_constructors_are_cut() {
        let substitution = |number: usize| match number.checked_sub(1) {
            None => "S_".to_owned(),
            Some(digit) => format!("S{}_", char::from(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[digit])),
        };
        let doubled: String = (2..30).map(|last| format!("S1_I{0}{0}E", substitution(last))).collect();
        let name = format!("_ZN1AC1I1BIiiE{doubled}EET_");
        let readable = demangle(&name);
        assert!(readable.len() <= MAX_LENGTH + 3 && readable.starts_with("A::A<B<int, int>"), "{readable}");
    }
}
