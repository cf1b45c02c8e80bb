/* SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause) */
/*
 * Process and thread ids as the recorder sees them. In a container with process ids of its own, these are others than
 * the kernel's: /proc and the process events have them, so ticks must have them too.
 */
#pragma once

/* The recorder's own namespace, as the inode of /proc/self/ns/pid; 0 when it is the machine's. */
const volatile __u32 pid_namespace = 0;

/* Where the kernel has what tells namespaces apart. The recorder looks this up only in a container: relocations would cost
 * every start two more searches of all the kernel's types. */
const volatile __u32 level_in_pid = 0;
const volatile __u32 numbers_in_pid = 0;
const volatile __u32 namespace_in_number = 0;
const volatile __u32 number_size = 0;
const volatile __u32 inode_in_namespace = 0;

/* Namespaces inside of each other that are looked through, of 32 that there can be. */
#define MAX_NAMESPACES 8

/* A thread's id in the recorder's namespace, 0 when it is not in it. */
static __always_inline __u32 id_of(struct task_struct *task)
{
	__u64 pid = 0;
	__u32 level = 0;

	bpf_core_read(&pid, sizeof(pid), &task->thread_pid);
	bpf_probe_read_kernel(&level, sizeof(level), (void *)(pid + level_in_pid));
	for (__u32 i = 1; i <= MAX_NAMESPACES; i++) {
		__u64 number = pid + numbers_in_pid + i * number_size, namespace = 0;
		__u32 id = 0, inode = 0;

		if (i > level)
			break;
		bpf_probe_read_kernel(&namespace, sizeof(namespace), (void *)(number + namespace_in_number));
		bpf_probe_read_kernel(&inode, sizeof(inode), (void *)(namespace + inode_in_namespace));
		if (inode == pid_namespace) {
			bpf_probe_read_kernel(&id, sizeof(id), (void *)number); /* its first field */
			return id;
		}
	}
	return 0;
}

/* The process id of a thread, as the recorder sees it. */
static __always_inline __u32 process_id(struct task_struct *task)
{
	struct task_struct *leader = NULL;
	__u32 id = 0;

	if (!pid_namespace) {
		bpf_core_read(&id, sizeof(id), &task->tgid);
		return id;
	}
	bpf_core_read(&leader, sizeof(leader), &task->group_leader);
	return id_of(leader);
}

/* The ids of the thread that runs, as bpf_get_current_pid_tgid() gives them; 0 when the recorder does not see it. */
static __always_inline __u64 current_ids(void)
{
	struct task_struct *task;

	if (!pid_namespace)
		return bpf_get_current_pid_tgid();
	task = bpf_get_current_task_btf();
	return (__u64)process_id(task) << 32 | id_of(task);
}
