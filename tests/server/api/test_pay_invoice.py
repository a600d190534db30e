"""Somebody pays an invoice online by its code, and an order by card: on a page of the provider's, once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import orjson
import pytest

from server.adapters.payments.card import Card, CardAccount
from server.adapters.payments.card_sandbox import CardSandbox, Chaos
from server.api.app import create_app
from server.domain.devices import server_device_id
from server.domain.payments import provider_reference
from sync.modules.billing import ConfirmPayment, FailPayment
from tests.support.customer import Customer
from tests.support.provider import CALL_SECONDS_MAX, card_provider
from tests.support.staff_world import StaffWorld

CARD = {"method": "card"}
MOMO = {"method": "momo", "payer": "46733123999"}


@dataclass(kw_only=True)
class Parent:
    """Somebody with the code of an invoice of which 25.00 remain, at a server that takes cards."""

    staff: StaffWorld
    client: httpx2.AsyncClient
    sandbox: CardSandbox
    code: str

    @property
    def path(self) -> str:
        return f"/v1/towns/{self.staff.here.id}/invoices/track/{self.code}"

    async def pay(self, said: dict[str, Any] = CARD, key: str = "", path: str = "") -> httpx2.Response:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key or self.staff.world.new_id()}
        return await self.client.post(path or f"{self.path}/payments", content=orjson.dumps(said), headers=headers)

    async def shown(self, path: str = "") -> dict[str, Any]:
        answer = await self.client.get(self.path + path)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def hear(self, operation: ConfirmPayment | FailPayment) -> None:
        """The provider's word."""
        town = self.staff.here.id
        await self.staff.world.parts.appliers.author(town, server_device_id(town), [operation])


@pytest.fixture
async def parent(staff: StaffWorld) -> AsyncIterator[Parent]:
    money = await staff.charge(staff.here)
    code = (await (await staff.browser()).get(f"invoices/{money.invoice}")).json()["pay_code"]
    parts = staff.world.parts
    assert parts.shop is not None
    with card_provider() as (sandbox, url):
        card = Card(CardAccount(base_url=url, api_key="key"), call_seconds_max=CALL_SECONDS_MAX)
        app = create_app(replace(parts, shop=replace(parts.shop, card=card)))
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url=parts.public_url) as client:
            yield Parent(staff=staff, client=client, sandbox=sandbox, code=code)
        await card.close()


async def test_whoever_has_the_code_sees_what_remains_and_no_name(parent: Parent) -> None:
    answer = await parent.client.get(parent.path)

    said = answer.json()
    assert {name: said[name] for name in ("total", "remaining", "state", "due_on")} == {
        "total": "45.00",
        "remaining": "25.00",
        "state": "PARTIALLY_PAID",
        "due_on": "2026-12-01",
    }
    assert said["lines"] == [{"text": "Fees", "amount": "45.00"}]
    assert "Amina" not in answer.text


async def test_what_remains_is_paid_on_the_page_and_confirmed_by_the_provider(parent: Parent) -> None:
    answer = await parent.pay()

    said = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (202, f"{parent.path}/payments")
    assert {name: said[name] for name in ("state", "amount", "currency")} == {
        "state": "pending",
        "amount": "25.00",
        "currency": "GBP",
    }
    held = parent.sandbox.payments[provider_reference(said["payment"])]
    assert (said["page"].endswith(f"/pay/{held.id}"), held.made.amount) == (True, 2500)
    assert held.made.metadata == {"town": parent.staff.here.id, "payment": said["payment"]}
    await parent.hear(ConfirmPayment(payment=said["payment"], amount="25.00", currency="GBP", reference="ch_1"))

    assert ((await parent.shown())["state"], (await parent.shown())["remaining"]) == ("PAID", "0.00")
    assert [one["state"] for one in (await parent.shown("/payments"))["items"]] == ["confirmed", "confirmed"]
    nothing = await parent.pay()
    assert (nothing.status_code, nothing.json()["code"]) == (409, "nothing_due")


async def test_the_same_page_is_given_again_under_its_key_and_without_it(parent: Parent) -> None:
    answers = [await parent.pay(key=key) for key in ("one", "one", "another")]

    assert {answer.json()["page"] for answer in answers} == {answers[0].json()["page"]}
    assert len(parent.sandbox.payments) == 1
    assert (await parent.pay(MOMO, key="one")).status_code in {409, 422}


