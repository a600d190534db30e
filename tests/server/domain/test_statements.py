"""A statement as a function of what was booked: balances that run, days that are cut out, tables without formulas."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.domain.statements import COLUMNS, Booked, as_csv, read_back, shown, statement_of, within


def booked(day: int, minor: int, what: str = "Fees", currency: str = "GBP", name: str = "") -> Booked:
    at = f"2026-11-{day:02}T09:00:00.000Z"
    return Booked(version=day, at=at, currency=currency, minor=minor, what=what, name=name)


ZONE = "UTC"
ACTS = [booked(1, 4500), booked(10, -2000, "cash"), booked(20, -3000, "momo"), booked(21, 500, "paid back: cash")]


def test_each_line_has_the_balance_after_it() -> None:
    (section,) = shown(statement_of(ACTS))

    assert [(line["charged"], line["received"], line["balance"]) for line in section["lines"]] == [
        ("45.00", "", "45.00"),
        ("", "20.00", "25.00"),
        ("", "30.00", "-5.00"),
        ("5.00", "", "0.00"),
    ]
    assert {name: section[name] for name in ("opening", "charged", "received", "closing")} == {
        "opening": "0.00",
        "charged": "50.00",
        "received": "50.00",
        "closing": "0.00",
    }


def test_each_currency_has_a_statement_of_its_own() -> None:
    sections = shown(statement_of([booked(1, 100), booked(2, 7, currency="JPY"), booked(3, -40)]))

    assert [(one["currency"], one["closing"]) for one in sections] == [("GBP", "0.60"), ("JPY", "7")]


@pytest.mark.parametrize(
    ("since", "until", "opening", "closing", "lines"),
    [
        (None, None, 0, 0, 4),
        ("2026-11-10", None, 4500, 0, 3),
        (None, "2026-11-10", 0, 2500, 2),
        ("2026-11-11", "2026-11-19", 2500, 2500, 0),
        ("2026-12-01", None, 0, 0, 0),
    ],
)
def test_some_days_begin_with_the_balance_before_them(
    since: str | None, until: str | None, opening: int, closing: int, lines: int
) -> None:
    (section,) = within(statement_of(ACTS), since, until, ZONE)

    assert (section["opening"], section["closing"], len(section["lines"])) == (opening, closing, lines)


@given(st.lists(st.tuples(st.integers(1, 28), st.integers(-(10**9), 10**9)), max_size=30), st.integers(1, 28))
def test_a_statement_is_the_sum_of_what_was_booked_wherever_it_is_cut(acts: list[tuple[int, int]], day: int) -> None:
    sections = statement_of(booked(on, minor) for on, minor in sorted(acts) if minor)
    assert read_back(shown(sections)) == sections
    for section in sections:
        total = sum(minor for _, minor in acts)
        assert section["closing"] == total == section["charged"] - section["received"]
    for before, after in zip(
        within(sections, None, f"2026-11-{day:02}", ZONE),
        within(sections, f"2026-11-{day + 1:02}", None, ZONE),
        strict=True,
    ):
        assert before["closing"] == after["opening"]


@pytest.mark.parametrize(
    ("zone", "lines"), [("UTC", 0), ("Africa/Nairobi", 1), ("Pacific/Kiritimati", 1), ("America/New_York", 0)]
)
def test_a_day_begins_where_the_town_is(zone: str, lines: int) -> None:
    late = Booked(version=1, at="2026-11-21T22:30:00.000Z", currency="KES", minor=100, what="cash")
    (section,) = within(statement_of([late]), "2026-11-22", "2026-11-22", zone)

    assert len(section["lines"]) == lines
    assert ("2026-11-22" in as_csv([section], zone)) is bool(lines)


def test_a_table_has_a_line_for_each_booking_between_its_balances() -> None:
    rows = list(csv.reader(io.StringIO(as_csv(within(statement_of(ACTS), "2026-11-10", "2026-11-20", ZONE), ZONE))))

    assert rows == [
        list(COLUMNS),
        ["", "", "opening balance", "", "", "45.00", "GBP"],
        ["2026-11-10", "", "cash", "", "20.00", "25.00", "GBP"],
        ["2026-11-20", "", "momo", "", "30.00", "-5.00", "GBP"],
        ["", "", "closing balance", "0.00", "50.00", "-5.00", "GBP"],
    ]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_name_and_no_title_is_a_formula(start: str) -> None:
    evil = f"{start}HYPERLINK(0)"
    text = as_csv(statement_of([booked(1, 100, what=evil, name=evil)]), ZONE)

    row = list(csv.reader(io.StringIO(text, newline="")))[2]
    assert (row[1], row[2]) == (f"'{evil}", f"'{evil}")
