"""Mobile money from a request to its last word: over real HTTP, in a real database, through every fault on the way."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from server.adapters.payments.scripts import Script
from server.adapters.postgres.outbox import PostgresJobs
from server.application.commands.settle_payments import (
    ASK_PAYER_SECONDS_MAX,
    DEADLINE_SECONDS,
    LAST_ASK_SECONDS,
    NOT_REACHED,
)
from server.application.commands.work_off_outbox import ATTEMPTS_MAX, BACKOFF_SECONDS_MAX
from server.application.payment_ports import WordKind
from server.domain.payments import provider_reference
from sync.kernel.clock import format_time
from sync.modules.billing import ApproveRefund, PayRefund, RequestPayment, RequestRefund
from tests.support.momo_town import PAYS, MomoTown, momo_town
from tests.support.write_path import findings, stored

CONFIRMED = {"status": "CONFIRMED", "amount_minor": 250, "currency": "GBP", "reference": "100000001", "reason": ""}


@pytest.fixture
async def money(migrated_database: str) -> AsyncIterator[MomoTown]:
    async with momo_town(migrated_database) as town:
        yield town


async def test_a_payment_is_asked_for_once_and_confirmed_by_the_providers_word(money: MomoTown) -> None:
    payment = await money.ask_for()

    await money.work()
    assert await money.status(payment) == "PENDING"
    await money.settle()

    assert await money.settlement(payment) == CONFIRMED
    assert (money.posts(payment), await money.said()) == (1, ["payment.request", "payment.confirm"])
    assert (await money.town.undone(), await findings(money.town)) == (0, ())


@pytest.mark.parametrize(("payer", "reason"), [("46733123451", "APPROVAL_REJECTED"), ("46733123459", "SOMETHING_NEW")])
async def test_a_payment_that_fails_keeps_the_reason_whatever_it_is(money: MomoTown, payer: str, reason: str) -> None:
    payment = await money.ask_for(payer)

    await money.settle()

    settlement = await money.settlement(payment)
    assert (settlement["status"], settlement["reason"]) == ("FAILED", reason)


@pytest.mark.parametrize("payer", ["46733123480", "46733123481", "46733123482", "46733123483", "46733123484"])
async def test_a_request_whose_answer_is_lost_is_made_once(money: MomoTown, payer: str) -> None:
    payment = await money.ask_for(payer)

    await money.settle(times=5)

    assert await money.settlement(payment) == CONFIRMED
    assert list(money.sandbox.requests) == [provider_reference(payment)]


async def test_a_request_that_is_not_found_at_first_is_not_made_twice(money: MomoTown) -> None:
    payment = await money.ask_for("46733123487")

    await money.settle(times=6)

    assert await money.settlement(payment) == CONFIRMED
    assert len(money.sandbox.requests) == 1


async def test_a_provider_that_does_not_say_anything_is_asked_again_less_and_less(money: MomoTown) -> None:
    payment = await money.ask_for("46733123485")

    for _ in range(8):
        await money.work(60)

    assert await money.settlement(payment) == CONFIRMED


async def test_what_stays_pending_is_asked_for_after_a_day_once_more_and_then_expires(money: MomoTown) -> None:
    payment = await money.ask_for("46733123453")
    await money.work()
    for _ in range(DEADLINE_SECONDS // 60 + 1):
        await money.work(60)
    held = money.sandbox.requests[provider_reference(payment)]
    asks = held.asks

    for hour in range(1, 24):
        await money.work(3600 if hour < 23 else 0)
    assert (held.asks, await money.status(payment)) == (asks, "PENDING")
    await money.work(LAST_ASK_SECONDS)

    assert (held.asks, await money.status(payment)) == (asks + 1, "EXPIRED")
    assert (await money.conflicts(), await money.town.undone()) == (["expired"], 0)


@pytest.mark.parametrize("before", ["FAILED", "EXPIRED"])
async def test_money_that_comes_late_is_money(money: MomoTown, before: str) -> None:
    payment = await money.ask_for("46733123453" if before == "EXPIRED" else "46733123451")
    await money.work()
    await money.work(LAST_ASK_SECONDS)
    assert await money.status(payment) == before
    money.sandbox.requests[provider_reference(payment)].set_to = WordKind.SUCCESSFUL

    await money.call_back(payment)
    await money.work()

    assert await money.status(payment) == "CONFIRMED"
    assert "late_confirmation" in await money.conflicts()


async def test_a_callback_confirms_at_once_and_the_payments_own_item_says_nothing_more(money: MomoTown) -> None:
    payment = await money.ask_for()
    await money.work()

    await money.call_back(payment)
    await money.work()
    assert await money.settlement(payment) == CONFIRMED
    await money.settle()

    assert await money.said() == ["payment.request", "payment.confirm"]


async def test_a_callback_that_comes_twice_and_from_before_has_one_effect(money: MomoTown) -> None:
    payment = await money.ask_for()
    await money.call_back(payment)  # before anything was asked for
    await money.work()

    for body in (b'{"status":"SUCCESSFUL"}', b'{"status":"PENDING"}', b'{"status":"SUCCESSFUL"}'):
        await money.call_back(payment, body)
    await money.settle()

    assert await money.settlement(payment) == CONFIRMED
    assert await money.said() == ["payment.request", "payment.confirm"]


@pytest.mark.parametrize("payer", ["46733123451", "46733123453"])
async def test_a_forged_callback_moves_no_money(money: MomoTown, payer: str) -> None:
    payment = await money.ask_for(payer)
    await money.work()

    await money.call_back(payment, b'{"status":"SUCCESSFUL","amount":"2.50","currency":"GBP"}')
    await money.work()

    assert await money.status(payment) == ("FAILED" if payer.endswith("1") else "PENDING")


async def test_what_is_confirmed_stays_so_when_the_provider_says_failed_later(money: MomoTown) -> None:
    payment = await money.ask_for()
    await money.settle()
    money.sandbox.requests[provider_reference(payment)].set_to = WordKind.FAILED

    await money.call_back(payment)
    await money.work()

    assert await money.status(payment) == "CONFIRMED"
    assert len(await money.conflicts()) == 1


async def test_what_was_paid_counts_and_not_what_was_asked(money: MomoTown) -> None:
    payment = await money.ask_for("46733123460")

    await money.settle()

    assert (await money.settlement(payment))["amount_minor"] == 100
    assert await money.conflicts() == ["amount_mismatch"]


async def test_nobody_is_asked_about_something_of_long_ago(money: MomoTown) -> None:
    payment = await money.ask_for()

    await money.work(ASK_PAYER_SECONDS_MAX + 1)

    settlement = await money.settlement(payment)
    assert (settlement["status"], settlement["reason"], money.posts(payment)) == ("FAILED", NOT_REACHED, 0)


@pytest.mark.parametrize("skew_ms", [-2 * 86_400_000, 2 * 86_400_000])
async def test_the_clock_of_a_device_moves_no_deadline_of_a_claim(money: MomoTown, skew_ms: int) -> None:
    van, order = await money.town.enrol("driver"), await money.town.place_order()
    claim = RequestPayment(
        id=money.town.new_id(), order=order, amount="2.50", currency="GBP", payer=PAYS, reference="CB12XY"
    )
    van.skew_ms = skew_ms
    await van.send(van.line(claim))

    await money.work(60)
    early = await money.status(claim.id)
    await money.work(LAST_ASK_SECONDS)

    assert (early, await money.status(claim.id)) == ("PENDING", "EXPIRED")


async def test_what_a_customer_says_was_paid_is_never_asked_for_again(money: MomoTown) -> None:
    van, order = await money.town.enrol("driver"), await money.town.place_order()
    claim = RequestPayment(
        id=money.town.new_id(), order=order, amount="2.50", currency="GBP", payer=PAYS, reference="CB12XY"
    )
    await van.send(van.line(claim))

    await money.work()
    assert (await money.status(claim.id), money.posts(claim.id)) == ("PENDING", 0)
    await money.work(LAST_ASK_SECONDS)

    assert (await money.status(claim.id), money.posts(claim.id)) == ("EXPIRED", 0)


async def test_what_cannot_be_asked_for_is_given_up_visibly_and_can_be_tried_again(money: MomoTown) -> None:
    payment = await money.ask_for()
    await money.work()
    money.sandbox.script("*", Script())
    held = money.sandbox.requests[provider_reference(payment)]
    held.body["currency"] = "???"  # an answer that nobody can read

    for _ in range(ATTEMPTS_MAX):
        await money.work(BACKOFF_SECONDS_MAX)
    assert await money.status(payment) == "PENDING"
    rows = await stored(money.town, "SELECT attempts, problem LIKE 'provider_unintelligible%' FROM outbox")
    assert (ATTEMPTS_MAX, True) in rows


async def test_a_refund_is_paid_once_by_the_provider(money: MomoTown) -> None:
    payment = await money.ask_for()
    await money.settle()
    refund = money.town.new_id()
    request = RequestRefund(
        id=refund, payment=payment, amount="1.50", currency="GBP", method="momo", reason="a broken cup"
    )
    await money.town.author(request)

    await money.settle(times=4)

    row = await stored(money.town, f"SELECT state, paid_minor, reference FROM refunds WHERE id = '{refund}'")
    assert (row, len(money.sandbox.refunds)) == ([("PAID", 150, "100000002")], 1)
    assert await findings(money.town) == ()
    assert ApproveRefund.op not in await money.said()


async def test_a_refund_that_the_provider_does_not_pay_is_paid_in_another_way_and_its_job_ends(money: MomoTown) -> None:
    payment = await money.ask_for()
    await money.settle()
    money.sandbox.requests[provider_reference(payment)].set_to = WordKind.FAILED  # it refunds nothing of that
    refund = money.town.new_id()
    request = {"payment": payment, "amount": "1.50", "currency": "GBP"}
    await money.town.author(RequestRefund.model_validate({**request, "id": refund, "method": "momo", "reason": "r"}))
    await money.settle(times=4)
    jobs = PostgresJobs(money.town.pool)
    (dead,) = await jobs.undone(money.town.id, 10)
    assert (dead.is_dead, dead.problem) == (
        True,
        "refund_failed: the provider has not paid this refund: PAYMENT_NOT_APPROVED",
    )

    await money.town.author(PayRefund.model_validate({**request, "refund": refund, "method": "bank"}))
    assert await jobs.retry(money.town.id, dead.id, format_time(money.town.system.now_ms()))
    await money.work()

    assert (await money.town.undone(), len(money.sandbox.refunds)) == (0, 1)
    assert await stored(money.town, "SELECT state, paid_minor FROM refunds") == [("PAID", 150)]


@pytest.mark.parametrize("is_heard_first", [True, False])
async def test_what_the_provider_has_taken_back_is_owed_again_and_booked_once(
    money: MomoTown, *, is_heard_first: bool
) -> None:
    payment = await money.ask_for()
    await money.work()
    if is_heard_first:
        await money.settle()
    money.sandbox.requests[provider_reference(payment)].set_to = WordKind.REVERSED

    for _ in range(2):
        await money.call_back(payment)
        await money.work(6)

    assert (await money.status(payment), await money.conflicts()) == ("REVERSED", ["reversed"])
    assert await stored(money.town, "SELECT paid_minor FROM orders") == [(0,)]
    reversals = "SELECT count(*) FROM payment_events WHERE to_status = 'REVERSED'"
    assert (await stored(money.town, reversals), await findings(money.town)) == ([(1,)], ())
