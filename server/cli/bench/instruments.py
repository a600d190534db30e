"""The instruments: a device that notes when it passes its steps, the API's log, memory and processor time of a process.

What only Linux tells is None elsewhere.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles

import orjson

from client_sdk.adapters.system import RealSystem

EXCHANGE_PATH_END = "/exchange"
ALWAYS = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_RESET_PEAK = "5"  # proc(5), clear_refs


class NotingSystem(RealSystem):
    """The machine of a device, noting how long it was between its steps."""

    def __init__(self) -> None:
        super().__init__()
        self._began: dict[str, float] = {}
        self._seconds: dict[str, float] = defaultdict(float)

    def reached(self, failpoint: str) -> None:
        """Note the time at `x.before_y` and add it up at `x.after_y`."""
        super().reached(failpoint)
        now = time.perf_counter()
        if ".before_" in failpoint:
            self._began[failpoint.replace(".before_", ".after_")] = now
        elif failpoint in self._began:
            self._seconds[failpoint] += now - self._began.pop(failpoint)

    @property
    def settling_seconds(self) -> float:
        """Time inside settling transactions so far."""
        return self._seconds["exchange.after_settle"]


class ApiWatch:
    """The API process from now on: its exchanges by its log, its processor time."""

    def __init__(self, log_dir: Path, pid: int) -> None:
        self._log_path = log_dir / "api.log"
        self._log_start = self._log_path.stat().st_size
        self._pid = pid
        self._cpu_start = _cpu_seconds(pid)

    def exchanges_ms(self, span: tuple[datetime, datetime] = ALWAYS) -> list[float]:
        """How long each exchange since then, and within `span`, took, as the API has logged it."""
        with self._log_path.open("rb") as log:
            log.seek(self._log_start)
            entries = [orjson.loads(line) for line in log if line.startswith(b"{") and line.endswith(b"\n")]
        return [
            entry["latency_ms"]
            for entry in entries
            if entry.get("event") == "request"
            and entry["path"].endswith(EXCHANGE_PATH_END)
            and span[0] <= datetime.fromisoformat(entry["timestamp"]) <= span[1]
        ]

    def cpu_seconds(self) -> float | None:
        """Processor time since then."""
        now = _cpu_seconds(self._pid)
        return None if now is None or self._cpu_start is None else now - self._cpu_start


def reset_peak(pid: int) -> None:
    """From now on `peak_mib` tells of what comes."""
    try:
        Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK)
    except OSError:
        return  # the peak is then the one since the process began


def peak_mib(pid: int) -> float | None:
    """The largest resident memory since `reset_peak`."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    kib = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return None if kib is None else int(kib) / 1024


def p50_p99(values: Sequence[float]) -> tuple[float, float]:
    """The median, and what 99 of 100 stay below."""
    return median(values), quantiles(values, n=100, method="inclusive")[98]


def told(value: float | None, unit: str, digits: int = 2) -> str:
    """A measured value for a sentence, or that it was not measured."""
    return "not measured" if value is None else f"{value:.{digits}f} {unit}"


def _cpu_seconds(pid: int) -> float | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
