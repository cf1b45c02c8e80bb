//! Constructors that are templates. Mangled names of other functions made from templates begin their parameters with
//! the type that they return; constructors have none. The demangler does not know that, and takes a constructor's first
//! parameter for it: so it is given one.

use super::Bounded;

/// How the kinds of constructor that are templates begin.
const CONSTRUCTORS: [&str; 5] = ["C1I", "C2I", "C3I", "C4I", "C5I"];
/// A name that could close in more places than this is left alone.
const MAX_ENDS: usize = 64;

/// The name with `void` where the type that the constructor returns would stand, if it is such a constructor.
pub(super) fn with_return_type(raw: &str) -> Option<String> {
    // A function inside of another begins with the other's name.
    let start = raw.find("_Z")? + 2;
    let start = start + raw[start..].bytes().take_while(|&byte| byte == b'Z').count();
    let own = raw.get(start..)?;
    if !own.starts_with('N') {
        return None;
    }
    let constructor = CONSTRUCTORS.iter().filter_map(|kind| own.find(kind)).min()?;
    let ends = own[constructor..].match_indices('E').map(|(at, _)| constructor + at + 1);
    let end = ends.take(MAX_ENDS).find(|&end| closes(&own[..end]))?;
    Some(format!("{}v{}", &raw[..start + end], &own[end..]))
}

/// Whether this is a whole nested name, and that of a constructor made from a template: the letters that were found may be
/// those of an identifier. As a function without parameters, only a whole name can be read; one that is too long to be
/// shown does not close.
fn closes(nested: &str) -> bool {
    let Ok(symbol) = cpp_demangle::Symbol::new(format!("_Z{nested}vv")) else { return false };
    let mut readable = Bounded::default();
    if symbol.structured_demangle(&mut readable, &cpp_demangle::DemangleOptions::default()).is_err() {
        return false;
    }
    let Some(name) = readable.text.strip_suffix("()") else { return false };
    name.ends_with('>') && matches!(&parts(name)[..], [.., class, function] if class == function)
}

/// The parts of `a<b>::c` without arguments of templates: `a`, `c`.
fn parts(readable: &str) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let mut depth = 0_usize;
    let mut characters = readable.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '<' | '(' | '{' => depth += 1,
            '>' | ')' | '}' => depth = depth.saturating_sub(1),
            ':' if depth == 0 && characters.next_if_eq(&':').is_some() => parts.push(std::mem::take(&mut part)),
            _ if depth == 0 => part.push(character),
            _ => {}
        }
    }
    parts.push(part);
    parts
}
