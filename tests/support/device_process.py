"""A device app as a process of its own, to be killed: records one received piece after another, and syncs.

`python -m tests.support.device_process REPLICA CLERK WAREHOUSE PRODUCT STEP...` with steps `record:N` or `sync`; after
each change set that `record` returned from, its position is on standard output, flushed, before anything else happens.
"""

from __future__ import annotations

import sys

from client_sdk import Replica
from sync.modules.commerce import ReceiveStock
from tests.support.office import PASSPHRASE


def main(path: str, clerk: str, warehouse: str, product: str, *steps: str) -> None:
    """Do the steps in order."""
    with Replica.open(path, passphrase=PASSPHRASE) as replica, replica.acting_as(clerk):
        for step in steps:
            name, _, count = step.partition(":")
            if name == "sync":
                replica.sync()
                continue
            for _ in range(int(count)):
                done = replica.record(ReceiveStock(warehouse=warehouse, product=product, quantity=1))
                sys.stdout.write(f"{done.seq}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
