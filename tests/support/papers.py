"""The desk for papers over a database, with files in memory; for towns of tests that have no process of their own."""

from __future__ import annotations

from psycopg_pool import AsyncConnectionPool

from server.adapters.memory_blobs import MemoryBlobs
from server.adapters.memory_statements import NoStatements
from server.adapters.postgres.account_book import PostgresAccountBook
from server.adapters.postgres.connection import Connection
from server.adapters.postgres.outbox import PostgresAgenda
from server.adapters.postgres.papers import PostgresPapers, PostgresZReports
from server.adapters.printer import WeasyPrinter
from server.application.commands.make_papers import PaperDesk
from server.application.ports import Bell, System
from server.application.queries.statements import Statements
from server.application.snapshot_ports import Blobs


class NoBell:
    """A bell that nobody hears."""

    async def ring(self, town_id: str) -> None:
        """Nothing."""


def paper_desk(
    pool: AsyncConnectionPool[Connection], system: System, *, bell: Bell | None = None, blobs: Blobs | None = None
) -> PaperDesk:
    """A desk with a real printer."""
    return PaperDesk(
        agenda=PostgresAgenda(pool),
        bell=bell or NoBell(),
        papers=PostgresPapers(pool),
        blobs=blobs or MemoryBlobs(system),
        printer=WeasyPrinter(),
        statements=Statements(book=PostgresAccountBook(pool), cache=NoStatements()),
        z_reports=PostgresZReports(pool),
        system=system,
    )
