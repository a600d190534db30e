"""A customer pays for an order by telephone: asked for once at a time, so often and no more, and followed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx2
import orjson
import pytest

from server.application.commands.pay_order import TRIES_MAX
from server.domain.devices import server_device_id
from sync.modules.billing import ConfirmPayment, FailPayment
from sync.modules.commerce import CancelOrder
from tests.support.customer import Customer
from tests.support.staff_world import StaffWorld

PAYER = "46733123999"


@dataclass(kw_only=True)
class Payer:
    """A customer with an order of 5.00."""

    customer: Customer
    code: str

    @property
    def path(self) -> str:
        return f"/v1/towns/{self.customer.town.id}/orders/track/{self.code}/payments"

    async def pay(self, said: Any = None, key: str | None = None) -> httpx2.Response:
        world = self.customer.staff.world
        headers = {"Content-Type": "application/json"}
        if key != "":
            headers["Idempotency-Key"] = key or world.new_id()
        content = orjson.dumps({"payer": PAYER} if said is None else said)
        return await world.client.post(self.path, content=content, headers=headers)

    async def paid(self) -> str:
        """The id of a payment that was asked for."""
        answer = await self.pay()
        assert answer.status_code == 202, answer.text
        return str(answer.json()["payment"])

    async def hear(self, operation: ConfirmPayment | FailPayment) -> None:
        """The provider's word."""
        town = self.customer.town.id
        await self.customer.staff.world.parts.appliers.author(town, server_device_id(town), [operation])

    async def confirm(self, payment: str, reference: str = "MP1") -> None:
        await self.hear(ConfirmPayment(payment=payment, amount="5.00", currency="GBP", reference=reference))

    async def fail(self, payment: str) -> None:
        await self.hear(FailPayment(payment=payment, reason="NOT_ENOUGH_FUNDS"))

    async def states(self) -> list[tuple[str, str, str]]:
        answer = await self.customer.get(self.path)
        assert answer.status_code == 200, answer.text
        return [(one["state"], one["amount"], one["reason"]) for one in answer.json()["items"]]

    async def asked(self) -> list[Any]:
        """What the outbox has for the worker."""
        staff = self.customer.staff
        query = "SELECT data ->> 'payment' FROM outbox WHERE kind = 'momo.request'"
        return [payment for (payment,) in await staff.stored(query, self.customer.town)]


@pytest.fixture
async def payer(staff: StaffWorld) -> Payer:
    customer = Customer(staff=staff, town=staff.here)
    return Payer(customer=customer, code=(await customer.order(payment_method="momo"))["tracking_code"])


async def test_what_is_due_is_asked_for_and_followed(payer: Payer) -> None:
    answer = await payer.pay()

    said = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (202, payer.path)
    assert said == {"payment": said["payment"], "state": "pending", "amount": "5.00", "currency": "GBP", "reason": ""}
    assert await payer.asked() == [said["payment"]]
    await payer.confirm(said["payment"])

    assert await payer.states() == [("confirmed", "5.00", "")]
    order = (await payer.customer.get(payer.path.removesuffix("/payments"))).json()
    assert order["payment"] == {"method": "momo", "state": "paid", "due": "0.00", "paid": "5.00"}


async def test_the_same_request_asks_once_and_is_told_what_became_of_it(payer: Payer) -> None:
    first = await payer.pay(key="once")
    again = await payer.pay(key="once")
    assert (first.status_code, again.status_code, again.json()) == (202, 202, first.json())

    await payer.confirm(first.json()["payment"])

    assert (await payer.pay(key="once")).json() == first.json() | {"state": "confirmed"}
    assert len(await payer.asked()) == 1


async def test_one_payment_is_under_way_at_a_time_and_another_may_follow_a_failure(payer: Payer) -> None:
    payment = await payer.paid()
    answer = await payer.pay()
    assert (answer.status_code, answer.json()["code"]) == (409, "payment_pending")

    await payer.fail(payment)
    await payer.paid()

    assert await payer.states() == [("failed", "5.00", "NOT_ENOUGH_FUNDS"), ("pending", "5.00", "")]


async def test_nobody_is_pestered(payer: Payer) -> None:
    for _ in range(TRIES_MAX):
        await payer.fail(await payer.paid())

    answer = await payer.pay()

    assert (answer.status_code, answer.json()["code"]) == (409, "payment_tries_used")


async def test_what_is_paid_or_cancelled_has_nothing_due(payer: Payer) -> None:
    await payer.confirm(await payer.paid())
    assert (await payer.pay()).json()["code"] == "nothing_due"

    other = Payer(customer=payer.customer, code=(await payer.customer.order())["tracking_code"])
    ((order,),) = await payer.customer.staff.stored(
        "SELECT id::text FROM orders WHERE payment_method = 'cod' AND number LIKE 'W-%' AND commercial = 'active'",
        payer.customer.town,
    )
    await payer.customer.staff.author(payer.customer.town, CancelOrder(order=order))
    assert (await other.pay()).json()["code"] == "nothing_due"


@pytest.mark.parametrize(
    "said",
    [{}, {"payer": "0700"}, {"payer": "+46733123999"}, {"payer": PAYER, "amount": "1.00"}, {"payer": 46733123999}],
)
async def test_a_document_that_is_none_is_refused(payer: Payer, said: Any) -> None:
    assert (await payer.pay(said)).status_code == 400
    assert await payer.asked() == []


async def test_a_payment_needs_a_key_and_the_code_of_an_order(payer: Payer) -> None:
    assert (await payer.pay(key="")).json()["code"] == "idempotency_key_needed"
    stranger = Payer(customer=payer.customer, code="A" * 43)
    assert (await stranger.pay()).status_code == 404
    assert (await payer.customer.get(stranger.path)).status_code == 404
