//! Type information as the kernel has it (BTF, Documentation/bpf/btf.rst): a header, types of different lengths one after the
//! other, numbered from 1, and the texts of their names.
//!
//! ```text
//!  header │ 1: name info size/type, more by kind │ 2: name info … │ … │ \0 int \0 task_struct \0 …
//!                                                                      ▲ names are offsets here
//! ```

/// One of these is in the header of every file.
const MAGIC: u16 = 0xeb9f;
/// Of so many types, where the first one begins is remembered.
const STRIDE: usize = 64;

pub(super) const INT: u32 = 1;
pub(super) const POINTER: u32 = 2;
pub(super) const ARRAY: u32 = 3;
pub(super) const STRUCT: u32 = 4;
pub(super) const UNION: u32 = 5;
pub(super) const ENUM: u32 = 6;
pub(super) const FORWARD: u32 = 7;
pub(super) const TYPEDEF: u32 = 8;
pub(super) const VOLATILE: u32 = 9;
pub(super) const CONST: u32 = 10;
pub(super) const RESTRICT: u32 = 11;
const FUNCTION: u32 = 12;
const PROTOTYPE: u32 = 13;
const VARIABLE: u32 = 14;
const SECTION: u32 = 15;
pub(super) const FLOAT: u32 = 16;
const DECLARATION_TAG: u32 = 17;
pub(super) const TYPE_TAG: u32 = 18;
pub(super) const ENUM64: u32 = 19;

/// A file's types.
pub(super) struct Btf<'a> {
    types: &'a [u8],
    names: &'a [u8],
    /// Where each [`STRIDE`]th type begins.
    starts: Vec<u32>,
}

/// One type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Type<'a> {
    /// Where its name is.
    pub(super) name: u32,
    /// Its kind, and how many members it has.
    pub(super) info: u32,
    /// A size, or another type, by its kind.
    pub(super) size_or_type: u32,
    /// What follows, by its kind.
    pub(super) more: &'a [u8],
}

impl Type<'_> {
    pub(super) fn kind(&self) -> u32 {
        kind(self.info)
    }
}

impl<'a> Btf<'a> {
    /// Passes over all types, and finds the numbers of the structs of these names. `None` when these are no types, or some are of a
    /// kind that is not known.
    pub(super) fn parse(bytes: &'a [u8], structs: &[&str]) -> Option<(Self, Vec<u32>)> {
        if u16::from_le_bytes(*bytes.first_chunk()?) != MAGIC {
            return None;
        }
        let number = |at| word(bytes, at).map(|number| number as usize);
        let after_header = bytes.get(number(4)?..)?;
        let section = |at| after_header.get(number(at)?..)?.get(..number(at + 4)?);
        let mut found = Self { types: section(8)?, names: section(16)?, starts: Vec::new() };
        let mut numbers = Vec::new();
        let (mut at, mut count) = (0, 0u32);
        while at < found.types.len() {
            if (count as usize).is_multiple_of(STRIDE) {
                found.starts.push(u32::try_from(at).ok()?);
            }
            count += 1;
            let head: &[u8; HEAD] = found.types.get(at..)?.first_chunk()?;
            if kind(info(head)) == STRUCT && structs.iter().any(|name| found.is_named(name_in(head), name)) {
                numbers.push(count);
            }
            at += HEAD + more(info(head))?;
        }
        (at == found.types.len()).then_some((found, numbers))
    }

    /// The type of a number.
    pub(super) fn get(&self, number: u32) -> Option<Type<'a>> {
        let place = number.checked_sub(1)? as usize;
        let mut rest = self.types.get(*self.starts.get(place / STRIDE)? as usize..)?;
        for _ in 0..place % STRIDE {
            let head = rest.first_chunk()?;
            rest = rest.get(HEAD + more(info(head))?..)?;
        }
        let head: &[u8; HEAD] = rest.first_chunk()?;
        let more = rest.get(HEAD..HEAD + more(info(head))?)?;
        Some(Type { name: name_in(head), info: info(head), size_or_type: word(head, 8)?, more })
    }

    /// The text of a name.
    pub(super) fn name(&self, name: u32) -> Option<&'a [u8]> {
        self.names.get(name as usize..)?.split(|byte| *byte == 0).next()
    }

    fn is_named(&self, name: u32, text: &str) -> bool {
        let names = self.names.get(name as usize..).unwrap_or_default();
        // Most names differ in their first letter: that is told without a call.
        let may_be = names.first() == text.as_bytes().first();
        may_be && names.strip_prefix(text.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }
}

