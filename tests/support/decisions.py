"""How a decision is told in a test: the verdict, and every conflict and task it has left, as whole values."""

from __future__ import annotations

from dataclasses import dataclass, field

from sync.engine.stubs import stub_keys
from sync.engine.town import Answered
from sync.kernel.changeset import ChangeSet, Fields
from sync.kernel.clock import format_time
from sync.kernel.ids import derived_id
from sync.modules.commerce import CompletePack, PickLine, StartDelivery, StartPick
from sync.modules.commerce.entities import stock_level_id
from tests.support.town_in_memory import MarketTown

ROWS_MAX = 40
"""More rows than one change set of a test makes."""


@dataclass(frozen=True, kw_only=True)
class Left:
    """A conflict and its task, without what follows from the line itself."""

    kind: str
    sentence: str
    about: tuple[str, str]
    by: str
    said: Fields = field(default_factory=dict)
    had: Fields = field(default_factory=dict)
    outcome: str = ""
    task: str
    audience: str = ""


@dataclass(frozen=True, kw_only=True)
class Told:
    """A verdict in words, and what it has left."""

    status: str
    rule: str | None = None
    sentences: tuple[str, ...] = ()
    left: tuple[Left, ...] = ()


ACCEPTED = Told(status="accepted")


def refused(rule: str, sentence: str) -> Told:
    """A refusal: one reason, nothing left behind."""
    return Told(status="refused", rule=rule, sentences=(sentence,))


def noted(rule: str, *sentences: str) -> Told:
    """An adjustment that leaves nobody anything to do."""
    return Told(status="adjusted", rule=rule, sentences=sentences)


def adjusted(rule: str, *left: Left, also: tuple[str, ...] = ()) -> Told:
    """An adjustment with its conflicts; `also` are sentences without one."""
    return Told(status="adjusted", rule=rule, sentences=(*(each.sentence for each in left), *also), left=left)


def told(town: MarketTown, answered: Answered) -> Told:
    """What was decided of a line, from its verdict and from the rows it names."""
    verdict = answered.verdict
    return Told(
        status=verdict.status.value,
        rule=verdict.rule,
        sentences=tuple(note.text for note in verdict.notes),
        left=tuple(_left(town, answered, conflict) for conflict in verdict.conflicts),
    )


def _left(town: MarketTown, answered: Answered, conflict_id: str) -> Left:
    """The conflict and its task; everything in them that follows from the line is checked here."""
    change_set = answered.submitted.change_set
    assert isinstance(change_set, ChangeSet)
    conflict = dict(town.row("conflict", conflict_id))
    [(task_id, task)] = [
        (row_id, row) for row_id, row in town.rows_of("task").items() if row["conflict_id"] == conflict_id
    ]
    assert conflict["rule"] in {note.code for note in answered.verdict.notes}
    assert {name: conflict[name] for name in ("device_id", "seq", "actor_id", "state", "raised_at")} == {
        "device_id": change_set.device,
        "seq": change_set.seq,
        "actor_id": change_set.actor,
        "state": "open",
        "raised_at": format_time(town.now_ms),
    }
    assert ("conflict", conflict_id) in town.bucket(f"device:{change_set.device}")
    buckets = {bucket for bucket, entity, row_id in town.feed if (entity, row_id) == ("task", task_id)}
    assert buckets == ({task["audience"]} if task["audience"] else set())
    about = (conflict["subject_entity"], conflict["subject_id"])
    assert task == {
        "conflict_id": conflict_id,
        "kind": conflict["kind"],
        "text": task["text"],
        "subject_entity": about[0],
        "subject_id": about[1],
        "audience": task["audience"],
        "state": "open",
        "raised_at": conflict["raised_at"],
        "closed": None,
    }
    assert (conflict["task_id"], conflict["resolution"]) == (task_id, None)
    return Left(
        kind=conflict["kind"],
        sentence=conflict["sentence"],
        about=about,
        by=conflict["operation"],
        said=conflict["said"],
        had=conflict["had"],
        outcome=conflict["outcome"],
        task=task["text"],
        audience=task["audience"],
    )


