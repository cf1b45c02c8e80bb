"""The structs of a recording, field by field, and the records by their tags."""

from encoding import (Bytes, blob, boolean, evolving, listed, optional, pair, string, struct_of, triple, u32, u64,
                      variant)  # fmt: skip

LOAD = struct_of(offset=u64, address=u64, file_size=u64, executable=boolean)
CFI_ENTRY = struct_of(address=u64, cie=u64, bytes=blob)
SYMBOL = struct_of(address=u64, size=u64, name=string)
KERNEL_SYMBOL = struct_of(address=u64, size=u64, name=string, module=string)
JIT_SYMBOL = struct_of(time=u64, address=u64, size=u64, name=string)
MODULE_KIND = variant("File", "Vdso", "Anonymous")
CFI_SECTION = variant("EhFrame", "DebugFrame")

MACHINE = struct_of(
    cpu_model=string, cpus_possible=string, cpus_online=string, memory=u64, kernel_build=string, clock_source=string,
    boot_realtime=u64, suspended=u64,
)  # fmt: skip

HEADER_FIELDS = evolving(
    recorder=string, arch=variant("X86_64", "Aarch64"), host=string, kernel=string, page_size=u32, cpus=u32,
    command_line=listed(string), event=string, period=u64, call_graph=u32, stack_size=u32, start_monotonic=u64,
    start_realtime=u64, gaps=listed(pair(u64, u64)), scrubbed=boolean, machine=MACHINE, counted_every=u64,
)  # fmt: skip
TOTALS_FIELDS = evolving(
    end_monotonic=u64, stop=u32, expected=u64, samples=u64, lost=listed(pair(u32, u64)), recorder_cpu=u64,
    bpf_time=u64, bpf_runs=u64, weight=u64, ticks=listed(pair(u32, u64)), outcomes=listed(triple(u32, u32, u64)),
    lost_by_cpu=listed(triple(u32, u32, u64)), clock_time=u64,
)  # fmt: skip
SUMMARY_TAG = 1
SUMMARY_FIELDS = evolving(
    offset=u64, bytes=u64, first_time=u64, last_time=u64, samples=u64, pids=listed(u32), first_loss=u64, last_loss=u64,
    weight=u64,
    first_metrics=u64, last_metrics=u64,
)  # fmt: skip

KINDS = {}


def of_kind(tag, name, **fields):
    KINDS[tag] = (name, evolving(**fields))


of_kind(1, "Process", time=u64, pid=u32, parent=u32, comm=string, kernel_thread=boolean, cgroup=string)
of_kind(2, "Thread", time=u64, pid=u32, tid=u32, comm=string)
of_kind(3, "Fork", time=u64, pid=u32, tid=u32, parent=u32, parent_tid=u32)
of_kind(4, "Exec", time=u64, pid=u32, comm=string)
of_kind(5, "Exit", time=u64, pid=u32, tid=u32)
of_kind(6, "Mapping", time=u64, pid=u32, start=u64, end=u64, offset=u64, module=u32)
of_kind(7, "Module", id=u32, kind=MODULE_KIND, path=string, build_id=blob)
of_kind(8, "Layout", module=u32, build_id=blob, fingerprint=blob, loads=listed(LOAD))
of_kind(9, "UnwindSlice", module=u32, section=CFI_SECTION, cies=listed(CFI_ENTRY), fdes=listed(CFI_ENTRY))
of_kind(10, "SymbolSlice", module=u32, symbols=listed(SYMBOL))
of_kind(11, "Image", module=u32, bytes=blob)
of_kind(12, "KernelSymbols", symbols=listed(KERNEL_SYMBOL))
of_kind(13, "Loss", time=u64, cause=u32, count=u64, since=u64, cpu=optional(u32))
of_kind(14, "MiniDebugInfo", module=u32, bytes=blob)
of_kind(15, "FunctionExtents", module=u32, ranges=listed(pair(u64, u64)))
of_kind(
    17, "SelfMetrics", time=u64, interval=u64, cpu=u64, bpf_time=u64, bpf_runs=u64, memory=u64, kernel_memory=u64,
    ring_size=u64, ring_fill=u64, ring_peak=u64, bytes=u64, samples=u64, lost=u64, delay_median=u64, delay_p99=u64,
    delay_max=u64, outcomes=listed(pair(u32, u64)),
)  # fmt: skip
of_kind(16, "PerfMap", pid=u32, symbols=listed(JIT_SYMBOL), trouble=string)
of_kind(18, "Pace", time=u64, weight=u32, whole_stack=u32, stack_size=u32, cost=u32, limit=u32, reason=u32)
of_kind(19, "RawStack", time=u64, tid=u32, registers=listed(u64), memory=listed(pair(u64, blob)))


def tagged(content):
    source = Bytes(content)
    while not source.ended():
        tag = source.fixed(2)
        yield tag, source.take(source.fixed(4))
