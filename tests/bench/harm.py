"""What a recorded machine loses: the same load with and without a recorder, in turns.

A load runs for some seconds and tells figures. Each tool records the whole machine meanwhile, or, where the load is
a process that tells of its own interruptions, that process.
"""

import contextlib
import statistics
import subprocess
import time

from measuring import attempt
from pgbench import Server

WITHOUT = "nothing"


class OwnLoad:
    """A load of load.c."""

    def __init__(self, bench):
        self.bench = bench

    @contextlib.contextmanager
    def ready(self):
        yield

    def start(self, seconds):
        return subprocess.Popen([self.bench.load, self.load, str(seconds)], stdout=subprocess.PIPE, text=True)


class Gaps(OwnLoad):
    """How long a spinning process is interrupted for each sample that is taken of it."""

    name, load, whole_machine = "interruptions", "gaps", False

    def figures(self, child, seconds):
        gaps, nanoseconds = map(int, child.communicate()[0].split())
        return {"gaps": gaps, "gap_us": nanoseconds / 1e3}


class Storm(OwnLoad):
    """Processes started a second, one after the other."""

    name, load, whole_machine = "fork storm", "storm", True

    def figures(self, child, seconds):
        return {"processes_per_second": int(child.communicate()[0]) / seconds}


class Pgbench:
    """Transactions of PostgreSQL a second, and the latency that one in a hundred exceeds."""

    name, whole_machine = "pgbench", True

    def __init__(self, bench):
        self.bench = bench

    @contextlib.contextmanager
    def ready(self):
        with Server(self.bench.folder) as self.server:
            yield

    def start(self, seconds):
        return self.server.start_load(seconds)

    def figures(self, child, seconds):
        return self.server.figures(child)


def loads(bench):
    return [Gaps(bench), Storm(bench), Pgbench(bench)]


def harm(load, tools, bench):
    """A result for each tool, `nothing` being the first: the medians of all rounds."""
    rounds = {name: [] for name in [WITHOUT, *(tool.name for tool in tools)]}
    with load.ready():
        for turn in range(bench.options.rounds):
            # Another one begins each time, lest what the machine does in between always hits the same one.
            order = [None, *tools]
            for tool in order[turn % len(order) :] + order[: turn % len(order)]:
                figures = attempt(lambda tool=tool: one_turn(load, tool, bench))
                if "failed" not in figures:
                    rounds[tool.name if tool else WITHOUT].append(figures)
    rounds = {name: runs for name, runs in rounds.items() if runs}
    results = {name: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for name, runs in rounds.items()}
    if WITHOUT not in results:
        raise RuntimeError(f"{load.name} failed each time that it was not recorded")
    for name, result in results.items():
        compare(result, results[WITHOUT], name)
        result["rounds"] = rounds[name]
    return results


def one_turn(load, tool, bench):
    """The load, recorded from before its start to after its end, unless the tool follows the load itself."""
    recorded = bench.options.load_seconds
    seconds = recorded if load.whole_machine else recorded + 2
    if tool is None:
        return load.figures(load.start(seconds), seconds)
    if load.whole_machine:
        recorder = bench.start(tool.command(None, seconds + 1.5))
        time.sleep(0.8)
        figures = load.figures(load.start(seconds), seconds)
        used = tool.recorded(bench.finish(recorder))
    else:
        child = load.start(seconds)
        used = tool.record(child.pid, recorded)
        figures = load.figures(child, seconds)
    recorder_cpu = 100 * used["cpu"] / used["wall"]
    return figures | {"samples": used["samples"], "recorder_cpu_percent": recorder_cpu, "peak_mb": used["peak_mb"]}


def compare(result, without, name):
    """Adds what a figure is compared with the same without a recorder."""
    if name == WITHOUT:
        return
    for key in ["processes_per_second", "transactions_per_second", "p99_ms"]:
        if key in result:
            result[f"{key}_change_percent"] = 100 * (result[key] / without[key] - 1)
    if "gap_us" in result:
        result["interrupted_us_per_sample"] = (result["gap_us"] - without["gap_us"]) / max(1, result["samples"])
