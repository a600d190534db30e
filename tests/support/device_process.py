"""A device app as a process of its own, to be killed: records one received piece after another, and syncs.

`python -m tests.support.device_process REPLICA CLERK WAREHOUSE PRODUCT STEP...` with steps `record:N`, `sync`,
`room:N` or `lines:N`; after each change set that `record` returned from, its position is on standard output, flushed,
before anything else happens. After `room:N` no file grows beyond N bytes: there is no room left; after `lines:N` a
request has no more than N change sets. A fault that the SDK names ends it with the status `FAULT` and the fault's code
on standard error.
"""

from __future__ import annotations

import resource
import sys

from client_sdk import Replica
from sync.kernel.errors import TallystickError
from sync.modules.commerce import ReceiveStock
from sync.protocol import limits

PASSPHRASE = "a passphrase for tests"
"""Kept here, where a process that is started often loads nothing of the server for it."""

FAULT = 3


def main(path: str, clerk: str, warehouse: str, product: str, *steps: str) -> None:
    """Do the steps in order."""
    with Replica.open(path, passphrase=PASSPHRASE) as replica, replica.acting_as(clerk):
        for step in steps:
            name, _, count = step.partition(":")
            if name == "sync":
                replica.sync()
                continue
            if name == "room":
                resource.setrlimit(resource.RLIMIT_FSIZE, (int(count), resource.RLIM_INFINITY))
                continue
            if name == "lines":
                limits.CHANGE_SETS_MAX = int(count)
                continue
            for _ in range(int(count)):
                done = replica.record(ReceiveStock(warehouse=warehouse, product=product, quantity=1))
                sys.stdout.write(f"{done.seq}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except TallystickError as fault:
        sys.stderr.write(fault.code)
        sys.exit(FAULT)
