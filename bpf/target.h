/* SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause) */
/*
 * Whose ticks are recorded. There is a switch for each question, set before the programs are loaded: what is not
 * asked is removed by the verifier, and its map is not created. All questions must be answered with yes.
 */
#pragma once

#define MOST_CGROUPS 32
#define COMM_BYTES 16

const volatile bool only_targets = false; /* while ticks are CPU-wide, keep those of `targets` */
const volatile bool targets_are_threads = false; /* `targets` has thread ids, not process ids */
const volatile bool only_users = false; /* keep those of `users` */
const volatile __u32 only_cgroups = 0; /* keep those of tasks in one of so many `cgroups`, or below it; 0: of all */
const volatile bool only_comms = false; /* keep those of threads and processes whose names are in `comms` */

/* Process or thread ids. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u8);
} targets SEC(".maps");

/* Children of `targets` that are not there, for there was no room. The recorder puts them there later. */
__u64 lost_children;

/* Real user ids, as the initial user namespace has them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u8);
} users SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_ARRAY);
	__uint(max_entries, MOST_CGROUPS);
	__type(key, __u32);
	__type(value, __u32);
} cgroups SEC(".maps");

/* Names of tasks, with zeros behind. */
struct comm {
	char bytes[COMM_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct comm);
	__type(value, __u8);
} comms SEC(".maps");

static __always_inline bool user_is_target(void)
{
	__u32 user = (__u32)bpf_get_current_uid_gid();

	return bpf_map_lookup_elem(&users, &user);
}

static __always_inline bool cgroup_is_target(void)
{
	for (__u32 i = 0; i < MOST_CGROUPS && i < only_cgroups; i++) {
		if (bpf_current_task_under_cgroup(&cgroups, i) == 1)
			return true;
	}
	return false;
}

/* The thread's own name or that of its process, which is its first thread's: programs name their threads as they
 * like, and who says "java" means all of them. */
static __always_inline bool comm_is_target(void)
{
	struct comm comm = {};
	struct task_struct *task, *leader = NULL;

	bpf_get_current_comm(&comm, sizeof(comm));
	if (bpf_map_lookup_elem(&comms, &comm))
		return true;
	task = bpf_get_current_task_btf();
	/* What stands behind the end of the name in the task is of an earlier, longer one. */
	__builtin_memset(&comm, 0, sizeof(comm));
	bpf_core_read(&leader, sizeof(leader), &task->group_leader);
	bpf_probe_read_kernel_str(&comm, sizeof(comm), leader->comm);
	return bpf_map_lookup_elem(&comms, &comm);
}

static __always_inline bool is_target(__u64 pid_and_tid)
{
	__u32 id = targets_are_threads ? (__u32)pid_and_tid : pid_and_tid >> 32;

	if (pid_namespace && !pid_and_tid)
		return false;
	/* A clock that follows threads ticks in no others. */
	if (only_targets && (!inherited_clocks || clocks_of_cpus) && !bpf_map_lookup_elem(&targets, &id))
		return false;
	if (only_users && !user_is_target())
		return false;
	if (only_cgroups && !cgroup_is_target())
		return false;
	return !only_comms || comm_is_target();
}
