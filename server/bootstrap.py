"""The composition root: the only place that names concrete adapters.

`Core` is what every process of the server needs; the API adds its edge to it (`server.serving`), the worker its queue,
the command line its questions. Everything is opened inside one event loop and closed with it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from psycopg_pool import AsyncConnectionPool

from server.adapters.blobs import FilesystemBlobs
from server.adapters.keys import KeySigner, open_signer, rotate
from server.adapters.payments.card import Card
from server.adapters.payments.momo import Momo
from server.adapters.postgres.account_book import PostgresAccountBook
from server.adapters.postgres.accounts import PostgresAccounts, PostgresSessions
from server.adapters.postgres.closed import PostgresClosedOrders
from server.adapters.postgres.connection import Connection, make_pool
from server.adapters.postgres.enrolments import PostgresEnrolments
from server.adapters.postgres.evidence import PostgresEvidence
from server.adapters.postgres.examine import Examined, examine_database
from server.adapters.postgres.listings import PostgresListings, PostgresRequests
from server.adapters.postgres.missing import PostgresMissingGoods
from server.adapters.postgres.outbox import (
    PostgresAgenda,
    PostgresInbox,
    PostgresJobs,
    PostgresMessages,
    PostgresOutbox,
)
from server.adapters.postgres.papers import PostgresPapers, PostgresZReports
from server.adapters.postgres.reminders import PostgresReminders
from server.adapters.postgres.revision import newest_revision
from server.adapters.postgres.sealed import PostgresQuarantine, PostgresSealedUploads
from server.adapters.postgres.snapshots import PostgresSnapshots
from server.adapters.postgres.statement_shelf import PostgresStatementShelf
from server.adapters.postgres.tombstones import PostgresTombstones
from server.adapters.postgres.towns import PostgresTowns
from server.adapters.postgres.unpaid import PostgresUnpaidOrders
from server.adapters.printer import WeasyPrinter, printer_problem
from server.adapters.rebuilt import rebuilt_in_file
from server.adapters.redis.examine import redis_version
from server.adapters.redis.hints import RedisHints
from server.adapters.redis.queue import RedisBell
from server.adapters.redis.statement_cache import RedisStatementCache
from server.adapters.reminder_gateway import HttpGateway
from server.adapters.seals import KeySealer
from server.adapters.system import RealSystem
from server.application.commands.apply_change_sets import Appliers
from server.application.commands.make_papers import PaperDesk
from server.application.commands.rebuild_statements import StatementDesk
from server.application.commands.send_reminders import ReminderDesk
from server.application.commands.settle_payments import PaymentDesk
from server.application.commands.work_off_outbox import NEVER
from server.application.people import People
from server.application.queries.statements import Statements, tell_changes
from server.domain import payments
from server.providers import cards, mobile_money, reminder_gateway
from server.settings import Settings, SettingsInvalid
from sync.modules import registry

Pool = AsyncConnectionPool[Connection]


@dataclass(frozen=True, kw_only=True, slots=True)
class Core:
    """The ports over PostgreSQL and Redis, and the write path over the ports."""

    pool: Pool
    towns: PostgresTowns
    enrolments: PostgresEnrolments
    evidence: PostgresEvidence
    outbox: PostgresOutbox
    inbox: PostgresInbox
    agenda: PostgresAgenda
    shelf: PostgresStatementShelf
    statement_desk: StatementDesk
    paper_desk: PaperDesk
    papers: PostgresPapers
    reminders: PostgresReminders
    reminder_desk: ReminderDesk
    gateway: HttpGateway | None
    jobs: PostgresJobs
    payments: PaymentDesk
    momo: Momo | None
    card: Card | None
    statements: Statements
    statement_cache: RedisStatementCache
    messages: PostgresMessages
    missing_goods: PostgresMissingGoods
    people: People
    listings: PostgresListings
    requests: PostgresRequests
    quarantine: PostgresQuarantine
    sealed: PostgresSealedUploads
    appliers: Appliers
    signer: KeySigner
    system: RealSystem
    bell: RedisBell
    hints: RedisHints
    snapshots: PostgresSnapshots
    blobs: FilesystemBlobs
    tombstones: PostgresTombstones
    tombstone_days: int
    closed_orders: PostgresClosedOrders
    unpaid_orders: PostgresUnpaidOrders


def database_url(settings: Settings) -> str:
    """The database; raises `SettingsInvalid` when none is set."""
    if settings.database_url is None:
        raise SettingsInvalid("DATABASE_URL is not set: expected a URL like postgresql://user:password@host:5432/name")
    return settings.database_url.get_secret_value()


def redis_url(settings: Settings) -> str:
    """Redis; raises `SettingsInvalid` when none is set."""
    if settings.redis_url is None:
        raise SettingsInvalid("REDIS_URL is not set: expected a URL like redis://:password@host:6379/0")
    return settings.redis_url.get_secret_value()


def migrate(database_url: str, revision: str = "head") -> str:
    """Bring the database to the schema of this code, as `server.adapters.postgres.migrate` says."""
    # Alembic and SQLAlchemy are 25 MB that a process which only serves does without.
    from server.adapters.postgres.migrate import migrate as run  # noqa: PLC0415

    return run(database_url, revision)


def build_core(settings: Settings) -> Core:
    """Everything, not yet opened; cheap, connects to nothing."""
    pool, momo, card = make_pool(database_url(settings)), mobile_money(settings), cards(settings)
    towns, system = PostgresTowns(pool), RealSystem()
    reminders, gateway = PostgresReminders(pool), reminder_gateway(settings, system)
    signer = open_signer(settings.server_key_path, may_create=settings.server_key_file is None)
    bell, hints = RedisBell(redis_url(settings)), RedisHints(redis_url(settings))
    cache, shelf = RedisStatementCache(redis_url(settings)), PostgresStatementShelf(pool)
    tell = partial(tell_changes, cache)
    appliers = Appliers(towns, registry(), signer, system, bell=bell, hints=hints, committed=tell)
    blobs = FilesystemBlobs(settings.blob_path)
    statements = Statements(book=PostgresAccountBook(pool), cache=cache)
    return Core(
        pool=pool,
        towns=towns,
        enrolments=PostgresEnrolments(pool),
        evidence=PostgresEvidence(pool),
        outbox=PostgresOutbox(pool),
        inbox=PostgresInbox(pool),
        agenda=PostgresAgenda(pool),
        shelf=shelf,
        statement_desk=StatementDesk(shelf=shelf, system=system),
        paper_desk=_paper_desk(pool, statements, blobs, bell, system),
        papers=PostgresPapers(pool),
        reminders=reminders,
        reminder_desk=ReminderDesk(gateway=gateway, reminders=reminders, system=system),
        gateway=gateway,
        jobs=PostgresJobs(pool),
        payments=PaymentDesk(
            momo=momo,
            card=card,
            towns=towns,
            appliers=appliers,
            system=system,
            public_url=settings.public_url,
            callback_secret=signer.secrets_for(payments.CALLBACK_PURPOSE)[signer.kid],
        ),
        momo=momo,
        card=card,
        statements=statements,
        statement_cache=cache,
        messages=PostgresMessages(pool),
        people=_people(pool, signer, system),
        missing_goods=PostgresMissingGoods(pool),
        listings=PostgresListings(pool),
        requests=PostgresRequests(pool),
        quarantine=PostgresQuarantine(pool),
        sealed=PostgresSealedUploads(pool),
        appliers=appliers,
        signer=signer,
        system=system,
        bell=bell,
        hints=hints,
        snapshots=PostgresSnapshots(pool),
        blobs=blobs,
        tombstones=PostgresTombstones(pool),
        tombstone_days=settings.tombstone_days,
        closed_orders=PostgresClosedOrders(pool),
        unpaid_orders=PostgresUnpaidOrders(pool),
    )


def _paper_desk(
    pool: Pool, statements: Statements, blobs: FilesystemBlobs, bell: RedisBell, system: RealSystem
) -> PaperDesk:
    return PaperDesk(
        agenda=PostgresAgenda(pool),
        bell=bell,
        papers=PostgresPapers(pool),
        blobs=blobs,
        printer=WeasyPrinter(),
        statements=statements,
        z_reports=PostgresZReports(pool),
        system=system,
    )


def _people(pool: Pool, signer: KeySigner, system: RealSystem) -> People:
    accounts, sessions = PostgresAccounts(pool), PostgresSessions(pool)
    return People(accounts=accounts, sessions=sessions, sealer=KeySealer(signer, system), system=system)


@asynccontextmanager
async def open_parts(settings: Settings) -> AsyncIterator[Core]:
    """The core with its connections open, for one event loop."""
    core = build_core(settings)
    async with opened(core):
        yield core


@asynccontextmanager
async def opened(core: Core) -> AsyncIterator[None]:
    """The connections of a core, open while it is needed."""
    await core.pool.open()
    try:
        yield
    finally:
        core.bell.close()
        for provider in (core.momo, core.card, core.gateway):
            if provider:
                await provider.close()
        await core.statement_cache.close()
        await core.hints.close()
        await core.pool.close()


async def examine(settings: Settings, signer: KeySigner | None) -> Examined:
    """What `tallystick doctor` wants to know of the database; raises `Unavailable`, `SettingsInvalid`."""
    key, older = (signer.public_key, signer.older_keys) if signer else (None, ())
    url, revision = database_url(settings), newest_revision()
    return await examine_database(url, revision=revision, server_key=key, older_keys=older, never=NEVER)


def existing_signer(settings: Settings) -> KeySigner:
    """The signing key, if it is there; raises `ServerKeyUnusable`."""
    return open_signer(settings.server_key_path, may_create=False)


def rotated_signer(settings: Settings) -> KeySigner:
    """The signing key after a new one was put before it; raises `ServerKeyUnusable`."""
    return rotate(settings.server_key_path)


__all__ = [
    "Core",
    "Examined",
    "build_core",
    "database_url",
    "examine",
    "existing_signer",
    "migrate",
    "newest_revision",
    "open_parts",
    "opened",
    "printer_problem",
    "rebuilt_in_file",
    "redis_url",
    "redis_version",
    "rotated_signer",
]
