/* SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause) */
/*
 * What becomes of ticks, counted by CPU: each has one outcome, and those that the clock did not give are missed.
 */
#pragma once

/* What became of ticks, each counted as often as it stands for a period, and what was remarkable about those that were captured, each
 * counted once. record/outcomes.rs knows the order. Every tick has one outcome: TICKS is their sum. */
enum outcome {
	OUTCOME_SENT = 0,
	OUTCOME_RING_FULL = 1,
	OUTCOME_FILTERED = 2,
	OUTCOME_IDLE = 3,
	OUTCOME_NO_SCRATCH = 4,
	NOTE_NO_USER_SIDE = 5,
	NOTE_STACK_CUT = 6,
	NOTE_UNREADABLE_PAGES = 7,
	NOTE_STACK_SWITCHED = 8,
	NANOSECONDS = 9, /* spent on the ticks that were sent or did not fit */
	TICKS = 10,
	MISSED = 11,	   /* ticks that a CPU's clock did not give */
	MISSED_UNTIL = 12, /* when the last of them were noticed */
	DUE = 13,	   /* when the CPU's next tick is due, 0 before the first */
	WEIGHT = 14,	   /* what the CPU's last tick stood for */
	INTERRUPTS = 15,   /* whatever they stand for */
	CAPTURED = 16,	   /* of these, those that were sent or did not fit */
	OUTCOME_COUNTS_FULL = 17,
	NOTE_STACK_COLLIDED = 18,
	NOTE_STACKS_FULL = 19,
	OUTCOMES = 20,
};

/* All in one entry: the recorder reads them with one call. */
struct counters {
	__u64 of[OUTCOMES];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} outcomes SEC(".maps");

/* When ticks did not fit into the ring: by the second, or nearly, of the last minute. */
#define LOST_SECONDS 64
#define SECOND_SHIFT 30
struct lost_second {
	__u64 second;
	__u64 count;
	__u64 first; /* when */
	__u64 last;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOST_SECONDS);
	__type(key, __u32);
	__type(value, struct lost_second);
} lost_seconds SEC(".maps");

/* There is a clock on each CPU. Those that follow threads run when they may. */
bool clocks_of_cpus;

/* Those of this CPU: programs look them up once. */
static __always_inline struct counters *counters_of_cpu(void)
{
	__u32 all = 0;

	return bpf_map_lookup_elem(&outcomes, &all);
}

static __always_inline void add(struct counters *counters, enum outcome outcome, __u64 more)
{
	counters->of[outcome] += more; /* per CPU, and ticks of one CPU do not nest */
}

static __always_inline void count(struct counters *counters, enum outcome outcome)
{
	add(counters, outcome, 1);
}

/* A tick was sent or counted, or did not fit, which took the time since it came. */
static __always_inline void count_captured(struct counters *counters, __u64 time)
{
	count(counters, CAPTURED);
	add(counters, NANOSECONDS, bpf_ktime_get_ns() - time);
}

/*
 * Counts the tick, and those that the clock should have given since the one before. The kernel moves a late clock on by whole
 * periods; so its phase stays, and the tick that came soonest shows it.
 */
static __always_inline void count_tick(struct counters *counters, __u64 time, __u32 weight)
{
	__u64 *due = &counters->of[DUE], *before = &counters->of[WEIGHT];
	__u64 own = period * weight, missed;

	add(counters, TICKS, weight);
	if (!clocks_of_cpus)
		return;
	if (*before != weight) {
		/* The clock was changed, and began anew. */
		*before = weight;
		*due = 0;
	}
	if (*due && time >= *due + own) {
		missed = (time - *due) / own;
		add(counters, MISSED, missed * weight);
		counters->of[MISSED_UNTIL] = time;
		*due += missed * own;
	} else if (!*due || time < *due) {
		*due = time;
	}
	*due += own;
}

/* Notes when a tick did not fit into the ring: the recorder may not get to know for long. */
static __always_inline void count_lost(struct counters *counters, __u64 time, __u32 weight)
{
	__u64 second = time >> SECOND_SHIFT;
	__u32 slot = second & (LOST_SECONDS - 1);
	struct lost_second *lost = bpf_map_lookup_elem(&lost_seconds, &slot);

	add(counters, OUTCOME_RING_FULL, weight);
	if (!lost)
		return;
	if (lost->second != second) {
		lost->second = second;
		lost->count = 0;
		lost->first = time;
	}
	lost->count += weight;
	lost->last = time;
}
