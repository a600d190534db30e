"""Who wins over cash: what was taken is kept, what it means may change."""

from __future__ import annotations

from sync.modules.billing import TakePayment
from sync.modules.billing.marks import DOUBLE_TAP_MS
from sync.modules.commerce import CancelOrder, FailDelivery, StartDelivery
from sync.modules.identity import ChangeSettings
from sync.modules.town_settings import TownSettings
from tests.support.decisions import ACCEPTED, Left, adjusted, axes, depart, money, signed_amount, told
from tests.support.town_in_memory import MarketTown


def take(town: MarketTown, order: str, amount: str, currency: str = "KES") -> TakePayment:
    return TakePayment(id=town.new_id(), order=order, amount=amount, currency=currency)


def test_payments_overpayment_is_kept_as_credit(town: MarketTown) -> None:
    order = town.places()
    payment = take(town, order, "10.50")

    answered = town.does(town.van_a, town.driver_a, payment)

    assert told(town, answered) == adjusted(
        "payments.overpayment",
        Left(
            kind="overpayment",
            sentence="1.50 KES more than order 1001 owes were taken; they are kept as credit.",
            about=("payment", payment.id),
            by="payment.take",
            said={"amount": "10.50", "currency": "KES"},
            had={"total_minor": 900, "paid_minor": 0},
            outcome="credit 1.50 KES",
            task="Order 1001: refund 1.50 KES or keep them as credit",
        ),
    )
    assert (axes(town, order)[2], money(town, order)) == ("in_credit", (900, 900, 150))


def test_a_part_payment_is_put_on_the_order_and_the_driver_told_what_is_left(town: MarketTown) -> None:
    order = town.places()
    dispatch = town.assigns(order)

    assert told(town, town.does(town.van_a, town.driver_a, take(town, order, "4.00"))) == ACCEPTED
    assert (axes(town, order)[2], money(town, order)) == ("partly", (900, 400, 0))
    assert town.row("dispatch", dispatch)["cod_due_minor"] == 500


def test_payments_paid_after_cancel_is_all_credit(town: MarketTown) -> None:
    order = town.places()
    town.office(CancelOrder(order=order))
    payment = take(town, order, "9.00")

    answered = town.does(town.van_a, town.driver_a, payment)

    assert told(town, answered) == adjusted(
        "payments.paid_after_cancel",
        Left(
            kind="paid_after_cancel",
            sentence="Order 1001 was cancelled; the 9.00 KES that were taken are kept as credit.",
            about=("payment", payment.id),
            by="payment.take",
            said={"amount": "9.00", "currency": "KES"},
            had={"total_minor": 900, "paid_minor": 0},
            outcome="credit 9.00 KES",
            task="Order 1001: refund 9.00 KES",
        ),
    )
    assert (axes(town, order)[2], money(town, order)) == ("in_credit", (900, 0, 900))


def test_payments_paid_before_cancel_is_owed_to_the_customer(town: MarketTown) -> None:
    order = town.places()
    town.does(town.van_a, town.driver_a, take(town, order, "4.00"))

    answered = town.office(CancelOrder(order=order))

    assert told(town, answered) == adjusted(
        "payments.paid_before_cancel",
        Left(
            kind="paid_before_cancel",
            sentence="Order 1001 was paid before it was cancelled; 4.00 KES are kept as credit.",
            about=("order", order),
            by="order.cancel",
            said={"operation": "order.cancel"},
            had={"paid_minor": 400},
            outcome="credit 4.00 KES",
            task="Order 1001: refund 4.00 KES",
        ),
    )
    assert (axes(town, order), money(town, order)) == (
        ("cancelled", "warehouse", "in_credit", "CANCELLED"),
        (900, 0, 400),
    )


