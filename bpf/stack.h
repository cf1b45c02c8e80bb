/* SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause) */
/*
 * Captures the user stack of a tick.
 *
 * Outer frames rarely change from one tick to the next, and a deep stack is mostly outer frames. So the
 * stack is cut into chunks, counted from its top, and of each chunk that was sent a hash is remembered: a chunk
 * that still has it is not sent again. record/chunks.rs keeps what was sent and puts the stack together.
 *
 *     stack pointer                                              top
 *      |  inner slice  | chunk n-1 |  ...  | chunk 1 | chunk 0 |
 *
 * How much of a deep stack is copied may change from one tick to the next. A chunk that was left out for a while is then as
 * it was sent, or sent: nothing has to be sent again for that.
 *
 * A thread that is on another stack than the one it started on (a signal handler's, a coroutine's, a segment
 * of a growing stack) comes back to that one: a slice of each is sent as it is, every time.
 *
 * Functions that are called in loops are global functions, which the verifier checks once and apart: inlined
 * into each other's loops they pass its limit of a million instructions. Loops end with what the recorder has set before the
 * programs are loaded, which it knows: what it looks at is a part of the recorder's start.
 */
#pragma once

#define PAGE 4096
/* What one call to the kernel copies of a slice. */
#define PIECE 65536
/* A main thread's stack is no longer than this; RLIMIT_STACK is rarely above 8 MB. */
#define MAX_MAIN_STACK (128ULL << 20)
/* Other threads' stacks are mapped with a size chosen by the program. */
#define MAX_THREAD_STACK (64ULL << 20)
/* A chunk of the stack; record/chunks.rs knows it. */
#define CHUNK 2048
#define CHUNK_WORDS (CHUNK / sizeof(__u64))
#define CHUNKS_AT_ONCE (PIECE / CHUNK)
/* Powers of two; the recorder knows them. */
#define REMEMBERED 16384
#define LAYOUTS 4096
/* Odd, with ones and zeros well mixed: 2^64 divided by the golden ratio. */
#define MIX 0x9e3779b97f4a7c15ULL

struct chunk {
	__u64 words[CHUNK_WORDS];
};

/* Hashes of the chunks that were sent: a table without owners. Who is there and what the chunk was is in the hash. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, REMEMBERED);
	__type(key, __u32);
	__type(value, __u64);
} remembered SEC(".maps");

/* By process id: changed by the recorder when a process has new executable memory, which makes pointers of what
 * were none: all chunks are sent again. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LAYOUTS);
	__type(key, __u32);
	__type(value, __u64);
} layouts SEC(".maps");

/* By thread id: how often a tick that had chunks was lost, after which all chunks are sent again. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LAYOUTS);
	__type(key, __u32);
	__type(value, __u64);
} resends SEC(".maps");

/* By thread id: a frame of its stack that is larger than any copy, told by the recorder, which has its CFI. */
#define LEFT_OUT 1024
struct left_out {
	__u64 tid;
	__u64 slot; /* address of the word that returns into the frame's function */
	__u64 code; /* where that function's code starts */
	__u64 length;
	__u64 outer_start; /* from here on the stack matters again */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LEFT_OUT);
	__type(key, __u32);
	__type(value, struct left_out);
} left_out SEC(".maps");

/* Copies at most a piece of user memory to payload[at..]; what cannot be read becomes zeros. */
__noinline int copy_at_once(__u64 at, __u64 address, __u64 bytes)
{
	struct scratch *own = scratch_of_cpu();

	if (!own || at > most_payload || bytes > PIECE)
		return -1;
	return bpf_probe_read_user(own->payload + at, bytes, (void *)address);
}

__noinline int copy_page(__u64 at, __u64 address, __u64 bytes)
{
	struct counters *counters = counters_of_cpu();

	if (copy_at_once(at, address, bytes) != 0 && counters)
		count(counters, NOTE_UNREADABLE_PAGES);
	return 0;
}

/*
 * Copies a piece page by page. Here and below, loops count in constants and what is left comes after them: kernels before 6.2
 * follow each way through a loop to the end when a sum of what was done differs.
 */
__noinline int copy_pages(__u64 at, __u64 address, __u64 bytes)
{
	__u64 first = PAGE - (address & (PAGE - 1));
	__u64 pages, rest;

	if (first > bytes)
		first = bytes;
	copy_page(at, address, first);
	at += first;
	address += first;
	pages = (bytes - first) / PAGE;
	rest = (bytes - first) % PAGE;
	for (__u64 page = 0; page < PIECE / PAGE; page++) {
		if (page >= pages)
			break;
		copy_page(at + page * PAGE, address + page * PAGE, PAGE);
	}
	if (rest)
		copy_page(at + pages * PAGE, address + pages * PAGE, rest);
	return 0;
}

__noinline int copy_piece(__u64 at, __u64 address, __u64 bytes)
{
	if (copy_at_once(at, address, bytes) != 0)
		copy_pages(at, address, bytes);
	return 0;
}

