/* SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause) */
/*
 * Sampling of some processes while ticks are counted: of those whose frame pointers do not lead through their stacks.
 *
 * Of the ticks of such a process one in so many is selected, by chance, and sent with a copy of its stack. Its sample stands for all
 * ticks of the process on that CPU since the one that was selected before: so the sum of weights is that of ticks, and what
 * is selected does not depend on stacks. What no sample stands for yet is owed.
 */
#pragma once

/* Set by the recorder: one in so many ticks of `broken` processes is selected; 0: all are counted. */
const volatile __u32 sample_every = 0;

/* What a sample can stand for, halved: a tick can stand for many, too. */
#define MOST_OWED 32768
#define MOST_BROKEN 1024

/* A process, as long as it does not become another program. record/hybrid/ reads and writes it. */
struct program {
	__u32 pid;
	__u32 exec; /* how often the process has become another program */
};

/* On a CPU: ticks that no sample stands for, and what the last of them was. */
struct owed {
	__u64 last; /* when it was */
	__u32 tid;
	__u32 ticks;
	char comm[16];
};

_Static_assert(sizeof(struct owed) == 32, "record/hybrid/ reads this layout");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MOST_BROKEN);
	__type(key, struct program);
	__type(value, __u8);
} broken SEC(".maps");

/* Has what the recorder has put into `broken`, and has taken from there since it looked here last. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 2 * MOST_BROKEN);
	__type(key, struct program);
	__type(value, struct owed);
} owed SEC(".maps");

/* What is owed by the process that runs, when it is sampled. */
static __always_inline struct owed *owed_by_process(__u64 ids)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct program program = { .pid = ids >> 32, .exec = task->self_exec_id };

	if (!bpf_map_lookup_elem(&broken, &program))
		return NULL;
	return bpf_map_lookup_elem(&owed, &program);
}

/* Whether a tick is selected; what is not is owed. */
static __always_inline bool is_selected(struct owed *owed, __u32 tid, __u64 time, __u32 weight)
{
	if (bpf_get_prandom_u32() % sample_every == 0 || owed->ticks >= MOST_OWED)
		return true;
	owed->last = time;
	owed->tid = tid;
	owed->ticks += weight;
	bpf_get_current_comm(&owed->comm, sizeof(owed->comm));
	return false;
}
