"""A town in a real database that is paid by mobile money, and the provider that it asks, both looked into."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from server.adapters.keys import KeySigner
from server.adapters.memory import MemorySystem
from server.adapters.payments.momo import Momo
from server.adapters.payments.sandbox import Sandbox
from server.adapters.redis.breaker import Breaker
from server.application.callback_ports import Callback
from server.application.commands.work_off_outbox import WorkedOff
from server.domain.payments import provider_reference
from server.jobs.relay import answer
from sync.kernel.clock import format_time
from sync.kernel.ids import derived_id
from sync.modules.billing import RequestPayment
from tests.support.provider import CALL_SECONDS_MAX, account, provider
from tests.support.real_town import RealTown, real_town
from tests.support.write_path import stored

PAYS = "46733123999"


@dataclass(kw_only=True)
class MomoTown:
    """The town and its provider."""

    town: RealTown
    sandbox: Sandbox
    provider_url: str

    async def ask_for(self, payer: str = PAYS, amount: str = "2.50", order: str | None = None) -> str:
        """The id of a payment that an order's customer shall make."""
        payment = self.town.new_id()
        order = order or await self.town.place_order(payment[-8:])
        await self.town.author(RequestPayment(id=payment, order=order, amount=amount, currency="GBP", payer=payer))
        return payment

    async def work(self, seconds: float = 0) -> WorkedOff:
        """What a worker does so much later."""
        self.town.system.advance(seconds)
        return await answer(self.town, self.town.id)

    async def settle(self, *, times: int = 3) -> None:
        """What workers do in the next seconds."""
        for _ in range(times):
            await self.work(6)

    async def call_back(self, payment: str, body: bytes = b"{}") -> None:
        """The provider, or somebody else, calls about a payment."""
        await self.town.inbox.keep(
            Callback(
                id=derived_id("callback", payment, body.decode()),
                town_id=self.town.id,
                kind="momo.callback",
                data={"payment": payment},
                received_at=format_time(self.town.system.now_ms()),
                method="PUT",
                content_type="application/json",
                body=body,
            )
        )

    async def status(self, payment: str) -> str:
        """The status of a payment."""
        return str((await self.settlement(payment))["status"])

    async def settlement(self, payment: str) -> dict[str, Any]:
        """What became of a payment, as far as its money goes."""
        names = ("status", "amount_minor", "currency", "reference", "reason")
        query = f"SELECT {', '.join(names)} FROM settlements WHERE id = '{payment}'"
        return dict(zip(names, (await stored(self.town, query))[0], strict=True))

    async def conflicts(self) -> list[str]:
        """The kinds of conflicts that were left."""
        return [kind for (kind,) in await stored(self.town, "SELECT kind FROM conflicts ORDER BY raised_at, kind")]

    async def said(self) -> list[str]:
        """The operations about payments that the town has been told, in order."""
        lines = "SELECT version, convert_from(line, 'UTF8')::jsonb -> 'ops' -> 0 ->> 'op' AS op FROM change_sets"
        query = f"SELECT op FROM ({lines}) AS told WHERE op LIKE 'payment.%' OR op LIKE 'refund.%' ORDER BY version"
        return [op for (op,) in await stored(self.town, query)]

    def posts(self, payment: str) -> int:
        """How often the provider was asked to move this money."""
        return self.sandbox.posts.count(provider_reference(payment))


@asynccontextmanager
async def momo_town(
    database_url: str, *, system: MemorySystem | None = None, signer: KeySigner | None = None
) -> AsyncIterator[MomoTown]:
    """The town; its provider is a real server on a port of its own, whose callbacks come nowhere."""
    system = system or MemorySystem()
    breaker = Breaker(monotonic=lambda: system.now_ms() / 1000)
    with provider() as (sandbox, url):
        momo = Momo(account(url), call_seconds_max=CALL_SECONDS_MAX, breaker=breaker)
        try:
            async with real_town(database_url, system=system, signer=signer, provider=momo) as town:
                yield MomoTown(town=town, sandbox=sandbox, provider_url=url)
        finally:
            await momo.close()
