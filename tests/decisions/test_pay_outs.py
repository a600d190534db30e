"""Who wins over pay-outs: the bank's line is booked once, whatever clearing holds."""

from __future__ import annotations

from typing import Any

import pytest

from sync.engine.town import Answered
from sync.kernel.changeset import Fields
from sync.modules.billing import PayOut
from sync.modules.billing.entities import pay_out_id
from tests.support.counters import CounterTown
from tests.support.decisions import ACCEPTED, refused, told


def arrives(town: CounterTown, **said: Any) -> Answered:
    """The office books what arrived at the bank."""
    told_by_bank = {"method": "momo", "amount": "8.80", "fee": "0.20", "currency": "KES", "reference": "FT 1"}
    return town.office(PayOut.model_validate({**told_by_bank, **said}))


def taken(town: CounterTown) -> None:
    """9.00 by mobile money and 9.00 by card."""
    town.hears(town.asks(invoice=town.bills("9.00")))
    town.pays(town.bills("9.00"), "9.00", method="card", reference="T 1")


def test_what_arrived_is_at_the_bank_and_what_was_kept_is_a_fee(counters: CounterTown) -> None:
    taken(counters)

    answered = arrives(counters)

    assert told(counters, answered) == ACCEPTED
    assert counters.balances() == {"bank": 880, "card_clearing": 900, "fees": 20, "sales": -1800}
    row: Fields = counters.row("pay_out", pay_out_id("momo", "KES", "FT 1"))
    assert {name: row[name] for name in ("method", "amount_minor", "fee_minor", "currency", "reference")} == {
        "method": "momo",
        "amount_minor": 880,
        "fee_minor": 20,
        "currency": "KES",
        "reference": "FT 1",
    }


def test_a_pay_out_of_cards_comes_out_of_their_clearing_and_a_fee_need_not_be_said(counters: CounterTown) -> None:
    taken(counters)

    counters.office(PayOut(method="card", amount="9.00", currency="KES", reference="FT 1"))

    assert counters.balances() == {"bank": 900, "momo_clearing": 900, "sales": -1800}


def test_payments_paid_out_already_is_the_same_reference_whatever_it_says_now(counters: CounterTown) -> None:
    taken(counters)
    arrives(counters)
    before = counters.balances()

    again, other = arrives(counters), arrives(counters, amount="7.00", fee="0")

    sentence = "What arrived at the bank under FT 1 is booked already, with 8.80 KES."
    assert told(counters, again) == told(counters, other) == refused("payments.paid_out_already", sentence)
    assert counters.balances() == before


@pytest.mark.parametrize("other", [{"method": "card"}, {"currency": "GBP"}, {"reference": "FT 2"}])
def test_another_provider_currency_or_reference_is_another_pay_out(counters: CounterTown, other: Fields) -> None:
    arrives(counters)

    assert told(counters, arrives(counters, **other)) == ACCEPTED
    assert len(counters.rows_of("pay_out")) == 2


def test_more_than_clearing_holds_is_booked_and_the_account_says_so(counters: CounterTown) -> None:
    answered = arrives(counters)

    assert told(counters, answered) == ACCEPTED
    assert counters.balances() == {"bank": 880, "fees": 20, "momo_clearing": -900}


@pytest.mark.parametrize(
    "said",
    [{"amount": "0.00"}, {"amount": "1.001"}, {"fee": "0.001"}, {"currency": "XXX"}, {"amount": "999999999999"}],
)
def test_nothing_too_many_decimals_and_the_absurd_are_no_pay_out(counters: CounterTown, said: Fields) -> None:
    answered = arrives(counters, **said)

    assert (answered.verdict.status, answered.verdict.rule) == ("refused", "engine.invalid_amount")
    assert counters.rows_of("pay_out") == {}
