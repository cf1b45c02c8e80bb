//! One tick as the BPF program sends it. The layout is that of `struct tick` in
//! bpf/profrec.bpf.c, followed by its payload; every length is checked against what arrived.

use profrec_format::Sample;

use crate::chunks::CHUNK;

/// Registers in a tick: 16 general ones by DWARF number, and the instruction pointer.
pub(crate) const REGISTERS: usize = 17;
/// Bytes of a thread's name.
const COMM: usize = 16;
/// The place of the instruction pointer in [`Tick::registers`].
pub(crate) const INSTRUCTION_POINTER: usize = 16;
/// The place of the stack pointer in [`Tick::registers`].
pub(crate) const STACK_POINTER: usize = 7;

/// One tick of the clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick<'a> {
    pub(crate) time: u64,
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) cpu: u32,
    /// Periods of the clock that it stands for.
    pub(crate) weight: u32,
    /// The id of its control group, where ticks are counted; else 0.
    pub(crate) cgroup: u64,
    /// The thread's name, which ends with the first zero byte.
    pub(crate) comm: &'a [u8],
    /// All 0 when the thread has no user side.
    pub(crate) registers: [u64; REGISTERS],
    /// One past the stack's highest address, 0 when unknown.
    pub(crate) top: u64,
    /// The stack from the stack pointer on, to where its chunks begin.
    pub(crate) inner: Slice<'a>,
    /// The outermost part of the stack that the thread started on, when it is on another one.
    pub(crate) outer: Slice<'a>,
    pub(crate) chunks: Chunks<'a>,
    /// The outer slice is of another stack: the one that the thread started on.
    pub(crate) switched: bool,
    /// There is a user stack, but nobody knows it: ticks were counted, and it had no place.
    pub(crate) stack_is_lost: bool,
    /// How often the process has become another program; 0 when it was not counted.
    pub(crate) exec: u32,
    /// The gap between inner and outer chunks is a giant frame that the recorder has told of.
    pub(crate) frame_left_out: bool,
    /// 8 bytes an address, innermost first.
    pub(crate) kernel_chain: &'a [u8],
    /// 8 bytes an address, innermost first.
    pub(crate) user_chain: &'a [u8],
}

/// A piece of stack memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slice<'a> {
    pub(crate) start: u64,
    pub(crate) bytes: &'a [u8],
}

/// The captured chunks of a stack (see bpf/stack.h), numbered from its top.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Chunks<'a> {
    /// How many there are above the inner slice.
    inner: u32,
    /// How many there are below the stack's top, when there is a gap between.
    outer: u32,
    /// A bit for each of them by ascending address, the first one's the lowest: those that changed.
    which: [u64; MOST_CHUNKS / 64],
    /// These, one after the other.
    changed: &'a [u8],
}

/// MAX_CHUNKS in bpf/profrec.bpf.c.
const MOST_CHUNKS: usize = 1024;

impl<'a> Chunks<'a> {
    #[cfg(test)]
    pub(crate) fn new((inner, outer): (u32, u32), which: u64, changed: &'a [u8]) -> Self {
        let mut all = [0; MOST_CHUNKS / 64];
        all[0] = which;
        Self { inner, outer, which: all, changed }
    }

    /// Whether there are bytes of just those that changed, all of which were captured. `length` is the distance from the
    /// stack pointer to the top.
    fn are_consistent(&self, length: u64) -> bool {
        let changed: u32 = self.which.iter().map(|bits| bits.count_ones()).sum();
        let found = self.iter(length).filter(|(_, changed)| changed.is_some()).count();
        found == changed as usize && self.changed.len() == found * CHUNK as usize
    }

