//! Stacks as they were, for `--keep-raw`: nothing of them is left out, so that other unwinders can be given what ours was.
//!
//! A tick brings only the chunks of a stack that changed since they were sent (see `chunks`); the others are kept here, as bytes.

use profrec_format::RawStack;
use rustc_hash::FxHashMap;

use crate::chunks::CHUNK;
use crate::event::Tick;

/// Chunks that are kept at most: 256 MB. What is not known any more is missing in the stacks until it changes.
const MOST_CHUNKS: usize = 1 << 18;

/// The chunks that were sent, by thread and place from the top of its stack.
#[derive(Debug, Default)]
pub(crate) struct RawStacks {
    chunks: FxHashMap<(u32, u32), Box<[u8]>>,
}

impl RawStacks {
    /// Everything that was captured of a tick's registers and stack; its time is that of the sample as readers give it.
    pub(crate) fn stack(&mut self, tick: &Tick<'_>) -> RawStack {
        let slices = [tick.inner, tick.outer].into_iter().filter(|slice| !slice.bytes.is_empty());
        let mut memory: Vec<_> = slices.map(|slice| (slice.start, slice.bytes.to_vec())).collect();
        for (place, changed) in tick.chunks.iter(tick.top.saturating_sub(tick.inner.start)) {
            if let Some(bytes) = changed {
                self.put((tick.tid, place), bytes);
            }
            if let Some(bytes) = self.chunks.get(&(tick.tid, place)) {
                memory.push((tick.top.wrapping_sub((u64::from(place) + 1) * CHUNK), bytes.to_vec()));
            }
        }
        memory.sort_by_key(|(start, _)| *start);
        memory.dedup_by(|(start, bytes), (before, all)| {
            let is_next = before.wrapping_add(all.len() as u64) == *start;
            if is_next {
                all.append(bytes);
            }
            is_next
        });
        let time = tick.time.checked_next_multiple_of(1_024).unwrap_or(tick.time);
        RawStack { time, tid: tick.tid, registers: tick.registers.to_vec(), memory }
    }

    fn put(&mut self, place: (u32, u32), bytes: &[u8]) {
        if self.chunks.len() >= MOST_CHUNKS {
            self.chunks = FxHashMap::default();
        }
        self.chunks.insert(place, bytes.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Chunks, REGISTERS, Slice};

    /// A chunk that does not come again is as it was sent, and what was never sent is not made up.
    #[test]
    fn unchanged_chunks_are_as_they_were() {
        let chunk = |byte: u8| [byte; CHUNK as usize];
        let top = 0x7010 + 2 * CHUNK;
        let mut stacks = RawStacks::default();
        let mut look = |tid, which, changed: &[u8]| {
            let tick = Tick {
                cgroup: 0,
                comm: &[],
                time: 5_000,
                pid: 1,
                tid,
                cpu: 0,
                weight: 1,
                registers: [7; REGISTERS],
                top,
                inner: Slice { start: 0x7000, bytes: &[1; 16] },
                outer: Slice { start: 0x5000, bytes: &[2; 8] },
                chunks: Chunks::new((2, 0), which, changed),
                switched: false,
                stack_is_lost: false,
                exec: 0,
                frame_left_out: false,
                kernel_chain: &[],
                user_chain: &[],
            };
            let stack = stacks.stack(&tick);
            assert_eq!((stack.time, stack.tid, stack.registers), (5_120, tid, vec![7; REGISTERS]));
            stack.memory
        };
        let size = CHUNK as usize;
        let slice = (0x5000, vec![2; 8]);
        let all = |one: u8, other| (0x7000, [&[1; 16][..], &vec![one; size], &vec![other; size]].concat());
        let both = [chunk(3), chunk(4)].concat();
        assert_eq!(look(9, 0b11, &both), [slice.clone(), all(3, 4)]);
        assert_eq!(look(9, 0b10, &chunk(5)), [slice.clone(), all(3, 5)]);
        let other = (0x7010 + CHUNK, chunk(6).to_vec());
        assert_eq!(look(8, 0b10, &chunk(6)), [slice, (0x7000, vec![1; 16]), other]);
    }
}
