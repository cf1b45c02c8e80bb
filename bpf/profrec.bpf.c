// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * profrec's programs in the kernel.
 *
 * on_tick                 runs at every tick of a perf clock event, in the interrupted thread. It
 *                         sends one event to the ring: who, when, the user registers, the kernel's
 *                         call chain and the live part of the user stack. It decides nothing else.
 * on_fork                 keeps the set of recorded processes up to date while ticks are CPU-wide.
 * name_kernel_addresses   runs when the recorder asks for it, and names addresses in the kernel.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "ids.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* How user stacks are captured. */
enum call_graph {
	CALL_GRAPH_STACK = 0,
	CALL_GRAPH_FRAME_POINTER = 1,
	CALL_GRAPH_NONE = 2,
};

/* Set by the recorder before the programs are loaded. */
const volatile __u32 call_graph = CALL_GRAPH_STACK;
const volatile __u32 stack_cap = 65536;	  /* bytes copied from each end of a deeper stack than `whole_stack`; a multiple of PAGE */
const volatile __u32 most_payload = 1 << 20; /* bytes of stack in the payload at most */
const volatile __u32 wakeup_bytes = 4 << 20; /* unread bytes in the ring that wake the recorder */
const volatile bool inherited_clocks = false; /* threads and processes inherit clocks */
const volatile __u64 period = 1000000; /* nanoseconds between two ticks, unless the recorder slows down */

/* Set by the recorder before the programs are loaded, and changed while it runs, to keep within its budget. No more is
 * copied than at first. */
__u32 whole_stack;  /* stacks up to this depth are copied whole */
__u32 least_weight; /* periods that a tick stands for at least: a power of two */

/* Of the stack in a tick. */
#define MAX_CHUNKS 1024
#define MAX_CHAIN 127
#define CHAIN_BYTES (MAX_CHAIN * sizeof(__u64))
#define REGISTERS 17

/*
 * What is sent for a tick; record/event.rs reads it. The payload holds one after the other: the
 * inner stack slice, the outer stack slice, chunks of the stack (see stack.h), the kernel chain, the user chain.
 */
struct tick {
	__u64 time;
	__u64 registers[REGISTERS]; /* by DWARF number, 16 is the instruction pointer; all 0 without user side */
	__u64 top;		    /* one past the stack's highest address, 0 when unknown */
	__u64 inner_start;	    /* address of the first byte of the slice at the stack pointer */
	__u64 outer_start;	    /* address of the first byte of the slice at the top of the thread's first stack */
	__u64 cgroup;		    /* the id of its control group, while other ticks are counted; else 0 */
	__u64 changed[MAX_CHUNKS / 64]; /* a bit for each captured chunk by ascending address, the first one's the lowest: it is in the payload */
	__u32 pid;
	__u32 tid;
	__u32 cpu;
	__u32 inner_bytes;
	__u32 outer_bytes;
	__u32 inner_chunks; /* captured above the inner slice */
	__u32 outer_chunks; /* captured below the top, when there is a gap between */
	__u32 chunk_bytes;
	__u32 kernel_bytes;
	__u32 user_bytes;
	__u32 weight; /* periods that the tick stands for */
	__u16 switched; /* the slices are of two stacks */
	__u16 frame_left_out; /* the gap between the chunks is a frame that the recorder has told of */
	char comm[16]; /* the thread's name: it may be gone when somebody asks */
};

_Static_assert(sizeof(struct tick) == 38 * 8 + 11 * 4 + 2 * 2 + 16, "record/event.rs reads this layout");

#include "accounts.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20); /* set by the recorder */
} events SEC(".maps");

/* One element a CPU; per-CPU maps end at 32 KB a value. The recorder sets the number of elements
 * and the value size: the fields in front, most_payload, 64 KiB (what is read at once
 * is there before it is known what of it stays), two chains. */
struct scratch {
	__u64 salt; /* of the hashes of the thread's chunks */
	__u32 slot; /* of the thread's first chunk in `remembered` */
	__u32 unused;
	struct tick tick;
	__u8 payload[1 << 20];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct scratch)); /* a type would contradict the size that the recorder sets */
} scratch SEC(".maps");

/* What a tick of the recorder's own clocks stands for, by their numbers, which start with 1. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set by the recorder */
	__type(key, __u32);
	__type(value, __u32);
} clocks SEC(".maps");

/* Work of name_kernel_addresses. */
#define NAMES_AT_ONCE 64
#define NAME_BYTES 256
__u64 kernel_addresses[NAMES_AT_ONCE];
char kernel_names[NAMES_AT_ONCE][NAME_BYTES];

