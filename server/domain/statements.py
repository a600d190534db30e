"""A statement: what an account was charged and what came in, line by line with the balance after it. Pure.

An account is a party's: what it owes for invoices, less what it has paid beyond them. A balance above zero is owed, one
below zero is credit. A statement of a school has the lines of all its students, each with their name.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from server.domain.local_time import day
from sync.kernel.money import minor_digits, to_amount

COLUMNS: Final = ("date", "name", "what", "charged", "received", "balance", "currency")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet takes for the beginning of a formula (OWASP, CSV Injection)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Booked:
    """What one act has changed in an account: above zero it is charged, below zero it came in."""

    version: int
    at: str
    currency: str
    minor: int
    what: str
    name: str = ""


def statement_of(booked: Iterable[Booked]) -> list[dict[str, Any]]:
    """For each currency its lines in the order of the books, each with the balance after it, and the sums.

    All sums are in minor units: `opening` (0, the account's beginning), `charged`, `received`, `closing`.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for one in booked:
        lines = found.setdefault(one.currency, [])
        before = lines[-1]["balance_minor"] if lines else 0
        line = {"version": one.version, "at": one.at, "name": one.name, "what": one.what, "minor": one.minor}
        lines.append({**line, "balance_minor": before + one.minor})
    return [_section(currency, lines, 0) for currency, lines in sorted(found.items())]


def within(
    sections: Sequence[Mapping[str, Any]], since: str | None, until: str | None, zone: str
) -> list[dict[str, Any]]:
    """The same for the days from `since` to `until`, both included; what was before them is the opening balance.

    A day begins and ends where the town is, in the time zone `zone`.
    """
    if since is None and until is None:
        return [dict(section) for section in sections]
    return [_cut(section, since or "", until or "9999-12-31", zone) for section in sections]


def shown(sections: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """As a document: amounts are decimal strings."""
    return [
        {
            "currency": section["currency"],
            **{name: to_amount(section[name], section["currency"]) for name in _SUMS},
            "lines": [_shown(line, section["currency"]) for line in section["lines"]],
        }
        for section in sections
    ]


def read_back(sections: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What `shown` had shown, in minor units again."""
    return [
        {
            "currency": section["currency"],
            **{name: _minor(section[name], section["currency"]) for name in _SUMS},
            "lines": [_read_line(line, section["currency"]) for line in section["lines"]],
        }
        for section in sections
    ]


def as_csv(sections: Sequence[Mapping[str, Any]], zone: str) -> str:
    """One table, a line for each booking with its day in `zone`; no cell is a formula to whoever opens it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for section in sections:
        currency = section["currency"]
        writer.writerow(["", "", "opening balance", "", "", to_amount(section["opening"], currency), currency])
        for line in section["lines"]:
            told = _shown(line, currency)
            texts = [_harmless(told[name]) for name in ("name", "what")]
            writer.writerow(
                [day(told["at"], zone), *texts, told["charged"], told["received"], told["balance"], currency]
            )
        sums = [to_amount(section[name], currency) for name in ("charged", "received", "closing")]
        writer.writerow(["", "", "closing balance", *sums, currency])
    return out.getvalue()


_SUMS: Final = ("opening", "charged", "received", "closing")


def _section(currency: str, lines: list[dict[str, Any]], opening: int) -> dict[str, Any]:
    return {
        "currency": currency,
        "opening": opening,
        "charged": sum(line["minor"] for line in lines if line["minor"] > 0),
        "received": -sum(line["minor"] for line in lines if line["minor"] < 0),
        "closing": lines[-1]["balance_minor"] if lines else opening,
        "lines": lines,
    }


def _cut(section: Mapping[str, Any], since: str, until: str, zone: str) -> dict[str, Any]:
    days = [day(line["at"], zone) for line in section["lines"]]
    before = [line for line, on in zip(section["lines"], days, strict=True) if on < since]
    inside = [line for line, on in zip(section["lines"], days, strict=True) if since <= on <= until]
    return _section(section["currency"], inside, before[-1]["balance_minor"] if before else section["opening"])


def _shown(line: Mapping[str, Any], currency: str) -> dict[str, Any]:
    minor = line["minor"]
    return {
        "version": line["version"],
        "at": line["at"],
        "name": line["name"],
        "what": line["what"],
        "charged": to_amount(minor, currency) if minor > 0 else "",
        "received": to_amount(-minor, currency) if minor < 0 else "",
        "balance": to_amount(line["balance_minor"], currency),
    }


def _read_line(line: Mapping[str, Any], currency: str) -> dict[str, Any]:
    kept = {name: line[name] for name in ("version", "at", "name", "what")}
    minor = _minor(line["charged"], currency) if line["charged"] else -_minor(line["received"], currency)
    return {**kept, "minor": minor, "balance_minor": _minor(line["balance"], currency)}


def _minor(amount: str, currency: str) -> int:
    return int(Decimal(amount).scaleb(minor_digits(currency)))


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
