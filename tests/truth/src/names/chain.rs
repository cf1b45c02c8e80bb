//! What a tool says about an address: a chain of functions, innermost first.

use std::collections::HashMap;

use profrec_report::symbols::demangle::demangle;

/// A function at an address, inlined into the next one or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Its readable name; empty without one.
    pub name: String,
    /// The source file without `.` and `..`; empty without one.
    pub file: String,
    /// The line; 0 without one.
    pub line: u32,
}

/// Innermost first; empty where nothing is known.
pub type Chain = Vec<Frame>;

/// Makes frames of what tools print. All names are demangled in the same way, ours: what is compared is which function it is.
#[derive(Default)]
pub struct Frames {
    names: HashMap<String, String>,
    files: HashMap<String, String>,
}

impl Frames {
    /// A frame of a mangled name (`??` for none) and a place such as `/a/b.c:7` or `/a/b.c:7:3`.
    pub fn printed(&mut self, name: &str, place: &str) -> Frame {
        let (file, line) = split_place(place);
        let name = match name {
            "??" | "" => String::new(),
            name => self.names.entry(name.to_owned()).or_insert_with(|| demangle(name).to_string()).clone(),
        };
        Frame { name, file: self.file(file), line }
    }

    /// A file, without what makes one path look like two.
    pub fn file(&mut self, file: &str) -> String {
        match file {
            "??" | "" => String::new(),
            file => self.files.entry(file.to_owned()).or_insert_with(|| plain_path(file)).clone(),
        }
    }
}

fn split_place(place: &str) -> (&str, u32) {
    // What may stand behind, such as " (discriminator 3)".
    let place = place.split(" (").next().unwrap_or_default();
    let number = |text: &str| text.parse::<u32>().ok();
    match place.rsplit_once(':') {
        Some((before, last)) if number(last).is_some() => match before.rsplit_once(':') {
            Some((file, line)) if number(line).is_some() => (file, number(line).unwrap_or_default()),
            _ => (before, number(last).unwrap_or_default()),
        },
        _ => (place, 0),
    }
}

/// A path without `.` and `..`.
pub fn plain_path(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

/// The last part of a path.
pub fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The chain without what is not known: an address of which nothing is, has none.
pub fn known(chain: Chain) -> Chain {
    let is_known = |frame: &Frame| !frame.name.is_empty() || !frame.file.is_empty();
    if chain.iter().any(is_known) { chain } else { Chain::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both forms of a place, and paths that are written in two ways.
    #[test]
    fn places_are_read() {
        assert_eq!(split_place("/a/b.c:7:3"), ("/a/b.c", 7));
        assert_eq!(split_place("/a/b.c:7 (discriminator 2)"), ("/a/b.c", 7));
        assert_eq!(split_place("??:0:0"), ("??", 0));
        assert_eq!(plain_path("/a/./b/../c.h"), "/a/c.h");
        assert_eq!(plain_path("../x//c.h"), "../x/c.h");
        let frame = Frames::default().printed("_Z1fv", "./a.c:2:1");
        assert_eq!(frame, Frame { name: "f()".into(), file: "a.c".into(), line: 2 });
    }
}
