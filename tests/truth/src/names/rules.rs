//! Rules that explain differences. Each tells what another tool does, proves for the address at hand from the file's own tables
//! that it did just that there, and says what the answer would be without it. A difference is explained if, with that taken
//! away, the answers are equal.

use super::chain::{Chain, Frame, file_name};
use super::debug_info::{Call, DebugInfo, Scope};
use super::symbols::Symbols;

/// What is known of a file beside the answers.
#[derive(Debug, Default)]
pub struct Facts {
    /// Its symbol tables.
    pub symbols: Symbols,
    /// Its debug information.
    pub debug_info: DebugInfo,
}

/// An address, and what is said about it.
struct Case<'c> {
    facts: &'c Facts,
    address: u64,
    ours: &'c Chain,
    theirs: &'c Chain,
}

/// What a tool's answer would be if it had not done what the rule is about; `None` if it did not do that.
type Rule = fn(&Case<'_>) -> Option<Chain>;

const RULES: [(&str, Rule); 9] = [
    (BETWEEN, between_functions),
    (FOLDERS, folders_twice),
    (SOURCE, file_symbol),
    (ALIAS, another_symbol),
    (TABLE, symbol_and_debug_info),
    (LABEL, label),
    (LEFT_OUT, left_out),
    (NOT_THERE, not_there),
    (OVERLAP, overlap),
];
const BETWEEN: &str = "between functions";
const FOLDERS: &str = "folders twice";
const SOURCE: &str = "the name of a source without debug information";
const ALIAS: &str = "another symbol of the same address";
const TABLE: &str = "the symbol's name here, that of debug information there";
const LABEL: &str = "a label inside of the function";
const LEFT_OUT: &str = "inlined functions that debug information has at the address are left out";
const NOT_THERE: &str = "an inlined function, or a call of one, that debug information does not have at the address";
const OVERLAP: &str = "two inlined functions overlap, and either may be meant";

/// The rules that explain the difference, or `None`.
pub fn explain(facts: &Facts, address: u64, ours: &Chain, theirs: &Chain) -> Option<Vec<&'static str>> {
    let mut theirs = theirs.clone();
    let mut used = Vec::new();
    for (name, rule) in RULES {
        if theirs == *ours {
            break;
        }
        if let Some(without) = rule(&Case { facts, address, ours, theirs: &theirs }) {
            theirs = without;
            used.push(name);
        }
    }
    (theirs == *ours).then_some(used)
}

/// What fills the space between functions belongs to none: no symbol has it, and no entry of debug information. Line tables go on there.
fn between_functions(case: &Case<'_>) -> Option<Chain> {
    let covered = case.facts.symbols.covers(case.address) || case.facts.debug_info.function(case.address).is_some();
    (case.ours.is_empty() && !covered).then(Chain::new)
}

/// The unit was compiled in a relative folder, and names its files from above it: the folder is put before them all the same.
fn folders_twice(case: &Case<'_>) -> Option<Chain> {
    let folder = case.facts.debug_info.folder(case.address).filter(|folder| !folder.starts_with('/'))?;
    let mut mended = case.theirs.clone();
    for (their, our) in mended.iter_mut().zip(case.ours) {
        let behind = their.file.strip_prefix(folder).and_then(|file| file.strip_prefix('/'));
        if behind == Some(&our.file) {
            their.file = our.file.clone();
        }
    }
    (mended != *case.theirs).then_some(mended)
}

/// No unit of debug information has the address; the symbol table names a source, and that is no path.
fn file_symbol(case: &Case<'_>) -> Option<Chain> {
    let [our] = &case.ours[..] else { return None };
    let [their] = &case.theirs[..] else { return None };
    let debug_info = &case.facts.debug_info;
    let unknown = debug_info.folder(case.address).is_none() && debug_info.function(case.address).is_none();
    let explained = unknown && our.file.is_empty() && their.line == 0 && case.facts.symbols.is_file(&their.file);
    explained.then(|| vec![Frame { file: String::new(), ..their.clone() }])
}

/// The outermost functions, if their names differ.
fn outermost_names<'c>(case: &Case<'c>) -> Option<(&'c str, &'c str)> {
    let (our, their) = (case.ours.last()?, case.theirs.last()?);
    (our.name != their.name).then_some((&our.name, &their.name))
}

