"""What somebody in the office asks of a town: one change set of the town's own device with that person as its actor.

Three checks that need not trust each other: the door's own (`server.api.staff`), row-level security over the towns of
whoever asks, and the rules, under the town's lock, over the user's row as it stands there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson

from server.application.commands.apply_change_sets import Appliers
from server.application.people_ports import ListingReader, Listings
from server.domain.access import NotFound
from server.domain.people import NotPermitted
from server.domain.requests import KeyedRequest
from sync.kernel.cases import UNKNOWN_REFERENCE
from sync.kernel.changeset import Intent, Operation, RowKey, Status
from sync.kernel.errors import TallystickError
from sync.kernel.module import Registry
from sync.modules import registry


class RuleRefused(TallystickError):
    """The rules of the town do not allow this; the code is the rule's."""

    code: ClassVar[str] = "refused"

    def __init__(self, *, rule: str, sentence: str, data: Mapping[str, Any]) -> None:
        super().__init__(sentence)
        self.rule = rule
        self.data = data


@dataclass(frozen=True, kw_only=True, slots=True)
class Staff:
    """Somebody who works in a town, as that person's sign-in says; `seen` are all towns open to that person.

    `school_id` is the one school that they work for, if they were given one.
    """

    account_id: str
    town_id: str
    user_id: str
    roles: frozenset[str]
    seen: tuple[str, ...]
    school_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """What was decided, with the ids of the operations and so of what they have made."""

    ids: Sequence[str]
    status: str
    version: int
    notes: Sequence[Mapping[str, Any]]
    conflicts: Sequence[str]


def check_permitted(staff: Staff, operations: Sequence[Operation], registry: Registry) -> None:
    """Raise `NotPermitted` for what none of the roles may do; the rules ask again, this leaves no line behind."""
    for operation in operations:
        if not registry.permits_any(staff.roles, operation.op):
            raise NotPermitted


async def act(
    staff: Staff,
    operations: Sequence[Operation],
    *,
    about: RowKey | None = None,
    request: KeyedRequest | None = None,
    appliers: Appliers,
    listings: Listings,
) -> Done:
    """Have the town decide it, or say again what it decided when the same request came before.

    `about` is the row that the request names; raises `NotFound` when there is none. Raises `RuleRefused`,
    `IdempotencyMismatch`, and what `Appliers.author` raises.
    """
    async with listings.reading(staff.seen, staff.town_id) as reader:
        if about is not None and await reader.row(*about) is None:
            raise NotFound
        await _check_references(operations, reader)
    stamped = [
        operation.model_copy(
            update={"id": request.operation_id(staff.town_id, place) if request else appliers.new_id()}
        )
        for place, operation in enumerate(operations)
    ]
    verdict = effective(await appliers.author(staff.town_id, staff.user_id, stamped, request))
    return Done(
        ids=[operation.id for operation in stamped],
        status=verdict["status"],
        version=verdict["version"],
        notes=verdict.get("notes", []),
        conflicts=verdict.get("conflicts", []),
    )


async def _check_references(operations: Sequence[Operation], reader: ListingReader) -> None:
    """A fact that points nowhere is kept aside when a device reports it; in the office it is a slip, and said at once.

    Rows are never taken away, so what is there now is there under the lock. Raises `RuleRefused`.
    """
    facts = [operation for operation in operations if operation.intent is Intent.FACT]
    pointed_to = [(entity, getattr(fact, field)) for fact in facts for field, entity in registry().references[fact.op]]
    for entity, row_id in dict.fromkeys(pointed_to):
        if row_id is not None and await reader.row(entity, row_id) is None:
            data = {"entity": entity}
            raise RuleRefused(rule=UNKNOWN_REFERENCE.id, sentence=UNKNOWN_REFERENCE.explain(data), data=data)


def effective(line: bytes) -> Mapping[str, Any]:
    """What a verdict says, when the change set has taken effect. Raises `RuleRefused`."""
    verdict: Mapping[str, Any] = orjson.loads(line)
    if not Status(verdict["status"]).has_effect:
        note = verdict["notes"][0]
        raise RuleRefused(rule=verdict["rule"], sentence=note["text"], data=note["data"])
    return verdict
