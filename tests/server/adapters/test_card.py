"""The adapter of cards against a real HTTP provider: made once under a key, found by our reference, read or refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from server.adapters.payments.card import Card, CardAccount, read_word
from server.adapters.payments.card_sandbox import CardSandbox, Chaos
from server.adapters.payments.scripts import BY_CARD
from server.application.payment_ports import (
    ProviderRefused,
    ProviderUnavailable,
    ProviderUnintelligible,
    Return,
    WantedByCard,
    Word,
    WordKind,
)
from tests.support.provider import CALL_SECONDS_MAX, card_provider, reference

WANTED = WantedByCard(
    reference=reference(1),
    town_id="t",
    payment_id="p",
    amount="2.50",
    currency="GBP",
    note="Payment",
    return_url="http://127.0.0.1:1/paid",
)
PAID = Word(kind=WordKind.SUCCESSFUL, amount="2.50", currency="GBP")


class Shop:
    """The adapter and the provider's memory."""

    def __init__(self, card: Card, sandbox: CardSandbox) -> None:
        self.card, self.sandbox = card, sandbox

    async def pays(self, number: str = "4242424242424242") -> None:
        """Somebody opens the page and types in a card."""
        async with httpx2.AsyncClient() as browser:
            page = await self.card.open(WANTED)
            assert "Nothing is paid here" in (await browser.get(page)).text
            assert (await browser.post(page, content=f"number={number}")).status_code == 303

    async def word(self) -> Word:
        """What the provider says, without its own reference."""
        word = await self.card.ask(WANTED.reference)
        assert word is not None
        return replace(word, reference="", reversal="")


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    with card_provider() as (sandbox, url):
        card = Card(CardAccount(base_url=url, api_key="key"), call_seconds_max=CALL_SECONDS_MAX)
        yield Shop(card, sandbox)
        await card.close()


async def test_a_page_is_opened_once_and_nothing_is_paid_by_that(shop: Shop) -> None:
    assert await shop.card.ask(WANTED.reference) is None

    pages = {await shop.card.open(WANTED) for _ in range(2)}

    assert (len(pages), len(shop.sandbox.payments)) == (1, 1)
    assert (await shop.word()).kind is WordKind.PENDING
    held = shop.sandbox.payments[WANTED.reference].made
    assert (held.amount, held.currency, held.metadata) == (250, "GBP", {"town": "t", "payment": "p"})


async def test_what_was_asked_for_otherwise_under_the_same_reference_is_refused(shop: Shop) -> None:
    await shop.card.open(WANTED)

    with pytest.raises(ProviderRefused, match="idempotency_mismatch"):
        await shop.card.open(replace(WANTED, amount="2.51"))


@pytest.mark.parametrize(
    ("number", "word"),
    [
        ("4242424242424242", PAID),
        ("4000000000000002", replace(PAID, kind=WordKind.FAILED, reason="card_declined")),
        ("4000000000000119", replace(PAID, kind=WordKind.FAILED, reason="something_new")),
        ("4000000000003238", replace(PAID, kind=WordKind.PENDING)),
        ("4000000000000341", replace(PAID, amount="1.00")),
    ],
)
async def test_the_card_says_what_becomes_of_it(shop: Shop, number: str, word: Word) -> None:
    await shop.pays(number)

    assert await shop.word() == word


async def test_a_charge_back_has_a_reference_of_its_own(shop: Shop) -> None:
    await shop.pays()
    shop.sandbox.payments[WANTED.reference].set_to = WordKind.REVERSED

    word = await shop.card.ask(WANTED.reference)

    assert word is not None
    assert (word.kind, word.reference[:3], word.reversal[:3]) == (WordKind.REVERSED, "ch_", "dp_")


async def test_money_goes_back_once(shop: Shop) -> None:
    returned = Return(
        reference=reference(2), paid=WANTED.reference, amount="1.00", currency="GBP", external_id="r", note="cold"
    )
    with pytest.raises(ProviderRefused):
        await shop.card.give_back(returned)
    await shop.pays()
    assert await shop.card.ask_return(returned.reference) is None

    for _ in range(2):
        await shop.card.give_back(returned)

    word = await shop.card.ask_return(returned.reference)
    assert (word and word.kind, word and word.amount, len(shop.sandbox.refunds)) == (WordKind.SUCCESSFUL, "1.00", 1)


async def test_what_was_not_paid_cannot_be_given_back(shop: Shop) -> None:
    await shop.card.open(WANTED)
    returned = Return(
        reference=reference(2), paid=WANTED.reference, amount="1.00", currency="GBP", external_id="r", note=""
    )

    with pytest.raises(ProviderRefused, match="402"):
        await shop.card.give_back(returned)


@pytest.mark.parametrize("fault", ["500", "500_in", "cut_in", "hang_in"])
async def test_an_answer_that_is_lost_is_no_second_payment(shop: Shop, fault: str) -> None:
    shop.sandbox.have(Chaos.model_validate({"on_post": [fault]}))
    with pytest.raises(ProviderUnavailable):
        await shop.card.open(WANTED)

    await shop.card.open(WANTED)

    assert len(shop.sandbox.payments) == 1


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"status": "unheard_of", "amount": 1, "currency": "GBP"},
        {"status": "succeeded", "amount": "1.00", "currency": "GBP"},
        {"status": "succeeded", "amount": True, "currency": "GBP"},
        {"status": "succeeded", "amount": -1, "currency": "GBP"},
        {"status": "succeeded", "amount": 1.5, "currency": "GBP"},
        {"status": "succeeded", "amount": 1, "currency": "XXQ"},
        {"status": ["succeeded"], "amount": 1, "currency": "GBP"},
        {"status": "succeeded", "amount": 10**30, "currency": "GBP"},
    ],
)
def test_what_is_no_word_of_a_provider_is_not_guessed_at(said: dict[str, Any]) -> None:
    with pytest.raises(ProviderUnintelligible):
        read_word(said)


async def test_every_number_is_a_card_that_a_person_could_type(shop: Shop) -> None:
    assert all(number.isdigit() and len(number) == 16 for number in BY_CARD)
    assert await shop.card.ask("nothing") is None
