"""The page about counters is lived through on a real stack, block by block, and prints what it says."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

from server.stack import Stack
from sync.modules.billing import InvoiceLine, IssueInvoice, RegisterParty
from tests.support.pages import blocks_of, fits
from tests.support.site import TOWN, site_on

PAGE = Path(__file__).parents[2] / "docs/how-to/take-money-at-a-counter.md"


def test_the_day_at_the_counter_goes_as_the_page_says(tmp_path: Path, shared_stack: Stack) -> None:
    with site_on(shared_stack) as site:
        books = site.office.books
        party, invoice = books.new_id(), books.new_id()
        lines = [InvoiceLine(text="Stall", amount="45.00")]
        books.must(TOWN, RegisterParty(id=party, name="Zoë"))
        books.must(TOWN, IssueInvoice(id=invoice, party=party, title="Stall rent", lines=lines, currency="GBP"))
        clerk = books.add_user(TOWN, "Clara", "counter_clerk")
        with site.office.enrol(TOWN, tmp_path / "desk.db", "counter_clerk") as desk:
            desk.sync()
            names: dict[str, Any] = {"desk": desk, "clerk": clerk, "invoice": invoice}
            for block in blocks_of(PAGE.read_text()):
                if block.language == "python":
                    printed = io.StringIO()
                    with contextlib.redirect_stdout(printed):
                        exec(compile(block.text, f"{PAGE.name}:{block.line}", "exec"), names)  # noqa: S102
                    assert block.shown is not None, block.line
                    assert fits(block.shown, printed.getvalue()), (block.line, printed.getvalue())
        assert books.verify(TOWN).findings == ()
