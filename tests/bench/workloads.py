"""What is recorded: programs that are at work already when a tool attaches to them."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

SOURCES = pathlib.Path(__file__).resolve().parent.parent.parent / "fixtures" / "workloads"


class Workload:
    """A program that runs for longer than it is recorded."""

    whole_machine = False

    def __init__(self, name, command, process=None):
        self.name, self.command = name, command
        self.process = process  # the comm of the process that does the work, if it is a child

    @contextlib.contextmanager
    def running(self):
        """The pid of the process that does the work, some time after its start."""
        nothing = subprocess.DEVNULL
        child = subprocess.Popen(self.command, stdout=nothing, stderr=nothing, start_new_session=True)
        try:
            pid = child.pid
            if self.process:
                pid = wait_for(lambda: child_named(child.pid, self.process))
            time.sleep(0.3)
            if child.poll() is not None:
                raise RuntimeError(f"the workload {self.name} ended with status {child.returncode}: {self.command}")
            yield pid
            if child.poll() is not None:
                print(f"bench: the workload {self.name} ended before its recording did", file=sys.stderr)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


class Idle:
    """The whole machine, of which nothing is asked."""

    name, whole_machine = "idle", True

    @contextlib.contextmanager
    def running(self):
        yield None


def child_named(parent, comm):
    children = pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    for pid in children:
        with contextlib.suppress(OSError):
            if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == comm:
                return int(pid)
    return None


def wait_for(question):
    for _ in range(500):
        if answer := question():
            return answer
        time.sleep(0.01)
    raise RuntimeError("the workload did not start")


def workloads(bench):
    """By their names, in the order in which they are measured."""
    seconds = bench.options.seconds
    big_cpp, big_rs = SOURCES / "big.cpp", SOURCES / "big.rs"
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True).stdout.strip()
    rustc = [f"{sysroot}/bin/rustc", "--edition", "2024", "-O", "-o", str(bench.folder / "big_rs"), str(big_rs)]
    # Larger where longer is asked for: twice the time is about twice the rounds.
    rounds = max(16, int(seconds * 2.5))
    gxx = ["g++", "-std=c++17", "-O2", f"-DROUNDS={rounds}", "-c", "-o", str(bench.folder / "big.o"), str(big_cpp)]
    busy = [sys.executable, str(SOURCES / "busy.py"), str(seconds * 3 + 60)]
    return [
        Workload("g++", gxx, "cc1plus"),
        Workload("rustc", rustc),
        Workload("python3", busy),
        Workload("500 threads", [bench.load, "threads", "500"]),
        Idle(),
    ]