/*
 * Copies a slice of the stack. Below the top of a stack there can be pages that were never touched,
 * when a frame is larger than a page: they become zeros.
 */
__noinline int copy_slice(__u64 at, __u64 address, __u64 bytes)
{
	__u64 pieces = bytes / PIECE, rest = bytes % PIECE, most = stack_cap / PIECE;

	for (__u64 piece = 0; piece < most; piece++) {
		if (piece >= pieces)
			break;
		copy_piece(at + piece * PIECE, address + piece * PIECE, PIECE);
	}
	if (rest)
		copy_piece(at + pieces * PIECE, address + pieces * PIECE, rest);
	return 0;
}

/*
 * Sums of words, each with a factor of its own, are mixed into each other: of the multiplications, only those that mix wait for
 * each other. The factors are different primes of 31 bits: two changes make up for each other only when they are as large.
 */
static __always_inline __u64 hash_chunk(const struct chunk *chunk, __u64 salt)
{
	const __u64 mix = MIX;
	__u64 hash = salt;

	for (__u32 at = 0; at < CHUNK_WORDS; at += 8) {
		const __u64 *words = chunk->words + at;
		__u64 sum = words[0] * 0x72899387 + words[1] * 0x4c789ae9 + words[2] * 0x4a7a399f + words[3] * 0x67a136e5 +
			    words[4] * 0x790ac1b9 + words[5] * 0x71619d27 + words[6] * 0x55829bf3 + words[7] * 0x797ef901;

		hash = (hash ^ sum) * mix;
	}
	return hash;
}

/*
 * Keeps the chunk that was read to payload[from..] at payload[at..], unless it is as it was when it was sent. `number` counts the
 * chunks that were captured before it. Gives the end of the payload: what is not to be sent is overwritten by what comes after it.
 */
__noinline int keep_if_changed(__u64 at, __u64 from, __u32 place, __u32 number)
{
	struct scratch *own = scratch_of_cpu();
	struct chunk *chunk;
	__u64 address, hash, *sent, group = number / 64;
	__u32 slot;

	OPAQUE(at);
	OPAQUE(from);
	OPAQUE(group);
	if (!own || at > most_payload || from > most_payload + PIECE - CHUNK || group >= MAX_CHUNKS / 64)
		return at;
	chunk = (struct chunk *)(own->payload + from);
	address = own->tick.top - (place + 1ULL) * CHUNK;
	hash = hash_chunk(chunk, own->salt ^ address);
	slot = (own->slot + place) & (REMEMBERED - 1);
	sent = bpf_map_lookup_elem(&remembered, &slot);
	if (!sent || *sent == hash)
		return at;
	*sent = hash;
	own->tick.changed[group] |= 1ULL << number % 64;
	if (at != from)
		bpf_probe_read_kernel(own->payload + at, CHUNK, chunk);
	return at + sizeof(*chunk);
}

/* Of the chunks that were read to payload[from..], keeps those that changed at payload[at..]. */
__noinline int keep_changed(__u32 at, __u64 from, __u32 above, __u32 chunks, __u32 number)
{
	for (__u32 i = 0; i < CHUNKS_AT_ONCE; i++) {
		if (i >= chunks)
			break;
		at = keep_if_changed(at, from + i * CHUNK, above - 1 - i, number + i);
	}
	return at;
}

/* Captures the next chunks of so many, at most CHUNKS_AT_ONCE, of which the first is at place `above - 1`; gives the end of the payload. */
__noinline int capture_some(__u32 at, __u32 above, __u32 chunks, __u32 number)
{
	struct scratch *own = scratch_of_cpu();

	if (!own)
		return at;
	if (chunks > CHUNKS_AT_ONCE)
		chunks = CHUNKS_AT_ONCE;
	copy_piece(at, own->tick.top - above * (__u64)CHUNK, chunks * CHUNK);
	return keep_changed(at, at, above, chunks, number);
}

/*
 * Captures so many chunks, by ascending address, the last one at place `above - chunks`; gives the end of the payload. Many are read
 * at once: of the time that reading one by itself takes, half is the call to the kernel.
 */
__noinline int capture_chunks(__u32 at, __u32 above, __u32 chunks, __u32 number)
{
	const __u32 most = most_payload / CHUNK;

	for (__u32 done = 0; done < most; done += CHUNKS_AT_ONCE) {
		if (done >= chunks)
			break;
		at = capture_some(at, above - done, chunks - done, number + done);
	}
	return at;
}

/* One past the end of the alternate signal stack, when `sp` is on it, else 0. */
static __always_inline __u64 signal_stack_top(struct task_struct *task, __u64 sp)
{
	__u64 start = task->sas_ss_sp;
	__u64 size = task->sas_ss_size;

	return size && sp - start < size ? (start + size) & ~7ULL : 0;
}

/* Captures the stack that a thread is on, up to `end` when that is known, and the outermost part of the stack that
 * it started on. Gives the end of the payload. */
