"""The other half of the composition root: what answers HTTP, put together out of a `Core` and its edge.

Apart from `server.bootstrap`, so that a process that serves nobody does not pay for a web framework at each start.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.types import ASGIApp

from server.adapters.payments.card_sandbox import CardSandbox
from server.adapters.payments.sandbox import Sandbox
from server.adapters.postgres.connection import translated
from server.adapters.postgres.receipts import PostgresReceipts
from server.adapters.postgres.revision import current_revision, newest_revision
from server.adapters.postgres.shop import PostgresShop
from server.adapters.postgres.sights import PostgresSights
from server.adapters.redis.rates import RedisRates
from server.adapters.reminder_sandbox import ReminderSandbox
from server.allocator import give_back_for_ever
from server.api.app import create_app
from server.api.parts import CallbackDoor, LiveDoor, MetricsDoor, Parts, ShopDoor, SnapshotDoor, StaffDoor
from server.application.rates import RateLimits
from server.bootstrap import Core, build_core, opened, redis_url
from server.domain import payments, tracking
from server.domain.payments import CARD_WEBHOOK_PATH
from server.metrics import note_for_ever
from server.settings import Settings, SettingsInvalid


def build_app(settings: Settings) -> FastAPI:
    """The application, which opens its connections when it starts to serve."""
    core = build_core(settings)
    shared_rates = RedisRates(redis_url(settings))

    async def check_database() -> None:
        with translated():
            async with core.pool.connection() as connection:
                await connection.execute("SELECT 1")

    async def check_schema() -> None:
        with translated():
            async with core.pool.connection() as connection:
                there = await current_revision(connection)
        if there != newest_revision():
            raise SettingsInvalid(f"the schema is at {there}, this code needs {newest_revision()}: run migrate")

    return create_app(
        Parts(
            public_url=settings.public_url,
            towns=core.towns,
            enrolments=core.enrolments,
            appliers=core.appliers,
            signer=core.signer,
            system=core.system,
            checks={"database": check_database, "schema": check_schema, "redis": core.bell.check},
            running=lambda: _serving(core, shared_rates),
            tries=core.people.sessions,
            rates=RateLimits(settings.rates, shared=shared_rates),
            trusted_proxies=settings.proxies,
            metrics=_metrics_door(settings, core),
            live=LiveDoor(hints=core.hints),
            snapshots=SnapshotDoor(snapshots=core.snapshots, blobs=core.blobs),
            staff=StaffDoor(
                people=core.people, listings=core.listings, quarantine=core.quarantine, statements=core.statements
            ),
            sealed=core.sealed,
            shop=ShopDoor(
                shop=PostgresShop(core.pool),
                listings=core.listings,
                tracking_secrets=tuple(core.signer.secrets_for(tracking.PURPOSE).values()),
                card=core.card,
                return_url=settings.card_return_url or settings.public_url,
            ),
            callbacks=CallbackDoor(
                inbox=core.inbox,
                bell=core.bell,
                secrets=tuple(core.signer.secrets_for(payments.CALLBACK_PURPOSE).values()),
                card_secrets=settings.webhook_keys,
            ),
            receipts=PostgresReceipts(core.pool),
            papers=core.paper_desk,
            has_docs=settings.has_api_docs,
        )
    )


def _metrics_door(settings: Settings, core: Core) -> MetricsDoor | None:
    token = settings.metrics_token
    return MetricsDoor(token=token.get_secret_value(), sights=PostgresSights(core.pool)) if token else None


@asynccontextmanager
async def _serving(core: Core, shared_rates: RedisRates) -> AsyncIterator[None]:
    """Open while the API serves, which notes its memory as the other processes do, and gives back what it can."""
    async with opened(core), core.hints.running():
        housekeeping = [asyncio.create_task(note_for_ever("api")), asyncio.create_task(give_back_for_ever())]
        try:
            yield
        finally:
            for task in housekeeping:
                task.cancel()
            await shared_rates.close()


def sandbox_app(settings: Settings) -> ASGIApp:
    """Providers to play with, of mobile money, of cards and of text messages; it is nobody's money.

    What becomes of cards is told to the server that these settings are of, signed with its secrets; so are reminders.
    """
    momo, cards = Sandbox(), CardSandbox(settings.public_url + CARD_WEBHOOK_PATH, settings.webhook_keys)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with momo.lifespan(app), cards.lifespan(app):
            yield

    reminders = ReminderSandbox(settings.reminder_keys)
    return Starlette(routes=[*momo.routes(), *cards.routes(), *reminders.routes()], lifespan=lifespan)
