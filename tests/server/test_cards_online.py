"""Cards online from a page to the last word: over real HTTP, in a real database, through what goes wrong on the way."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from server.adapters.payments.card_sandbox import Chaos
from server.adapters.postgres.outbox import PostgresJobs
from server.application.callback_ports import Callback
from server.application.commands.settle_payments import CARD_DEADLINE_SECONDS, LAST_ASK_SECONDS, NOT_REACHED
from server.application.payment_ports import WordKind
from sync.kernel.clock import format_time
from sync.kernel.ids import derived_id
from sync.modules.billing import RequestRefund
from tests.support.card_town import CardTown, card_town
from tests.support.write_path import findings, stored


@pytest.fixture
async def cards(migrated_database: str) -> AsyncIterator[CardTown]:
    async with card_town(migrated_database) as town:
        yield town


async def test_what_is_paid_on_the_page_is_confirmed_by_the_providers_word(cards: CardTown) -> None:
    payment = await cards.pay()
    assert await cards.status(payment) == "PENDING"

    await cards.settle()

    charge = f"ch_{cards.held(payment).id[-12:]}"
    assert await cards.settlement(payment) == ("CONFIRMED", 250, "GBP", charge, "")
    assert await cards.said() == ["payment.request_card", "payment.confirm"]
    assert await stored(cards.town, "SELECT sum(debit_minor) FROM journal_entries WHERE account = 'card_clearing'") == [
        (250,)
    ]
    assert (await cards.town.undone(), await findings(cards.town)) == (0, ())


@pytest.mark.parametrize(
    ("number", "reason"), [("4000000000000002", "card_declined"), ("4000000000000119", "something_new")]
)
async def test_a_card_that_is_declined_fails_with_its_reason_whatever_it_is(
    cards: CardTown, number: str, reason: str
) -> None:
    payment = await cards.pay(number)

    await cards.settle()

    status, *_, why = await cards.settlement(payment)
    assert (status, why) == ("FAILED", reason)


async def test_a_page_that_was_never_opened_fails_once_it_would_have_been_closed(cards: CardTown) -> None:
    payment = await cards.ask_for()

    for _ in range(CARD_DEADLINE_SECONDS // 60 - 1):
        await cards.work(60)
    assert await cards.status(payment) == "PENDING"
    await cards.work(60)

    status, *_, why = await cards.settlement(payment)
    assert (status, why, await cards.town.undone()) == ("FAILED", NOT_REACHED, 0)


async def test_what_stays_in_the_air_is_asked_for_after_a_day_once_more_and_then_expires(cards: CardTown) -> None:
    payment = await cards.pay("4000000000003238")
    await cards.work(CARD_DEADLINE_SECONDS)
    assert await cards.status(payment) == "PENDING"

    await cards.work(LAST_ASK_SECONDS)

    assert (await cards.status(payment), await cards.conflicts()) == ("EXPIRED", ["expired"])


async def test_money_that_comes_late_is_money(cards: CardTown) -> None:
    payment = await cards.pay("4000000000000002")
    await cards.settle()
    cards.held(payment).set_to = WordKind.SUCCESSFUL

    await cards.call_back(payment)
    await cards.work()

    assert (await cards.status(payment), await cards.conflicts()) == ("CONFIRMED", ["late_confirmation"])


async def test_what_was_paid_counts_and_not_what_was_asked(cards: CardTown) -> None:
    payment = await cards.pay("4000000000000341")

    await cards.settle()

    assert (await cards.settlement(payment))[:2] == ("CONFIRMED", 100)
    assert await cards.conflicts() == ["amount_mismatch"]


async def test_a_charge_back_is_heard_by_a_webhook_and_takes_the_money_back_once(cards: CardTown) -> None:
    payment = await cards.pay()
    await cards.settle()
    cards.held(payment).set_to = WordKind.REVERSED

    for _ in range(2):
        await cards.call_back(payment)
        await cards.work()

    assert (await cards.status(payment), await cards.conflicts()) == ("REVERSED", ["reversed"])
    assert (await cards.said()).count("payment.reverse") == 1
    assert await findings(cards.town) == ()


async def test_what_was_paid_and_taken_back_before_anybody_asked_is_booked_as_both(cards: CardTown) -> None:
    payment = await cards.pay()
    cards.held(payment).set_to = WordKind.REVERSED

    await cards.settle()

    assert await cards.status(payment) == "REVERSED"
    assert await cards.said() == ["payment.request_card", "payment.confirm", "payment.reverse"]
    assert await findings(cards.town) == ()


async def test_a_forged_hint_costs_a_question_and_moves_nothing(cards: CardTown) -> None:
    payment = await cards.ask_for()
    await cards.open(payment)

    await cards.call_back(payment)
    await cards.work()

    assert (await cards.status(payment), await cards.said()) == ("PENDING", ["payment.request_card"])


async def test_an_event_of_which_there_are_two_is_left_to_a_person(cards: CardTown) -> None:
    town, event = cards.town, derived_id("altered")
    now = format_time(town.system.now_ms())
    came = {"received_at": now, "method": "POST", "content_type": "", "body": b"{}"}
    await town.inbox.keep(Callback(id=event, town_id=town.id, kind="card.altered", data={}, **came))  # type: ignore[arg-type]

    await cards.work()

    (job,) = await PostgresJobs(town.pool).undone(town.id, 10)
    assert (job.kind, job.is_dead, str(job.problem).partition(":")[0]) == ("card.altered", True, "callback_altered")


async def test_a_provider_that_fails_and_hangs_is_asked_again(cards: CardTown) -> None:
    payment = await cards.pay()
    cards.sandbox.have(Chaos(on_get=("500", "cut", "500_in")))

    for _ in range(6):
        await cards.work(60)

    assert await cards.status(payment) == "CONFIRMED"


async def test_a_refund_goes_back_to_the_card_once(cards: CardTown) -> None:
    payment, refund = await cards.pay(), cards.town.new_id()
    await cards.settle()
    said = {"id": refund, "payment": payment, "amount": "1.50", "currency": "GBP", "method": "card", "reason": "broken"}
    await cards.town.author(RequestRefund.model_validate(said))

    await cards.settle(times=4)

    assert await stored(cards.town, "SELECT state, paid_minor FROM refunds") == [("PAID", 150)]
    assert [held.made.amount for held in cards.sandbox.refunds.values()] == [150]
    assert (await cards.town.undone(), await findings(cards.town)) == (0, ())
