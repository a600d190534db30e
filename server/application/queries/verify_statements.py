"""The part of `verify` that is about statements: each is what the ledger gives at its version, to the cent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from server.application.evidence import StoredStatement, TownEvidence
from server.domain.statements import Booked, read_back, statement_of
from sync.engine.replay import Finding, Replay

Act = tuple[int, str, int]
"""(version, currency, minor units)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ledger:
    """What each party's account was changed by, and the parties of each school with their students' last change."""

    acts: Mapping[str, Sequence[Act]]
    students: Mapping[str, Sequence[tuple[str, int]]]


async def compare_statements(replay: Replay, evidence: TownEvidence) -> None:
    """Add a finding for each statement that does not follow from the journal.

    One of a school whose students have changed since is not looked at: nobody is shown it.
    """
    ledger = _ledger(replay)
    async for stored in evidence.statements():
        if (what := _compare(ledger, stored)) is not None:
            replay.findings.append(Finding(where=f"statement of {stored.kind} {stored.owner_id}", what=what))


def _compare(ledger: _Ledger, stored: StoredStatement) -> str | None:
    students = ledger.students.get(stored.owner_id, ())
    is_school = stored.kind == "school"
    if is_school and (len(students) != stored.accounts or any(at > stored.version for _, at in students)):
        return None
    parties = [party for party, _ in students] if is_school else [stored.owner_id]
    given = sorted(act for party in parties for act in ledger.acts.get(party, ()) if act[0] <= stored.version)
    try:
        sections = read_back(orjson.loads(stored.body))
        said = sorted(
            (line["version"], section["currency"], line["minor"]) for section in sections for line in section["lines"]
        )
        is_added_up = statement_of(_booked(sections)) == sections
    except (ValueError, KeyError, TypeError, ArithmeticError):
        return "it cannot be read"
    if said != given:
        return f"it has {_sums(said)}, the ledger gives {_sums(given)} at version {stored.version}"
    return None if is_added_up else "its balances and sums are not those of its lines"


def _booked(sections: Iterable[Mapping[str, Any]]) -> Iterable[Booked]:
    for section in sections:
        for line in section["lines"]:
            fields = {name: line[name] for name in ("version", "at", "name", "what", "minor")}
            yield Booked(currency=section["currency"], **fields)


def _ledger(replay: Replay) -> _Ledger:
    """An act is one line, whatever accounts of a party it goes through; what only moves inside of them is none."""
    sums: dict[tuple[Any, ...], int] = defaultdict(int)
    students: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for _, student in replay.rows.ordered("student"):
        students[student.fields["school_id"]].append((student.fields["party_id"], student.version))
    for _, entry in replay.rows.ordered("journal_entry"):
        row = entry.fields
        if row["account"].startswith(("receivable:", "credit:")):
            about = (row["payment_id"], None if row["payment_id"] else row["invoice_id"])
            act = (row["party_id"], entry.version, row["currency"], row["device_id"], row["seq"], *about)
            sums[act] += row["debit_minor"] - row["credit_minor"]
    acts: dict[str, list[Act]] = defaultdict(list)
    for (party, version, currency, *_), minor in sums.items():
        if minor:
            acts[party].append((version, currency, minor))
    return _Ledger(acts=acts, students=students)


def _sums(acts: Sequence[Act]) -> str:
    total: dict[str, int] = defaultdict(int)
    for _, currency, minor in acts:
        total[currency] += minor
    told = ", ".join(f"{minor} minor units of {currency}" for currency, minor in sorted(total.items()))
    return f"{len(acts)} lines over {told or 'nothing'}"
