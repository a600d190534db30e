"""What the server counts about itself, in the form of Prometheus; the texts here are `docs/reference/metrics.md`.

Assumes nothing of who reads it. One process keeps its figures in memory; where several processes share a machine,
`PROMETHEUS_MULTIPROC_DIR` names a directory in which each keeps a file, and whoever is asked adds them up. The library
reads that variable when it is imported, so it has to be in the environment of a process from its start.

No label has a device, a user or a path as a client wrote it: a series for each would grow without bound. Which device
is late is in the log, line `exchange`; how many are late, and how much, is here.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections import Counter as Tally
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from server.application.ports import TownSight

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
SHARED_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""The library's own variable: where the processes of one machine keep their figures together."""

EXCHANGE_ROUTE = "/v1/towns/{town_id}/exchange"
NO_ROUTE = "none"
"""The route of a request for which there is none; its path would be a label that strangers write."""

NOTE_SECONDS = 5
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_COMMIT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_COMMIT_SIZES = (1, 2, 5, 10, 25, 50, 100, 250, 500)
_PENDING = (0, 1, 10, 50, 100, 500, 1_000, 5_000, 10_000)
_VERSIONS = (0, 1, 10, 100, 1_000, 10_000, 100_000)


@dataclass(frozen=True, kw_only=True, slots=True)
class Described:
    """One metric as the reference page has it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


DESCRIBED: list[Described] = []
_own = CollectorRegistry()
disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which says when it began


def _describe(name: str, kind: str, labels: tuple[str, ...], meaning: str) -> str:
    DESCRIBED.append(Described(name=name, kind=kind, labels=labels, meaning=meaning))
    return name


def _counter(name: str, meaning: str, *labels: str) -> Counter:
    return Counter(_describe(name, "counter", labels, meaning), meaning, labels, registry=_own)


def _histogram(name: str, meaning: str, buckets: Sequence[float], *labels: str) -> Histogram:
    return Histogram(_describe(name, "histogram", labels, meaning), meaning, labels, buckets=buckets, registry=_own)


def _gauge(name: str, meaning: str, *labels: str) -> Gauge:
    described = _describe(name, "gauge", labels, meaning)
    return Gauge(described, meaning, labels, registry=_own, multiprocess_mode="liveall")


_requests = _counter(
    "tallystick_requests_total",
    "Requests answered, by route template; a path without a route counts as `none`.",
    *("method", "route", "status"),
)
_request_seconds = _histogram(
    "tallystick_request_seconds", "From a request's first byte to its answer's last.", _SECONDS, "route"
)
_problems = _counter(
    "tallystick_problems_total",
    "Problem documents sent, by code. What a limit refused is `limit_exceeded`, `busy` and the like.",
    "code",
)
_exchanges = _counter(
    "tallystick_exchanges_total",
    "Exchanges of devices: `answered`, `cut` when the answer did not reach its end, else the code of the problem.",
    "outcome",
)
_exchange_bytes = _counter(
    "tallystick_exchange_bytes_total",
    "Bytes of exchange bodies on the wire, compressed: `in` from devices, `out` to them.",
    "direction",
)
_pending = _histogram(
    "tallystick_device_pending_change_sets",
    "How many change sets a device said it had not sent yet, at each exchange.",
    _PENDING,
)
_lag = _histogram(
    "tallystick_device_lag_versions",
    "How many versions of its town a device was behind when it came, at each exchange but its first.",
    _VERSIONS,
)
_feed_rows = _counter("tallystick_feed_rows_total", "Rows sent down to devices.")
_feed_bytes = _counter("tallystick_feed_bytes_total", "Bytes of those rows before compression.")
_verdicts = _counter("tallystick_verdicts_total", "Change sets decided and committed, by status.", "status")
_commit_sizes = _histogram(
    "tallystick_group_commit_change_sets", "New change sets in one transaction of a town.", _COMMIT_SIZES
)
_commit_seconds = _histogram(
    "tallystick_group_commit_seconds",
    "How long such a transaction took, from asking for its town's lock to COMMIT.",
    _COMMIT_SECONDS,
)
_outbox_items = _counter(
    "tallystick_outbox_items_total",
    "Work of the outbox, by kind: `done`, or `failed` and tried again.",
    "kind",
    "outcome",
)
_periodic = _counter(
    "tallystick_periodic_runs_total", "Runs of the scheduler's jobs: `done` or `failed`.", "job", "outcome"
)
_periodic_seconds = _histogram("tallystick_periodic_seconds", "How long such a run took.", _SECONDS, "job")
_resident = _gauge(
    "tallystick_process_resident_bytes",
    "Memory of a process, written by itself every few seconds; with `pid` where several share a machine.",
    "process",
)
_TOWN_GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "tallystick_town_info": ("The name of a town; always 1.", ("town", "name")),
    "tallystick_town_version": ("Where a town stands.", ("town",)),
    "tallystick_town_halted": ("1 while a town is halted because its history does not fit, else 0.", ("town",)),
    "tallystick_town_devices": ("Devices of a town, by status.", ("town", "status")),
    "tallystick_outbox_waiting": ("Work that is to be done, given up work aside.", ("town",)),
    "tallystick_outbox_failing": ("Work that has failed and is tried again.", ("town",)),
    "tallystick_outbox_given_up": ("Work that nobody tries any more; a person has to look.", ("town",)),
    "tallystick_outbox_overdue_seconds": ("For how long the longest overdue work has been due.", ("town",)),
}
"""What is read from the database for each answer, so that it is the same whoever is asked."""

_DATABASE_UP = "tallystick_database_up"
_DATABASE_UP_MEANING = "1 when the database answered for this page, else 0 and no figures of towns."

for _name, (_meaning, _labels) in _TOWN_GAUGES.items():
    _describe(_name, "gauge", _labels, _meaning)
_describe(_DATABASE_UP, "gauge", (), _DATABASE_UP_MEANING)


def count_request(
    *, method: str, route: str, status: int | None, seconds: float, bytes_in: int, bytes_out: int, outcome: str
) -> None:
    """One request has ended; `outcome` is `answered`, `cut` or the code of its problem."""
    _requests.labels(method if method in _METHODS else "other", route, str(status or "none")).inc()
    _request_seconds.labels(route).observe(seconds)
    if route == EXCHANGE_ROUTE:
        _exchanges.labels(outcome).inc()
        _exchange_bytes.labels("in").inc(bytes_in)
        _exchange_bytes.labels("out").inc(bytes_out)


def count_problem(code: str) -> None:
    """A problem document was made."""
    _problems.labels(code).inc()


def count_device(*, pending: int, lag_versions: int | None) -> None:
    """A device has come; `lag_versions` is None for one that has nothing yet."""
    _pending.observe(pending)
    if lag_versions is not None:
        _lag.observe(lag_versions)


def count_feed(rows: int, lines: Iterable[bytes]) -> None:
    """Rows are going down."""
    _feed_rows.inc(rows)
    _feed_bytes.inc(sum(map(len, lines)))


def count_commit(statuses: Sequence[str], seconds: float) -> None:
    """A transaction has decided new change sets, with these statuses."""
    _commit_sizes.observe(len(statuses))
    _commit_seconds.observe(seconds)
    for status, count in Tally(statuses).items():
        _verdicts.labels(status).inc(count)


def count_outbox_item(kind: str, *, is_done: bool) -> None:
    """An item of the outbox was worked on."""
    _outbox_items.labels(kind, "done" if is_done else "failed").inc()


def count_periodic(job: str, seconds: float, *, is_done: bool) -> None:
    """A job of the scheduler has run."""
    _periodic.labels(job, "done" if is_done else "failed").inc()
    _periodic_seconds.labels(job).observe(seconds)


def note_memory(process: str) -> None:
    """Write down what this process holds."""
    _resident.labels(process).set(resident_bytes())


async def note_for_ever(process: str) -> None:
    """Write it down every few seconds until cancelled."""
    while True:
        note_memory(process)
        await asyncio.sleep(NOTE_SECONDS)


def resident_bytes() -> int:
    """The resident memory of this process; on systems without /proc its highest so far."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * resource.getpagesize()


