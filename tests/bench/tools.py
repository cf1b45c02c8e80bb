"""profrec and perf: how each is asked to record, and what it says of what it recorded.

A tool's `command` records a process, or the whole machine where the process is None, for some seconds.
"""

import json
import re
import subprocess

# Names of start code. libc's inner functions count too, since perf often ends there.
START_CODE = re.compile(
    r"^(_start|_dl_start.*|_dl_start_user|__libc_start_.*|clone3?|__clone3?|start_thread|ret_from_fork.*"
    r"|kthread|secondary_startup.*)$"
)


class Tool:
    """What every tool has. `why_not` is the reason why it cannot be measured here."""

    has_bpf = False
    whole_machine = True

    def __init__(self, name, bench):
        self.name, self.bench, self.rate = name, bench, 99

    def why_not(self):
        return None

    def record(self, pid, seconds):
        """Records; gives the samples, the file's bytes and what it took."""
        return self.recorded(self.bench.run(self.command(pid, seconds)))

    def recorded(self, used):
        path = self.path()
        return used | {"samples": self.samples(path, used), "bytes": self.size(path, used)}

    def size(self, path, used):
        return path.stat().st_size

    def complete_percent(self, path, used):
        return None

    def report(self, path):
        """The command that makes a table of a recording."""
        return None

    def launch(self, command):
        """How it records a command."""
        return None

    def particular(self, workload, result):
        """Measures what no other tool has."""


class Profrec(Tool):
    has_bpf = True

    def __init__(self, bench, program):
        super().__init__("profrec", bench)
        self.program = program
        help_text = subprocess.run([program, "record", "--help"], capture_output=True, text=True, check=True).stdout
        # A budget would change the rate while it is measured.
        self.unbounded = ["--max-cpu", "none"] if "--max-cpu" in help_text else []

    def path(self):
        return self.bench.folder / "it.prof"

    def command(self, pid, seconds, *more):
        target = ["-p", pid] if pid else ["-a"]
        options = ["-F", self.rate, *self.unbounded, "-q", "--force", "-o", self.path()]
        return [self.program, "record", *options, *target, "-d", f"{seconds}s", *more]

    def launch(self, command):
        return [self.program, "record", "-F", self.rate, *self.unbounded, "-q", "--force", "-o", self.path(), "--", *command]

    def view(self, path, view):
        return subprocess.run([*self.report(path), view], capture_output=True, text=True, check=True).stdout

    def samples(self, path, used):
        return json.loads(self.view(path, "--json"))["recording"]["samples"]

    def complete_percent(self, path, used):
        stacks = json.loads(self.view(path, "--json"))["stacks"]
        return 100 * stacks["complete"] / max(1, stacks["total"])

    def report(self, path):
        return [self.program.parent / "profrec-report", path]

    def particular(self, workload, result):
        seconds = self.bench.options.seconds
        svg = self.bench.folder / "it.svg"
        result["svg_seconds"] = self.bench.run([*self.report(self.path()), "--flamegraph", svg])["wall"]
        with workload.running() as pid:
            bare = self.recorded(self.bench.run(self.command(pid, seconds, "--embed", "none")))
        result["bytes_per_sample_bare"] = bare["bytes"] / max(1, bare["samples"])


class Perf(Tool):
    def __init__(self, name, bench, call_graph):
        super().__init__(name, bench)
        self.call_graph = call_graph

    def why_not(self):
        return None if subprocess.run(["which", "perf"], capture_output=True, check=False).returncode == 0 else "not installed"

    def path(self):
        return self.bench.folder / "it.data"

    def options(self):
        # Without -B -N, perf 6.1 scans its file once more for build-ids at the end, and crashed there at times.
        clock = ["-e", "cpu-clock", "-F", self.rate, "--call-graph", self.call_graph]
        return ["-B", "-N", "-q", *clock, "-o", self.path()]

    def command(self, pid, seconds):
        target = ["-p", pid] if pid else ["-a"]
        return ["perf", "record", *self.options(), *target, "--", "sleep", seconds]

    def launch(self, command):
        return ["perf", "record", *self.options(), "--", *command]

    def samples(self, path, used):
        stats = subprocess.run(["perf", "report", "--stats", "-i", path], capture_output=True, text=True, check=True).stdout
        found = re.search(r"SAMPLE events:\s+(\d+)", stats)
        return int(found.group(1)) if found else 0

    def complete_percent(self, path, used):
        # The outermost frame is the last line of a sample's block.
        command = ["perf", "script", "--no-inline", "-i", path, "-F", "comm,ip,sym"]
        script = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, errors="replace")
        samples = complete = 0
        last = None
        for line in [*script.stdout, "\n"]:
            if line.strip() == "":
                samples += last is not None
                complete += bool(last and START_CODE.match(last))
                last = None
            elif line[0] in " \t" and "ffffffffffffffff" not in line:
                last = line.split(None, 1)[-1].strip()
        script.wait()
        return 100 * complete / max(1, samples)

    def report(self, path):
        return ["perf", "report", "--stdio", "--no-inline", "-i", path]


def perfs(bench):
    modes = {"perf fp": "fp", "perf dwarf 8K": "dwarf,8192", "perf dwarf 64K": "dwarf,65528"}
    return [Perf(name, bench, call_graph) for name, call_graph in modes.items()]
