"""The ports of papers: Z reports as documents, the printer of PDFs, and which papers were made."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from server.application.ports import Unavailable

PRINTER_REMEDY = "install Pango, on Debian and Ubuntu: libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0"


class PrinterUnavailable(Unavailable):
    """PDFs cannot be made on this machine."""

    code: ClassVar[str] = "printer_unavailable"


class Printer(Protocol):
    """Makes a PDF out of a page."""

    async def pdf(self, page: str) -> bytes:
        """The PDF of an HTML page that loads nothing. Raises `PrinterUnavailable`."""
        ...


class ZReports(Protocol):
    """What was in a drawer when it was closed, and what a late payment has amended."""

    async def report(self, seen: Collection[str], town_id: str, drawer_id: str, number: int) -> Mapping[str, Any]:
        """The report as a document, in one snapshot that sees the towns `seen` alone. Raises `NotFound`."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Paper:
    """A file that was made: found by its hash, and called `name` by whoever saves it."""

    name: str
    media_type: str
    sha256: str


class Papers(Protocol):
    """Which papers were made."""

    async def find(self, town_id: str, paper_id: str) -> Paper | None: ...

    async def is_asked_for(self, town_id: str, paper_id: str) -> bool:
        """Whether it is on the agenda."""
        ...

    async def keep(self, town_id: str, paper_id: str, paper: Paper, at: str) -> None:
        """It is there from now on; what is there stays."""
        ...

    async def forget(self, before: str) -> int:
        """Drop what was made before this time; the files go with the next look for files that nobody names."""
        ...
