"""What becomes of facts that wait for an order that does not come: after some days somebody has to look.

They go on waiting, and count as soon as the order comes; or a person finds out which order was meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar

from sync.kernel.casework import OPEN_STUBS
from sync.kernel.changeset import Intent, Operation
from sync.kernel.clock import parse_time
from sync.kernel.draft import Draft
from sync.kernel.ids import Id
from sync.kernel.module import Ref
from sync.kernel.money import to_amount, to_minor
from sync.modules.billing import TakePayment
from sync.modules.commerce import cases
from sync.modules.commerce.operations import OFFICE, OrderRef

WAIT_HOURS = 72
"""How long facts wait before somebody is asked to look."""

StubRef = Annotated[Id, Ref(entity="stub")]


class ExpireStub(Operation):
    """What these facts are about has not come in time. The server says so."""

    op: ClassVar = "stub.expire"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = frozenset[str]()
    stub: StubRef


class AssignStub(Operation):
    """What waits here is about that order."""

    op: ClassVar = "stub.assign"
    intent: ClassVar = Intent.WISH
    roles: ClassVar = OFFICE
    resolves: ClassVar = frozenset({"reassign"})
    stub: StubRef
    order: OrderRef


def expire(operation: ExpireStub, draft: Draft) -> None:
    """Leave the conflict, once; too early or too late it changes nothing."""
    stub = draft.need("stub", operation.stub)
    waited_ms = parse_time(draft.context.decided_at) - parse_time(stub["since"])
    if stub["state"] != "waiting" or waited_ms < WAIT_HOURS * 3600 * 1000:
        return
    draft.update("stub", operation.stub, state="overdue")
    money = _money(stub["facts"])
    draft.adjust(
        cases.UNKNOWN_INVOICE if money else cases.NEVER_ARRIVED,
        operation,
        subject=("stub", operation.stub),
        said={"facts": [_told(fact) for fact in stub["facts"]]},
        had={stub["awaited_entity"]: None},
        outcome="it waits on",
        entity=stub["awaited_entity"],
        hours=WAIT_HOURS,
        money=money,
        count=len(stub["facts"]),
    )


def assign(operation: AssignStub, draft: Draft) -> None:
    """The engine has what waits count towards this order, as if it had been said of it."""
    stub = draft.need("stub", operation.stub)
    draft.need("order", operation.order)
    if stub["state"] not in OPEN_STUBS or stub["awaited_entity"] != "order":
        raise draft.refuse(cases.NOTHING_WAITS)
    draft.update("stub", operation.stub, state="assigned", given_id=operation.order)


def _told(fact: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: fact[name] for name in ("device_id", "seq", "actor_id", "at")}
    return {**told, "operations": [_waiting(fact, place)["op"] for place in _places(fact)]}


def _money(facts: Iterable[Mapping[str, Any]]) -> str:
    """The cash that waits, for people: `9.00 KES, 1.00 GBP`."""
    sums: dict[str, int] = {}
    for fact in facts:
        for place in _places(fact):
            said = _waiting(fact, place)
            if said["op"] == TakePayment.op:
                currency = said["currency"]
                sums[currency] = sums.get(currency, 0) + to_minor(said["amount"], currency)
    return ", ".join(f"{to_amount(minor, currency)} {currency}" for currency, minor in sorted(sums.items()))


def _places(fact: Mapping[str, Any]) -> list[int]:
    """The places of the operations that wait, each once."""
    return sorted({place for place, _ in fact["waiting"]})


def _waiting(fact: Mapping[str, Any], place: int) -> Mapping[str, Any]:
    said: Mapping[str, Any] = fact["ops"][place]
    return said