/* Hides a value's origin from clang, which otherwise removes the bound checks that the verifier
 * needs to see. */
#define OPAQUE(value) asm volatile("" : "+r"(value))

static __always_inline struct scratch *scratch_of_cpu(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&scratch, &cpu);
}

#include "target.h"
#include "stack.h"
#include "count.h"
#include "hybrid.h"

/* Keeps the user registers by their DWARF numbers. They come from the top of the thread's kernel
 * stack: the interrupted ones when user code was interrupted, else those of the system call. */
static __always_inline void capture_registers(struct tick *tick, struct task_struct *task)
{
	struct pt_regs copy = {};
	const struct pt_regs *regs = &copy;

	/* One read, not one a register: each load through the pointer itself makes the recorder's start slower. */
	bpf_probe_read_kernel(&copy, sizeof(copy), (void *)bpf_task_pt_regs(task));
	tick->registers[0] = regs->ax;
	tick->registers[1] = regs->dx;
	tick->registers[2] = regs->cx;
	tick->registers[3] = regs->bx;
	tick->registers[4] = regs->si;
	tick->registers[5] = regs->di;
	tick->registers[6] = regs->bp;
	tick->registers[7] = regs->sp;
	tick->registers[8] = regs->r8;
	tick->registers[9] = regs->r9;
	tick->registers[10] = regs->r10;
	tick->registers[11] = regs->r11;
	tick->registers[12] = regs->r12;
	tick->registers[13] = regs->r13;
	tick->registers[14] = regs->r14;
	tick->registers[15] = regs->r15;
	tick->registers[16] = regs->ip;
}

/*
 * How many periods a tick stands for; 0 when it is to be passed over.
 *
 * The kernel lets the period of a clock be changed, but not those of the clocks that others have inherited from it, and
 * it goes on saying the period at which a clock was opened. (Nor can a clock be told by its thread: the kernel exchanges the
 * clocks of two related threads when it switches from one to the other.) So the recorder's own clocks have a cookie, which is not
 * inherited: their number, by which it is looked up what a tick of theirs stands for.
 *
 * An inherited clock has the period that it was inherited with. Where that is shorter than it should be now, one in so many of
 * its ticks counts, by chance: to count along would be unfair to those who take turns.
 */
static __always_inline __u32 weight_of_tick(struct bpf_perf_event_data *ctx)
{
	__u32 least = least_weight, number, *told;
	__u64 own;

	if (least == 1 && !inherited_clocks)
		return 1;
	if (least != 1) {
		number = bpf_get_attach_cookie(ctx);
		told = bpf_map_lookup_elem(&clocks, &number);
		if (number && told)
			return *told;
	}
	own = ctx->sample_period / period;
	if (own < 1)
		own = 1;
	if (own >= least)
		return own;
	return bpf_get_prandom_u32() % (least / (__u32)own) ? 0 : least;
}

/* Appends a call chain to the payload; gives its bytes. */
static __always_inline __u64 capture_chain(void *ctx, __u8 *payload, __u64 at, __u64 flags)
{
	long bytes;

	OPAQUE(at);
	if (at > (__u64)most_payload + CHAIN_BYTES)
		return 0;
	bytes = bpf_get_stack(ctx, payload + at, CHAIN_BYTES, flags);
	return bytes > 0 ? bytes : 0;
}

