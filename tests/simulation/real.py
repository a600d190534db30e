"""The slower mode: what a world told and asked, once more of a real PostgreSQL, a real Redis and SQLite files.

The world runs as ever, in virtual time and over stores in memory. Then a new database is told the same, transaction for
transaction, and asked the same, where it was asked; every answer has to be the same, and so has everything that is
stored at the end. `verify` then goes over the database, and each device is told the same on a file of its own. What
only real connections can do is no part of it: when they are lost, who waits for whom, how long anything takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import orjson

from server.adapters.memory_evidence import MemoryEvidence
from server.adapters.postgres.connection import make_pool
from server.adapters.postgres.evidence import PostgresEvidence
from server.adapters.postgres.snapshots import PostgresSnapshots
from server.adapters.postgres.towns import PostgresTowns
from server.application.evidence import EvidenceStore, TownEvidence
from server.application.ports import TownReader, Towns, TownWriter
from server.application.queries.verify_town import verify_town
from server.embedded import EmbeddedPostgres, EmbeddedRedis
from tests.simulation.real_disk import replayed
from tests.simulation.real_redis import retold
from tests.simulation.rules import SERVER_RULES
from tests.simulation.run import Outcome, lived, outcome_of
from tests.simulation.told import Asked, Commit, Entry, Snapshot, Statement
from tests.simulation.world import World
from tests.support.stack import database_from, database_template, scratch_directory


class RealStores:
    """A PostgreSQL with a migrated database in it that can be copied, and a Redis, for any number of worlds."""

    def __init__(self, server: EmbeddedPostgres, template: str, redis: EmbeddedRedis) -> None:
        self._server = server
        self._template = template
        self._redis = redis

    def run_seed(self, seed: int, *, limit: int | None = None) -> Outcome:
        """Make the world of this seed and check it, then its stores."""
        world = World(seed, limit=limit)
        findings = lived(world)
        return outcome_of(world, [*findings, *self.compared(world)])

    def compared(self, world: World) -> list[str]:
        """Where real stores that are told the same come to something else."""
        with database_from(self._server, self._template) as url:
            findings = [f"postgres: {one}" for one in asyncio.run(_compared(world, url))]
        findings += [f"redis: {one}" for one in asyncio.run(retold(world.redis.told, self._redis.url))]
        for resident in world.residents:
            with scratch_directory() as directory:
                name = resident.device.name
                findings += [f"sqlite: {name}: {one}" for one in replayed(resident.device, directory)]
        return findings


@contextmanager
def real_stores() -> Iterator[RealStores]:
    """With a server of their own."""
    with (
        scratch_directory() as directory,
        EmbeddedPostgres.start(directory / "postgres") as server,
        database_template(server) as template,
        EmbeddedRedis.start(directory / "redis") as redis,
    ):
        yield RealStores(server, template, redis)


async def _compared(world: World, url: str) -> list[str]:
    """Where PostgreSQL says otherwise than the store in memory."""
    findings: list[str] = []
    async with make_pool(url) as pool:
        towns, evidence = PostgresTowns(pool), PostgresEvidence(pool)
        ports = {"towns": towns, "histories": towns.histories, "snapshots": PostgresSnapshots(pool)}
        memory = MemoryEvidence(world.database.towns, world.database.outbox, world.database.messages)
        for town in world.stage.towns:
            for place, entry in enumerate(world.database.towns.told[town.id]):
                findings += [f"entry {place}: {one}" async for one in _told(ports, town.id, entry)]
            findings += _differing(await _stored(memory, town.id), await _stored(evidence, town.id))
            key = world.signer.public_key
            report = await verify_town(evidence, town.id, registry=SERVER_RULES, server_key=key, older_keys=())
            findings += [f"{one.where}: {one.what}" for one in report.findings]
    return findings


async def _told(ports: Mapping[str, Any], town_id: str, entry: Entry) -> AsyncIterator[str]:
    """Tell it the same; what it answers otherwise."""
    towns: Towns = ports["towns"]
    if isinstance(entry, Commit):
        async with towns.writing(town_id, founding=entry.founding) as writer:
            async for finding in _answers(writer, entry.asked):
                yield finding
            for written in entry.written:
                await writer.write(*written)
            for record in entry.begun:
                await writer.begin_epoch(record)
    elif isinstance(entry, Snapshot):
        async with towns.reading(town_id) as reader:
            async for finding in _answers(reader, entry.asked):
                yield finding
    else:
        answer, kept = await _answer(ports[entry.port], entry), entry.answer
        if entry.name == "bucket":
            kept = _rows_of(kept)
        if kept is not None and answer != kept:
            yield f"{entry.name} {entry.arguments}: {answer}, in memory {kept}"


async def _answer(port: Any, entry: Statement) -> Any:
    if entry.name == "bucket":
        async with port.bucket(*entry.arguments) as held:
            return _rows_of([line async for _, page in held.pages() for line in page])
    answer = await getattr(port, entry.name)(*entry.arguments, **entry.named)
    return sorted(answer) if isinstance(answer, list) else answer


def _rows_of(lines: Sequence[bytes]) -> list[list[Any]]:
    """What is in some lines, however it was cut into pages."""
    said = [orjson.loads(line) for line in lines]
    return sorted([one["b"], one["e"], *row] for one in said for row in [*one["put"], *one["gone"]])


async def _answers(port: TownReader | TownWriter, asked: Sequence[Asked]) -> AsyncIterator[str]:
    for one in asked:
        said = await getattr(port, one.name)(*one.arguments)
        if said != one.answer:
            yield f"{one.name} {one.arguments}: {said}, in memory {one.answer}"


async def _stored(store: EvidenceStore, town_id: str) -> dict[str, Any]:
    """Everything that is stored of a town, but for what workers have noted of their work."""
    async with store.evidence(town_id) as evidence:
        return {
            "head": (evidence.head, evidence.is_halted),
            "epochs": list(await evidence.epochs()),
            "halts": list(await evidence.halts()),
            "journal": [(entry, _by_place(sets)) async for entry, sets in evidence.journal()],
            **{f"rows of {entity}": await _rows(evidence, entity) for entity in SERVER_RULES.entities},
            "feed": {key: said async for key, said in evidence.feed()},
            "buckets": dict(await evidence.all_buckets()),
            "device heads": dict(await evidence.all_device_heads()),
            "outbox": {one.id: replace(one, is_done=False) async for one in evidence.outbox()},
            "failures": dict(await evidence.line_failures()),
        }


async def _rows(evidence: TownEvidence, entity: str) -> dict[str, Any]:
    return {row_id: stored async for row_id, stored in evidence.rows(entity)}


def _by_place(sets: Sequence[Any]) -> list[Any]:
    return sorted(sets, key=lambda one: (one.device, one.seq))


def _differing(memory: Mapping[str, Any], real: Mapping[str, Any]) -> Iterator[str]:
    return (f"{name} are not what they are in memory" for name in memory if memory[name] != real[name])