def quarantined(rule: str, reason: str, source: Answered) -> Told:
    """Kept without effect: one reason, and a task for the office to find out what happened."""
    change_set = source.submitted.change_set
    assert isinstance(change_set, ChangeSet)
    left = Left(
        kind="quarantined",
        sentence=f"{reason} What was recorded is kept, without effect.",
        about=("device", change_set.device),
        by=change_set.ops[0].op,
        task=f"Change set {change_set.seq} of this device has no effect: find out what happened, "
        "and book it in the office",
    )
    return Told(status="quarantined", rule=rule, sentences=(reason,), left=(left,))


def signed_amount(problem: str, source: Answered) -> Told:
    """No payment, and somebody finds out how a device came to sign it."""
    change_set = source.submitted.change_set
    assert isinstance(change_set, ChangeSet)
    reason = f"The amount cannot be: {problem}."
    left = Left(
        kind="security",
        sentence=f"{reason} The device has signed it all the same.",
        about=("device", change_set.device),
        by=change_set.ops[0].op,
        task=f"Change set {change_set.seq} of this device says an amount that it should have refused: find out whether "
        "money was taken, and whether somebody has changed the app",
    )
    return Told(status="refused", rule="engine.invalid_amount", sentences=(reason,), left=(left,))


def axes(town: MarketTown, order: str) -> tuple[str, str, str, str]:
    """Commercial, custody and payment axis of an order, and the status people see."""
    row = town.row("order", order)
    return row["commercial"], row["custody"], row["payment"], row["status"]


def money(town: MarketTown, order: str) -> tuple[int, int, int]:
    """Total, paid and credit of an order in minor units."""
    row = town.row("order", order)
    return row["total_minor"], row["paid_minor"], row["credit_minor"]


def shelf(town: MarketTown, product: str) -> tuple[int, int]:
    """On hand and reserved of a product."""
    row = town.row("stock_level", stock_level_id(town.warehouse, product))
    return row["on_hand"], row["reserved"]


def way(town: MarketTown, order: str) -> list[str]:
    """The steps of the goods after the order was placed, in order; implied ones in parentheses."""
    events = [row for line in moves(town, order) for row in line]
    steps = [f"({row['to_custody']})" if row["is_implied"] else str(row["to_custody"]) for row in events]
    return steps[1:]


def moves(town: MarketTown, order: str) -> list[list[Fields]]:
    """The custody events of an order as each line made them, in order; lines that moved nothing are left out.

    The ids inside one change set are derived from a counter, which is followed here.
    """
    found = []
    for place in _decided(town):
        ids = [derived_id("order_status_event", *place, number) for number in range(1, ROWS_MAX + 1)]
        rows = [town.row("order_status_event", row_id) for row_id in ids if ("order_status_event", row_id) in town.rows]
        found.append([row for row in rows if row["order_id"] == order and row["from_custody"] != row["to_custody"]])
    return [rows for rows in found if rows]


def _decided(town: MarketTown) -> list[tuple[str | int, ...]]:
    """What the ids of each line begin with, in the order of effect: what waited comes after what it waited for."""
    found: list[tuple[str | int, ...]] = []
    for answered in town.answered:
        found.append((answered.submitted.device, answered.submitted.seq))
        change_set = answered.submitted.change_set
        assert isinstance(change_set, ChangeSet)
        for key in stub_keys(change_set.ops, town.registry) if answered.verdict.status.has_effect else ():
            if key in town.rows and town.row(*key)["state"] == "merged":
                found += [(fact["device_id"], fact["seq"], key[1]) for fact in town.row(*key)["facts"]]
    return found


def states(town: MarketTown) -> list[tuple[str, str, int]]:
    """Driver, state and attempt of every dispatch, oldest first."""
    names = {town.driver_a: "A", town.driver_b: "B"}
    rows = sorted(town.rows_of("dispatch").items())
    return [(names[row["driver_id"]], row["state"], row["attempt"]) for _, row in rows]


def pack(town: MarketTown, order: str) -> None:
    """The whole order is picked and packed, every step reported."""
    for operation in (
        StartPick(order=order),
        *(
            PickLine(order=order, product=line["product_id"], quantity=line["quantity"])
            for line in town.row("order", order)["lines"]
        ),
        CompletePack(order=order),
    ):
        town.does(town.tablet, town.picker, operation)


def depart(town: MarketTown, order: str) -> str:
    """The order is packed and on the van of driver A; returns the dispatch."""
    dispatch = town.assigns(order)
    pack(town, order)
    town.does(town.van_a, town.driver_a, StartDelivery(dispatch=dispatch))
    return dispatch
