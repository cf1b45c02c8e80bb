//! The recorder's side of the chunks in bpf/stack.h: what was kept of each chunk of a stack when it was sent. A tick brings
//! only the chunks that changed since; the others are here.
//!
//! The kernel remembers hashes in a table without owners, and so a slot tells whose chunk was sent last: only that one may not come
//! again. Two CPUs can send chunks of two threads that share a slot in one order and write the slot in the other: what was kept for
//! the last two owners of a slot stays.

use profrec_format::StackWord;
use rustc_hash::FxHashMap;

/// Bytes of a chunk; CHUNK in bpf/stack.h.
pub(crate) const CHUNK: u64 = 2048;
/// Slots of the kernel's table: REMEMBERED in bpf/stack.h.
const SLOTS: usize = 16384;
/// High half of MIX in bpf/stack.h.
const MIX: u32 = 0x9e37_79b9;

/// What was kept of the chunks that were sent.
#[derive(Debug, Default)]
pub(crate) struct SentChunks {
    threads: FxHashMap<u32, Places>,
    /// The last owners of each slot, the very last one first.
    owners: Vec<[Owner; 2]>,
    /// Owners whose slots others have.
    outdated: Vec<Owner>,
    /// Bytes of all that was kept.
    size: usize,
    unknown: u64,
}

/// What was kept of each chunk of a thread's stack, by its place from the top; `None` where none was sent.
type Places = Vec<Option<Vec<StackWord>>>;

/// A thread, and the place of one of its chunks. Thread 0 is none.
type Owner = (u32, u32);

/// Bytes that are kept at most. Threads whose stacks are full of pointers, and very many threads, need more: everything is
/// sent again then.
const MOST: usize = 16 << 20;

/// Bytes of a thread of which no chunk was sent.
const THREAD: usize = size_of::<(u32, Places)>();

impl SentChunks {
    /// The chunks of a thread.
    pub(crate) fn of(&mut self, tid: u32) -> ThreadChunks<'_> {
        self.drop_outdated();
        if self.size > MOST {
            self.threads = FxHashMap::default();
            self.size = 0;
        }
        self.owners.resize(SLOTS, Default::default());
        let Self { threads, owners, outdated, size, unknown } = self;
        let places = threads.entry(tid).or_insert_with(|| {
            *size += THREAD;
            Places::new()
        });
        ThreadChunks { tid, places, owners, outdated, size, unknown }
    }

    /// Forgets a thread that has ended.
    pub(crate) fn forget(&mut self, tid: u32) {
        if let Some(places) = self.threads.remove(&tid) {
            self.size -= THREAD + size_of_places(&places) + places.iter().flatten().map(size_of_words).sum::<usize>();
        }
    }

    /// How many unchanged chunks were not known.
    pub(crate) fn unknown(&self) -> u64 {
        self.unknown
    }

    fn drop_outdated(&mut self) {
        for (tid, place) in self.outdated.drain(..) {
            let kept = self.threads.get_mut(&tid).and_then(|places| places.get_mut(place as usize)?.take());
            self.size -= kept.as_ref().map_or(0, size_of_words);
        }
    }
}

/// What was kept of the chunks of one thread.
pub(crate) struct ThreadChunks<'a> {
    tid: u32,
    places: &'a mut Places,
    owners: &'a mut [[Owner; 2]],
    outdated: &'a mut Vec<Owner>,
    size: &'a mut usize,
    unknown: &'a mut u64,
}

impl ThreadChunks<'_> {
    /// Keeps the words of a chunk that was sent.
    pub(crate) fn put(&mut self, place: u32, words: &[StackWord]) {
        self.own(place);
        let place = place as usize;
        if place >= self.places.len() {
            *self.size -= size_of_places(self.places);
            self.places.resize(place + 1, None);
            *self.size += size_of_places(self.places);
        }
        let kept = self.places[place].get_or_insert_default();
        *self.size -= size_of_words(kept);
        kept.clear();
        kept.extend_from_slice(words);
        *self.size += size_of_words(kept);
    }

    /// Takes the slot of a chunk.
    fn own(&mut self, place: u32) {
        let (owner, slot) = ((self.tid, place), self.tid.wrapping_mul(MIX).wrapping_add(place));
        let [last, before] = &mut self.owners[slot as usize % SLOTS];
        if *last != owner {
            std::mem::swap(last, before);
            let outdated = std::mem::replace(last, owner);
            if outdated != owner && outdated.0 != 0 {
                self.outdated.push(outdated);
            }
        }
    }

    /// The words of a chunk that has not changed since it was sent. `None` when it is not known any more, which is counted: all
    /// of the stack has to be sent again then.
    pub(crate) fn get(&mut self, place: u32) -> Option<&[StackWord]> {
        let words = self.places.get(place as usize).and_then(Option::as_deref);
        *self.unknown += u64::from(words.is_none());
        words
    }
}

