"""A tablet's app as a process of its own, so that it can be killed as a real one is.

`python -m server.cli.demo.device_process`, with one JSON document on standard input: the replica's path and passphrase,
who is using it, the lines to scan of an order, and whether to sync in the end. After each scan that `record` returned
from, its position is on standard output before anything else happens. `TALLYSTICK_FAILPOINT` names the step to die at.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from client_sdk import Replica
from sync.modules.commerce import PickLine

PROGRAM = "server.cli.demo.device_process"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How the process ended, and the positions that it had said were recorded."""

    pid: int
    status: int
    recorded: Sequence[int]


def run_until_killed(job: Mapping[str, Any], failpoint: str) -> Ended:
    """Start the app with this job, armed to die at `failpoint`, and wait for its end."""
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", PROGRAM],
        env={**os.environ, "TALLYSTICK_FAILPOINT": failpoint},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the demo, which then waits for this end
    )
    said, _ = process.communicate(orjson.dumps(job))
    return Ended(pid=process.pid, status=process.returncode, recorded=[int(word) for word in said.split()])


def main() -> None:
    """Do the job on standard input."""
    job = orjson.loads(sys.stdin.buffer.read())
    with (
        Replica.open(job["path"], passphrase=job["passphrase"]) as replica,
        replica.acting_as(job["user"], pin=job["pin"]),
    ):
        for product, pieces in job["scans"]:
            done = replica.record(PickLine(order=job["order"], product=product, quantity=pieces))
            sys.stdout.write(f"{done.seq}\n")
            sys.stdout.flush()
        if job["syncs"]:
            replica.sync()


if __name__ == "__main__":
    main()
