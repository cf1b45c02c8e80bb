//! What the kernel has counted of stacks since it was read last; bpf/count.h.

use std::ops::Range;

use profrec_format::Sample;
use rustc_hash::FxHashMap;

use crate::count_sets::Sizes;
use crate::event::{Chunks, INSTRUCTION_POINTER, REGISTERS, Slice, Tick};
use crate::hybrid::owed::{Owed, Program};
use crate::ring::RingFill;

/// Bytes of an element of the map of stacks, and of the map of counts.
const STACK: u64 = 127 * 8;
const COUNT: u64 = 48 + 16;
/// What stands for the id of a stack of a thread that has no user side.
const EFAULT: i32 = 14;
/// The same where there is no stack, and where nobody knows it.
const ENOENT: i32 = 2;
const ENOSPC: i32 = 28;

/// Stacks, and how often each was hit.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    counts: Vec<Count>,
    /// Where the addresses of stacks are, by their ids.
    stacks: FxHashMap<u32, Range<usize>>,
    /// Those of all stacks, of each the innermost first.
    addresses: Vec<u8>,
    /// Nothing that is counted from then on is in it.
    pub(crate) until: u64,
}

/// How often a stack was hit, by the threads of one name of a program, on one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    /// When that was first.
    first: u64,
    /// The id of the control group that the process was in.
    cgroup: u64,
    pid: u32,
    tid: u32,
    cpu: u32,
    /// How often the process has become another program.
    exec: u32,
    ticks: u32,
    /// Ids of stacks, or negative errors.
    user: i32,
    kernel: i32,
    /// The threads' name, up to a zero.
    comm: [u8; 16],
}

impl Counts {
    /// Adds an element of the map of counts, unless it does not have the form of one.
    pub(crate) fn add(&mut self, place: &[u8], tally: &[u8]) {
        self.counts.extend(Count::parse(place, tally));
    }

    /// Adds ticks whose stacks nobody knows.
    pub(crate) fn add_owed(&mut self, program: Program, cpu: u32, owed: &Owed) {
        let Owed { last: first, tid, ticks, comm } = *owed;
        let (user, kernel) = (-ENOSPC, -ENOENT);
        self.counts.push(Count {
            first,
            cgroup: 0,
            pid: program.pid,
            tid,
            cpu,
            exec: program.exec,
            ticks,
            user,
            kernel,
            comm,
        });
    }

    /// The ids of the stacks that counts refer to, each once.
    pub(crate) fn stack_ids(&self) -> Vec<u32> {
        let ids = self.counts.iter().flat_map(|count| [count.user, count.kernel]);
        let mut ids: Vec<u32> = ids.filter_map(|id| u32::try_from(id).ok()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Adds an element of the map of stacks.
    pub(crate) fn add_stack(&mut self, id: u32, addresses: &[u8]) {
        let (words, _) = addresses.as_chunks::<8>();
        // The rest of the element is zeros.
        let length = words.iter().position(|word| *word == [0; 8]).unwrap_or(words.len());
        let start = self.addresses.len();
        self.addresses.extend_from_slice(&addresses[..8 * length]);
        self.stacks.insert(id, start..self.addresses.len());
    }

    /// Whether nothing was counted.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// How full the fuller one of the maps was, of these sizes.
    pub(crate) fn fill(&self, sizes: Sizes) -> RingFill {
        let of = |entries: usize, bytes: u64, most: u32| {
            let bytes_in_use = entries as u64 * bytes;
            RingFill { bytes: bytes_in_use, peak: bytes_in_use, size: u64::from(most) * bytes }
        };
        let (stacks, counts) =
            (of(self.stacks.len(), STACK, sizes.stacks + sizes.spare()), of(self.counts.len(), COUNT, sizes.counts));
        if stacks.peak * counts.size >= counts.peak * stacks.size { stacks } else { counts }
    }

    /// The time of the first tick.
    pub(crate) fn first(&self) -> Option<u64> {
        self.counts.iter().map(|count| count.first).min()
    }

    /// The process of each count, and the id of the control group that it was in.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.counts.iter().map(|count| (count.pid, count.cgroup))
    }

    /// The counts as ticks that stand for many: first those of processes that are settled, each for itself, then those of all
    /// others; within both in the order of their times.
    pub(crate) fn ticks(&mut self, is_settled: impl Fn(u32) -> bool) -> impl Iterator<Item = Tick<'_>> {
        self.counts.sort_unstable_by_key(|count| {
            let settled = is_settled(count.pid);
            (!settled, if settled { count.pid } else { 0 }, count.first)
        });
        self.counts.iter().flat_map(|count| count.weights().map(|weight| self.tick(count, weight)))
    }

    fn tick<'a>(&'a self, count: &'a Count, weight: u32) -> Tick<'a> {
        let (user_chain, kernel_chain) = (self.stack(count.user), self.stack(count.kernel));
        let mut registers = [0; REGISTERS];
        if count.user != -EFAULT {
            registers[INSTRUCTION_POINTER] = user_chain.first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
        }
        let nothing = Slice { start: 0, bytes: &[] };
        Tick {
            time: count.first,
            cgroup: count.cgroup,
            pid: count.pid,
            tid: count.tid,
            cpu: count.cpu,
            comm: &count.comm,
            weight,
            registers,
            top: 0,
            inner: nothing,
            outer: nothing,
            chunks: Chunks::default(),
            stack_is_lost: count.user < 0 && count.user != -EFAULT,
            exec: count.exec,
            switched: false,
            frame_left_out: false,
            kernel_chain,
            user_chain,
        }
    }

