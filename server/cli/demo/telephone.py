"""Mobile money in the demo: of three who are asked one pays at once, one when nobody listens, one too late."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from server.cli.demo import books, script
from server.cli.demo.world import pounds
from sync.modules.billing import RequestPayment

if TYPE_CHECKING:
    from server.cli.demo.day import Crew
    from server.cli.demo.stage import Stage

AT_THE_DOOR = script.PAID_AT_THE_DOOR_AND_BY_PHONE
WAIT_SECONDS_MAX = 25.0
"""The worker asks again after five seconds, and is swept every five."""

POLL_SECONDS = 0.05


def ask(stage: Stage, crew: Crew) -> None:
    """The office asks all three, by the provider; what each will do is theirs."""
    stage.teller.doing("Three customers are asked to pay by telephone")
    for bill in (script.MOORING, script.HUT):
        payment = crew.tally.asked[bill.title] = stage.office.new_id()
        invoice, amount = stage.world.bills[bill.title], pounds(bill.pence)
        _tell_provider(stage, bill.phone, is_looking=bill is script.MOORING)
        request = RequestPayment(id=payment, invoice=invoice, amount=amount, currency=script.CURRENCY, payer=bill.phone)
        stage.office.must(script.TOWN, request)
    order = stage.world.orders[AT_THE_DOOR]
    payment = crew.tally.asked[AT_THE_DOOR] = stage.office.new_id()
    _tell_provider(stage, script.DOOR_PHONE, is_looking=True)
    request = RequestPayment(
        id=payment,
        order=order.id,
        amount=pounds(order.total_pence),
        currency=script.CURRENCY,
        payer=script.DOOR_PHONE,
    )
    stage.office.must(script.TOWN, request)


def before_the_cut(stage: Stage, crew: Crew) -> None:
    """Isla pays, and the provider's call comes through; the counters have synced before and do not know."""
    _until(stage, "The provider has asked them", lambda: all(map(stage.provider.held, crew.tally.asked.values())))
    _until(stage, "Finlo does not look at his telephone", partial(_is, stage, crew, script.HUT.title, "FAILED"))
    _press(stage, crew, script.MOORING.title, script.MOORING.pence)
    _until(stage, "Isla pays by telephone", partial(_is, stage, crew, script.MOORING.title, "CONFIRMED"))


def during_the_day(stage: Stage, crew: Crew) -> None:
    """Somebody pays, and the provider's call finds nobody: the API is down."""
    _press(stage, crew, AT_THE_DOOR, stage.world.orders[AT_THE_DOOR].total_pence)


def before_the_driver_is_back(stage: Stage, crew: Crew) -> None:
    """The worker has asked by itself: what was paid at the door is what comes second, however slow this machine is."""
    _until(stage, "The worker asks the provider", partial(_is, stage, crew, AT_THE_DOOR, "CONFIRMED"))


def in_the_evening(stage: Stage, crew: Crew) -> None:
    """Finlo's thumb comes down long after the end; and the worker has asked by itself what nobody had heard."""
    _press(stage, crew, script.HUT.title, script.HUT.pence)
    for what in crew.tally.asked:
        _until(stage, "The worker asks the provider", partial(_is, stage, crew, what, "CONFIRMED"))


def status(stage: Stage, crew: Crew, what: str) -> str:
    """What the town's books say of a payment by telephone."""
    return str(stage.books.one(books.SETTLEMENT, payment=crew.tally.asked[what])["status"])


def _is(stage: Stage, crew: Crew, what: str, expected: str) -> bool:
    return status(stage, crew, what) == expected


def _tell_provider(stage: Stage, number: str, *, is_looking: bool) -> None:
    if is_looking:
        stage.provider.will_think(number)
    else:
        stage.provider.will_not_answer(number)


def _press(stage: Stage, crew: Crew, what: str, pence: int) -> None:
    stage.provider.press(crew.tally.asked[what])
    crew.tally.phoned[what] = pence


def _until(stage: Stage, step: str, is_so: Callable[[], bool]) -> None:
    """What does not come in time is missing, and the proof says so."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not is_so() and time.monotonic() < deadline:
        stage.teller.doing(step)
        time.sleep(POLL_SECONDS)