    /// Numbers of the chunks that were captured, counted from the top, with bytes where they changed, by ascending address.
    pub(crate) fn iter(&self, length: u64) -> impl Iterator<Item = (u32, Option<&'a [u8]>)> {
        let above = u32::try_from(length / CHUNK).unwrap_or(0);
        let places = (above.saturating_sub(self.inner)..above).rev().chain((0..self.outer).rev());
        let (which, mut bytes) = (self.which, self.changed);
        places.zip(0..MOST_CHUNKS).map(move |(place, number)| {
            let changed = which[number / 64] >> (number % 64) & 1 != 0;
            (place, if changed { take_chunk(&mut bytes) } else { None })
        })
    }
}

/// The next changed chunk.
fn take_chunk<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (chunk, rest) = bytes.split_at_checked(CHUNK as usize)?;
    *bytes = rest;
    Some(chunk)
}

impl<'a> Tick<'a> {
    /// Reads a tick; `None` when the bytes do not have its form.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut cursor = Cursor { bytes };
        let time = cursor.u64()?;
        let mut registers = [0; REGISTERS];
        for register in &mut registers {
            *register = cursor.u64()?;
        }
        let top = cursor.u64()?;
        let inner_start = cursor.u64()?;
        let outer_start = cursor.u64()?;
        let cgroup = cursor.u64()?;
        let mut which = [0; MOST_CHUNKS / 64];
        for bits in &mut which {
            *bits = cursor.u64()?;
        }
        let [pid, tid, cpu] = [cursor.u32()?, cursor.u32()?, cursor.u32()?];
        let [inner, outer] = [cursor.u32()?, cursor.u32()?];
        let [inner_chunks, outer_chunks, changed] = [cursor.u32()?, cursor.u32()?, cursor.u32()?];
        let [kernel, user, weight, flags] = [cursor.u32()?, cursor.u32()?, cursor.u32()?, cursor.u32()?];
        let (switched, frame_left_out) = (flags & 0xffff, flags >> 16);
        let comm = cursor.take(COMM)?;
        let [inner, outer] = [
            Slice { start: inner_start, bytes: cursor.take(inner as usize)? },
            Slice { start: outer_start, bytes: cursor.take(outer as usize)? },
        ];
        let changed = cursor.take(changed as usize)?;
        let chunks = Chunks { inner: inner_chunks, outer: outer_chunks, which, changed };
        if !chunks.are_consistent(top.saturating_sub(inner_start)) {
            return None;
        }
        Some(Self {
            time,
            pid,
            tid,
            cpu,
            weight,
            cgroup,
            comm,
            registers,
            top,
            inner,
            outer,
            chunks,
            switched: switched != 0,
            stack_is_lost: false,
            exec: 0,
            frame_left_out: frame_left_out != 0,
            kernel_chain: cursor.take(kernel as usize)?,
            user_chain: cursor.take(user as usize)?,
        })
    }

    /// The name that the thread had.
    pub(crate) fn comm(&self) -> String {
        let name = self.comm.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    }

    /// Whether it hit the kernel.
    pub(crate) fn is_in_kernel(&self) -> bool {
        !self.kernel_chain.is_empty()
    }

    /// Where user code goes on, or went on when its registers were saved.
    pub(crate) fn instruction_pointer(&self) -> u64 {
        self.registers[INSTRUCTION_POINTER]
    }

    /// The CPU of a tick that may not have its form otherwise.
    pub(crate) fn cpu(bytes: &[u8]) -> Option<u32> {
        const CPU: usize = 38 * 8 + 2 * 4;
        Some(u32::from_le_bytes(*bytes.get(CPU..)?.first_chunk()?))
    }

    /// Whether the thread has a user side.
    pub(crate) fn has_user_side(&self) -> bool {
        self.registers[INSTRUCTION_POINTER] != 0
    }
}

/// When a tick was whose bytes may not have the form of one otherwise.
pub(crate) fn time_in(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |time| u64::from_le_bytes(*time))
}