def test_payments_currency_mismatch_is_kept_beside_the_order(town: MarketTown) -> None:
    order = town.places()
    payment = take(town, order, "9.00", "GBP")

    answered = town.does(town.van_a, town.driver_a, payment)

    assert told(town, answered) == adjusted(
        "payments.currency_mismatch",
        Left(
            kind="currency_mismatch",
            sentence="Order 1001 is in KES, the payment in GBP; it is kept beside the order.",
            about=("payment", payment.id),
            by="payment.take",
            said={"amount": "9.00", "currency": "GBP"},
            had={"currency": "KES"},
            outcome="kept beside the order",
            task="Order 1001: clear up the payment in GBP",
        ),
    )
    assert (money(town, order), axes(town, order)[2]) == ((900, 0, 0), "unpaid")
    assert town.row("payment", payment.id)["currency"] == "GBP"


def test_a_second_attempt_collects_what_is_due_by_then(town: MarketTown) -> None:
    order = town.places()
    dispatch = depart(town, order)
    town.does(town.van_a, town.driver_a, FailDelivery(dispatch=dispatch))
    town.does(town.van_a, town.driver_a, take(town, order, "4.00"))

    town.does(town.van_a, town.driver_a, StartDelivery(dispatch=dispatch))

    assert town.row("dispatch", dispatch)["cod_due_minor"] == 500


def test_credit_of_a_cancelled_order_pays_for_it_when_the_goods_turn_out_to_be_on_the_van(town: MarketTown) -> None:
    order = town.places()
    dispatch = town.assigns(order)
    town.office(CancelOrder(order=order))
    town.does(town.van_a, town.driver_a, take(town, order, "9.00"))

    town.does(town.van_a, town.driver_a, StartDelivery(dispatch=dispatch))

    assert (axes(town, order), money(town, order)) == (("recall", "van", "paid", "OUT_FOR_DELIVERY"), (900, 900, 0))


def test_engine_invalid_amount_when_one_payment_is_more_than_the_town_thinks_possible(town: MarketTown) -> None:
    order = town.places()

    most = town.does(town.van_a, town.driver_a, take(town, order, "100000000.00"))
    more = town.does(town.van_a, town.driver_a, take(town, order, "100000000.01"))

    assert most.verdict.rule == "payments.overpayment"
    assert told(town, more) == signed_amount("one payment is at most 100000000 KES here", more)
    assert money(town, order) == (900, 900, 10_000_000_000 - 900)


def test_a_town_decides_how_much_one_payment_can_be(town: MarketTown) -> None:
    order = town.places(payment_method="account")
    town.office(ChangeSettings(settings=TownSettings(payment_units_max=5)), actor=town.admin)

    verdicts = [
        town.does(town.van_a, town.driver_a, take(town, order, amount, currency)).verdict
        for amount, currency in (("5.00", "KES"), ("5.01", "KES"), ("5", "UGX"), ("6", "UGX"))
    ]

    assert [verdict.rule for verdict in verdicts] == [
        *(None, "engine.invalid_amount"),
        *("payments.currency_mismatch", "engine.invalid_amount"),
    ]


def test_payments_sum_too_large_is_kept_beside_the_order_and_honest_cash_still_counts(town: MarketTown) -> None:
    order = town.places()
    town.office(ChangeSettings(settings=TownSettings(payment_units_max=999_999_999_999)), actor=town.admin)
    town.does(town.van_a, town.driver_a, *(take(town, order, "999999999999.00") for _ in range(90)))
    town.now_ms += DOUBLE_TAP_MS
    beyond = take(town, order, "999999999999.00")

    answered = town.does(town.van_a, town.driver_a, beyond)

    assert told(town, answered) == adjusted(
        "payments.sum_too_large",
        Left(
            kind="sum_too_large",
            sentence="More was taken for order 1001 than can be added up; 999999999999.00 KES are kept beside it.",
            about=("payment", beyond.id),
            by="payment.take",
            said={"amount": "999999999999.00", "currency": "KES"},
            had={"received_minor": 90 * 99_999_999_999_900},
            outcome="kept beside the order",
            task="Order 1001: find out what these payments are",
        ),
    )
    town.does(town.van_a, town.driver_a, take(town, order, "9.00"))
    assert money(town, order) == (900, 900, 90 * 99_999_999_999_900)
    assert len(town.rows_of("payment")) == 92
