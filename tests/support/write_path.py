"""What the tests of the write path share: raw uploads, a module whose rules fail, and a look at what is stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from server.adapters.memory import MemorySystem
from server.adapters.postgres.connection import town_transaction
from server.adapters.postgres.evidence import PostgresEvidence
from server.application.batch import Upload
from server.application.commands.apply_change_sets import Appliers
from server.application.queries.verify_town import verify_town
from sync.engine.chain import head_message, line_hash, sign
from sync.engine.replay import Finding
from sync.kernel.changeset import Intent, Operation
from sync.kernel.draft import Draft
from sync.kernel.ids import Id
from sync.kernel.module import Module, ModuleKind, Ref, Registry
from sync.modules import registry
from sync.modules.commerce import ReceiveStock
from sync.modules.commerce.entities import stock_level_id
from tests.support.real_town import PRODUCT, STOCK, RealDevice, RealTown

POISONS = ("a rule that raises", "more than a bigint", "more than JSON readers keep", "a row without its bucket")
Poison = Literal["a rule that raises", "more than a bigint", "more than JSON readers keep", "a row without its bucket"]


class Swallow(Operation):
    """An operation whose rule does not survive it."""

    op: ClassVar = "test.swallow"
    intent: ClassVar = Intent.FACT
    roles: ClassVar = frozenset({"warehouse_staff"})
    poison: Poison
    level: Annotated[Id, Ref(entity="stock_level")]


def swallow(operation: Swallow, draft: Draft) -> None:
    """Fail in the way asked for: at once, in PostgreSQL, or while the feed is written out."""
    level = draft.need("stock_level", operation.level)
    if operation.poison == "a rule that raises":
        raise ZeroDivisionError
    if operation.poison == "more than a bigint":
        draft.put("stock_level", operation.level, {**level, "on_hand": 2**63})
    elif operation.poison == "more than JSON readers keep":
        draft.put("stock_level", operation.level, {**level, "on_hand": 2**70})
    else:
        draft.put("stock_level", operation.level, {"on_hand": 1})


POISONED = Registry(
    [
        *registry().modules,
        Module(
            name="poison",
            kind=ModuleKind.WORKFLOW,
            needs=frozenset({"commerce"}),
            operations=(Swallow,),
            rules={Swallow: swallow},
        ),
    ]
)
"""Everything, and the operation that no rule survives."""


@dataclass(slots=True)
class ArmedSystem(MemorySystem):
    """A system whose steps can be armed, each for one time."""

    armed: dict[str, Callable[[], None]] = field(default_factory=dict)

    def reached(self, failpoint: str) -> None:
        """Do what is armed there."""
        self.reached_steps.append(failpoint)
        self.armed.pop(failpoint, lambda: None)()


def poison(town: RealTown, how: Poison) -> Swallow:
    return Swallow(poison=how, level=stock_level_id(town.warehouse_id, PRODUCT))


def receive(town: RealTown, quantity: int = 1) -> ReceiveStock:
    """The simplest fact: so many more in the town's warehouse."""
    return ReceiveStock(warehouse=town.warehouse_id, product=PRODUCT, quantity=quantity)


def upload(device: RealDevice, *lines: bytes, from_seq: int | None = None) -> Upload:
    """The lines as one upload, the device's last ones unless `from_seq` says where they begin."""
    start = device.seq - len(lines) + 1 if from_seq is None else from_seq
    signature = sign(device.key, head_message(device.id, start + len(lines) - 1, line_hash(lines[-1])))
    return Upload(town_id=device.town.id, device_id=device.id, from_seq=start, lines=lines, signature=signature)


def other_appliers(town: RealTown, *, towns: Any = None, rules: Registry | None = None) -> Appliers:
    """Appliers of another process, or with another store or other rules."""
    return Appliers(
        towns=towns or town.towns, registry=rules or registry(), signer=town.signer, system=town.system, bell=None
    )


async def version(town: RealTown) -> int:
    async with town.towns.reading(town.id) as reader:
        return reader.head.version


async def received(town: RealTown) -> int:
    """How many came in beyond the stock that the town began with."""
    key = ("stock_level", stock_level_id(town.warehouse_id, PRODUCT))
    async with town.towns.reading(town.id) as reader:
        level = (await reader.load([key]))[key]
    assert level is not None
    on_hand: int = level.fields["on_hand"]
    return on_hand - STOCK


async def stored(town: RealTown, statement: str) -> list[tuple[Any, ...]]:
    """The rows of a query over the town."""
    async with town_transaction(town.pool, town.id) as connection:
        cursor = await connection.execute(statement.encode())
        return await cursor.fetchall()


async def findings(town: RealTown, rules: Registry | None = None) -> Sequence[Finding]:
    """What `verify` has to say about the town."""
    evidence = PostgresEvidence(town.pool)
    report = await verify_town(evidence, town.id, registry=rules or registry(), server_key=town.signer.public_key)
    return report.findings