/// What every type begins with.
const HEAD: usize = 12;

fn name_in(head: &[u8; HEAD]) -> u32 {
    let [a, b, c, d, ..] = *head;
    u32::from_le_bytes([a, b, c, d])
}

fn info(head: &[u8; HEAD]) -> u32 {
    let [_, _, _, _, a, b, c, d, ..] = *head;
    u32::from_le_bytes([a, b, c, d])
}

fn kind(info: u32) -> u32 {
    info >> 24 & 0x1f
}

/// Bytes of a type behind its head.
fn more(info: u32) -> Option<usize> {
    let members = (info & 0xffff) as usize;
    Some(match kind(info) {
        POINTER | FORWARD | TYPEDEF | VOLATILE | CONST | RESTRICT | FUNCTION | FLOAT | TYPE_TAG => 0,
        INT | VARIABLE | DECLARATION_TAG => 4,
        ARRAY => 12,
        ENUM | PROTOTYPE => 8 * members,
        STRUCT | UNION | SECTION | ENUM64 => 12 * members,
        _ => return None,
    })
}

/// The number at a place.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A file of these types, each as its numbers, and these texts of names.
    pub(in super::super) fn file(types: &[&[u32]], names: &[u8]) -> Vec<u8> {
        let types: Vec<u8> = types.iter().copied().flatten().flat_map(|number| number.to_le_bytes()).collect();
        let (types_length, names_length) = (types.len() as u32, names.len() as u32);
        let header = [0x0001_eb9f, 24, 0, types_length, types_length, names_length];
        [&header.map(u32::to_le_bytes).concat(), &types, names].concat()
    }

    /// Types of any length are found by their numbers.
    #[test]
    fn types_have_numbers() {
        let int: &[u32] = &[1, INT << 24, 4, 32];
        let pointer: &[u32] = &[0, POINTER << 24, 1];
        let many: Vec<&[u32]> = (0..200).map(|number| if number % 3 == 0 { int } else { pointer }).collect();
        let file = file(&many, b"\0int\0");
        let types = Btf::parse(&file, &[]).unwrap().0;
        let kinds: Vec<u32> = (0..=201).map(|number| types.get(number).map_or(0, |found| found.kind())).collect();
        assert_eq!(
            (kinds[0], kinds[1], kinds[2], kinds[199], kinds[200], kinds[201]),
            (0, INT, POINTER, INT, POINTER, 0)
        );
        assert_eq!(types.name(1), Some(&b"int"[..]));
    }

    /// What is no file of types, is cut short, or has a type of an unknown kind, is refused.
    #[test]
    fn others_are_refused() {
        let good = file(&[&[1, INT << 24, 4, 32]], b"\0int\0");
        assert!(Btf::parse(&good, &[]).is_some());
        assert!((0..good.len()).all(|length| Btf::parse(&good[..length], &[]).is_none()));
        assert!(Btf::parse(&[&[0], &good[1..]].concat(), &[]).is_none());
        assert!(Btf::parse(&file(&[&[1, 31 << 24, 4]], b"\0int\0"), &[]).is_none());
    }

    proptest! {
        /// Whatever the bytes: nothing panics or goes on for ever.
        #[test]
        fn any_bytes_end(types in proptest::collection::vec(any::<u32>(), 0..60), number: u32) {
            let kinds: Vec<u32> = types.chunks(3).flat_map(|chunk| [chunk[0], chunk[0] & 0x1f00_0003, 9]).collect();
            for types in [&types, &kinds] {
                let file = file(&[types], b"\0a\0");
                if let Some((types, numbers)) = Btf::parse(&file, &["a"]) {
                    prop_assert!(numbers.iter().all(|number| types.get(*number).is_some_and(|found| found.kind() == STRUCT)));
                    let _any = types.get(number).and_then(|found| types.name(found.name));
                }
            }
        }
    }
}