def forget_processes_but(alive: Iterable[int], directory: Path) -> None:
    """Drop what processes that have ended said about themselves; what they have counted stays."""
    pids = {str(pid) for pid in alive}
    for path in directory.glob("gauge_live*_*.db"):
        if path.stem.rpartition("_")[2] not in pids:
            path.unlink(missing_ok=True)


def exposition(towns: Sequence[TownSight] | None) -> bytes:
    """The page: figures of this process, or of all that share its directory, and of towns; None: no database."""
    shared = os.environ.get(SHARED_DIRECTORY)
    registry = CollectorRegistry()
    if shared:
        MultiProcessCollector(registry, path=shared)  # type: ignore[no-untyped-call]  # the library's own gap
    else:
        registry.register(_Collected(_own.collect()))
    registry.register(_Collected(_of_towns(towns)))
    return generate_latest(registry)


def metrics_reference() -> str:
    """All metrics as a Markdown table, in the order of the code."""
    lines = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for metric in DESCRIBED:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.meaning} |")
    return "\n".join(lines) + "\n"


class _Collected(Collector):
    """Figures that have been read already."""

    def __init__(self, figures: Iterable[Metric]) -> None:
        self._figures = list(figures)

    def collect(self) -> Iterable[Metric]:
        return self._figures


def _of_towns(towns: Sequence[TownSight] | None) -> list[Metric]:
    up = GaugeMetricFamily(_DATABASE_UP, _DATABASE_UP_MEANING, value=0 if towns is None else 1)
    families = {
        name: GaugeMetricFamily(name, meaning, labels=labels) for name, (meaning, labels) in _TOWN_GAUGES.items()
    }
    for town in towns or ():
        families["tallystick_town_info"].add_metric([town.town_id, town.name], 1)
        families["tallystick_town_version"].add_metric([town.town_id], town.version)
        families["tallystick_town_halted"].add_metric([town.town_id], int(town.is_halted))
        for status, devices in town.devices.items():
            families["tallystick_town_devices"].add_metric([town.town_id, status], devices)
        families["tallystick_outbox_waiting"].add_metric([town.town_id], town.waiting)
        families["tallystick_outbox_failing"].add_metric([town.town_id], town.failing)
        families["tallystick_outbox_given_up"].add_metric([town.town_id], town.given_up)
        families["tallystick_outbox_overdue_seconds"].add_metric([town.town_id], town.overdue_seconds)
    return [up, *families.values()]