    fn stack(&self, id: i32) -> &[u8] {
        let id = u32::try_from(id).ok();
        id.and_then(|id| self.stacks.get(&id)).map_or(&[], |place| &self.addresses[place.clone()])
    }
}

impl Count {
    fn parse(place: &[u8], tally: &[u8]) -> Option<Self> {
        let half = |bytes: &[u8], at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        Some(Self {
            first: u64::from_le_bytes(*tally.first_chunk()?),
            cgroup: u64::from_le_bytes(*place.first_chunk()?),
            pid: half(place, 8)?,
            tid: half(tally, 8)?,
            cpu: half(place, 24)?,
            exec: half(place, 12)?,
            ticks: half(tally, 12)?,
            user: half(place, 16)?.cast_signed(),
            kernel: half(place, 20)?.cast_signed(),
            comm: *place.get(32..)?.first_chunk()?,
        })
    }

    /// What samples can stand for.
    fn weights(&self) -> impl Iterator<Item = u32> + use<> {
        let (whole, rest) = (self.ticks / Sample::MAX_WEIGHT, self.ticks % Sample::MAX_WEIGHT);
        (0..whole).map(|_| Sample::MAX_WEIGHT).chain(Some(rest).filter(|rest| *rest > 0))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::event;

    fn bytes(halves: &[u32]) -> Vec<u8> {
        halves.iter().flat_map(|half| half.to_le_bytes()).collect()
    }

    fn place(user: i32, kernel: i32) -> Vec<u8> {
        bytes(&[
            7,
            0,
            100,
            3,
            user.cast_unsigned(),
            kernel.cast_unsigned(),
            5,
            0,
            u32::from_le_bytes(*b"work"),
            0,
            0,
            0,
        ])
    }

    /// Fields are found where the BPF program puts them; counts come in the order of their times, with their stacks.
    #[test]
    fn counts_are_ticks_with_weights() {
        let mut counts = Counts::default();
        counts.add(&place(2, -2), &bytes(&[900, 0, 101, 30]));
        counts.add(&place(2, 1), &bytes(&[800, 0, 102, 4]));
        counts.add(&place(2, 1)[..20], &bytes(&[800, 0, 102, 4]));
        let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        counts.add_stack(2, &words(&[0x1000, 0x2000, 0]));
        counts.add_stack(1, &words(&[u64::MAX, 0]));
        assert_eq!(counts.stack_ids(), [1, 2]);
        assert_eq!(counts.fill(Sizes { stacks: 100, counts: 4 }), RingFill { bytes: 128, peak: 128, size: 256 });
        assert_eq!(counts.fill(Sizes { stacks: 4, counts: 100 }), RingFill { bytes: 2_032, peak: 2_032, size: 5_080 });
        let ticks: Vec<_> = counts.ticks(|_| false).collect();
        let [early, late] = &ticks[..] else { unreachable!("two ticks") };
        assert_eq!((early.time, early.pid, early.tid, early.cpu, early.weight), (800, 100, 102, 5, 4));
        assert_eq!(early.cgroup, 7);
        assert_eq!(event::words(early.kernel_chain).collect::<Vec<_>>(), [u64::MAX]);
        assert_eq!((late.time, late.tid, late.weight, late.is_in_kernel()), (900, 101, 30, false));
        assert_eq!(event::words(late.user_chain).collect::<Vec<_>>(), [0x1000, 0x2000]);
        assert_eq!((late.instruction_pointer(), late.has_user_side(), late.comm()), (0x1000, true, "work".to_owned()));
    }

    /// A stack whose place others have is lost; that of a thread without a user side is none.
    #[test]
    fn stacks_are_lost_or_there_is_none() {
        const COLLIDED: i32 = -17;
        let is_lost = |user| {
            let mut counts = Counts::default();
            counts.add(&place(user, -2), &bytes(&[1, 0, 1, 5]));
            counts.ticks(|_| false).map(|tick| tick.stack_is_lost).collect::<Vec<_>>()
        };
        assert_eq!((is_lost(COLLIDED), is_lost(-EFAULT)), (vec![true], vec![false]));
    }

    /// A count that is more than a sample can stand for becomes several; none of it is lost.
    #[test]
    fn large_counts_are_shared_out() {
        let mut counts = Counts::default();
        counts.add(&place(-14, -2), &bytes(&[1, 0, 1, 2 * Sample::MAX_WEIGHT + 9]));
        assert_eq!(counts.ticks(|_| false).map(|tick| tick.weight).sum::<u32>(), 2 * Sample::MAX_WEIGHT + 9);
        assert!(counts.ticks(|_| false).all(|tick| !tick.has_user_side() && tick.weight <= Sample::MAX_WEIGHT));
    }
}