static __always_inline __u32 capture_two_stacks(struct counters *counters, struct tick *tick, __u64 end)
{
	const __u64 cap = stack_cap;
	__u64 length = end ? end - tick->inner_start : cap;

	tick->switched = 1;
	count(counters, NOTE_STACK_SWITCHED);
	tick->inner_bytes = length < cap ? length : cap;
	copy_slice(0, tick->inner_start, tick->inner_bytes);
	if (tick->top > cap) {
		tick->outer_start = tick->top - cap;
		tick->outer_bytes = cap;
		copy_slice(tick->inner_bytes, tick->outer_start, cap);
	}
	return tick->inner_bytes + tick->outer_bytes;
}

static __always_inline void remember_for(struct scratch *own)
{
	__u32 process = own->tick.pid & (LAYOUTS - 1);
	__u32 thread = own->tick.tid & (LAYOUTS - 1);
	__u64 *layout = bpf_map_lookup_elem(&layouts, &process);
	__u64 *resend = bpf_map_lookup_elem(&resends, &thread);

	own->slot = own->tick.tid * (__u32)(MIX >> 32);
	own->salt = (own->tick.tid * MIX ^ (layout ? *layout : 0)) * MIX ^ (resend ? *resend : 0) << 32;
}

/* Which chunk of a stack holds an address. */
static __always_inline __u32 place_of(const struct tick *tick, __u64 address)
{
	return (tick->top - 1 - address) / CHUNK;
}

/* Narrows the two ends of a stack to what lies around a giant frame, when the thread still is in the frame's function: the
 * word that returned there still does, from wherever in the function the call was. */
static __always_inline void leave_out_frame(struct tick *tick, __u32 chunks)
{
	__u32 key = tick->tid & (LEFT_OUT - 1);
	struct left_out *frame = bpf_map_lookup_elem(&left_out, &key);
	__u64 word = 0;
	__u32 inner, outer;

	if (!frame || frame->tid != tick->tid || frame->slot < tick->inner_start || frame->slot >= tick->top ||
	    frame->outer_start >= tick->top)
		return;
	bpf_probe_read_user(&word, sizeof(word), (void *)frame->slot);
	inner = chunks - place_of(tick, frame->slot);
	outer = place_of(tick, frame->outer_start) + 1;
	if (word - frame->code - 1 >= frame->length || inner > tick->inner_chunks || outer > tick->outer_chunks)
		return;
	tick->inner_chunks = inner;
	tick->outer_chunks = outer;
	tick->frame_left_out = 1;
}

/* Captures the live part of the user stack; gives the end of the payload. `start_stack` is the top of the main
 * thread's. A stack that is too deep is captured at both ends: the unwinder gets from one to the other over a giant frame. */
static __always_inline __u32 capture_stack(struct counters *counters, struct scratch *own, struct task_struct *task,
					   __u64 start_stack)
{
	struct tick *tick = &own->tick;
	__u64 start = tick->registers[7] & ~7ULL;
	__u64 signal_top = signal_stack_top(task, start);
	bool main_thread = tick->pid == tick->tid;
	__u64 most = main_thread ? MAX_MAIN_STACK : MAX_THREAD_STACK;
	__u32 chunks, first, end, cap = stack_cap / CHUNK;
	__u64 length;

	tick->inner_start = start;
	/* The main thread's arguments and environment lie above `start_stack` and are never copied. A thread library puts
	 * the thread control block, which the fs register points to, at the top of a thread's stack. */
	tick->top = (main_thread ? start_stack : task->thread.fsbase) & ~7ULL;
	length = tick->top - start;
	if (signal_top || tick->top < start || length >= most)
		return capture_two_stacks(counters, tick, signal_top);
	remember_for(own);
	chunks = length / CHUNK;
	tick->inner_bytes = length % CHUNK;
	tick->inner_chunks = chunks;
	if (length > whole_stack && chunks > 2 * cap) {
		count(counters, NOTE_STACK_CUT);
		tick->inner_chunks = cap;
		tick->outer_chunks = cap;
		leave_out_frame(tick, chunks);
	}
	first = tick->inner_chunks < CHUNKS_AT_ONCE ? tick->inner_chunks : CHUNKS_AT_ONCE - 1;
	copy_piece(0, start, tick->inner_bytes + first * CHUNK);
	end = keep_changed(tick->inner_bytes, tick->inner_bytes, chunks, first, 0);
	end = capture_chunks(end, chunks - first, tick->inner_chunks - first, first);
	end = capture_chunks(end, tick->outer_chunks, tick->outer_chunks, tick->inner_chunks);
	tick->chunk_bytes = end - tick->inner_bytes;
	return end;
}

/* What a lost tick had sent was not received. */
static __always_inline void send_again(const struct tick *tick)
{
	__u32 thread = tick->tid & (LAYOUTS - 1);
	__u64 *resend = bpf_map_lookup_elem(&resends, &thread);

	if (resend)
		__sync_fetch_and_add(resend, 1);
}
