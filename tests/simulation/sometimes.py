"""What must happen now and then: a simulator that never comes somewhere proves nothing about it.

Every failpoint, verdict, rule, conflict kind and fault that worlds can reach is counted. A long run in which one of
them never happened fails and names it. What worlds cannot reach stands here with its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from sync.kernel.changeset import Status
from tests.simulation.faults import KINDS
from tests.simulation.rules import SERVER_RULES
from tests.support.failpoints import SIDES, of_side

NIGHTLY_SEEDS: Final = 20_000
"""From so many seeds on, everything must have happened."""

NOT_REACHED: Final[Mapping[str, str]] = {
    "step archive": "a job over tables of PostgreSQL; its operation is authored here",
    "step forget": "a job over tables of PostgreSQL",
    "step missing": "a job over tables of PostgreSQL; its operation is authored here",
    "step overdue": "a job over tables of PostgreSQL; its operation is authored here",
    "step reauthor": "steps of the SQLite store; what they are about happens here too",
    "step settle": "steps of the SQLite store; what they are about happens here too",
    "step papers": "papers are made by a printer, from statements in PostgreSQL",
    "step reminders": "a job over tables of PostgreSQL, and a gateway outside",
    "step statements": "a job over tables of PostgreSQL",
    "step snapshot.after_part": "a part of a file is a megabyte, and files are small here",
    "step tombstones": "a job over tables of PostgreSQL",
    "step person": "people of the office are added by a command over accounts in PostgreSQL",
    "step unpaid": "a job over tables of PostgreSQL; its operation is authored here",
    "step wipe.before_key": "a store in memory has no file and no key",
    "step wipe.after_key": "a store in memory has no file and no key",
    "rule engine.arrived_unfit": "no rule of ours objects to a fact that has waited; rules of others may",
    "conflict arrived_unfit": "no rule of ours objects to a fact that has waited; rules of others may",
    "rule engine.quarantined": "a verdict says why instead: the rule of what is in quarantine is the reason for it",
    "rule payments.sum_too_large": "takes more money than there is",
    "conflict sum_too_large": "takes more money than there is",
    "rule payments.invoice_sum_too_large": "takes more money than there is",
    "rule engine.signed_amount": "the SDK writes no amount below zero",
    "rule people.device_needs": "the command that makes a code asks for what a device needs before",
}
"""By name, or by story: why it does not happen here. Each of them has tests elsewhere."""

EVENTS: Final = frozenset(
    {
        "a statement is kept",
        "a statement is not kept",
        "a snapshot is taken",
        "a snapshot is made while the town writes",
        "a snapshot without its file is forgotten",
        "a download goes on where it was torn",
        "a device goes on without files",
        "a device is enrolled during the day",
        "an enrolment is asked for again",
        "an enrolment is lost with the end of a history",
    }
)
"""What else has to happen, by the words in which worlds tell of it."""


def wanted() -> frozenset[str]:
    """Everything that a long run must have seen."""
    steps = {f"step {name}" for side in SIDES for name in of_side(side)}
    cases = SERVER_RULES.cases.values()
    rules = {f"rule {case.id}" for case in cases}
    conflicts = {f"conflict {case.conflict}" for case in cases if case.conflict}
    verdicts = {f"verdict {status.value}" for status in Status}
    faults = {f"fault {kind}" for kind in KINDS}
    return frozenset(one for one in steps | rules | conflicts | verdicts | faults | EVENTS if not _is_left_out(one))


def missing(seen: Iterable[str]) -> list[str]:
    """What should have happened and has not."""
    return sorted(wanted() - set(seen))


def _is_left_out(name: str) -> bool:
    return name in NOT_REACHED or (name.startswith("step ") and name.partition(".")[0] in NOT_REACHED)
