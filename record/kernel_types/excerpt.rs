//! Some structs of a file of types, with all that they consist of, as a file of its own.

use rustc_hash::FxHashMap;

use super::btf::{
    ARRAY, Btf, CONST, ENUM, ENUM64, FLOAT, FORWARD, INT, POINTER, RESTRICT, STRUCT, TYPE_TAG, TYPEDEF, Type, UNION,
    VOLATILE, word,
};

/// More types than this are in no struct: what asks for more is not the kernel.
const MOST_TYPES: usize = 64 << 10;

/// What the excerpt has so far.
struct Excerpt<'a> {
    from: Btf<'a>,
    /// New numbers by old ones, and the old ones in the order of the new ones, which start with 1.
    numbers: FxHashMap<u32, u32>,
    kept: Vec<u32>,
    types: Vec<u8>,
    /// New places of names by old ones.
    places: FxHashMap<u32, u32>,
    names: Vec<u8>,
}

/// The types of these numbers; `None` when there are none, or they are not as they should be.
pub(super) fn of(from: Btf<'_>, wanted: &[u32]) -> Option<Vec<u8>> {
    let mut excerpt = Excerpt {
        from,
        numbers: FxHashMap::default(),
        kept: Vec::new(),
        types: Vec::new(),
        places: FxHashMap::default(),
        names: vec![0],
    };
    for number in wanted {
        excerpt.number(*number);
    }
    let mut written = 0;
    while let Some(&number) = excerpt.kept.get(written) {
        let old = excerpt.from.get(number)?;
        excerpt.write(old)?;
        written += 1;
        if written > MOST_TYPES {
            return None;
        }
    }
    (written > 0).then(|| excerpt.finish())
}

impl Excerpt<'_> {
    /// The new number of a type, which is written later when it is new. Nothing (`void`) is 0 in every file.
    fn number(&mut self, old: u32) -> u32 {
        if old == 0 {
            return 0;
        }
        let Self { numbers, kept, .. } = self;
        *numbers.entry(old).or_insert_with(|| {
            kept.push(old);
            kept.len() as u32
        })
    }

    fn name(&mut self, old: u32) -> Option<u32> {
        if let Some(place) = self.places.get(&old) {
            return Some(*place);
        }
        let place = if old == 0 { 0 } else { self.names.len() as u32 };
        if old != 0 {
            self.names.extend_from_slice(self.from.name(old)?);
            self.names.push(0);
        }
        self.places.insert(old, place);
        Some(place)
    }

    /// Writes a type that is a part of another one.
    fn write(&mut self, old: Type<'_>) -> Option<()> {
        let name = self.name(old.name)?;
        match old.kind() {
            POINTER => self.put(&[name, old.info, 0]),
            INT => self.put(&[name, old.info, old.size_or_type, word(old.more, 0)?]),
            FLOAT | FORWARD => self.put(&[name, old.info, old.size_or_type]),
            // Its size is all that matters.
            ENUM | ENUM64 => self.put(&[name, old.info & !0xffff, old.size_or_type]),
            TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG => {
                let of = self.number(old.size_or_type);
                self.put(&[name, old.info, of]);
            }
            ARRAY => {
                let (element, index) = (self.number(word(old.more, 0)?), self.number(word(old.more, 4)?));
                self.put(&[name, old.info, old.size_or_type, element, index, word(old.more, 8)?]);
            }
            STRUCT | UNION => {
                self.put(&[name, old.info, old.size_or_type]);
                for member in old.more.chunks_exact(12) {
                    let (name, of) = (self.name(word(member, 0)?)?, self.number(word(member, 4)?));
                    self.put(&[name, of, word(member, 8)?]);
                }
            }
            // No part of anything.
            _ => return None,
        }
        Some(())
    }

    fn put(&mut self, numbers: &[u32]) {
        numbers.iter().for_each(|number| self.types.extend_from_slice(&number.to_le_bytes()));
    }

    fn finish(self) -> Vec<u8> {
        const HEADER: u32 = 24;
        let (types, names) = (self.types.len() as u32, self.names.len() as u32);
        let magic_and_version = 0x0001_eb9f;
        let header = [magic_and_version, HEADER, 0, types, types, names];
        let header = header.iter().flat_map(|number| number.to_le_bytes());
        header.chain(self.types).chain(self.names).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::super::btf::tests::file;
    use super::*;

    /// What a struct consists of is kept with its offsets and sizes, and what it points to is not; nor are others.
    #[test]
    fn a_struct_is_kept_with_its_parts() {
        let file = file(
            &[
                &[1, INT << 24, 4, 32],                                      // 1: int
                &[5, STRUCT << 24 | 1, 8, 5, 4, 0],                          // 2: struct other { int * other }
                &[11, STRUCT << 24 | 3, 24, 16, 5, 0, 18, 4, 64, 0, 6, 128], // 3: struct task { void * p; some a; … }
                &[20, TYPEDEF << 24, 1],                                     // 4: typedef int some
                &[0, POINTER << 24, 2],                                      // 5: struct other *
                &[0, UNION << 24 | 1, 8, 18, 7, 0],                          // 6: union { enum a }
                &[25, ENUM << 24 | 1, 4, 1, 0],                              // 7: enum with a value
            ],
            b"\0int\0other\0task\0p\0a\0some\0list\0",
        );
        let mut types = Btf::open(&file).unwrap();
        let numbers = types.find(&["task", "absent"]).unwrap();
        let kept = of(types, &numbers).unwrap();
        let mut kept = Btf::open(&kept).unwrap();
        let task = kept.get(1).unwrap();
        assert_eq!((kept.name(task.name), task.size_or_type), (Some(&b"task"[..]), 24));
        let members: Vec<_> =
            task.more.chunks(12).map(|member| (word(member, 4).unwrap(), word(member, 8).unwrap())).collect();
        assert_eq!(members, [(2, 0), (3, 64), (4, 128)]);
        let found = (1..).map_while(|number| kept.get(number));
        let found: Vec<_> = found.map(|found| (found.kind(), found.size_or_type)).collect();
        let void = 0;
        assert_eq!(found, [(STRUCT, 24), (POINTER, void), (TYPEDEF, 5), (UNION, 8), (INT, 4), (ENUM, 4)]);
        assert!(of(Btf::open(&file).unwrap(), &[]).is_none());
    }

    proptest! {
        /// Whatever the types are made of: the excerpt is a file of types, or there is none.
        #[test]
        fn any_types_end(seeds in proptest::collection::vec((0u32..22, any::<u8>(), 0u32..4), 1..40)) {
            let types: Vec<Vec<u32>> = seeds
                .iter()
                .map(|&(kind, to, members)| {
                    let to = u32::from(to) % 48;
                    let more = match kind {
                        1 | 14 | 17 => 1,
                        ARRAY => 3,
                        ENUM | 13 => 2 * members,
                        STRUCT | UNION | 15 | ENUM64 => 3 * members,
                        _ => 0,
                    };
                    [1, kind << 24 | members, to].into_iter().chain((0..more).map(|place| (to + place) % 48)).collect()
                })
                .collect();
            let types: Vec<&[u32]> = types.iter().map(Vec::as_slice).collect();
            let file = file(&types, b"\0a\0bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\0");
            let mut types = Btf::open(&file).unwrap();
            if let Some(excerpt) = types.find(&["a"]).and_then(|numbers| of(types, &numbers)) {
                let mut excerpt = Btf::open(&excerpt).unwrap();
                prop_assert!(excerpt.get(1).is_some_and(|first| first.kind() == STRUCT));
                prop_assert!(excerpt.find(&["absent"]).is_some());
            }
        }
    }
}
