"""A statement's pages add up by themselves: what is brought forward, this page's sums, what is carried over."""

from __future__ import annotations

import re

import pytest

from server.domain.papers import LINES_ON_PAGE, statement_page
from server.domain.statements import Booked, shown, statement_of

SAID = {
    "town": {"name": "Douglas"},
    "account": {"name": "Grace"},
    "as_of": {"version": 7, "at": "2026-11-21T08:15:02.114Z"},
    "overdue": [],
}


def totals(lines: int) -> list[list[str]]:
    """The rows of sums of a statement with so many lines of 1.00 each."""
    booked = [
        Booked(version=number, at="2026-11-21T08:00:00.000Z", currency="GBP", minor=100, what="Fees")
        for number in range(lines)
    ]
    page = statement_page(SAID, shown(statement_of(booked)), is_for_print=True)
    return [re.findall(r"<td[^>]*>([^<]*)</td>", row)[1:] for row in re.findall(r'<tr class="total">.*?</tr>', page)]


def test_a_short_statement_is_one_page_between_its_balances() -> None:
    assert totals(2) == [["opening balance", "", "", "0.00"], ["closing balance", "2.00", "0.00", "2.00"]]


def test_a_long_statement_is_carried_over_from_page_to_page() -> None:
    full = f"{LINES_ON_PAGE}.00"

    assert totals(LINES_ON_PAGE + 1) == [
        ["opening balance", "", "", "0.00"],
        ["carried forward, this page", full, "0.00", full],
        ["brought forward", "", "", full],
        ["closing balance, this page", "1.00", "0.00", f"{LINES_ON_PAGE + 1}.00"],
        ["in all", f"{LINES_ON_PAGE + 1}.00", "0.00", f"{LINES_ON_PAGE + 1}.00"],
    ]


@pytest.mark.parametrize(
    ("minor", "told"),
    [
        (1_234_500, "<span>To pay</span><strong>12,345.00 GBP</strong>"),
        (-1_200, "<span>In credit</span><strong>12.00 GBP</strong>"),
        (0, "<span>Nothing to pay</span><strong>0.00 GBP</strong>"),
    ],
)
def test_a_statement_says_first_what_is_to_be_paid(minor: int, told: str) -> None:
    booked = [Booked(version=1, at="2026-11-21T08:00:00.000Z", currency="GBP", minor=minor, what="Fees")]
    page = statement_page(SAID, shown(statement_of(booked)), is_for_print=True)
    assert told in page[: page.index("<table>")]


@pytest.mark.parametrize(("what", "told"), [("momo", "mobile money"), ("paid back: momo", "paid back: mobile money")])
def test_a_statement_has_no_short_names_of_methods(what: str, told: str) -> None:
    booked = [Booked(version=1, at="2026-11-21T08:00:00.000Z", currency="GBP", minor=-100, what=what)]
    assert f"<td>{told}</td>" in statement_page(SAID, shown(statement_of(booked)), is_for_print=True)


def test_days_and_times_are_those_of_the_town() -> None:
    late = Booked(version=1, at="2026-11-20T21:30:00.000Z", currency="KES", minor=100, what="Fees")
    said = {**SAID, "town": {"name": "Kisumu", "time_zone": "Africa/Nairobi"}}
    page = statement_page(said, shown(statement_of([late])), is_for_print=True)

    assert "as of 2026-11-21 11:15 EAT" in page
    assert '<td class="day">2026-11-21</td>' in page


def test_an_account_without_lines_says_so() -> None:
    assert "Nothing was booked." in statement_page(SAID, [], is_for_print=True)
