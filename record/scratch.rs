//! The memory in which the BPF programs put a tick together, one piece a CPU: how large it is.

use crate::chunks::CHUNK;

/// All CPUs' copies of stacks that are copied whole take no more kernel memory than this.
const MOST: u32 = 32 << 20;
const PAGE: u32 = 4096;

/// How deep stacks are copied whole that should be up to `wanted`, on so many CPUs, with a ring of this size.
pub(crate) fn whole_stack(wanted: u32, cpus: u32, ring_size: u32) -> u32 {
    wanted.min(MOST / cpus.max(1)).min(ring_size / 4) & !(PAGE - 1)
}

/// What at most so many bytes of stack are in a tick's payload: a slice that is shorter than a chunk, and chunks.
pub(crate) fn most_payload(stack: u32) -> u32 {
    let chunk = CHUNK as u32;
    (1 + stack.div_ceil(chunk)) * chunk
}

/// `struct scratch` in bpf/profrec.bpf.c for such a payload.
pub(crate) fn scratch_size(most_payload: u32) -> u32 {
    const FIRST_FIELDS: u32 = 16 + 38 * 8 + 12 * 4 + 16;
    const PIECE: u32 = 64 << 10;
    const CHAIN: u32 = 127 * 8;
    FIRST_FIELDS + most_payload + PIECE + 2 * CHAIN
}
