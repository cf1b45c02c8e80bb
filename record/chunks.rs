//! The recorder's side of the chunks in bpf/stack.h: what was kept of each chunk of a stack when it was sent. A tick brings
//! only the chunks that changed since; the others are here.

use profrec_format::StackWord;
use rustc_hash::FxHashMap;

/// Bytes of a chunk; CHUNK in bpf/stack.h.
pub(crate) const CHUNK: u64 = 2048;

/// What was kept of the chunks that were sent.
#[derive(Debug, Default)]
pub(crate) struct SentChunks {
    threads: FxHashMap<u32, Places>,
    /// Bytes of all of them.
    size: usize,
    unknown: u64,
}

/// What was kept of each chunk of a thread's stack, by its place from the top; `None` where none was sent.
type Places = Vec<Option<Vec<StackWord>>>;

/// Bytes that are kept at most. Threads whose stacks are full of pointers, and very many threads, need more: everything is
/// sent again then.
const MOST: usize = 16 << 20;

/// Bytes of a thread of which no chunk was sent.
const THREAD: usize = size_of::<(u32, Places)>();

impl SentChunks {
    /// The chunks of a thread.
    pub(crate) fn of(&mut self, tid: u32) -> ThreadChunks<'_> {
        if self.size > MOST {
            self.threads = FxHashMap::default();
            self.size = 0;
        }
        let places = self.threads.entry(tid).or_insert_with(|| {
            self.size += THREAD;
            Places::new()
        });
        ThreadChunks { places, size: &mut self.size, unknown: &mut self.unknown }
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
}

/// What was kept of the chunks of one thread.
pub(crate) struct ThreadChunks<'a> {
    places: &'a mut Places,
    size: &'a mut usize,
    unknown: &'a mut u64,
}

impl ThreadChunks<'_> {
    /// Keeps the words of a chunk that was sent.
    pub(crate) fn put(&mut self, place: u32, words: &[StackWord]) {
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
        for tid in 0..20_000 {
            for place in [3, 0, 7] {
                chunks.of(tid).put(place, &full[..tid as usize % full.len()]);
            }
            chunks.forget(tid.wrapping_sub(3) / 2 * 2);
            let places = chunks.threads.values().map(size_of_places).sum::<usize>();
            let words = chunks.threads.values().flatten().flatten().map(size_of_words).sum::<usize>();
            assert_eq!(THREAD * chunks.threads.len() + places + words, chunks.size);
            assert!(chunks.size < MOST + (64 << 10));
            most_threads = most_threads.max(chunks.threads.len());
        }
        assert!(most_threads > 1_000 && chunks.threads.len() < most_threads);
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
