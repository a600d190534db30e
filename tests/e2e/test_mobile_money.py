"""Mobile money over the whole stack: API, worker and scheduler, and a provider that is a process of its own.

Every customer behaves as the sandbox's numbers say: callbacks that are lost, doubled, early, out of order or forged,
calls that fail with or without effect, other amounts, money after a failure.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import orjson
import psycopg
import pytest

from server.domain.payments import provider_reference
from server.stack import Stack
from sync.modules.billing import RequestPayment
from sync.modules.catalogue import product_id
from sync.modules.commerce import PlaceOrder
from sync.modules.commerce.operations import OrderLine
from tests.support.office import TestOffice, office_of
from tests.support.stack import scratch_directory

ROOT = Path(__file__).parents[2]
TOWN = "Ashford"
PATIENCE_SECONDS, PAUSE_SECONDS = 60, 0.1

OUTCOMES = {
    "46733123999": ("CONFIRMED", 250),
    "46733123450": ("FAILED", 250),
    "46733123451": ("FAILED", 250),
    "46733123454": ("CONFIRMED", 250),
    "46733123455": ("FAILED", 250),
    "46733123460": ("CONFIRMED", 100),
    "46733123462": ("CONFIRMED", 250),
    "46733123463": ("CONFIRMED", 250),
    "46733123470": ("CONFIRMED", 250),
    "46733123471": ("CONFIRMED", 250),
    "46733123472": ("CONFIRMED", 250),
    "46733123473": ("CONFIRMED", 250),
    "46733123474": ("FAILED", 250),
    "46733123475": ("CONFIRMED", 250),
    "46733123480": ("CONFIRMED", 250),
    "46733123481": ("CONFIRMED", 250),
    "46733123484": ("CONFIRMED", 250),
    "46733123487": ("CONFIRMED", 250),
}
"""By the payer's number: what the books say in the end, in minor units."""


@contextmanager
def sandbox_process() -> Iterator[str]:
    """`tallystick sandbox` on a free port; its address."""
    command = [sys.executable, "-m", "server.cli", "sandbox", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


@dataclass(kw_only=True)
class Market:
    """A town whose customers pay by telephone; `payments` is by number."""

    stack: Stack
    office: TestOffice
    provider_url: str
    payments: dict[str, str] = field(default_factory=dict)

    def everybody_orders_and_pays(self) -> None:
        books = self.office.books
        books.found(TOWN)
        warehouse = books.add_warehouse(TOWN, "North")
        books.stock_products(TOWN, warehouse, {"TEA": "Tea"}, {"TEA": 100}, price="2.50")
        for number in OUTCOMES:
            order, payment = books.new_id(), books.new_id()
            lines = [OrderLine(product=product_id("TEA"), quantity=1)]
            place = PlaceOrder(id=order, number=number, warehouse=warehouse, customer_name="Grace", lines=lines)
            books.must(TOWN, place)
            pay = RequestPayment(id=payment, order=order, amount="2.50", currency="GBP", payer=number)
            books.must(TOWN, pay)
            self.payments[number] = payment

    def settled(self) -> dict[str, tuple[str, int]]:
        """What became of each payment."""
        with psycopg.connect(self.stack.database_url) as connection:
            found = connection.execute("SELECT id::text, status, amount_minor FROM tallystick.settlements").fetchall()
        by_id = {payment: (status, amount) for payment, status, amount in found}
        return {number: by_id[payment] for number, payment in self.payments.items()}

    def undone(self) -> list[dict[str, object]]:
        """`tallystick jobs list`."""
        command = [sys.executable, "-m", "server.cli", "jobs", "list", "--town", TOWN, "--json"]
        done = subprocess.run(
            [*command, "--data", str(self.stack.data_dir)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        found: list[dict[str, object]] = orjson.loads(done.stdout)
        return found

    def await_outcomes(self) -> None:
        asked = threading.Event()
        for _ in range(int(PATIENCE_SECONDS / PAUSE_SECONDS)):
            if self.settled() == OUTCOMES:
                return
            asked.wait(PAUSE_SECONDS)
        assert self.settled() == OUTCOMES


@pytest.fixture
def market() -> Iterator[Market]:
    with sandbox_process() as url, scratch_directory() as directory:
        settings = {
            "TALLYSTICK_MOMO_BASE_URL": url,
            "TALLYSTICK_MOMO_API_USER": "user",
            "TALLYSTICK_MOMO_API_KEY": "key",
            "TALLYSTICK_MOMO_SUBSCRIPTION_KEY": "subscription",
        }
        with Stack.start(directory / "data", environment=settings) as stack, office_of(stack) as office:
            yield Market(stack=stack, office=office, provider_url=url)


def test_every_customer_pays_once_whatever_the_provider_does(market: Market) -> None:
    market.everybody_orders_and_pays()
    market.await_outcomes()

    held = httpx2.get(f"{market.provider_url}/sandbox/requests").json()
    assert {one["reference"] for one in held} == set(map(provider_reference, market.payments.values()))
    assert {status for one in held for status in one["callbacks"]} == {200}
    assert sum(len(one["callbacks"]) for one in held) >= len(held)
    assert market.office.books.verify(TOWN).findings == ()
    assert [job for job in market.undone() if job["kind"] != "momo.request"] == []