/// Their answer with our name for the outermost function.
fn renamed(case: &Case<'_>, name: &str) -> Chain {
    let mut mended = case.theirs.clone();
    if let Some(outermost) = mended.last_mut() {
        outermost.name = name.to_owned();
    }
    mended
}

/// Both names are symbols that begin at the same address, and it is their code.
fn another_symbol(case: &Case<'_>) -> Option<Chain> {
    let (our, their) = outermost_names(case)?;
    case.facts.symbols.are_aliases(our, their, case.address).then(|| renamed(case, our))
}

/// Ours is the symbol that covers the address, such as `f.cold`; theirs is what debug information calls the function there, `f`.
fn symbol_and_debug_info(case: &Case<'_>) -> Option<Chain> {
    let (our, their) = outermost_names(case)?;
    let said = case.facts.debug_info.function(case.address)?.contains(their);
    (said && case.facts.symbols.start(our, case.address).is_some()).then(|| renamed(case, our))
}

/// Ours is the symbol whose size covers the address; theirs has no size, and stands inside of it.
fn label(case: &Case<'_>) -> Option<Chain> {
    let (our, their) = outermost_names(case)?;
    let start = case.facts.symbols.start(our, case.address)?;
    case.facts.symbols.is_label(their, start, case.address).then(|| renamed(case, our))
}

/// Whether our inlined functions are exactly one of the chains that debug information has at the address, with their calls, and
/// both tools have the same place in the innermost one. Then theirs is not what the file says, or not all of it.
fn ours_is_proven(case: &Case<'_>, chains: &[Vec<Scope<'_>>]) -> bool {
    let (Some(our), Some(their)) = (case.ours.first(), case.theirs.first()) else { return false };
    let Some(outermost) = case.ours.last() else { return false };
    let known = case.facts.symbols.start(&outermost.name, case.address).is_some()
        || case.facts.debug_info.function(case.address).is_some_and(|names| names.contains(&outermost.name));
    let same_place = (&our.file, our.line) == (&their.file, their.line);
    let is_ours = |chain: &Vec<Scope<'_>>| {
        let callers = case.ours.iter().skip(1);
        chain.len() + 1 == case.ours.len()
            && chain.iter().zip(case.ours).all(|((names, _), frame)| names.contains(&frame.name))
            && chain
                .iter()
                .zip(callers)
                .all(|((_, call), frame)| (call.file.as_str(), call.line) == (file_name(&frame.file), frame.line))
    };
    let none = case.ours.len() == 1 && chains.is_empty();
    known && same_place && (none || chains.iter().any(is_ours))
}

/// Whether debug information has their frame at the address: the call of an inlined function, or the function itself.
fn is_there(case: &Case<'_>, chains: &[Vec<Scope<'_>>], frame: &Frame) -> bool {
    let inlined = chains.iter().flatten().any(|(names, _)| names.contains(&frame.name));
    let function = case.facts.debug_info.function(case.address).is_some_and(|names| names.contains(&frame.name));
    inlined || function || case.ours.last().is_some_and(|ours| ours.name == frame.name)
}

/// Our inlined functions are those that the address is in; they show fewer, and no others.
fn left_out(case: &Case<'_>) -> Option<Chain> {
    let chains = case.facts.debug_info.chains(case.address);
    let fewer = case.theirs.len() < case.ours.len() && case.theirs.iter().all(|frame| is_there(case, &chains, frame));
    (fewer && ours_is_proven(case, &chains)).then(|| case.ours.clone())
}

/// Our inlined functions are those that the address is in; they show one, or a call of one, that it is not in.
fn not_there(case: &Case<'_>) -> Option<Chain> {
    let chains = case.facts.debug_info.chains(case.address);
    let outermost = case.theirs.last().is_some_and(|frame| is_there(case, &chains, frame));
    let proven = outermost && !calls_are_there(case, &chains) && ours_is_proven(case, &chains);
    proven.then(|| case.ours.clone())
}

/// The address is in several chains of inlined functions, of which ours is one; theirs is made of these too.
fn overlap(case: &Case<'_>) -> Option<Chain> {
    let chains = case.facts.debug_info.chains(case.address);
    let proven = chains.len() > 1 && calls_are_there(case, &chains) && ours_is_proven(case, &chains);
    proven.then(|| case.ours.clone())
}

