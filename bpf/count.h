/* SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause) */
/*
 * Counts ticks by their stacks, instead of sending each.
 *
 * There are two sets of maps. Ticks are counted in the active one; the recorder makes the other one active, waits until
 * no tick can be in the one before, and reads it.
 */
#pragma once

const volatile bool counting = false; /* ticks are counted, not sent */

/* Set by the recorder: which of the two sets ticks are counted in. */
__u32 active_set;

/* What is counted: a stack of a program's threads of one name, on one CPU. That only ticks of one CPU meet in an entry makes them
 * need no lock. record/counts.rs reads it. */
struct place {
	__u64 cgroup;
	__u32 pid;
	__u32 exec; /* how often the process has become another program */
	__s32 user_stack; /* ids in the set's stacks, or a negative error */
	__s32 kernel_stack;
	__u32 cpu;
	__u32 unused;
	char comm[16];
};

_Static_assert(sizeof(struct place) == 48, "record/counts.rs reads this layout");

struct tally {
	__u64 first; /* when the first tick was */
	__u32 tid;   /* of its thread */
	__u32 ticks;
};

struct counts {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* set by the recorder */
	__type(key, struct place);
	__type(value, struct tally);
};

struct stacks {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 1); /* set by the recorder */
	__uint(key_size, sizeof(__u32));
	__uint(value_size, MAX_CHAIN * sizeof(__u64));
};

struct counts first_counts SEC(".maps"), second_counts SEC(".maps");
struct stacks first_stacks SEC(".maps"), second_stacks SEC(".maps");

/* For stacks whose places others have. A bucket of the map has one place, chosen by the stack's hash: of stacks that fill a tenth of it,
 * one in twenty finds another one there. Here are only those. */
struct stacks first_spare SEC(".maps"), second_spare SEC(".maps");
/* In ids of stacks there. */
#define IS_SPARE (1 << 30)

/* The kernel waits for all programs that run when an element of such a map is changed: that is all it is for. */
struct nothing {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} nothing SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct nothing);
} barrier SEC(".maps");

/* The id of the user's or the kernel's stack. */
static __always_inline __s32 stack_id(struct counters *counters, void *ctx, void *stacks, void *spare, __u64 flags)
{
	long id = bpf_get_stackid(ctx, stacks, flags);

	if (id == -EEXIST) {
		id = bpf_get_stackid(ctx, spare, flags);
		if (id >= 0)
			return id | IS_SPARE;
	}
	if (id == -EEXIST)
		count(counters, NOTE_STACK_COLLIDED);
	if (id == -ENOMEM)
		count(counters, NOTE_STACKS_FULL);
	return id;
}

static __always_inline void note_user_side(struct counters *counters, const struct place *place)
{
	if (place->user_stack == -EFAULT)
		count(counters, NOTE_NO_USER_SIDE);
}

static __always_inline bool count_place(void *counts, const struct place *place, __u64 time, __u32 weight)
{
	struct tally one = { .first = time, .tid = (__u32)current_ids(), .ticks = weight };
	struct tally *tally = bpf_map_lookup_elem(counts, place);

	if (tally) {
		tally->ticks += weight;
		return true;
	}
	return bpf_map_update_elem(counts, place, &one, BPF_NOEXIST) == 0;
}

/* Counts a tick of the thread that runs; false when the counts are full. */
static __always_inline bool count_stacks(struct counters *counters, void *ctx, bool in_kernel, __u64 time, __u32 weight)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct place place = {
		.cgroup = bpf_get_current_cgroup_id(),
		.pid = current_ids() >> 32,
		.exec = task->self_exec_id,
		.cpu = bpf_get_smp_processor_id(),
	};

	bpf_get_current_comm(&place.comm, sizeof(place.comm));
	if (active_set) {
		place.user_stack = stack_id(counters, ctx, &second_stacks, &second_spare, BPF_F_USER_STACK);
		place.kernel_stack = in_kernel ? stack_id(counters, ctx, &second_stacks, &second_spare, 0) : -ENOENT;
		note_user_side(counters, &place);
		return count_place(&second_counts, &place, time, weight);
	}
	place.user_stack = stack_id(counters, ctx, &first_stacks, &first_spare, BPF_F_USER_STACK);
	place.kernel_stack = in_kernel ? stack_id(counters, ctx, &first_stacks, &first_spare, 0) : -ENOENT;
	note_user_side(counters, &place);
	return count_place(&first_counts, &place, time, weight);
}