async def test_one_payment_is_under_way_at_a_time(parent: Parent) -> None:
    by_card = (await parent.pay()).json()["payment"]
    meanwhile = await parent.pay(MOMO)
    await parent.hear(FailPayment(payment=by_card, reason="expired"))
    by_telephone = await parent.pay(MOMO)
    card_again = await parent.pay()

    assert (meanwhile.status_code, meanwhile.json()["code"]) == (409, "payment_pending")
    assert (by_telephone.status_code, "page" in by_telephone.json()) == (202, False)
    assert (card_again.status_code, card_again.json()["code"]) == (409, "payment_pending")


async def test_a_provider_that_does_not_answer_is_asked_again_under_the_same_key(parent: Parent) -> None:
    parent.sandbox.have(Chaos(on_post=("500_in",)))

    away = await parent.pay(key="one")
    again = await parent.pay(key="one")

    assert (away.status_code, away.json()["code"], "retry-after" in away.headers) == (503, "provider_unavailable", True)
    assert (again.status_code, len(parent.sandbox.payments)) == (202, 1)
    states = [one["state"] for one in (await parent.shown("/payments"))["items"]]
    assert states == ["confirmed", "pending"]  # cash at a counter, and this


@pytest.mark.parametrize(
    ("said", "code"),
    [({"method": "card", "payer": "46733123999"}, "malformed"), ({"method": "momo"}, "malformed"), ({}, "malformed")],
)
async def test_a_telephone_goes_with_mobile_money_alone(parent: Parent, said: dict[str, Any], code: str) -> None:
    answer = await parent.pay(said)

    assert (answer.status_code, answer.json()["code"]) == (400, code)


async def test_a_code_of_something_else_opens_nothing(parent: Parent) -> None:
    town = parent.staff.there.id
    paths = (
        parent.path[:-1] + ("A" if parent.path[-1] != "A" else "B"),
        parent.path.replace("/invoices/", "/orders/"),
        parent.path.replace(parent.staff.here.id, town),
    )

    answers = [await parent.client.get(path) for path in paths]
    paid = [await parent.pay(path=f"{path}/payments") for path in paths]

    assert {(one.status_code, one.json()["code"]) for one in (*answers, *paid)} == {(404, "not_found")}


async def test_an_order_is_paid_by_card_too(parent: Parent) -> None:
    basket = Customer(staff=parent.staff, town=parent.staff.here).wish(payment_method="card")
    placed = await parent.pay(basket, path=f"/v1/towns/{parent.staff.here.id}/checkout")
    code = placed.json()["tracking_code"]
    path = f"/v1/towns/{parent.staff.here.id}/orders/track/{code}"

    paid = (await parent.pay(path=f"{path}/payments")).json()
    pending = (await parent.client.get(path)).json()["payment"]
    await parent.hear(ConfirmPayment(payment=paid["payment"], amount="5.00", currency="GBP", reference="ch_2"))

    assert paid["amount"] == "5.00"
    assert (pending["method"], pending["state"]) == ("card", "pending")
    assert (await parent.client.get(path)).json()["payment"]["state"] == "paid"


async def test_where_nobody_takes_cards_it_is_said(staff: StaffWorld) -> None:
    money = await staff.charge(staff.here)
    code = (await (await staff.browser()).get(f"invoices/{money.invoice}")).json()["pay_code"]

    answer = await staff.world.client.post(
        f"/v1/towns/{staff.here.id}/invoices/track/{code}/payments",
        content=orjson.dumps(CARD),
        headers={"Content-Type": "application/json", "Idempotency-Key": "one"},
    )

    assert (answer.status_code, answer.json()["code"]) == (409, "card_not_offered")
    assert await staff.stored("SELECT count(*) FROM settlements WHERE status = 'PENDING'", staff.here) == [(0,)]
    customer = Customer(staff=staff, town=staff.here)
    ordered = await customer.check_out(customer.wish(payment_method="card"))
    assert (ordered.status_code, ordered.json()["code"]) == (409, "card_not_offered")