/// Whether debug information has each inlined function of theirs at the address, called where they say.
fn calls_are_there(case: &Case<'_>, chains: &[Vec<Scope<'_>>]) -> bool {
    case.theirs.windows(2).all(|frames| {
        let [inlined, caller] = frames else { return false };
        let is_call = |call: &Call| (call.file.as_str(), call.line) == (file_name(&caller.file), caller.line);
        chains.iter().flatten().any(|(names, call)| names.contains(&inlined.name) && is_call(call))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(name: &str, file: &str, line: u32) -> Frame {
        Frame { name: name.into(), file: file.into(), line }
    }

    /// `f`, also called `g`, which debug information calls `h`, with a label inside; behind it nothing. In `m`, `i` was inlined,
    /// and for some bytes `j` too; `s` has no debug information.
    fn facts() -> Facts {
        let mut facts = Facts::default();
        facts.symbols.add_symbol("f", 0x10, 0x10);
        facts.symbols.add_symbol("g", 0x10, 0);
        facts.symbols.add_symbol("label", 0x14, 0);
        facts.symbols.add_symbol("m", 0x30, 0x10);
        facts.symbols.add_symbol("s", 0x50, 0x10);
        facts.debug_info.add(0x10..0x20, "h", "sub");
        facts.debug_info.add(0x30..0x40, "m", "/");
        facts.debug_info.inline(0x32..0x3a, "i", "a.c", 2);
        facts.debug_info.inline(0x38..0x40, "j", "a.c", 3);
        facts
    }

    fn explained(address: u64, ours: &[Frame], theirs: &[Frame]) -> Option<Vec<&'static str>> {
        explain(&facts(), address, &ours.to_vec(), &theirs.to_vec())
    }

    fn inlined(name: &str, line: u32) -> [Frame; 2] {
        [frame(name, "/i.c", 1), frame("m", "/a.c", line)]
    }

    /// Each rule explains what it is about.
    #[test]
    fn differences_are_explained() {
        let ours = [frame("f", "sub/a.c", 1)];
        for (name, file, rules) in [
            ("g", "sub/a.c", vec![ALIAS]),
            ("h", "sub/a.c", vec![TABLE]),
            ("label", "sub/a.c", vec![LABEL]),
            ("f", "sub/sub/a.c", vec![FOLDERS]),
            ("g", "sub/sub/a.c", vec![FOLDERS, ALIAS]),
        ] {
            assert_eq!(explained(0x18, &ours, &[frame(name, file, 1)]), Some(rules), "{name}");
        }
        assert_eq!(explained(0x28, &[], &[frame("", "/a.c", 1)]), Some(vec![BETWEEN]));
        assert_eq!(explained(0x34, &inlined("i", 2), &[frame("m", "/i.c", 1)]), Some(vec![LEFT_OUT]));
        assert_eq!(explained(0x34, &inlined("i", 2), &inlined("j", 3)), Some(vec![NOT_THERE]));
        assert_eq!(explained(0x39, &inlined("i", 2), &inlined("j", 3)), Some(vec![OVERLAP]));
    }

    /// What a rule is about does not explain more than that, nor at another address.
    #[test]
    fn what_is_not_proven_is_not_explained() {
        let ours = [frame("f", "sub/a.c", 1)];
        for theirs in [
            frame("f", "sub/a.c", 2),
            frame("g", "sub/a.c", 2),
            frame("x", "sub/a.c", 1),
            frame("f", "other/sub/a.c", 1),
        ] {
            assert_eq!(explained(0x18, &ours, std::slice::from_ref(&theirs)), None, "{theirs:?}");
        }
        assert_eq!(explained(0x12, &ours, &[frame("label", "sub/a.c", 1)]), None);
        assert_eq!(explained(0x18, &[], &[frame("", "/a.c", 1)]), None);
        assert_eq!(explained(0x58, &[frame("s", "", 0)], &[frame("s", "crt.c", 0)]), None);
        // Ours is not what debug information says, or another place.
        assert_eq!(explained(0x34, &inlined("j", 3), &inlined("i", 2)), None);
        assert_eq!(explained(0x34, &inlined("i", 7), &[frame("m", "/i.c", 1)]), None);
        assert_eq!(explained(0x34, &inlined("i", 2), &[frame("m", "/i.c", 9)]), None);
        assert_eq!(explained(0x31, &inlined("i", 2), &[frame("m", "/i.c", 1)]), None);
    }
}
