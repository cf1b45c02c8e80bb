"""What a command takes: time, CPU, memory. Compiles the two C programs that help."""

import contextlib
import os
import pathlib
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent


class Bench:
    """What all measurements share: a folder, the helpers in C, and what was asked for."""

    def __init__(self, folder, options):
        self.folder, self.options = folder, options
        self.measure, self.load = folder / "measure", folder / "load"
        for program in [self.measure, self.load]:
            source = HERE / f"{program.name}.c"
            subprocess.run(["cc", "-O2", "-pthread", "-o", program, source], check=True)

    def start(self, command):
        """Starts a command whose cost is told by `finish`."""
        command = [self.measure, *map(str, command)]
        output = open(self.folder / "stdout", "w+", encoding="utf-8", errors="replace")
        errors = open(self.folder / "stderr", "w+", encoding="utf-8", errors="replace")
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
        child.files = output, errors
        return child

    def finish(self, child):
        """Its wall time and CPU time (seconds), peak memory (MB), how often it waited, and what it printed."""
        status = child.wait()
        for file in child.files:
            file.seek(0)
        stdout, stderr = (file.read() for file in child.files)
        for file in child.files:
            file.close()
        if status != 0:
            raise RuntimeError(f"{' '.join(map(str, child.args[1:]))}: status {status}\n{stdout[-1000:]}{stderr}")
        lines = stderr.rstrip().splitlines()
        wall, user, system, peak, waits = map(int, lines[-1].split())
        used = {"wall": wall / 1e6, "cpu": (user + system) / 1e6, "peak_mb": peak / 1024, "waits": waits}
        return used | {"stdout": stdout, "stderr": "\n".join(lines[:-1])}

    def run(self, command):
        return self.finish(self.start(command))


def drop_caches():
    """A report is made of files that were not just read."""
    os.sync()
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")


def first_sample_ms(tool, bench):
    """From the tool's start to the first instruction of what it launches."""
    times = []
    for _ in range(bench.options.repetitions):
        start = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        command = list(map(str, tool.launch([str(bench.measure)])))
        # What becomes of so short a recording does not matter: samply fails to write it.
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        stamps = [line for line in done.stdout.splitlines() if line.strip().isdigit()]
        if not stamps:
            raise RuntimeError(f"{' '.join(command)}: status {done.returncode}\n{done.stderr}")
        times.append((int(stamps[0]) - start) / 1e6)
    return statistics.median(times)


def attempt(measurement):
    """A tool that fails is told, and costs only its own figures."""
    try:
        return measurement()
    except (RuntimeError, subprocess.CalledProcessError, OSError, ValueError, KeyError) as error:
        print(f"bench: failed: {error}", file=sys.stderr)
        return {"failed": str(error)}