/// What a tick stands for whose bytes do not have the form of one, as far as it can be told: 1 at least.
pub(crate) fn weight_in(bytes: &[u8]) -> u32 {
    const WEIGHT: usize = 38 * 8 + 10 * 4;
    let weight = bytes.get(WEIGHT..).and_then(|rest| rest.first_chunk());
    weight.map_or(1, |weight| u32::from_le_bytes(*weight).clamp(1, Sample::MAX_WEIGHT))
}

/// The 8-byte words of a payload part; a rest of fewer bytes is left out.
pub(crate) fn words(bytes: &[u8]) -> impl ExactSizeIterator<Item = u64> + '_ {
    bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word))
}

struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The top: three chunks above the start of the inner slice. Two are captured there, one at the other end.
    const TOP: u64 = 20 + 3 * CHUNK;

    /// The lengths are those of the inner slice, the outer slice, changed chunks, the kernel's and the user's chain.
    fn bytes([inner, outer, chunks, kernel, user]: [u32; 5], which: u64, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let words = (1..=22).map(|word| if word == 19 { TOP } else { word });
        for word in words.chain([which]).chain([0; MOST_CHUNKS / 64 - 1]) {
            bytes.extend(word.to_le_bytes());
        }
        for half in [100, 101, 3, inner, outer, 2, 1, chunks, kernel, user, 4, 1] {
            bytes.extend(u32::to_le_bytes(half));
        }
        bytes.extend(b"worker\0behind\0\0\0");
        bytes.extend(payload);
        bytes
    }

    /// Each field is found where the BPF program puts it, and the payload is cut by its lengths.
    #[test]
    fn fields_are_where_the_bpf_program_puts_them() {
        let payload: Vec<u8> = (0..24).chain([7; CHUNK as usize]).chain(24..48).collect();
        let bytes = bytes([16, 8, CHUNK as u32, 8, 16], 0b010, &payload);
        let tick = Tick::parse(&bytes).unwrap();
        assert_eq!((tick.time, tick.registers[0], tick.registers[16], tick.top), (1, 2, 18, TOP));
        assert_eq!((tick.pid, tick.tid, tick.cpu), (100, 101, 3));
        assert_eq!(Tick::cpu(&bytes[..38 * 8 + 12]), Some(3));
        assert_eq!(tick.cgroup, 22);
        assert_eq!((tick.inner.start, tick.inner.bytes), (20, &payload[..16]));
        assert_eq!((tick.outer.start, tick.outer.bytes), (21, &payload[16..24]));
        let chunks: Vec<_> = tick.chunks.iter(3 * CHUNK).collect();
        assert_eq!(chunks, [(2, None), (1, Some(&[7; CHUNK as usize][..])), (0, None)]);
        assert_eq!(tick.kernel_chain, (24..32).collect::<Vec<u8>>());
        assert_eq!(words(tick.user_chain).len(), 2);
        assert!(tick.switched && !tick.frame_left_out);
        assert_eq!((tick.weight, weight_in(&bytes)), (4, 4));
        assert_eq!(tick.comm(), "worker");
    }

    /// Changed chunks that are not among those captured, or are more or fewer than came, make a tick malformed.
    #[test]
    fn chunks_out_of_place_are_refused() {
        let parses = |which, changed| {
            let payload = vec![7; changed * CHUNK as usize];
            Tick::parse(&bytes([0, 0, payload.len() as u32, 0, 0], which, &payload)).is_some()
        };
        assert!(parses(0, 0) && parses(0b001, 1) && parses(0b110, 2) && parses(0b111, 3));
        assert!(!parses(0b1000, 1) && !parses(0b011, 1) && !parses(0b001, 2) && !parses(0, 1) && !parses(1 << 63, 0));
    }

    /// Bytes that are shorter than their lengths say are refused, wherever they end.
    #[test]
    fn short_bytes_are_refused() {
        let bytes = bytes([16, 8, 0, 8, 16], 0, &[0; 48]);
        for length in 0..bytes.len() {
            assert!(Tick::parse(&bytes[..length]).is_none(), "{length} bytes");
        }
    }
}
