"""What it came to: the merged tables as they stand, each thing that went wrong with what was decided about it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from server.cli.demo import books, script
from server.cli.demo.day import Crew, OfflineDay
from server.cli.demo.stage import Stage

MESSAGES_SECONDS_MAX = 20.0
"""How long the work may take; the scheduler alone comes every five seconds."""

POLL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """One adjustment as people read it; conflict and task are empty where nobody has to look."""

    rule: str
    order: str
    sentence: str
    conflict: str
    task: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderNow:
    """An order in the end: its three axes (commercial, custody, payment), what is displayed, and the money."""

    number: str
    axes: tuple[str, str, str]
    status: str
    total_pence: int
    paid_pence: int
    credit_pence: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Shelf:
    """A product in the end, in pieces. `booked` and `handed_over` come from the tally, all else from the tables."""

    sku: str
    name: str
    opening: int
    booked: int
    handed_over: int
    on_hand: int
    moved: int
    reserved: int
    reserved_by_orders: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Till:
    """A driver's cash, in pence: what went from hand to hand, what the phone says, what the town has booked."""

    device: str
    payments: int
    taken_pence: int
    phone_pence: int
    booked_pence: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """Something a customer is told: what the change asked for, and what the worker has written."""

    order: str
    asked: str
    written: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Everything that the last two scenes show.

    `levels` are what each tablet now shows of the product that both have booked; `let_go` are the orders that Jo's
    phone had on its tour and has no more, because Sam has delivered them.
    """

    told: Sequence[Told]
    orders: Sequence[OrderNow]
    shelves: Sequence[Shelf]
    tills: Sequence[Till]
    messages: Sequence[Message]
    levels: Mapping[str, int]
    let_go: Sequence[str]


def gather(stage: Stage, crew: Crew, day: OfflineDay) -> Result:
    """Read the tables, once the worker has done its part."""
    _await_worker(stage)
    return Result(
        told=_told(stage),
        orders=_orders(stage),
        shelves=_shelves(stage, crew),
        tills=_tills(stage, crew),
        messages=[
            Message(order=row["number"], asked=row["asked"], written=row["text"])
            for row in stage.books.rows(books.MESSAGES)
        ],
        levels={app.device.name: app.level(script.BOTH_BOOK)["on_hand"] for app in (crew.alex, crew.kim)},
        let_go=_let_go(stage, crew, day),
    )


def _await_worker(stage: Stage) -> None:
    """What is late stays open in the outbox, and the proof says so."""
    deadline = time.monotonic() + MESSAGES_SECONDS_MAX
    while stage.books.one(books.UNDONE)["open"] and time.monotonic() < deadline:
        stage.teller.doing("The worker writes to the customers")
        time.sleep(POLL_SECONDS)


def _told(stage: Stage) -> list[Told]:
    left = {(row["rule"], row["sentence"]): row for row in stage.books.rows(books.CONFLICTS)}
    told = []
    for row in stage.books.rows(books.CHANGE_SETS):
        for note in orjson.loads(row["verdict"]).get("notes", ()):
            conflict = left.get((note["code"], note["text"]), {})
            told.append(
                Told(
                    rule=note["code"],
                    order=note["data"].get("number") or note["data"].get("title") or "",
                    sentence=note["text"],
                    conflict=conflict.get("kind", ""),
                    task=conflict.get("task") or "",
                )
            )
    return told


def _orders(stage: Stage) -> list[OrderNow]:
    return [
        OrderNow(
            number=row["number"],
            axes=(row["commercial"], row["custody"], row["payment"]),
            status=row["status"],
            total_pence=row["total_minor"],
            paid_pence=row["paid_minor"],
            credit_pence=row["credit_minor"],
        )
        for row in stage.books.rows(books.ORDERS)
    ]


def _shelves(stage: Stage, crew: Crew) -> list[Shelf]:
    reserved: Counter[str] = Counter()
    for order in stage.books.rows(books.ORDERS):
        for line in order["lines"]:
            reserved[line["sku"]] += line["reserved"]
    handed_over: Counter[str] = Counter()
    for number in crew.tally.handed_over:
        handed_over.update(stage.world.orders[number].pieces)
    return [
        Shelf(
            sku=row["sku"],
            name=row["name"],
            opening=stage.world.opening[row["sku"]],
            booked=crew.tally.booked[row["sku"]],
            handed_over=handed_over[row["sku"]],
            on_hand=row["on_hand"],
            moved=int(row["moved"]),
            reserved=row["reserved"],
            reserved_by_orders=reserved[row["sku"]],
        )
        for row in stage.books.rows(books.STOCK)
    ]


def _tills(stage: Stage, crew: Crew) -> list[Till]:
    booked = stage.books.rows(books.PAYMENTS)
    tills = []
    for app in (crew.sam, crew.jo):
        name = app.device.name
        taken = [cash.pence for cash in crew.tally.cash if cash.driver == name]
        tills.append(
            Till(
                device=name,
                payments=len(taken),
                taken_pence=sum(taken),
                phone_pence=app.cash_in_hand(),
                booked_pence=sum(row["amount_minor"] for row in booked if row["device"] == name),
            )
        )
    return tills


def _let_go(stage: Stage, crew: Crew, day: OfflineDay) -> list[str]:
    gone = set(day.jos_tour) - {job["number"] for job in crew.jo.jobs()}
    sams = {row["number"] for row in stage.books.rows(books.ORDERS) if row["driver_id"] == crew.sam.device.user}
    return sorted(gone & sams)
