"""Other profilers, which are measured where they are installed. How to install each: docs/benchmark.md."""

import contextlib
import gzip
import json
import os
import pathlib
import shutil

from tools import START_CODE, Tool


def after(preparation, command):
    """The command behind a preparation that others do not see: in a mount namespace of its own."""
    return ["unshare", "-m", "sh", "-c", f'{preparation} && exec "$@"', "sh", *command]


class Samply(Tool):
    """Copies of stacks like perf's, unwound while it records."""

    whole_machine = False

    def __init__(self, bench):
        super().__init__("samply", bench)
        self.permission = bench.folder / "perf_event_paranoid"
        self.permission.write_text("1\n")

    def why_not(self):
        return None if shutil.which("samply") else "not installed (cargo install samply --locked)"

    def path(self):
        return self.bench.folder / "it.json.gz"

    def shown_a_permission(self, command, seconds=None):
        """samply asks the sysctl even as root, so it is shown another one. It does not end by itself with -p."""
        limit = ["timeout", "--preserve-status", "--signal=INT", seconds] if seconds else []
        return after(f"mount --bind {self.permission} /proc/sys/kernel/perf_event_paranoid", [*limit, *command])

    def options(self):
        return ["-r", self.rate, "--save-only", "--unstable-presymbolicate", "-o", self.path()]

    def record(self, pid, seconds):
        # What ends it interrupts it, and at times it takes that for a failure ("poll failed").
        for _ in range(3):
            with contextlib.suppress(RuntimeError):
                return super().record(pid, seconds)
        return super().record(pid, seconds)

    def command(self, pid, seconds):
        target = ["-p", pid] if pid else ["-a"]
        return self.shown_a_permission(["samply", "record", *self.options(), *target], seconds)

    def launch(self, command):
        return self.shown_a_permission(["samply", "record", *self.options(), "--", *command])

    def threads(self, path):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return json.load(file)["threads"]

    def samples(self, path, used):
        return sum(thread["samples"]["length"] for thread in self.threads(path))

    def complete_percent(self, path, used):
        """By the name of the outermost frame, which is an address that the file beside the profile names."""
        names = Names(path.with_name(path.name.removesuffix(".json.gz") + ".json.syms.json"))
        samples = complete = 0
        for thread in self.threads(path):
            roots = Roots(thread, names)
            for stack in thread["samples"]["stack"]:
                samples += 1
                complete += stack is not None and roots.complete(stack)
        return 100 * complete / max(1, samples)


class Roots:
    """Which stacks of a thread of a Firefox profile end in start code."""

    def __init__(self, thread, names):
        self.prefix = thread["stackTable"]["prefix"]
        self.frame = thread["stackTable"]["frame"]
        self.thread, self.names, self.known = thread, names, {}

    def complete(self, stack):
        while self.prefix[stack] is not None:
            stack = self.prefix[stack]
        if stack not in self.known:
            frame = self.frame[stack]
            function = self.thread["frameTable"]["func"][frame]
            address = self.thread["frameTable"]["address"][frame]
            name = self.thread["stringArray"][self.thread["funcTable"]["name"][function]]
            # It takes an underscore away from the names that it finds.
            names = [name, *self.names.of(address), *("_" + one for one in self.names.of(address))]
            self.known[stack] = any(START_CODE.match(one) for one in names)
        return self.known[stack]


class Names:
    """The names that samply has found, by address in whatever module: start code is rare enough."""

    def __init__(self, path):
        self.by_address = {}
        if not path.exists():
            return
        table = json.loads(path.read_text())
        for module in table["data"]:
            symbols = module["symbol_table"]
            for address, index in module["known_addresses"]:
                self.by_address.setdefault(address, set()).add(table["string_table"][symbols[index]["symbol"]])

    def of(self, address):
        return self.by_address.get(address, ())


class Folding(Tool):
    """A tool that writes folded stacks, and samples by BPF."""

    has_bpf = True

    def lines(self, path, used):
        return path.read_text(errors="replace").splitlines()

    def stacks(self, path, used):
        """Pairs of the stack's functions, the outermost first, and how often it was seen."""
        for line in self.lines(path, used):
            stack, _, count = line.rpartition(" ")
            if stack and count.isdigit():
                yield stack.split(";")[1:], int(count)

    def samples(self, path, used):
        return sum(count for _, count in self.stacks(path, used))

    def complete_percent(self, path, used):
        samples = complete = 0
        for frames, count in self.stacks(path, used):
            # probee says so of what called the start code.
            outermost = next((frame for frame in frames if frame != "[unknown]"), "")
            samples += count
            complete += count * bool(START_CODE.match(outermost.split("+")[0]))
        return 100 * complete / max(1, samples)


class Bcc(Folding):
    """Frame pointers, counted in the kernel; compiles its program at each start."""

    def __init__(self, bench):
        super().__init__("profile-bpfcc", bench)

    def why_not(self):
        if not shutil.which("profile-bpfcc"):
            return "not installed (apt-get install bpfcc-tools)"
        headers = pathlib.Path(f"/lib/modules/{os.uname().release}/build")
        if headers.exists() or pathlib.Path("/sys/kernel/kheaders.tar.xz").exists() or "BCC_KERNEL_SOURCE" in os.environ:
            return None
        return "it needs the kernel's headers, which are not here (apt-get install linux-headers-amd64, or BCC_KERNEL_SOURCE)"

    def path(self):
        return self.bench.folder / "stdout"

    def command(self, pid, seconds):
        target = ["-p", pid] if pid else []
        return ["profile-bpfcc", "-F", self.rate, "-f", *target, max(1, round(seconds))]

    def lines(self, path, used):
        return used["stdout"].splitlines()

    def size(self, path, used):
        return len(used["stdout"])


class Probee(Folding):
    """profile-bee: unwind tables in BPF."""

    def __init__(self, bench):
        super().__init__("probee --dwarf", bench)

    def why_not(self):
        return None if shutil.which("probee") else "not installed (cargo install profile-bee --locked --no-default-features)"

    def path(self):
        return self.bench.folder / "it.folded"

    def command(self, pid, seconds):
        target = ["--pid", pid] if pid else []
        time = ["--time", int(1000 * seconds)]
        # It looks for process exits in tracefs.
        probee = ["probee", "--dwarf", "true", "-f", self.rate, *time, *target, "-o", self.path()]
        return after("{ [ -e /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing; }", probee)


def peers(bench):
    return [Samply(bench), Bcc(bench), Probee(bench)]
