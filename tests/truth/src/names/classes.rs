//! How two tools differ about an address, in words.

use super::chain::{Chain, Frame};
use super::symbols::Symbols;

/// In what two answers differ; `None` when they are equal.
pub fn difference(symbols: &Symbols, address: u64, ours: &Chain, theirs: &Chain) -> Option<&'static str> {
    if ours == theirs {
        return None;
    }
    let covered = symbols.covers(address);
    let nameless = |chain: &Chain| chain.iter().all(|frame| frame.name.is_empty());
    if nameless(ours) && nameless(theirs) {
        return Some("a line there, no name in either");
    }
    match (nameless(ours), nameless(theirs)) {
        (true, _) if covered => return Some("no name here, in a function"),
        (true, _) => return Some("no name here, between functions"),
        (_, true) if covered => return Some("no name there, in a function"),
        (_, true) => return Some("no name there, between functions"),
        _ => {}
    }
    let names = |chain: &Chain| chain.iter().map(|frame| frame.name.clone()).collect::<Vec<_>>();
    if names(ours) != names(theirs) {
        return Some(difference_of_names(ours, theirs));
    }
    Some(difference_of_places(ours, theirs))
}

fn difference_of_names(ours: &Chain, theirs: &Chain) -> &'static str {
    if ours.len() != theirs.len() {
        let (longer, shorter) = if ours.len() > theirs.len() { (ours, theirs) } else { (theirs, ours) };
        let outermost = longer.last().zip(shorter.last()).is_some_and(|(one, other)| one.name == other.name);
        return match (ours.len() > theirs.len(), outermost) {
            (true, true) => "more inlined functions here",
            (false, true) => "more inlined functions there",
            (true, false) => "another function, longer here",
            (false, false) => "another function, longer there",
        };
    }
    let mut pairs = ours.iter().zip(theirs).filter(|(our, their)| our.name != their.name);
    let differing: Vec<(&Frame, &Frame)> = pairs.by_ref().collect();
    let all = |is: &dyn Fn(&str, &str) -> bool| differing.iter().all(|(our, their)| is(&our.name, &their.name));
    if all(&|our, their| is_clone(our, their)) {
        "the clone here, its function there"
    } else if all(&|our, their| is_clone(their, our)) {
        "its function here, the clone there"
    } else if all(&|our, their| is_same_without_parameters(our, their)) {
        "a name from debug information: qualified or not"
    } else if differing.iter().all(|(our, _)| our.name == "[inlined]") {
        "an inlined function without a name"
    } else {
        "another function"
    }
}

/// Whether a name is that of a function with a suffix such as `.cold` or `[clone .cold]`.
fn is_clone(clone: &str, function: &str) -> bool {
    clone.len() > function.len() && without_clones(clone) == without_clones(function)
}

fn without_clones(name: &str) -> &str {
    let end = [" [clone", ".cold", ".part.", ".isra.", ".constprop.", ".lto_priv", ".llvm."]
        .iter()
        .filter_map(|mark| name.find(mark));
    &name[..end.min().unwrap_or(name.len())]
}

/// `f` and `a::f(int)`: DWARF has a name without its home where there is no linkage name.
fn is_same_without_parameters(one: &str, other: &str) -> bool {
    let plain = |name: &str| {
        let name = name.split(['(', '<']).next().unwrap_or_default();
        name.rsplit("::").next().unwrap_or_default().to_owned()
    };
    !plain(one).is_empty() && plain(one) == plain(other)
}

fn difference_of_places(ours: &Chain, theirs: &Chain) -> &'static str {
    let differing = ours.iter().zip(theirs).enumerate().filter(|(_, (our, their))| our != their);
    let mut kinds: Vec<_> = differing.map(|(depth, (our, their))| difference_of_place(depth, our, their)).collect();
    kinds.dedup();
    match kinds[..] {
        [kind] => kind,
        _ => "places of several frames",
    }
}

fn difference_of_place(depth: usize, our: &Frame, their: &Frame) -> &'static str {
    let name = |file: &str| file.rsplit('/').next().unwrap_or_default().to_owned();
    match () {
        () if our.file.is_empty() => "no file here",
        () if their.file.is_empty() => "no file there",
        () if is_longer_path(&their.file, &our.file) => "the same file with more folders there",
        () if our.file != their.file && name(&our.file) == name(&their.file) => "a path that is written differently",
        () if our.file != their.file => "another file",
        () if our.line == 0 => "no line here",
        () if their.line == 0 => "no line there",
        () if depth == 0 => "another line",
        () => "another line of a call",
    }
}

/// Whether a path is a relative one behind more folders.
fn is_longer_path(longer: &str, relative: &str) -> bool {
    !relative.starts_with('/') && longer.strip_suffix(relative).is_some_and(|folders| folders.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(frames: &[(&str, &str, u32)]) -> Chain {
        frames.iter().map(|&(name, file, line)| Frame { name: name.into(), file: file.into(), line }).collect()
    }

    fn of(ours: &Chain, theirs: &Chain) -> Option<&'static str> {
        let mut symbols = Symbols::default();
        symbols.add_symbol("f", 0x10, 0x10);
        difference(&symbols, 0x18, ours, theirs)
    }

    /// Each class, by an answer that is in it.
    #[test]
    fn answers_are_classified() {
        let ours = chain(&[("f", "/a.c", 1)]);
        assert_eq!(of(&ours, &ours), None);
        for (theirs, class) in [
            (chain(&[]), "no name there, in a function"),
            (chain(&[("f.cold", "/a.c", 1)]), "its function here, the clone there"),
            (chain(&[("h", "/a.c", 1)]), "another function"),
            (chain(&[("a::f(int)", "/a.c", 1)]), "a name from debug information: qualified or not"),
            (chain(&[("h", "/a.c", 1), ("f", "/a.c", 2)]), "more inlined functions there"),
            (chain(&[("f", "/b/a.c", 1)]), "a path that is written differently"),
            (chain(&[("f", "/a.c", 2)]), "another line"),
            (chain(&[("f", "/a.c", 0)]), "no line there"),
        ] {
            assert_eq!(of(&ours, &theirs), Some(class));
        }
        assert_eq!(of(&chain(&[]), &ours), Some("no name here, in a function"));
    }
}
