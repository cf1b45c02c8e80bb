//! The recorder's side of the chunks in bpf/stack.h: what was kept of each chunk of a stack when it was sent. A tick brings
//! only the chunks that changed since; the others are here.
//!
//! The kernel remembers hashes in a table without owners, and so a slot tells whose chunk was sent last. Two CPUs can send
//! chunks of two threads that share a slot in one order and write the slot in the other: the last two owners are kept.

use profrec_format::StackWord;
use rustc_hash::FxHashMap;

/// Bytes of a chunk; CHUNK in bpf/stack.h.
pub(crate) const CHUNK: u64 = 4096;
/// Slots of the kernel's table.
pub(crate) const SLOTS: u32 = 8192;
/// High half of MIX in bpf/stack.h.
const MIX: u32 = 0x9e37_79b9;

/// What was kept of a chunk.
#[derive(Debug, Default)]
struct Sent {
    /// Thread, and place counted from its stack's top.
    owner: (u32, u32),
    words: Vec<StackWord>,
}

/// What was kept of the chunks that were sent.
#[derive(Debug, Default)]
pub(crate) struct SentChunks {
    /// The last owner of each slot in use first.
    slots: FxHashMap<u32, [Sent; 2]>,
    /// How many words there is memory for in all slots.
    room: usize,
    unknown: u64,
}

/// Words that are kept at most: 16 MB. Threads whose stacks are full of pointers need more: everything is sent again then.
const MOST_WORDS: usize = 1 << 20;

impl SentChunks {
    /// Keeps the words of a chunk that was sent.
    pub(crate) fn put(&mut self, tid: u32, place: u32, words: &[StackWord]) {
        let [last, before] = self.slots.entry(slot(tid, place)).or_default();
        if last.owner != (tid, place) {
            std::mem::swap(last, before);
            last.owner = (tid, place);
        }
        let before = last.words.capacity();
        last.words.clear();
        last.words.extend_from_slice(words);
        self.room += last.words.capacity() - before;
        if self.room > MOST_WORDS {
            self.slots = FxHashMap::default();
            self.room = 0;
        }
    }

    /// The words of a chunk that has not changed since it was sent. `None` when it is not known, which is counted: that needs
    /// three threads that share a slot, on three CPUs at the same instant. All of it has to be sent again then.
    pub(crate) fn get(&mut self, tid: u32, place: u32) -> Option<&[StackWord]> {
        let sent =
            self.slots.get(&slot(tid, place)).and_then(|sent| sent.iter().find(|sent| sent.owner == (tid, place)));
        if sent.is_none() {
            self.unknown += 1;
        }
        sent.map(|sent| &sent.words[..])
    }

    /// How many unchanged chunks were not known.
    pub(crate) fn unknown(&self) -> u64 {
        self.unknown
    }
}

fn slot(tid: u32, place: u32) -> u32 {
    tid.wrapping_mul(MIX).wrapping_add(place) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However full of pointers stacks are, what is kept is bounded.
    #[test]
    fn memory_is_bounded() {
        let words = [StackWord { address: 0x1000, value: 1 }; CHUNK as usize / 8];
        let mut chunks = SentChunks::default();
        for place in 0..2 * SLOTS {
            chunks.put(7, place, &words);
            let kept: usize = chunks.slots.values().flatten().map(|sent| sent.words.capacity()).sum();
            assert_eq!((kept, kept <= MOST_WORDS), (chunks.room, true));
        }
        assert!(chunks.slots.len() > 100);
    }

    /// A chunk is what it was when it was sent last; of those that share a slot, the last two are known.
    #[test]
    fn the_last_two_of_a_slot_are_known() {
        let words = |value| [StackWord { address: 0x1000, value }];
        let mut chunks = SentChunks::default();
        let (one, other, third) = ((7, 1), (7, 1 + SLOTS), (7, 1 + 2 * SLOTS));
        chunks.put(one.0, one.1, &words(1));
        chunks.put(one.0, one.1, &words(2));
        assert_eq!(chunks.get(one.0, one.1), Some(&words(2)[..]));
        chunks.put(other.0, other.1, &words(3));
        assert_eq!(chunks.get(one.0, one.1), Some(&words(2)[..]));
        assert_eq!(chunks.get(other.0, other.1), Some(&words(3)[..]));
        assert_eq!(chunks.unknown(), 0);
        chunks.put(third.0, third.1, &words(4));
        assert_eq!(chunks.get(one.0, one.1), None);
        assert_eq!(chunks.get(8, 1), None);
        assert_eq!(chunks.unknown(), 2);
    }
}
