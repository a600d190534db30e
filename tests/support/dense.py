"""Many devices of one town at once: half of them in each of two processes, all pushing and pulling.

Each process has its own pool, appliers and row cache, as two servers behind one database have. The checks must find
each `Mutant`: appliers that read the town's head without locking it collide on the journal's key, (town, version); with
that key out of the way as well, two transactions share a version, and whoever pulled between them misses the second.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.adapters.memory import memory_signer
from server.adapters.postgres import statements
from server.adapters.postgres.connection import make_pool
from server.adapters.postgres.towns import PostgresTowns
from server.adapters.system import RealSystem
from server.application.batch import Upload, Waiting
from server.application.commands.apply_change_sets import Appliers
from server.application.lanes import Lane
from server.application.ports import Unavailable
from sync.engine.chain import encode_bytes, genesis_hash, head_message, line_hash, sign
from sync.kernel.changeset import ChangeSet
from sync.kernel.clock import Hlc
from sync.kernel.errors import TallystickError
from sync.kernel.ids import RANDOM_BYTES, make_id
from sync.modules import registry
from sync.modules.commerce import PlaceOrder
from sync.modules.commerce.operations import OrderLine
from sync.protocol.codec import encode_change_set
from tests.support.puller import Puller
from tests.support.real_town import PRODUCT, RealTown

Mutant = Literal["none", "no lock", "no lock and no key"]

PROCESSES = 2
UPLOAD_LINES = 25
TRIES_MAX = 20
"""How often an upload is sent before its device gives up: on a slow machine the wait for the lock may run out."""


@dataclass(frozen=True, kw_only=True)
class Sender:
    """A device as another process needs it."""

    device_id: str
    certificate: str
    secret: bytes


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one process does: its devices each write `change_sets` and follow the feed all the while."""

    database_url: str
    town_id: str
    actor_id: str
    warehouse_id: str
    senders: Sequence[Sender]
    change_sets: int
    mutant: Mutant


@dataclass(kw_only=True)
class Outcome:
    """What one device of a process has when all of that process have sent, and all that it has to complain of."""

    puller: Puller
    orders: set[str] = field(default_factory=set)

    @property
    def complaints(self) -> list[str]:
        """Of what came down, and of what became of what went up."""
        return self.puller.complaints


class WatchedAppliers(Appliers):
    """Appliers that count the batches which the database has refused."""

    batches_refused = 0

    async def _apply_singly(self, lane: Lane, batch: Sequence[Waiting]) -> None:
        self.batches_refused += 1
        await super()._apply_singly(lane, batch)


async def senders_of(town: RealTown, count: int) -> list[Sender]:
    """Newly enrolled tablets."""
    devices = [await town.enrol("warehouse_staff") for _ in range(count)]
    return [
        Sender(device_id=device.id, certificate=f"certificate.of.{device.id}", secret=device.key.private_bytes_raw())
        for device in devices
    ]


async def push_and_pull(
    database_url: str, town: RealTown, senders: Sequence[Sender], *, change_sets: int, mutant: Mutant
) -> list[Outcome]:
    """Let all devices loose, `change_sets` from each of them, in `PROCESSES` processes; an outcome for each device."""
    works = [
        Work(
            database_url=database_url,
            town_id=town.id,
            actor_id=town.admin_id,
            warehouse_id=town.warehouse_id,
            senders=senders[place::PROCESSES],
            change_sets=change_sets,
            mutant=mutant,
        )
        for place in range(PROCESSES)
    ]
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as processes:
        done = await asyncio.gather(*(loop.run_in_executor(processes, run_work, work) for work in works))
    outcomes = [outcome for part in done for outcome in part]
    for outcome in outcomes:  # now that everybody is done, once more, from where each of them is
        outcome.puller.towns = town.towns
        await pull(outcome.puller)
    return outcomes


def run_work(work: Work) -> list[Outcome]:
    """One process."""
    if work.mutant != "none":
        statements.LOCK_TOWN = statements.READ_TOWN
    if work.mutant == "no lock and no key":
        statements.INSERT_JOURNAL += " ON CONFLICT DO NOTHING"
    return asyncio.run(_work(work))


async def _work(work: Work) -> list[Outcome]:
    async with make_pool(work.database_url) as pool:
        towns = PostgresTowns(pool)
        appliers = WatchedAppliers(towns=towns, registry=registry(), signer=memory_signer(), system=RealSystem())
        outcomes = list(await asyncio.gather(*(_device(work, towns, appliers, sender) for sender in work.senders)))
        outcomes[0].complaints.extend(["a batch was refused"] * appliers.batches_refused)
        return outcomes


async def _device(work: Work, towns: PostgresTowns, appliers: Appliers, sender: Sender) -> Outcome:
    """One device, which follows the feed until it has sent everything."""
    outcome = Outcome(puller=Puller(towns=towns, town_id=work.town_id, device_id=sender.device_id))
    pushing = asyncio.create_task(_push(work, appliers, sender, outcome))
    while not pushing.done():
        await pull(outcome.puller)
    await pushing
    outcome.puller.towns = None
    return outcome


async def _push(work: Work, appliers: Appliers, sender: Sender, outcome: Outcome) -> None:
    digest, key = genesis_hash(sender.certificate), Ed25519PrivateKey.from_private_bytes(sender.secret)
    for start in range(1, work.change_sets + 1, UPLOAD_LINES):
        lines = []
        for seq in range(start, min(start + UPLOAD_LINES, work.change_sets + 1)):
            order = _new_id()
            lines.append(_line(work, sender, seq, digest, order))
            outcome.orders.add(order)
            digest = line_hash(lines[-1])
        signature = sign(key, head_message(sender.device_id, start + len(lines) - 1, digest))
        one = Upload(town_id=work.town_id, device_id=sender.device_id, from_seq=start, lines=lines, signature=signature)
        if not await _send(appliers, one, outcome):
            return


async def _send(appliers: Appliers, one: Upload, outcome: Outcome) -> bool:
    for _ in range(TRIES_MAX):
        try:
            verdicts = await appliers.submit(one)
        except Unavailable:
            continue  # nothing was decided, and it is to be sent again
        except TallystickError as fault:
            outcome.complaints.append(f"{type(fault).__name__}: {fault} because of {fault.__cause__!r}")
        else:
            outcome.complaints.extend(line.decode() for line in verdicts if b'"accepted"' not in line)
            return True
    outcome.complaints.append(f"gave up after {TRIES_MAX} tries")
    return False


async def pull(puller: Puller) -> None:
    """Follow the feed to where it is; a fault is one more thing to complain of."""
    try:
        await puller.pull()
    except TallystickError as fault:
        puller.complaints.append(f"{type(fault).__name__}: {fault} because of {fault.__cause__!r}")


def _line(work: Work, sender: Sender, seq: int, digest: bytes, order: str) -> bytes:
    lines = [OrderLine(product=PRODUCT, quantity=1, price="2.50")]
    change_set = ChangeSet(
        town=work.town_id,
        device=sender.device_id,
        seq=seq,
        prev=encode_bytes(digest),
        actor=work.actor_id,
        base=1,
        epoch=work.town_id,
        at=str(Hlc(unix_ms=RealSystem().now_ms(), counter=0)),
        ops=(PlaceOrder(id=order, number=f"A{seq}", warehouse=work.warehouse_id, customer_name="Grace", lines=lines),),
    )
    return encode_change_set(change_set)


def _new_id() -> str:
    system = RealSystem()
    return make_id(system.now_ms(), system.random(RANDOM_BYTES))
