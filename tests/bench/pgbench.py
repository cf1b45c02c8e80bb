"""A PostgreSQL server of the benchmark's own, and pgbench, which asks it."""

import contextlib
import glob
import os
import pathlib
import pwd
import re
import shutil
import subprocess

CLIENTS = 4
SCALE = 5


def programs():
    """The folder of PostgreSQL's programs; Debian keeps them out of PATH."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/pgbench"))
    return pathlib.Path(found[-1]).parent if found else None


class Server:
    """Runs between `with` and its end; reached by a socket in its folder alone."""

    def __init__(self, folder, clients=CLIENTS):
        if not programs():
            raise RuntimeError("PostgreSQL's server and pgbench are not installed (apt-get install postgresql)")
        self.folder, self.clients = folder / "pg", clients
        # PostgreSQL refuses to run as root; Debian's package makes this user.
        self.user = pwd.getpwnam("postgres")

    def as_postgres(self, program, *arguments):
        environment = {"PATH": os.environ["PATH"], "PGHOST": str(self.folder), "PGUSER": "postgres", "LC_ALL": "C"}
        return {
            "args": [str(programs() / program), *map(str, arguments)],
            "user": self.user.pw_uid,
            "group": self.user.pw_gid,
            "extra_groups": [],
            "cwd": self.folder,
            "env": environment,
            "stderr": subprocess.STDOUT,
            "text": True,
        }

    def do(self, program, *arguments):
        with open(self.folder / "log", "a+", encoding="utf-8") as log:
            done = subprocess.run(**self.as_postgres(program, *arguments), stdout=log, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed:\n{(self.folder / 'log').read_text()}")

    def __enter__(self):
        self.folder.parent.chmod(0o755)
        self.folder.mkdir()
        os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        data = self.folder / "data"
        self.do("initdb", "-A", "trust", "-N", data)
        options = f"-k {self.folder} -c listen_addresses= -c fsync=off -c shared_buffers=256MB -c max_connections={self.clients + 10}"
        self.do("pg_ctl", "-D", data, "-o", options, "-w", "start")
        self.do("pgbench", "-i", "-q", "-s", SCALE, "postgres")
        return self

    def __exit__(self, *_):
        self.do("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "-w", "stop")
        shutil.rmtree(self.folder)

    def start_load(self, seconds):
        for old in self.folder.glob("latency.*"):
            old.unlink()
        asked = ["-n", "-S", "-M", "prepared", "-c", self.clients, "-j", 2, "-T", max(1, round(seconds))]
        logged = ["--log", f"--log-prefix={self.folder}/latency", "--sampling-rate=0.2"]
        return subprocess.Popen(**self.as_postgres("pgbench", *asked, *logged, "postgres"), stdout=subprocess.PIPE)

    @contextlib.contextmanager
    def busy(self, transactions):
        """Reading and writing meanwhile: so many transactions a second, or for 0 as many as there can be."""
        limit = ["-R", transactions] if transactions else []
        asked = ["-n", "-b", "tpcb-like", "-M", "prepared", "-c", self.clients, "-j", 2, "-T", 86400, *limit]
        child = subprocess.Popen(**self.as_postgres("pgbench", *asked, "postgres"), stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            child.terminate()
            child.wait()

    def figures(self, child):
        text = child.communicate()[0]
        found = re.search(r"tps = ([\d.]+)", text)
        if not found:
            raise RuntimeError(f"pgbench failed:\n{text}")
        # Client, transaction and the microseconds that it took.
        latencies = []
        for path in self.folder.glob("latency.*"):
            latencies += [int(line.split()[2]) for line in path.read_text().splitlines()]
        latencies.sort()
        return {"transactions_per_second": float(found.group(1)), "p99_ms": latencies[len(latencies) * 99 // 100] / 1e3}
