"""Statements, from where they are kept or from the books; each says of which version of its town it is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import orjson

from server.application.statement_ports import Account, AccountBook, Of, StatementCache
from server.domain.access import NotFound
from server.domain.statements import shown, statement_of
from sync.engine.town import Step
from sync.kernel.money import to_amount


def tell_changes(cache: StatementCache, step: Step) -> None:
    """After a commit: the accounts that it has changed are others now. Returns at once."""
    parties = {row.after["party_id"] for row in step.rows if row.entity == "journal_entry" and row.after["party_id"]}
    of_schools = (row for row in step.rows if row.entity in {"invoice", "student"} and row.after["school_id"])
    schools = {row.after["school_id"] for row in of_schools}
    if parties or schools:
        cache.changed(step.head.version, parties, schools)


def sections_of(account: Account) -> orjson.Fragment:
    """A statement's sections as JSON: as a worker has made them, or from the books."""
    return orjson.Fragment(account.made or orjson.dumps(shown(statement_of(account.booked))))


@dataclass(frozen=True, kw_only=True, slots=True)
class Statements:
    """The read side of the ledger."""

    book: AccountBook
    cache: StatementCache

    async def document(self, seen: Collection[str], town_id: str, of: Of, owner_id: str) -> bytes:
        """The whole statement as a JSON document; `as_of` is the version and time of the town that it shows.

        `seen` are the towns that are open to whoever asks. Raises `NotFound`, also for what is another town's.
        """
        if town_id not in seen:  # what is kept is behind no fence of PostgreSQL's
            raise NotFound
        kept = await self.cache.find(of, owner_id)
        if kept.body is not None:
            town, _, body = kept.body.partition(b"\n")
            if town != town_id.encode():
                raise NotFound
            return body
        account = await self.book.account(seen, town_id, of, owner_id)
        made = orjson.dumps(
            {
                "town": {"id": town_id, "name": account.town_name, "time_zone": account.time_zone},
                "account": {"kind": of.value, "id": owner_id, "name": account.name},
                "as_of": {"version": account.version, "at": account.at},
                "overdue": [
                    {"currency": currency, "amount": to_amount(minor, currency), "invoices": count}
                    for currency, minor, count in account.overdue
                ],
                "currencies": sections_of(account),
            }
        )
        if not kept.is_away:
            await self.cache.keep(of, owner_id, kept.counter, account.version, town_id.encode() + b"\n" + made)
        return made
