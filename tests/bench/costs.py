"""What a tool costs and what it gives, of one workload at one rate."""

import statistics
import time

import bpf
from measuring import drop_caches, first_sample_ms

# The short run by which what every run has, start and end, is told apart.
SHORT_SECONDS = 0.5


def costs(tool, workload, bench, thorough):
    """One result. Where it is thorough, also how long a report takes and when the first sample is taken."""
    options = bench.options
    short = []
    for _ in range(options.repetitions):
        with workload.running() as pid:
            short.append(tool.record(pid, SHORT_SECONDS))
    short_cpu, few = (statistics.median(run[key] for run in short) for key in ["cpu", "samples"])
    with workload.running() as pid:
        used = tool.record(pid, options.seconds)
    samples = max(1, used["samples"])
    steady = used["cpu"] - short_cpu
    result = {
        "samples": used["samples"],
        "bytes": used["bytes"],
        "bytes_per_sample": used["bytes"] / samples,
        "cpu_us_per_sample": 1e6 * used["cpu"] / samples,
        "cpu_us_per_sample_steady": 1e6 * steady / max(1, samples - few),
        "cpu_percent_steady": 100 * steady / (options.seconds - SHORT_SECONDS),
        "start_and_end_ms": 1e3 * (short_cpu - steady * SHORT_SECONDS / (options.seconds - SHORT_SECONDS)),
        "waits_per_second": used["waits"] / options.seconds,
        "peak_mb": used["peak_mb"],
    }
    if workload.name == "idle":
        # Of few samples that are rather the tool's own.
        for key in ["cpu_us_per_sample", "cpu_us_per_sample_steady", "bytes_per_sample"]:
            del result[key]
    elif thorough:
        give(tool, workload, bench, result, used)
    return result


def give(tool, workload, bench, result, used):
    """What can be made of the recording, and how fast."""
    path = tool.path()
    result["complete_percent"] = tool.complete_percent(path, used)
    if command := tool.report(path):
        drop_caches()
        report = bench.run(command)
        result["report_seconds"], result["report_mb"] = report["wall"], report["peak_mb"]
    tool.particular(workload, result)
    if tool.has_bpf:
        result["kernel_us_per_sample"] = kernel_us(tool, workload, bench)
    if tool.launch(["true"]):
        result["first_sample_ms"] = first_sample_ms(tool, bench)


def kernel_us(tool, workload, bench):
    """Microseconds of a run of the tool's BPF program."""
    with workload.running() as pid, bpf.statistics():
        recorder = bench.start(tool.command(pid, 3))
        time.sleep(2.5)
        microseconds = bpf.us_per_run(recorder.pid)
        bench.finish(recorder)
    return microseconds
