"""Cards over the whole stack: API, worker and scheduler, pages that customers pay on, webhooks of every kind of wrong.

Every customer types in a card of the sandbox, which says what becomes of it and how the provider tells us.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx2
import psycopg
import pytest

from server.adapters.payments.card_sandbox import CardSandbox
from server.domain.payments import CARD_WEBHOOK_PATH, provider_reference
from server.stack import Stack
from sync.modules.catalogue import product_id
from tests.support.office import TestOffice, office_of
from tests.support.provider import card_provider
from tests.support.stack import scratch_directory

TOWN = "Ashford"
SECRET = "a secret that only the provider knows"
PATIENCE_SECONDS, PAUSE_SECONDS = 60, 0.1

OUTCOMES: dict[str, tuple[str, int, list[int]]] = {
    "4242424242424242": ("CONFIRMED", 250, [200]),
    "4000000000000002": ("FAILED", 250, [200]),
    "4000000000003220": ("CONFIRMED", 250, [200]),
    "4000000000000259": ("REVERSED", 250, [200, 200]),
    "4000000000000341": ("CONFIRMED", 100, [200]),
    "4000000000005100": ("CONFIRMED", 250, []),
    "4000000000005118": ("CONFIRMED", 250, [200, 200]),
    "4000000000005126": ("CONFIRMED", 250, [200, 200]),
    "4000000000005134": ("FAILED", 250, [401]),
    "4000000000005142": ("CONFIRMED", 250, [401]),
    "4000000000005159": ("CONFIRMED", 250, [200, 200]),
    "4000000000005167": ("CONFIRMED", 250, [404]),
}
"""By the card: what the books say in the end, in minor units, and what was answered to the provider's webhooks."""


@dataclass(kw_only=True)
class Market:
    """A town whose customers pay by card; `payments` is by the card's number."""

    stack: Stack
    office: TestOffice
    sandbox: CardSandbox
    payments: dict[str, str] = field(default_factory=dict)

    def everybody_orders_and_pays(self) -> None:
        books = self.office.books
        town = books.found(TOWN)
        warehouse = books.add_warehouse(TOWN, "North")
        books.stock_products(TOWN, warehouse, {"TEA": "Tea"}, {"TEA": 100}, price="2.50")
        with httpx2.Client(base_url=f"{self.stack.url}/v1/towns/{town}", timeout=30) as shop:
            for number in OUTCOMES:
                self.payments[number] = self.orders_and_pays(shop, number)

    def orders_and_pays(self, shop: httpx2.Client, number: str) -> str:
        """The payment that somebody makes by this card, as a browser would."""
        key = {"Idempotency-Key": number}
        basket = {
            "customer_name": "Grace",
            "phone": number,
            "address": "1 High Street",
            "lines": [{"product": product_id("TEA"), "quantity": 1}],
            "payment_method": "card",
        }
        code = shop.post("/checkout", json=basket, headers=key).json()["tracking_code"]
        asked = shop.post(f"/orders/track/{code}/payments", json={"method": "card"}, headers=key)
        assert asked.status_code == 202, asked.text
        paid = httpx2.post(asked.json()["page"], content=f"number={number}")
        assert (paid.status_code, paid.headers["location"]) == (303, self.stack.settings.public_url)
        return str(asked.json()["payment"])

    def settled(self) -> dict[str, tuple[str, int]]:
        """By card: status and amount, as they are now."""
        with psycopg.connect(self.stack.database_url) as connection:
            found = connection.execute("SELECT id::text, status, amount_minor FROM tallystick.settlements").fetchall()
        by_id = {payment: (status, minor) for payment, status, minor in found}
        return {number: by_id[payment] for number, payment in self.payments.items()}

    def webhooks(self) -> dict[str, list[int]]:
        """By card: what was answered to each webhook."""
        held = self.sandbox.payments
        return {number: held[provider_reference(payment)].webhooks for number, payment in self.payments.items()}


@pytest.fixture(scope="module")
def market() -> Iterator[Market]:
    with scratch_directory() as directory, card_provider() as (sandbox, url):
        settings = {
            "TALLYSTICK_CARD_BASE_URL": url,
            "TALLYSTICK_CARD_API_KEY": "key",
            "TALLYSTICK_WEBHOOK_SECRETS": f"another secret of ours,{SECRET}",
        }
        with Stack.start(directory / "data", environment=settings) as stack, office_of(stack) as office:
            sandbox.webhook_url, sandbox.secrets = stack.url + CARD_WEBHOOK_PATH, (SECRET.encode(),)
            made = Market(stack=stack, office=office, sandbox=sandbox)
            made.everybody_orders_and_pays()
            pause = threading.Event()
            for _ in range(int(PATIENCE_SECONDS / PAUSE_SECONDS)):
                wanted = {number: (status, minor) for number, (status, minor, _) in OUTCOMES.items()}
                if made.settled() == wanted and made.webhooks() == {n: told for n, (_, _, told) in OUTCOMES.items()}:
                    break
                pause.wait(PAUSE_SECONDS)
            yield made


def test_every_customer_has_paid_what_the_provider_says_however_it_was_told(market: Market) -> None:
    assert market.settled() == {number: (status, minor) for number, (status, minor, _) in OUTCOMES.items()}


def test_every_webhook_was_kept_or_told_apart(market: Market) -> None:
    assert market.webhooks() == {number: told for number, (_, _, told) in OUTCOMES.items()}
    with psycopg.connect(market.stack.database_url) as connection:
        dead = connection.execute("SELECT kind FROM tallystick.inbox WHERE problem LIKE 'callback_altered%'").fetchall()
    assert dead == [("card.altered",)]


def test_the_books_hold(market: Market) -> None:
    assert market.office.books.verify(TOWN).findings == ()
