"""Verifying many towns: small ones one after the other in this process, large ones on every core.

A town is rebuilt in order, line by line, so one town keeps one core busy; towns have nothing to do with each other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from queue import Empty

from server.application.queries.verify_town import Report, verify_town
from server.bootstrap import Core, rebuilt_in_file
from server.cli.connect import with_server
from sync.modules import registry

SMALL_VERSIONS = 200
"""Versions of all towns together below which starting more processes takes longer than it saves; a version may hold
one act or thousands."""

TOLD_SECONDS = 0.2

Told = tuple[str, int, int]
"""(town id, versions done, versions in all)."""

_told: Queue[Told] | None = None


@dataclass(frozen=True, kw_only=True)
class Towns:
    """What is to be verified: the name and the version of each town, by id."""

    names: Mapping[str, str]
    versions: Mapping[str, int]


def verify_all(
    data: Path | None, towns: Towns, tell: Callable[[Told], None], cores: int = os.cpu_count() or 1
) -> list[Report]:
    """A report on each town, in their order; `tell` is told how far each is."""
    processes = min(cores, len(towns.versions))
    if processes < 2 or sum(towns.versions.values()) < SMALL_VERSIONS:  # noqa: PLR2004  one would be alone
        return [_verified(data, town_id, tell) for town_id in towns.versions]
    context = get_context("spawn")
    told: Queue[Told] = context.Queue()
    largest_first = sorted(towns.versions, key=lambda town_id: -towns.versions[town_id])
    with ProcessPoolExecutor(processes, context, _begin, (told,)) as pool:
        futures = {town_id: pool.submit(_work, data, town_id) for town_id in largest_first}
        _tell_until_done(list(futures.values()), told, tell)
        return [futures[town_id].result() for town_id in towns.versions]


def _tell_until_done(futures: Sequence[Future[Report]], told: Queue[Told], tell: Callable[[Told], None]) -> None:
    while not all(future.done() for future in futures):
        if any(future.done() and future.exception() for future in futures):
            for future in futures:
                future.cancel()
        with suppress(Empty):
            tell(told.get(timeout=TOLD_SECONDS))


def _begin(told: Queue[Told]) -> None:
    global _told  # noqa: PLW0603 - how a pool's process is given its queue
    _told = told


def _work(data: Path | None, town_id: str) -> Report:
    assert _told is not None
    return _verified(data, town_id, _told.put)


def _verified(data: Path | None, town_id: str, tell: Callable[[Told], None]) -> Report:
    async def run(core: Core) -> Report:
        return await verify_town(
            core.evidence,
            town_id,
            registry=registry(),
            server_key=core.signer.public_key,
            older_keys=core.signer.older_keys,
            progress=lambda done, planned: tell((town_id, done, planned)),
            room=rebuilt_in_file,
        )

    return with_server(data, run)