SEC("perf_event")
int on_tick(struct bpf_perf_event_data *ctx)
{
	__u64 ids = current_ids();
	bool in_kernel = (ctx->regs[CONTEXT_CS] & 3) == 0;
	struct task_struct *task;
	struct mm_struct *mm = NULL;
	struct tick *tick;
	__u64 start_stack = 0;
	__u64 used = 0, bytes, flags;
	__u64 time = bpf_ktime_get_ns();
	struct scratch *own;
	struct owed *owed = NULL;
	struct counters *counters = counters_of_cpu();
	__u32 weight, stands_for;

	if (!counters)
		return 0; /* cannot be: the verifier wants to see it */
	count(counters, INTERRUPTS);
	weight = weight_of_tick(ctx);
	if (!weight)
		return 0; /* others stand for it */
	count_tick(counters, time, weight);
	if ((__u32)bpf_get_current_pid_tgid() == 0) {
		add(counters, OUTCOME_IDLE, weight);
		return 0;
	}
	if (!is_target(ids)) {
		add(counters, OUTCOME_FILTERED, weight);
		return 0;
	}
	if (counting && sample_every)
		owed = owed_by_process(ids);
	if (counting && !owed) {
		add(counters, count_stacks(counters, ctx, in_kernel, time, weight) ? OUTCOME_SENT : OUTCOME_COUNTS_FULL, weight);
		count_captured(counters, time);
		return 0;
	}
	stands_for = weight;
	if (owed) {
		if (!is_selected(owed, (__u32)ids, time, weight)) {
			/* A sample is going to stand for it, or a count. */
			add(counters, OUTCOME_SENT, weight);
			count_captured(counters, time);
			return 0;
		}
		stands_for += owed->ticks;
	}
	own = scratch_of_cpu();
	if (!own) {
		add(counters, OUTCOME_NO_SCRATCH, weight);
		return 0;
	}
	tick = &own->tick;
	__builtin_memset(tick, 0, sizeof(*tick));
	tick->time = time;
	tick->pid = ids >> 32;
	tick->tid = (__u32)ids;
	tick->cpu = bpf_get_smp_processor_id();
	tick->weight = stands_for;
	if (owed)
		tick->cgroup = bpf_get_current_cgroup_id();
	bpf_get_current_comm(tick->comm, sizeof(tick->comm));

	task = bpf_get_current_task_btf();
	/* Of a pointer that is loaded through `task`, the verifier of 6.18 would search all of the kernel's types by name. */
	bpf_core_read(&mm, sizeof(mm), &task->mm);
	if (mm)
		bpf_core_read(&start_stack, sizeof(start_stack), &mm->start_stack);
	/* A kernel thread, a process that has given up its memory to end, or one in the middle of an exec:
	 * its registers still are those of the program before, in an address space that is new. */
	if ((task->flags & TASK_IS_KERNEL_THREAD) || !start_stack) {
		count(counters, NOTE_NO_USER_SIDE);
	} else {
		capture_registers(tick, task);
		if (call_graph == CALL_GRAPH_STACK)
			used = capture_stack(counters, own, task, start_stack);
	}
	if (in_kernel) {
		bytes = capture_chain(ctx, own->payload, used, 0);
		tick->kernel_bytes = bytes;
		used += bytes;
	}
	if (call_graph == CALL_GRAPH_FRAME_POINTER && tick->registers[16]) {
		bytes = capture_chain(ctx, own->payload, used, BPF_F_USER_STACK);
		tick->user_bytes = bytes;
		used += bytes;
	}

	OPAQUE(used);
	if (used > (__u64)most_payload + 2 * CHAIN_BYTES) {
		add(counters, OUTCOME_NO_SCRATCH, weight); /* cannot be: the verifier wants to see it */
		return 0;
	}
	flags = bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > wakeup_bytes ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
	if (bpf_ringbuf_output(&events, tick, sizeof(*tick) + used, flags) != 0) {
		count_lost(counters, time, weight); /* what is owed stays so */
		send_again(tick);
	} else {
		add(counters, OUTCOME_SENT, weight);
		if (owed)
			owed->ticks = 0;
	}
	count_captured(counters, time);
	return 0;
}

/* Not tp_btf: libbpf would look for the tracepoint in all of the kernel's types. */
SEC("raw_tp/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	__u32 from = process_id(parent);
	__u32 pid = process_id(child);
	__u8 present = 1;

	if (from == pid || !bpf_map_lookup_elem(&targets, &from))
		return 0;
	if (bpf_map_update_elem(&targets, &pid, &present, BPF_ANY))
		__sync_fetch_and_add(&lost_children, 1);
	return 0;
}

/* Names one of `kernel_addresses`; false when it is 0, as all behind the last one are. Here and below, global functions: the verifier looks at each
 * once, and not 64 times. */
__noinline int name_one(__u32 number)
{
	if (number >= NAMES_AT_ONCE || !kernel_addresses[number])
		return 0;
	BPF_SNPRINTF(kernel_names[number], NAME_BYTES, "%pS", (void *)kernel_addresses[number]);
	return 1;
}

#define NAMES_IN_ROW 8
__noinline int name_row(__u32 first)
{
	for (__u32 i = 0; i < NAMES_IN_ROW; i++) {
		if (!name_one(first + i))
			return 0;
	}
	return 1;
}

/* Names each of `kernel_addresses` up to the first 0, as the kernel itself prints it:
 * "name+0x12/0x34 [module]". It needs neither the whole of /proc/kallsyms nor the right to read
 * addresses there. */
SEC("syscall")
int name_kernel_addresses(void *ctx)
{
	for (__u32 i = 0; i < NAMES_AT_ONCE; i += NAMES_IN_ROW) {
		if (!name_row(i))
			break;
	}
	return 0;
}
