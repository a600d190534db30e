"""A refund by mobile money that is also given back in another way: nothing twice, and what happened is on the books."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from server.adapters.payments.scripts import Script
from server.application.commands.settle_payments import DEADLINE_SECONDS
from server.domain.devices import server_device_id
from server.domain.payments import provider_reference
from sync.modules.billing import PayRefund, RequestRefund, ReversePayment
from tests.support.momo_town import MomoTown, momo_town
from tests.support.write_path import findings, stored

ASKED = {"amount": "1.50", "currency": "GBP"}


@pytest.fixture
async def money(migrated_database: str) -> AsyncIterator[MomoTown]:
    async with momo_town(migrated_database) as town:
        yield town


async def refund_of(money: MomoTown) -> tuple[str, str]:
    """A payment of 2.50 that came, and a refund of 1.50 of it that is agreed to and not asked for yet."""
    payment, refund = await money.ask_for(), money.town.new_id()
    await money.settle()
    said = {"id": refund, "payment": payment, "method": "momo", "reason": "a broken cup"}
    await money.town.author(RequestRefund.model_validate({**ASKED, **said}))
    return payment, refund


async def given(money: MomoTown, payment: str, refund: str, amount: str = "1.50") -> None:
    """Cash goes out of the drawer."""
    await money.town.author(PayRefund(payment=payment, refund=refund, amount=amount, currency="GBP"))


async def booked(money: MomoTown) -> list[tuple[str, int]]:
    """What went out, by account."""
    query = "SELECT split_part(account, ':', 1), sum(credit_minor)::bigint FROM journal_entries"
    return await stored(
        money.town, f"{query} WHERE account ~ '^(drawer|momo)' AND credit_minor > 0 GROUP BY 1 ORDER BY 1"
    )


async def test_what_was_paid_in_cash_before_the_provider_is_asked_is_not_asked_for(money: MomoTown) -> None:
    payment, refund = await refund_of(money)
    await given(money, payment, refund)

    await money.settle()

    await money.work(DEADLINE_SECONDS)
    assert (list(money.sandbox.refunds), await money.town.undone()) == ([], 0)


async def test_what_the_provider_does_not_find_at_first_is_asked_about_again_when_cash_was_given_meanwhile(
    money: MomoTown,
) -> None:
    payment, refund = await refund_of(money)
    await money.work()
    money.sandbox.refunds[provider_reference(refund)].script = Script(hidden_asks=1)
    await given(money, payment, refund)

    await money.work(6)
    assert (await booked(money), await money.town.undone()) == ([("drawer", 150)], 1)
    await money.work(60)

    assert await booked(money) == [("drawer", 150), ("momo_clearing", 150)]
    assert (await money.conflicts(), await money.town.undone()) == (["over_refund"], 0)


async def test_what_was_paid_in_part_is_asked_of_the_provider_less_that(money: MomoTown) -> None:
    payment, refund = await refund_of(money)
    await given(money, payment, refund, "0.50")

    await money.settle()

    assert money.sandbox.refunds[provider_reference(refund)].body["amount"] == "1.00"
    assert await stored(money.town, "SELECT state, paid_minor FROM refunds") == [("PAID", 150)]
    assert await findings(money.town) == ()


async def test_what_the_provider_and_a_counter_have_both_paid_is_on_the_books_once_each(money: MomoTown) -> None:
    payment, refund = await refund_of(money)
    await money.work()
    await given(money, payment, refund)

    await money.settle()

    assert await booked(money) == [("drawer", 150), ("momo_clearing", 150)]
    assert (await money.conflicts(), await money.town.undone()) == (["over_refund"], 0)
    assert await findings(money.town) == ()


async def test_a_refund_that_was_booked_before_its_worker_died_is_booked_once(money: MomoTown) -> None:
    payment, refund = await refund_of(money)
    await money.work()
    reference = "100000002"  # what the provider calls it
    said = {**ASKED, "payment": payment, "refund": refund, "method": "momo", "reference": reference}
    await money.town.author(PayRefund.model_validate(said))

    await money.settle()

    assert await booked(money) == [("momo_clearing", 150)]
    assert (await money.conflicts(), await money.town.undone()) == ([], 0)


async def test_nothing_is_given_back_of_what_the_provider_has_taken_back(money: MomoTown) -> None:
    payment, _ = await refund_of(money)
    await money.town.appliers.author(
        money.town.id, server_device_id(money.town.id), [ReversePayment(payment=payment, reference="R1")]
    )

    await money.settle()

    assert list(money.sandbox.refunds) == []
