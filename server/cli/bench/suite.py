"""All workloads by name, run one after the other on one fresh stack, and their outcome as one document."""

from __future__ import annotations

import gc
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import psycopg

from server.cli.bench.first_sync import first_sync
from server.cli.bench.frame import Bench, Goal, Measured, Sizes
from server.cli.bench.idle import idle
from server.cli.bench.incremental import incremental
from server.cli.bench.instruments import peak_mib, reset_peak
from server.cli.bench.live import live
from server.cli.bench.overlay import overlay
from server.cli.bench.push import push
from server.cli.bench.record import record
from server.cli.bench.rounds import one_round
from server.cli.bench.size import size
from server.cli.bench.statement import statement
from server.cli.bench.storm import storm
from server.cli.bench.verify import verify
from server.office import open_office
from server.stack import Stack

WORKLOADS: Mapping[str, Callable[[Bench], Measured]] = {
    "first_sync": first_sync,
    "push": push,
    "storm": storm,
    "round": one_round,
    "incremental": incremental,
    "idle": idle,
    "live": live,
    "record": record,
    "overlay": overlay,
    "statement": statement,
    "verify": verify,
    "size": size,
}
API_PEAK_MIB_MAX = 250

WITHOUT_RATES: Mapping[str, str] = {
    f"TALLYSTICK_{whose}_REQUESTS_PER_MINUTE": "0" for whose in ("DEVICE", "ADDRESS", "TOWN")
}
"""What is measured is how fast the server is, and not how fast it lets a device be."""


def run_suite(
    names: Sequence[str], sizes: Sizes, *, data: Path | None = None, say: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Run these workloads and give the document that `--json` prints; everything made for it is removed.

    `data` is an empty directory to work in, else a temporary one is made.
    """
    load = os.getloadavg()[0]
    with (
        _directory(data) as directory,
        Stack.start(directory / "stack", environment=WITHOUT_RATES, progress=say) as stack,
    ):
        with open_office(stack.settings) as office:
            outcomes = []
            for name in names:
                folder = directory / name
                folder.mkdir()
                # This process is the devices, and holds a whole server beside them that none of them has: its objects
                # stay out of what the garbage collector walks through while it measures.
                gc.collect()
                gc.freeze()
                bench = Bench(stack=stack, office=office, folder=folder, sizes=sizes, say=say)
                reset_peak(stack.api_pid)
                measured = WORKLOADS[name](bench)
                outcomes.append({"name": name, **_as_dict(measured, peak_mib(stack.api_pid))})
                shutil.rmtree(folder)
        return {"environment": _environment(stack.database_url, load), "sizes": asdict(sizes), "workloads": outcomes}


@contextmanager
def _directory(data: Path | None) -> Iterator[Path]:
    if data is not None:
        data.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="tallystick-bench-", dir=data))
    directory.chmod(0o711)  # as root, the database runs as another account and has to pass
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def _as_dict(measured: Measured, api_peak_mib: float | None) -> dict[str, Any]:
    goals, details = list(measured.goals), dict(measured.details)
    if api_peak_mib is not None:
        goals.append(
            Goal(what="API memory at its peak, MiB", value=api_peak_mib, bound=API_PEAK_MIB_MAX, is_ceiling=True)
        )
        details["api_peak_mib"] = api_peak_mib
    return {
        **asdict(measured),
        "ratio": measured.ratio,
        "details": details,
        "goals": [{**asdict(goal), "is_reached": goal.is_reached} for goal in goals],
    }


def _environment(database_url: str, load: float) -> dict[str, Any]:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    assert row is not None
    return {
        "day": datetime.now(UTC).date().isoformat(),
        "load": load,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "postgresql": row[0].split()[0],
        "sqlite": apsw.sqlite_lib_version(),
    }
