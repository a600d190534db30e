"""People who look at what they owe: again after a moment, after they have paid, and at a door that is not theirs.

Statements are kept in Redis for a while. What is shown has to be what the books had at the version that it names; not
older than they are kept; and where nothing went wrong, with everything that was booked before it was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any

import orjson

from server.application.statement_ports import Of
from server.domain.access import NotFound
from sync.engine.chain import encode_bytes
from sync.kernel.money import minor_digits
from sync.modules.billing import TakePayment
from tests.simulation.expected import STATEMENT_SECONDS
from tests.simulation.facts import Shown

if TYPE_CHECKING:
    from server.adapters.memory_town import TownState
    from sync.kernel.changeset import Operation
    from tests.simulation.server import Process
    from tests.simulation.stage import StagedTown
    from tests.simulation.world import World

Ask = Callable[["Callable[[Process], Coroutine[Any, Any, Any]]"], Any]
HaveDone = Callable[["str", "list[Operation]"], "int | None"]

LOOKS_MAX = 3
BETWEEN_SECONDS = (1.0, 40.0)
PAID_SHARE = 0.6
UNTOLD = ("redis.", "server.", "database.lost")
"""Faults over which Redis may not hear of a change."""


class Debtor:
    """Who asks for a party's statement in a town; `have_done` books something and says in which version."""

    def __init__(self, world: World, town: StagedTown, random: Random, *, ask: Ask, have_done: HaveDone) -> None:
        self._world = world
        self._town = town
        self._random = random
        self._ask = ask
        self._have_done = have_done

    def look(self, party_id: str) -> None:
        """Look, once or more, perhaps pay something in between. Raises what the server does."""
        self._show(party_id, owed=0)
        for _ in range(self._random.randrange(LOOKS_MAX)):
            before = self._untold()
            owed = self._pay(party_id) if self._random.random() < PAID_SHARE else 0
            self._world.actors.pause(self._random.uniform(*BETWEEN_SECONDS))
            self._show(party_id, owed=owed if before == self._untold() else 0)
        self._show_elsewhere(party_id)

    def _pay(self, party_id: str) -> int:
        """Something for an invoice; the version in which the account has changed, 0 for none."""
        owed = [
            key[1]
            for key, row in self._state().rows.items()
            if key[0] == "invoice" and row.fields["party_id"] == party_id and row.fields["remaining_minor"] > 0
        ]
        if not owed:
            return 0
        paid = TakePayment(invoice=self._random.choice(owed), amount="1.00", currency="KES", method="cash")
        version = self._have_done(self._town.dispatcher, [paid])
        is_booked = any(
            key[0] == "journal_entry" and row.version == version and row.fields["party_id"] == party_id
            for key, row in self._state().rows.items()
        )
        return version if version and is_booked else 0

    def _show(self, party_id: str, *, owed: int) -> None:
        world, town_id = self._world, self._town.id
        since = world.database.towns.version_at(town_id, world.loop.now - STATEMENT_SECONDS)
        swaps = world.swaps
        body = self._ask(lambda process: process.statements.document([town_id], town_id, Of.PARTY, party_id))
        said, journal = orjson.loads(body), self._state().journal
        version, at = said["as_of"]["version"], said["as_of"]["at"]
        entry = journal[version - 1] if version <= len(journal) else None
        is_here = entry is not None and orjson.loads(entry.body)["at"] == at
        closing = ((one["currency"], _minor(one["closing"], one["currency"])) for one in said["currencies"])
        world.facts.statements.append(
            Shown(
                town_id=town_id,
                party_id=party_id,
                seen=(version, encode_bytes(entry.digest) if entry and is_here else ""),
                closing=tuple(closing),
                since=max(since, owed) if swaps == world.swaps else 0,
                lost_seconds=0.0 if is_here else world.loop.now - world.swapped.get(town_id, -float("inf")),
            )
        )

    def _show_elsewhere(self, party_id: str) -> None:
        """At the door of another town nobody knows this account, whatever is kept of it."""
        for town in self._world.stage.towns:
            if town is not self._town:
                try:
                    self._ask(
                        lambda process, town=town: process.statements.document(  # type: ignore[misc]  # one town
                            [town.id], town.id, Of.PARTY, party_id
                        )
                    )
                except NotFound:
                    continue
                self._world.facts.orderly.append(f"{town.name} shows the account {party_id} of another town")

    def _untold(self) -> int:
        return sum(count for kind, count in self._world.faults.counts.items() if kind.startswith(UNTOLD))

    def _state(self) -> TownState:
        return self._world.database.towns.standing(self._town.id)


def _minor(amount: str, currency: str) -> int:
    """Minor units of an amount that may be below zero."""
    return int(Decimal(amount).scaleb(minor_digits(currency)))
