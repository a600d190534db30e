"""A town's rows of one kind for whoever administers it, and one of them by id or by the name a person uses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from server.application.evidence import EvidenceStore
from server.application.ports import Towns
from sync.kernel.changeset import Fields
from sync.kernel.errors import TallystickError

NAMES_SHOWN_MAX = 8


class NotFound(TallystickError):
    """There is nothing of this id or name."""

    code: ClassVar[str] = "not_found"


async def rows_of(store: EvidenceStore, town_id: str, entity: str) -> dict[str, Fields]:
    """Every row of the entity in this town, by id."""
    async with store.evidence(town_id) as evidence:
        return {row_id: stored.fields async for row_id, stored in evidence.rows(entity)}


async def find_town(towns: Towns, wanted: str) -> str:
    """The id of the town with this id or name. Raises `NotFound`, also when several towns have the name."""
    return pick("town", wanted, ((town_id, (name,)) for town_id, name in await towns.list_towns()))


async def find_row(store: EvidenceStore, town_id: str, entity: str, wanted: str) -> str:
    """The id of the row with this id, name or login. Raises `NotFound`, also when several rows have it."""
    rows: Mapping[str, Fields] = await rows_of(store, town_id, entity)
    return pick(entity, wanted, ((row_id, (row["name"], row.get("login"))) for row_id, row in rows.items()))


def pick(entity: str, wanted: str, candidates: Iterable[tuple[str, tuple[str | None, ...]]]) -> str:
    """The one id among (id, names) that `wanted` means, capitals aside. Raises `NotFound` and says what there is."""
    known, matching = [], []
    for row_id, names in candidates:
        if row_id == wanted:
            return row_id
        known.append(names[0] or row_id)
        if wanted.casefold() in {name.casefold() for name in names if name}:
            matching.append(row_id)
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise NotFound(f"{len(matching)} {entity}s are called {wanted!r}: use an id, one of {', '.join(matching)}")
    shown = ", ".join(sorted(known)[:NAMES_SHOWN_MAX]) + (" ..." if len(known) > NAMES_SHOWN_MAX else "")
    raise NotFound(f"there is no {entity} {wanted!r}: there is {shown or 'none yet'}")
