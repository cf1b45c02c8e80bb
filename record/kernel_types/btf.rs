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
    /// Where each [`STRIDE`]th type begins, of those that were passed over.
    starts: Vec<usize>,
    /// How many these are, and where the next one begins.
    passed: u32,
    next: usize,
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
    /// The types of a file, none of which is looked at yet. `None` when it does not begin as it should.
    pub(super) fn open(bytes: &'a [u8]) -> Option<Self> {
        if u16::from_le_bytes(*bytes.first_chunk()?) != MAGIC {
            return None;
        }
        let number = |at| word(bytes, at).map(|number| number as usize);
        let after_header = bytes.get(number(4)?..)?;
        let section = |at| after_header.get(number(at)?..)?.get(..number(at + 4)?);
        Some(Self { types: section(8)?, names: section(16)?, starts: Vec::new(), passed: 0, next: 0 })
    }

    /// The numbers of the first structs of these names: passes over types until there is one of each. `None` when that meets one that is cut
    /// short, or of a kind that is not known.
    pub(super) fn find(&mut self, structs: &[&str]) -> Option<Vec<u32>> {
        let mut missing = structs.to_vec();
        let mut numbers = Vec::new();
        while !missing.is_empty() && self.next < self.types.len() {
            let head = self.pass()?;
            if kind(info(head)) == STRUCT
                && let Some(place) = missing.iter().position(|name| self.is_named(name_in(head), name))
            {
                missing.swap_remove(place);
                numbers.push(self.passed);
            }
        }
        Some(numbers)
    }

    /// Passes over the next type, and gives what it begins with.
    fn pass(&mut self) -> Option<&'a [u8; HEAD]> {
        let head = self.types.get(self.next..)?.first_chunk()?;
        let end = self.next + HEAD + more(info(head))?;
        if end > self.types.len() {
            return None;
        }
        if (self.passed as usize).is_multiple_of(STRIDE) {
            self.starts.push(self.next);
        }
        (self.passed, self.next) = (self.passed + 1, end);
        Some(head)
    }

    /// The type of a number.
    pub(super) fn get(&mut self, number: u32) -> Option<Type<'a>> {
        let place = number.checked_sub(1)? as usize;
        while self.passed < number {
            self.pass()?;
        }
        let mut rest = self.types.get(*self.starts.get(place / STRIDE)?..)?;
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

    /// Types of any length are found by their numbers, whether they have been passed over or not.
    #[test]
    fn types_have_numbers() {
        let int: &[u32] = &[1, INT << 24, 4, 32];
        let pointer: &[u32] = &[0, POINTER << 24, 1];
        let many: Vec<&[u32]> = (0..200).map(|number| if number % 3 == 0 { int } else { pointer }).collect();
        let file = file(&many, b"\0int\0");
        let mut types = Btf::open(&file).unwrap();
        let mut kind = |number| types.get(number).map_or(0, |found| found.kind());
        let (last, first) = (kind(200), kind(1));
        assert_eq!((last, first, [0, 2, 199, 201].map(kind)), (POINTER, INT, [0, POINTER, INT, 0]));
        assert_eq!(types.name(1), Some(&b"int"[..]));
    }

    /// The first struct of a name is found, and what is behind the last one that is wanted is not looked at.
    #[test]
    fn structs_are_found_by_name() {
        let (one, other): (&[u32], &[u32]) = (&[1, STRUCT << 24, 8], &[3, STRUCT << 24, 8]);
        let strange: &[u32] = &[1, 31 << 24, 8];
        let file = file(&[one, other, one, strange], b"\0a\0b\0a\0");
        let find = |structs| Btf::open(&file).unwrap().find(structs);
        assert_eq!(find(&["b", "a"]), Some(vec![1, 2]));
        assert_eq!(find(&["b"]), Some(vec![2]));
        assert_eq!((find(&[]), find(&["b", "absent"])), (Some(vec![]), None));
    }

    /// What is no file of types, is cut short, or has a type of an unknown kind, is refused.
    #[test]
    fn others_are_refused() {
        let pass_all = |bytes: &[u8]| Btf::open(bytes).and_then(|mut types| types.find(&["absent"]));
        let good = file(&[&[1, INT << 24, 4, 32]], b"\0int\0");
        assert_eq!(pass_all(&good), Some(vec![]));
        assert!((0..good.len()).all(|length| pass_all(&good[..length]).is_none()));
        assert!(pass_all(&[&[0], &good[1..]].concat()).is_none());
        assert!(pass_all(&file(&[&[1, 31 << 24, 4]], b"\0int\0")).is_none());
        assert!(pass_all(&file(&[&[1, STRUCT << 24 | 2, 4, 0, 0, 0]], b"\0int\0")).is_none());
    }

    proptest! {
        /// Whatever the bytes: nothing panics or goes on for ever.
        #[test]
        fn any_bytes_end(types in proptest::collection::vec(any::<u32>(), 0..60), number: u32) {
            let kinds: Vec<u32> = types.chunks(3).flat_map(|chunk| [chunk[0], chunk[0] & 0x1f00_0003, 9]).collect();
            for types in [&types, &kinds] {
                let file = file(&[types], b"\0a\0");
                let mut types = Btf::open(&file).unwrap();
                let numbers = types.find(&["a"]).unwrap_or_default();
                prop_assert!(numbers.iter().all(|number| types.get(*number).is_some_and(|found| found.kind() == STRUCT)));
                let _any = types.get(number).and_then(|found| types.name(found.name));
            }
        }
    }
}
