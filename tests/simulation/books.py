"""What people of the office read of a town, over the tables in memory: lists, and accounts for statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson

from server.adapters.memory_town import TownState
from server.application.people_ports import Row, Wanted
from server.application.statement_ports import Account, Of
from server.domain.access import NotFound
from server.domain.statements import Booked
from sync.engine.town import TownHead
from tests.simulation.database import Connection


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reader:
    """One snapshot of a town."""

    state: TownState

    @property
    def head(self) -> TownHead:
        """Where the town stands in it."""
        return self.state.head

    async def page(self, wanted: Wanted) -> Sequence[Row]:
        """Rows in which every named field is what is wanted."""
        return [
            Row(id=row_id, version=stored.version, fields=stored.fields)
            for (entity, row_id), stored in self.state.rows.items()
            if entity == wanted.entity and all(stored.fields[one.field] == one.value for one in wanted.where)
        ][: wanted.rows_max]

    async def row(self, entity: str, row_id: str) -> Row | None:
        """One of them."""
        stored = self.state.rows.get((entity, row_id))
        return Row(id=row_id, version=stored.version, fields=stored.fields) if stored else None

    async def rows(self, entity: str, row_ids: Collection[str]) -> Mapping[str, Row]:
        """Those of them that are there."""
        found = {row_id: await self.row(entity, row_id) for row_id in row_ids}
        return {row_id: row for row_id, row in found.items() if row is not None}


class MemoryBooks:
    """The `Listings` and `AccountBook` ports of one process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @asynccontextmanager
    async def reading(self, seen: Collection[str], town_id: str) -> AsyncIterator[_Reader]:
        """A snapshot."""
        del seen
        await self._connection.trip()
        yield _Reader(state=self._connection.database.towns.shared(town_id))

    async def account(self, seen: Collection[str], town_id: str, of: Of, owner_id: str) -> Account:
        """Everything booked for a party, a student or a school."""
        async with self.reading(seen, town_id) as reader:
            names = _whose(reader.state, of, owner_id)
            acts: dict[tuple[int, str, int, str, str, str], int] = defaultdict(int)
            for (entity, _), stored in reader.state.rows.items():
                entry = stored.fields
                if entity == "journal_entry" and entry["party_id"] in names and _is_of_party(entry["account"]):
                    about = entry["payment_id"] or entry["invoice_id"] or ""
                    place = (stored.version, entry["device_id"], entry["seq"], entry["currency"], entry["party_id"])
                    acts[*place, about] += entry["debit_minor"] - entry["credit_minor"]
            booked = [
                Booked(version=key[0], at=str(key[0]), currency=key[3], minor=minor, what="", name=names[key[4]])
                for key, minor in sorted(acts.items())
                if minor
            ]
            version, at = reader.head.version, orjson.loads(reader.state.journal[-1].body)["at"]
            return Account(name=owner_id, town_name="", time_zone="UTC", version=version, at=at, booked=booked)


def _whose(state: TownState, of: Of, owner_id: str) -> dict[str, str]:
    """The parties of an account, each with the name that its lines bear."""
    if ((of.value, owner_id)) not in state.rows:
        raise NotFound
    if of is Of.PARTY:
        return {owner_id: ""}
    students = [(key[1], row.fields) for key, row in state.rows.items() if key[0] == "student"]
    if of is Of.STUDENT:
        return {row["party_id"]: "" for student, row in students if student == owner_id}
    return {row["party_id"]: row["name"] for _, row in students if row["school_id"] == owner_id}


def _is_of_party(account: str) -> bool:
    return account.startswith(("receivable:", "credit:"))
