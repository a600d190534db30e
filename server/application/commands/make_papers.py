"""Papers as PDFs: asked for at a door, made by a worker, found by their hash in the store of files.

A paper's id follows from what it says: asking twice makes it once, and a statement that has changed is another paper.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import orjson

from server.application.callback_ports import Agenda
from server.application.commands.work_off_outbox import Handler, Hopeless
from server.application.paper_ports import Paper, Papers, Printer, ZReports
from server.application.ports import Bell, Messages, OutboxItem, System
from server.application.queries.statements import Statements
from server.application.snapshot_ports import Blobs
from server.application.statement_ports import Of
from server.domain.papers import LINES_MAX, statement_page, z_report_page, zone_of
from server.domain.statements import read_back, shown, within
from sync.kernel.clock import format_time
from sync.kernel.ids import derived_id

KIND: Final = "paper.make"
PDF_TYPE: Final = "application/pdf"
STATEMENT, Z_REPORT = "statement", "z_report"


class PaperTooLong(Hopeless):
    """A statement of so many lines is no paper any more; ask for some days of it."""

    code: ClassVar[str] = "paper_too_long"


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperDesk:
    """The ports."""

    agenda: Agenda
    bell: Bell
    papers: Papers
    blobs: Blobs
    printer: Printer
    statements: Statements
    z_reports: ZReports
    system: System

    def handlers(self) -> Mapping[str, Handler]:
        """What is done here, by the kind of work."""
        return {KIND: self._make}

    async def ask(self, town_id: str, wanted: Mapping[str, Any], says: Any) -> str:
        """Have this paper made, unless it is; its id. `says` is what will be on it, as far as it may change."""
        digest = hashlib.sha256(orjson.dumps([dict(wanted), says], option=orjson.OPT_SORT_KEYS)).hexdigest()
        paper_id = derived_id("paper", digest)
        if await self.papers.find(town_id, paper_id) is None:
            await self.agenda.note(town_id, paper_id, KIND, wanted, format_time(self.system.now_ms()))
            await self.bell.ring(town_id)
        return paper_id

    async def _make(self, item: OutboxItem, _messages: Messages, at: str) -> None:
        wanted, town_id = item.data, item.town_id
        if wanted["paper"] == Z_REPORT:
            report = await self.z_reports.report([town_id], town_id, wanted["drawer"], wanted["number"])
            page, name = z_report_page(report, is_for_print=True), f"z-report-{wanted['number']}"
        else:
            of = Of(wanted["of"])
            said = orjson.loads(await self.statements.document([town_id], town_id, of, wanted["owner"]))
            sections = sections_within(said, wanted["since"], wanted["until"])
            if sum(len(section["lines"]) for section in sections) > LINES_MAX:
                raise PaperTooLong(f"this statement has more than {LINES_MAX} lines: ask for some days of it")
            page = statement_page(said, sections, is_for_print=True)
            name = f"statement-{wanted['owner']}-{said['as_of']['version']}"
        blob = await self.blobs.write(town_id, _piece(await self.printer.pdf(page)))
        self.system.reached("papers.after_write")
        paper = Paper(name=f"{name}.pdf", media_type=PDF_TYPE, sha256=blob.sha256)
        await self.papers.keep(town_id, item.id, paper, at)


def sections_within(said: Mapping[str, Any], since: str | None, until: str | None) -> Sequence[Mapping[str, Any]]:
    """The sections of a statement's document for some days, as `shown`."""
    return shown(within(read_back(said["currencies"]), since, until, zone_of(said)))


async def _piece(content: bytes) -> AsyncIterator[bytes]:
    yield content
