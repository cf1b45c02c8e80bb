//! What stands in the brackets of a demangled name: parameters and template arguments.

use std::ops::Range;

/// A name without the list of its parameters and what follows it: `f(int) const` is `f`.
pub fn without_parameters(name: &str) -> &str {
    match brackets(name).into_iter().rfind(|group| name.as_bytes().get(group.start.wrapping_sub(1)) == Some(&b'(')) {
        Some(group) if group.start > 1 && is_end(&name[group.end + 1..]) => &name[..group.start - 1],
        _ => name,
    }
}

/// What may follow the parameters of a function: nothing, qualifiers, marks of clones.
fn is_end(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with([' ', '[', '&'])
}

/// What stands in the outermost brackets of a name, from left to right, without the brackets: `a<b<c>>(d)` has
/// `b<c>` and `d`. Of a name whose brackets do not match, nothing.
pub fn brackets(name: &str) -> Vec<Range<usize>> {
    let bytes = name.as_bytes();
    let mut open: Vec<(u8, usize)> = Vec::new();
    let mut groups = Vec::new();
    let mut place = 0;
    while let Some(&byte) = bytes.get(place) {
        match byte {
            b'o' if operator(name, place) > 0 => place += operator(name, place) - 1,
            b'(' | b'<' | b'{' | b'[' => open.push((byte, place + 1)),
            b'>' if place > 0 && matches!(bytes[place - 1], b'-' | b'=') => {}
            b')' | b'>' | b'}' | b']' => match open.pop() {
                Some((opening, start)) if closes(opening, byte) => {
                    if open.is_empty() && matches!(opening, b'(' | b'<') {
                        groups.push(start..place);
                    }
                }
                _ => return Vec::new(),
            },
            _ => {}
        }
        place += 1;
    }
    if open.is_empty() { groups } else { Vec::new() }
}

/// How long the name of an operator is, in bytes, whose brackets are none, at this place; 0 when there is none.
fn operator(name: &str, place: usize) -> usize {
    const OPERATORS: [&str; 12] = ["()", "<<=", ">>=", "<=>", "->*", "->", "<<", ">>", "<=", ">=", "<", ">"];
    let is_inside = name[..place].ends_with(|before: char| before == '_' || before.is_alphanumeric());
    let Some(rest) = name[place..].strip_prefix("operator").filter(|_| !is_inside) else { return 0 };
    let found = OPERATORS.iter().find(|operator| rest.starts_with(**operator));
    found.map_or(0, |operator| "operator".len() + operator.len())
}

fn closes(opening: u8, closing: u8) -> bool {
    matches!((opening, closing), (b'(', b')') | (b'<', b'>') | (b'{', b'}') | (b'[', b']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parameters end a name, with qualifiers behind them; other brackets belong to it.
    #[test]
    fn parameters_are_at_the_end() {
        for (name, expected) in [
            ("f(int) const", "f"),
            ("main", "main"),
            ("(anonymous namespace)::f(std::pair<int, int>)", "(anonymous namespace)::f"),
            ("(anonymous namespace)::f", "(anonymous namespace)::f"),
            ("A::operator()(int)", "A::operator()"),
            ("f(int) [clone .part.0]", "f"),
            ("f(int)::{lambda(char)#1}::operator()(char) const", "f(int)::{lambda(char)#1}::operator()"),
            ("main.(*T).Run", "main.(*T).Run"),
            ("<T as core::fmt::Debug>::fmt", "<T as core::fmt::Debug>::fmt"),
        ] {
            assert_eq!(without_parameters(name), expected);
        }
    }

    /// Only the outermost brackets count, arrows and operators are none, and what does not match has none.
    #[test]
    fn outermost_brackets() {
        let found = |name: &'static str| brackets(name).into_iter().map(|group| &name[group]).collect::<Vec<_>>();
        assert_eq!(found("a<b<c>>(d(e))"), ["b<c>", "d(e)"]);
        assert_eq!(found("A<int>::operator<<(long)"), ["int", "long"]);
        assert_eq!(found("my_operator<int>"), ["int"]);
        assert_eq!(found("call<fn(u8) -> u16>"), ["fn(u8) -> u16"]);
        assert_eq!(found("a)b("), [""; 0]);
        assert_eq!(found("größe<ü>"), ["ü"]);
    }
}
