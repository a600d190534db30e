"""A town in a real database that is paid by card online, and the provider that it asks, both looked into."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from server.adapters.keys import KeySigner
from server.adapters.memory import MemorySystem
from server.adapters.payments.card import Card, CardAccount
from server.adapters.payments.card_sandbox import CardSandbox, HeldByCard
from server.adapters.redis.breaker import Breaker
from server.application.callback_ports import Callback
from server.application.commands.settle_payments import wanted_by_card
from server.domain.devices import server_device_id
from server.domain.payments import provider_reference
from server.jobs.relay import answer
from sync.kernel.clock import format_time
from sync.kernel.ids import derived_id
from sync.modules.billing import RequestCardPayment
from tests.support.provider import CALL_SECONDS_MAX, card_provider
from tests.support.real_town import RealTown, real_town
from tests.support.write_path import stored

PAYS = "4242424242424242"
BACK = "http://127.0.0.1:1/paid"


@dataclass(kw_only=True)
class CardTown:
    """The town and its provider."""

    town: RealTown
    sandbox: CardSandbox
    card: Card
    provider_url: str

    async def ask_for(self, amount: str = "2.50") -> str:
        """The id of a payment that an order's customer shall make; nobody has opened its page."""
        payment = self.town.new_id()
        order = await self.town.place_order(payment[-8:], payment_method="card")
        asked = RequestCardPayment(id=payment, order=order, amount=amount, currency="GBP")
        await self.town.appliers.author(self.town.id, server_device_id(self.town.id), [asked])
        return payment

    async def open(self, payment: str, amount_minor: int = 250) -> str:
        """The customer's page."""
        row = {"amount_minor": amount_minor, "currency": "GBP"}
        return await self.card.open(wanted_by_card(self.town.id, payment, row, BACK))

    async def pay(self, number: str = PAYS) -> str:
        """The id of a payment whose customer has typed in this card on the page."""
        payment = await self.ask_for()
        async with httpx2.AsyncClient() as browser:
            answered = await browser.post(await self.open(payment), content=f"number={number}")
        assert (answered.status_code, answered.headers["location"]) == (303, BACK)
        return payment

    def held(self, payment: str) -> HeldByCard:
        """The payment as the provider has it."""
        return self.sandbox.payments[provider_reference(payment)]

    async def work(self, seconds: float = 0) -> None:
        """What a worker does so much later."""
        self.town.system.advance(seconds)
        await answer(self.town, self.town.id)

    async def settle(self, *, times: int = 3) -> None:
        """What workers do in the next seconds."""
        for _ in range(times):
            await self.work(6)

    async def call_back(self, payment: str) -> None:
        """A webhook about a payment was kept."""
        await self.town.inbox.keep(
            Callback(
                id=derived_id("card event", payment),
                town_id=self.town.id,
                kind="card.callback",
                data={"payment": payment},
                received_at=format_time(self.town.system.now_ms()),
                method="POST",
                content_type="application/json",
                body=b"{}",
            )
        )

    async def settlement(self, payment: str) -> tuple[Any, ...]:
        """Status, minor units, currency, reference and reason of a payment."""
        query = "SELECT status, amount_minor, currency, reference, reason FROM settlements"
        ((*found,),) = await stored(self.town, f"{query} WHERE id = '{payment}'")
        return tuple(found)

    async def status(self, payment: str) -> str:
        """The status of a payment."""
        return str((await self.settlement(payment))[0])

    async def conflicts(self) -> list[str]:
        """The kinds of conflicts that were left."""
        return [kind for (kind,) in await stored(self.town, "SELECT kind FROM conflicts ORDER BY raised_at, kind")]

    async def said(self) -> list[str]:
        """The operations about payments that the town has been told, in order."""
        lines = "SELECT version, jsonb_array_elements(convert_from(line, 'UTF8')::jsonb -> 'ops') ->> 'op' AS op"
        told = f"SELECT op FROM ({lines} FROM change_sets) AS told WHERE op LIKE 'payment.%' OR op LIKE 'refund.%'"
        return [op for (op,) in await stored(self.town, f"{told} ORDER BY version")]


@asynccontextmanager
async def card_town(
    database_url: str, *, system: MemorySystem | None = None, signer: KeySigner | None = None
) -> AsyncIterator[CardTown]:
    """The town; its provider is a real server on a port of its own, which tells nobody anything by itself."""
    system = system or MemorySystem()
    breaker = Breaker(monotonic=lambda: system.now_ms() / 1000)
    with card_provider() as (sandbox, url):
        card = Card(CardAccount(base_url=url, api_key="key"), call_seconds_max=CALL_SECONDS_MAX, breaker=breaker)
        try:
            async with real_town(database_url, system=system, signer=signer, card=card) as town:
                yield CardTown(town=town, sandbox=sandbox, card=card, provider_url=url)
        finally:
            await card.close()
