"""PDFs by WeasyPrint, which needs the system library Pango; imported when the first paper is made, and only then."""

from __future__ import annotations

import asyncio
import warnings

from server.application.paper_ports import PRINTER_REMEDY, PrinterUnavailable


class WeasyPrinter:
    """The `Printer` port."""

    async def pdf(self, page: str) -> bytes:
        """In a thread: a long statement takes seconds."""
        return await asyncio.to_thread(_print, page)


def printer_problem() -> str | None:
    """Why PDFs cannot be made here; None when they can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a Pango that is older than it would like
            import weasyprint  # noqa: F401, PLC0415  3 s and 60 MB that only who makes papers shall pay
    except (ImportError, OSError) as fault:
        return str(fault).partition("\n")[0]
    return None


def _print(page: str) -> bytes:
    if problem := printer_problem():
        raise PrinterUnavailable(f"PDFs cannot be made here ({problem}): {PRINTER_REMEDY}")
    from weasyprint import HTML  # noqa: PLC0415  as above
    from weasyprint.urls import URLFetcher  # noqa: PLC0415  as above

    made: bytes = HTML(string=page, url_fetcher=URLFetcher(allowed_protocols=())).write_pdf()
    return made
