"""Papers over HTTP: a statement and a Z report as page and PDF, made by a worker and fetched once it is there."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from server.adapters import printer
from server.adapters.memory_outbox import MemoryMessages
from server.application.commands.make_papers import KIND
from server.application.commands.work_off_outbox import work_off_outbox
from server.application.paper_ports import PrinterUnavailable
from server.domain.papers import STYLE, STYLE_PATH
from sync.kernel.ids import derived_id
from sync.modules.billing import (
    CloseDrawer,
    CountDrawer,
    IssueInvoice,
    Money,
    OpenDrawer,
    RegisterParty,
    TakePayment,
)
from sync.modules.billing.operations import InvoiceLine
from tests.support.staff_world import StaffWorld


@dataclass(kw_only=True)
class Till:
    """A drawer of somebody in the office: 20.00 and two payments in it, closed with 1.50 too little."""

    staff: StaffWorld
    drawer: str
    party: str

    @property
    def z_report(self) -> str:
        return f"/v1/towns/{self.staff.here.id}/drawer-sessions/{self.drawer}/z-reports/1"

    @property
    def statement(self) -> str:
        return f"/v1/towns/{self.staff.here.id}/parties/{self.party}/statement"

    async def work(self) -> None:
        """What a worker does."""
        parts = self.staff.world.parts
        desk = parts.papers
        assert desk is not None
        await work_off_outbox(
            self.staff.here.id,
            outbox=desk.agenda,
            messages=MemoryMessages(),
            system=parts.system,
            more=desk.handlers(),
        )


@pytest.fixture
async def till(staff: StaffWorld) -> Till:
    new_id = staff.world.new_id
    made = Till(staff=staff, drawer=new_id(), party=new_id())
    invoice = new_id()

    def money(amount: str) -> list[Money]:
        return [Money(amount=amount, currency="GBP")]

    lines = [InvoiceLine(text="<b>Hall</b>", amount="30.00")]
    for operation in (
        RegisterParty(id=made.party, name="Zoë & <script>"),
        IssueInvoice(
            id=invoice, party=made.party, title="<b>Hall</b>", lines=lines, currency="GBP", due_on="2020-01-01"
        ),
        OpenDrawer(id=made.drawer, opening=money("20.00")),
        TakePayment(id=new_id(), invoice=invoice, amount="12.00", currency="GBP"),
        TakePayment(id=new_id(), invoice=invoice, amount="3.00", currency="GBP"),
        CountDrawer(drawer=made.drawer, counted=money("33.50")),
        CloseDrawer(drawer=made.drawer),
    ):
        line = await staff.world.parts.appliers.author(staff.here.id, staff.here.users["admin"], [operation])
        assert b'"status":"refused"' not in line, line
    return made


async def test_a_z_report_says_what_was_in_the_drawer_and_what_should_have_been(till: Till) -> None:
    report = (await (await till.staff.browser()).get(till.z_report)).json()

    assert report["currencies"] == [
        {
            "currency": "GBP",
            "payments": 2,
            "opening": "20.00",
            "taken": "15.00",
            "given_back": "0.00",
            "expected": "35.00",
            "counted": "33.50",
            "difference": "-1.50",
        }
    ]
    assert sorted((one["what"], one["amount"]) for one in report["payments"]) == [
        ("<b>Hall</b>", "12.00"),
        ("<b>Hall</b>", "3.00"),
    ]


@pytest.mark.parametrize("paper", ["z_report", "statement"])
async def test_a_page_has_the_towns_name_and_takes_nothing_that_people_wrote_for_markup(till: Till, paper: str) -> None:
    answer = await (await till.staff.browser()).get(f"{getattr(till, paper)}?format=html")

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert '<div class="town">Here</div>' in answer.text
    assert "&lt;b&gt;Hall&lt;/b&gt;" in answer.text
    assert "<script" not in answer.text
    assert f'<link rel="stylesheet" href="{STYLE_PATH}">' in answer.text


async def test_the_style_of_pages_is_served_to_everybody(till: Till) -> None:
    answer = await till.staff.world.client.get(STYLE_PATH)

    assert (answer.headers["content-type"], answer.text) == ("text/css; charset=utf-8", STYLE)


@pytest.mark.parametrize("paper", ["z_report", "statement"])
async def test_a_pdf_is_accepted_until_it_is_there_and_is_the_same_file_from_then_on(till: Till, paper: str) -> None:
    browser = await till.staff.browser()
    asked = await browser.get(f"{getattr(till, paper)}?format=pdf")
    waiting = await browser.get(asked.headers["location"])
    await till.work()

    there = await browser.get(asked.headers["location"])
    again = await browser.get(f"{getattr(till, paper)}?format=pdf")

    assert [one.status_code for one in (asked, waiting, there, again)] == [202, 202, 200, 200]
    assert asked.headers["retry-after"] == "2"
    assert there.headers["content-type"] == "application/pdf"
    assert there.content.startswith(b"%PDF-")
    assert (again.content, again.headers["etag"]) == (there.content, there.headers["etag"])
    assert there.headers["content-disposition"].endswith('.pdf"')


async def test_a_statement_that_has_changed_is_another_paper(till: Till) -> None:
    browser = await till.staff.browser()
    before = await browser.get(f"{till.statement}?format=pdf")
    invoice = IssueInvoice(
        id=till.staff.world.new_id(),
        party=till.party,
        title="More",
        lines=[InvoiceLine(text="More", amount="1.00")],
        currency="GBP",
    )
    await till.staff.author(till.staff.here, invoice)

    after = await browser.get(f"{till.statement}?format=pdf")

    assert before.headers["location"] != after.headers["location"]


async def test_what_is_overdue_is_said(till: Till) -> None:
    browser = await till.staff.browser()
    said = (await browser.get(till.statement)).json()
    page = await browser.get(f"{till.statement}?format=html")

    assert said["overdue"] == [{"currency": "GBP", "amount": "15.00", "invoices": 1}]
    assert "overdue 15.00 GBP" in page.text


async def test_a_drivers_eyes_see_no_paper(till: Till) -> None:
    browser = await till.staff.browser("driver")

    answers = [await browser.get(path) for path in (till.z_report, till.statement)]

    assert [answer.status_code for answer in answers] == [403, 403]


@pytest.mark.parametrize("what", ["z-reports/2", "z-reports/0", "z-reports/x"])
async def test_a_report_that_is_not_there_is_not_found(till: Till, what: str) -> None:
    path = till.z_report.replace("z-reports/1", what)

    assert (await (await till.staff.browser()).get(path)).status_code == 404


async def test_a_paper_that_nobody_has_asked_for_is_not_found(till: Till) -> None:
    path = f"/v1/towns/{till.staff.here.id}/papers/{derived_id('nothing')}"

    assert (await (await till.staff.browser()).get(path)).status_code == 404


async def test_without_the_printers_library_the_paper_waits_and_says_why(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = await till.staff.browser()
    asked = await browser.get(f"{till.statement}?format=pdf")
    monkeypatch.setattr(printer, "printer_problem", lambda: "cannot load library 'libpango-1.0-0'")
    await till.work()

    with pytest.raises(PrinterUnavailable, match="install Pango"):
        await printer.WeasyPrinter().pdf("<p>")
    problems = await till.staff.stored(f"SELECT problem FROM agenda WHERE kind = '{KIND}'", till.staff.here)
    assert [problem.partition(":")[0] for (problem,) in problems] == ["printer_unavailable"]
    assert (await browser.get(asked.headers["location"])).status_code == 202


async def test_a_paper_loads_nothing_whatever_it_says() -> None:
    made = await printer.WeasyPrinter().pdf('<p>Hall<img src="file:///etc/hostname"></p>')

    assert made.startswith(b"%PDF-")
