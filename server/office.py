"""An office beside a running server, for the demo, the benchmarks and the tests: founds towns, adds people, audits.

Blocking, with an event loop of its own. It is a second process on the same database: what it writes goes through the
same one write path, so using it also shows that two processes keep a town serial.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import orjson

from server.application.commands.accounts import account_for
from server.application.commands.enrol_device import make_enrolment
from server.application.commands.found_town import found_town
from server.application.queries.verify_town import Report, verify_town
from server.bootstrap import Core, open_parts, rebuilt_in_file
from server.domain.devices import server_device_id
from server.jobs.snapshots import build_snapshots
from server.settings import Settings
from sync.kernel.changeset import Operation
from sync.modules import registry
from sync.modules.catalogue import DefineProduct, OfferProduct, product_id
from sync.modules.commerce import OpenWarehouse, ReceiveStock
from sync.modules.identity import AddUser
from sync.protocol.limits import OPERATIONS_MAX

T = TypeVar("T")


class Office:
    """One installation; made by `open_office`."""

    def __init__(self, core: Core, runner: asyncio.Runner) -> None:
        self._core = core
        self._runner = runner
        self.towns: dict[str, str] = {}
        """Town ids by name."""

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run something of the server's inside to its end."""
        return self._runner.run(coroutine)

    def found(self, name: str, currency: str = "GBP") -> str:
        """A new town."""
        core = self._core
        self.towns[name] = self.run(
            found_town(
                name=name,
                currency=currency,
                time_zone="UTC",
                appliers=core.appliers,
                signer=core.signer,
                system=core.system,
            )
        )
        return self.towns[name]

    def offer_snapshots(self) -> None:
        """Build what snapshots are due, as the scheduler does each minute."""
        self.run(build_snapshots(self._core))

    def author(self, town: str, *operations: Operation, actor: str | None = None) -> list[str]:
        """Have the town itself, or somebody in its office, do this, as many change sets as it takes; the statuses."""
        town_id = self.towns[town]
        actor = actor or server_device_id(town_id)
        statuses = []
        for start in range(0, len(operations), OPERATIONS_MAX):
            part = operations[start : start + OPERATIONS_MAX]
            line = self.run(self._core.appliers.author(town_id, actor, part))
            statuses.append(str(orjson.loads(line)["status"]))
        return statuses

    def must(self, town: str, *operations: Operation, actor: str | None = None) -> None:
        """As `author`, and it must be accepted."""
        statuses = self.author(town, *operations, actor=actor)
        assert set(statuses) <= {"accepted"}, statuses

    def new_id(self) -> str:
        """A fresh id."""
        return self._core.appliers.new_id()

    def add_user(self, town: str, name: str, *roles: str, pin_hash: str | None = None) -> str:
        """A person who works here."""
        user = AddUser.model_validate(
            {"id": self.new_id(), "name": name, "login": name.lower(), "user_roles": list(roles), "pin_hash": pin_hash}
        )
        self.must(town, user)
        return user.id

    def add_admin(self, town: str, email: str, password: str) -> None:
        """Somebody who may sign in there and do everything in the office."""
        people = self._core.people
        account = self.run(account_for(people, email, password))
        self.run(people.accounts.link(account, self.towns[town], self.add_user(town, email, "admin")))

    def add_warehouse(self, town: str, name: str) -> str:
        """A place for stock."""
        warehouse = OpenWarehouse(id=self.new_id(), name=name)
        self.must(town, warehouse)
        return warehouse.id

    def stock_products(
        self, town: str, warehouse: str, names: Mapping[str, str], stock: Mapping[str, int], price: str = "1.00"
    ) -> None:
        """Products, their prices, and what is on the shelf, by stock-keeping unit."""
        self.must(town, *(DefineProduct(sku=sku, name=name) for sku, name in names.items()))
        self.must(town, *(OfferProduct(product=product_id(sku), price=price) for sku in names))
        shelf = [(sku, count) for sku, count in stock.items() if count]
        self.must(
            town, *(ReceiveStock(warehouse=warehouse, product=product_id(sku), quantity=count) for sku, count in shelf)
        )

    def code(
        self, town: str, role: str, *, user: str | None = None, warehouse: str | None = None, school: str | None = None
    ) -> str:
        """An enrolment code."""
        core = self._core
        code, _ = self.run(
            make_enrolment(
                town_id=self.towns[town],
                role=role,
                user_id=user,
                warehouse_id=warehouse,
                school_id=school,
                enrolments=core.enrolments,
                towns=core.towns,
                system=core.system,
            )
        )
        return code

    def verify(self, town: str) -> Report:
        """The audit."""
        core = self._core
        return self.run(
            verify_town(
                core.evidence,
                self.towns[town],
                registry=registry(),
                server_key=core.signer.public_key,
                older_keys=core.signer.older_keys,
                room=rebuilt_in_file,
            )
        )

    def feed_bodies(self, town: str) -> dict[str, dict[tuple[str, str], str]]:
        """What devices shall hold: body by (entity, id), by bucket."""

        async def read() -> dict[str, dict[tuple[str, str], str]]:
            found: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)
            async with self._core.evidence.evidence(self.towns[town]) as evidence:
                async for (entity, row_id, bucket), (version, body) in evidence.feed():
                    if body is not None:
                        found[bucket][entity, row_id] = f"{version} {body.decode()}"
            return found

        return self.run(read())


@contextmanager
def open_office(settings: Settings) -> Iterator[Office]:
    """An office of the installation that these settings describe."""
    with asyncio.Runner() as runner:
        opened = open_parts(settings)
        core = runner.run(opened.__aenter__())
        try:
            yield Office(core, runner)
        finally:
            runner.run(opened.__aexit__(None, None, None))
