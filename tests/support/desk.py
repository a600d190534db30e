"""A process that records on a replica of the toy town, for tests that kill it or run two of it.

`python -m tests.support.desk PATH COUNT` opens the replica and records COUNT facts, printing each place when told;
with a COUNT of 0 it syncs with a new copy of the town.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from client_sdk.adapters.system import RealSystem
from client_sdk.replica import Replica
from tests.support.toy import REGISTRY, TakeCash, ToyTown, ToyTransport, job_id, job_row

PASSPHRASE = "correct horse"
ROOT = Path(__file__).parents[2]


def town_with_jobs(count: int = 3, pin_hash: str | None = None) -> ToyTown:
    """A town with a clerk and some jobs, where it is as late as here."""
    town = ToyTown(now=RealSystem().now_ms()).with_clerk(pin_hash)
    town.put({("job", job_id(number)): job_row(f"Job {number}") for number in range(count)})
    return town


def enrolled(path: Path, town: ToyTown, passphrase: str | None = PASSPHRASE) -> Replica:
    """A new replica that has been in sync with `town` once."""
    transport = ToyTransport(town)
    replica = Replica.enrol(
        "http://127.0.0.1:9", code="CODE", path=path, passphrase=passphrase, registry=REGISTRY, transport=transport
    )
    replica.sync()
    return replica


def opened(path: Path, town: ToyTown | None = None, passphrase: str | None = PASSPHRASE) -> Replica:
    """The replica at `path`, connected with `town` when one is given."""
    transport = ToyTransport(town) if town else None
    return Replica.open(path, passphrase=passphrase, registry=REGISTRY, transport=transport, system=RealSystem())


def start(path: Path, count: int, failpoint: str = "") -> subprocess.Popen[str]:
    """Another process that records on the replica at `path` once its input has a line or ends."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.desk", str(path), str(count)],
        cwd=ROOT,
        env={**os.environ, "TALLYSTICK_FAILPOINT": failpoint},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def main() -> None:
    """Record and say each place when it is recorded, or sync."""
    count = int(sys.argv[2])
    with opened(Path(sys.argv[1]), town_with_jobs()) as replica:
        print("ready", flush=True)  # noqa: T201  what the test waits for
        sys.stdin.readline()
        if not count:
            replica.sync()
        for _ in range(count):
            done = replica.record(TakeCash(job=job_id(0), amount="1.00", currency="GBP"))
            print(done.seq, flush=True)  # noqa: T201  what the test reads


if __name__ == "__main__":
    main()
