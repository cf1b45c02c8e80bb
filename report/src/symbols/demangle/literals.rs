//! Arguments of templates as LLVM and binutils show them: `32ul`, not `(unsigned long)32`; nothing for an empty pack.

/// Types of numbers, and how a number of each ends.
const TYPES: [(&str, &str); 5] = [
    ("(unsigned long long)", "ull"),
    ("(unsigned long)", "ul"),
    ("(unsigned int)", "u"),
    ("(long long)", "ll"),
    ("(long)", "l"),
];

/// The same name with numbers as people write them.
pub(super) fn as_written(name: String) -> String {
    let mut name = if name.contains(", >") { name.replace(", >", ">") } else { name };
    for (of_type, end) in TYPES {
        if name.contains(of_type) {
            name = move_behind(&name, of_type, end);
        }
    }
    name
}

fn move_behind(name: &str, of_type: &str, end: &str) -> String {
    let mut written = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, behind)) = rest.split_once(of_type) {
        written.push_str(before);
        let sign = usize::from(behind.starts_with('-'));
        let digits = behind[sign..].bytes().take_while(u8::is_ascii_digit).count();
        let (number, behind) = behind.split_at(if digits > 0 { sign + digits } else { 0 });
        // What is converted may be an expression: then it stays a conversion.
        let parts = if digits > 0 { [number, end] } else { [of_type, ""] };
        parts.iter().for_each(|part| written.push_str(part));
        rest = behind;
    }
    written + rest
}
