"""What the kernel itself measures of BPF programs, whoever loaded them."""

import contextlib
import pathlib
import re


@contextlib.contextmanager
def statistics():
    """The kernel measures its BPF programs meanwhile, which costs them some time."""
    switch = pathlib.Path("/proc/sys/kernel/bpf_stats_enabled")
    before = switch.read_text()
    switch.write_text("1")
    try:
        yield
    finally:
        switch.write_text(before)


def us_per_run(pid):
    """Microseconds of a run of that program of a process or its children that takes most time; None without one."""
    runs = [run for one in family(pid) for run in programs(one)]
    nanoseconds, count = max(runs, default=(0, 0))
    return nanoseconds / 1000 / count if count else None


def map_bytes(pid):
    """What the maps that a process and its children hold take in the kernel, each map once."""
    maps = {}
    for one in family(pid):
        with contextlib.suppress(OSError):
            for info in pathlib.Path(f"/proc/{one}/fdinfo").iterdir():
                with contextlib.suppress(OSError):
                    text = info.read_text()
                    if number(text, "map_id"):
                        maps[number(text, "map_id")] = number(text, "memlock")
    return sum(maps.values())


def family(pid):
    """A process and all that it has started."""
    yield pid
    with contextlib.suppress(OSError):
        for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from family(int(child))


def programs(pid):
    """Nanoseconds and runs of each BPF program that a process holds."""
    with contextlib.suppress(OSError):
        for info in pathlib.Path(f"/proc/{pid}/fdinfo").iterdir():
            with contextlib.suppress(OSError):
                text = info.read_text()
                yield number(text, "run_time_ns"), number(text, "run_cnt")


def number(text, name):
    found = re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)
    return int(found.group(1)) if found else 0