fn size_of_places(places: &Places) -> usize {
    places.capacity() * size_of::<Option<Vec<StackWord>>>()
}

fn size_of_words(words: &Vec<StackWord>) -> usize {
    words.capacity() * size_of::<StackWord>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(value: u64) -> [StackWord; 1] {
        [StackWord { address: 0x1000, value }]
    }

    /// However full of pointers stacks are and however many threads there are, what is kept is bounded, and counted right.
    #[test]
    fn memory_is_bounded() {
        let full = [StackWord { address: 0x1000, value: 1 }; CHUNK as usize / 8];
        let mut chunks = SentChunks::default();
        let mut most_threads = 0;
        for tid in 1..20_000 {
            for place in [3, 0, 7] {
                chunks.of(tid).put(place, &full[..tid as usize % full.len()]);
            }
            chunks.forget(tid.wrapping_sub(3) / 2 * 2);
            chunks.drop_outdated();
            let places = chunks.threads.values().map(size_of_places).sum::<usize>();
            let words = chunks.threads.values().flatten().flatten().map(size_of_words).sum::<usize>();
            assert_eq!(THREAD * chunks.threads.len() + places + words, chunks.size);
            assert!(chunks.size < MOST + (64 << 10));
            most_threads = most_threads.max(chunks.threads.len());
        }
        assert!(most_threads > 1_000 && chunks.threads.len() < most_threads);
    }

    /// Of chunks that share a slot, those of the last two owners are known, also when one of them comes again; there are never more than two
    /// for each slot.
    #[test]
    fn the_last_two_of_a_slot_are_known() {
        let mut chunks = SentChunks::default();
        let slot = |tid: u32| tid.wrapping_mul(MIX) as usize % SLOTS;
        let [one, other, third] = [7, 7 + SLOTS as u32, 7 + 2 * SLOTS as u32];
        assert_eq!([slot(other), slot(third)], [slot(one); 2]);
        let known = |chunks: &mut SentChunks| [one, other, third].map(|tid| chunks.of(tid).get(0).is_some());
        chunks.of(one).put(0, &words(1));
        chunks.of(other).put(0, &words(2));
        assert_eq!(known(&mut chunks), [true, true, false]);
        chunks.of(one).put(0, &words(3));
        chunks.of(third).put(0, &words(4));
        assert_eq!(known(&mut chunks), [true, false, true]);
        chunks.of(other).put(0, &words(5));
        assert_eq!(known(&mut chunks), [false, true, true]);
        for tid in 1..3 * SLOTS as u32 {
            chunks.of(tid).put(1, &[]);
        }
        chunks.drop_outdated();
        assert_eq!(chunks.threads.values().flatten().flatten().count(), 2 * SLOTS);
    }

    /// A chunk is what it was when it was sent last; what was never sent, or was forgotten, is not known.
    #[test]
    fn a_chunk_is_as_it_was_sent() {
        let mut chunks = SentChunks::default();
        chunks.of(7).put(2, &words(1));
        chunks.of(7).put(2, &words(2));
        chunks.of(7).put(0, &[]);
        chunks.of(8).put(2, &words(3));
        let mut get = |tid, place| chunks.of(tid).get(place).map(<[StackWord]>::to_vec);
        assert_eq!((get(7, 2), get(7, 0), get(8, 2)), (Some(words(2).to_vec()), Some(vec![]), Some(words(3).to_vec())));
        assert_eq!((get(7, 1), get(7, 3), get(9, 0)), (None, None, None));
        assert_eq!(chunks.unknown(), 3);
        chunks.forget(7);
        assert_eq!(chunks.of(7).get(2), None);
        assert_eq!(chunks.unknown(), 4);
    }
}
