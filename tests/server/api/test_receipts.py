"""The public check of a receipt: what it says, what became of it, and why it is none; as a document and as a page."""

from __future__ import annotations

from dataclasses import dataclass

import httpx2
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.adapters.keys import KeySigner
from server.application.certificates import device_certificate
from server.application.ports import Enrolment
from sync.engine.chain import encode_bytes
from sync.engine.receipt_bytes import from_letters, to_letters
from sync.engine.receipts import issue
from sync.kernel.changeset import Operation
from sync.kernel.receipts import receipt_label
from sync.modules.billing import IssueInvoice, PayRefund, RegisterParty, RequestRefund, TakePayment, VoidPayment
from sync.modules.billing.operations import InvoiceLine
from sync.modules.identity import RevokeDevice
from tests.support.api_world import ApiWorld, Knocker


@dataclass(kw_only=True)
class Till:
    """A device that takes money and prints receipts, and whoever checks them."""

    world: ApiWorld
    device: Knocker
    invoice: str

    def take(self, amount: str = "12.50") -> TakePayment:
        return TakePayment(id=self.world.new_id(), invoice=self.invoice, amount=amount, currency="GBP")

    def printed(self, *operations: Operation, number: int = 1, money: int = 1250) -> tuple[bytes, str]:
        """The next line, not sent yet, and the code of its receipt."""
        line = self.device.line(*operations, receipt=number)
        code = issue(
            self.device.answer.certificate,
            self.device.key,
            number=number,
            seq=self.device.seq,
            digest=self.device.digest,
            at_ms=self.world.system.now_ms(),
            sums={"GBP": money},
        )
        return line, code

    async def send(self, *lines: bytes) -> list[str]:
        """The status of each line's verdict."""
        answer = await self.device.exchange(*lines)
        assert answer.status_code == 200, answer.text
        said = [orjson.loads(line) for line in answer.content.splitlines()]
        return [one["status"] for one in said if one["t"] == "verdict"]

    async def check(self, code: str, *, accept: str = "application/json") -> httpx2.Response:
        return await self.world.client.get(f"/v1/receipts/{code}", headers={"Accept": accept})

    async def state(self, code: str) -> tuple[str, str]:
        answer = await self.check(code)
        assert answer.status_code == 200, answer.text
        return answer.json()["state"], answer.json()["reason"]


@pytest.fixture
async def till(world: ApiWorld) -> Till:
    party, invoice = world.new_id(), world.new_id()
    lines = [InvoiceLine(text="A certificate", amount="100.00")]
    await world.author(
        RegisterParty(id=party, name="Grace"),
        IssueInvoice(id=invoice, party=party, title="Certificate 7", lines=lines, currency="GBP"),
    )
    return Till(world=world, device=await world.device(), invoice=invoice)


async def test_a_receipt_that_was_booked_is_good(till: Till) -> None:
    payment = till.take()
    line, code = till.printed(payment)
    await till.send(line)

    answer = await till.check(code)

    device_id = till.device.answer.device_id
    assert answer.json() == {
        "number": receipt_label(device_id, 1),
        "state": "paid",
        "reason": "",
        "amounts": [{"amount": "12.50", "currency": "GBP"}],
        "at": "2026-11-21T08:00:00.000Z",
        "town": {"id": till.world.town_id, "name": "Douglas", "time_zone": "Europe/Isle_of_Man"},
        "device": device_id,
        "seq": 1,
        "hash": encode_bytes(till.device.digest),
        "payments": [{"amount": "12.50", "currency": "GBP", "status": "CONFIRMED", "refunded": "0.00"}],
    }


async def test_a_receipt_that_was_not_reported_yet_is_genuine_and_waits(till: Till) -> None:
    _, code = till.printed(till.take())

    assert await till.state(code) == ("waiting", "The device has not reported it yet.")


async def test_a_receipt_that_says_another_amount_than_its_act_is_altered(till: Till) -> None:
    line, code = till.printed(till.take(), money=1_000_000)
    assert await till.state(code) == ("waiting", "The device has not reported it yet.")
    await till.send(line)
    answer = await till.check(code)

    assert (answer.status_code, answer.json()["code"]) == (422, "receipt_altered")


async def test_a_receipt_of_a_device_that_is_out_of_use_is_doubtful_until_it_was_reported(till: Till) -> None:
    reported, good = till.printed(till.take())
    await till.send(reported)
    _, late = till.printed(till.take(), number=2)
    await till.world.author(RevokeDevice(device=till.device.answer.device_id, reason="stolen"))

    assert (await till.state(late))[0] == "doubtful"
    assert (await till.state(good))[0] == "paid"
    page = (await till.check(late, accept="text/html")).text
    assert "This receipt may not be genuine" in page


async def test_a_receipt_whose_act_was_refused_is_void_and_says_why(till: Till) -> None:
    line, code = till.printed(till.take(), VoidPayment(id=till.world.new_id(), payment=till.world.new_id(), reason="x"))
    await till.send(line)

    state, reason = await till.state(code)

    assert (state, bool(reason)) == ("void", True)


async def test_a_receipt_of_a_payment_that_was_voided_is_void(till: Till) -> None:
    payment = till.take()
    line, code = till.printed(payment)
    await till.send(line)
    void = till.device.line(VoidPayment(id=till.world.new_id(), payment=payment.id, reason="a wrong button"))

    assert await till.send(void) == ["accepted"]
    assert await till.state(code) == ("void", "The payment was voided.")


@pytest.mark.parametrize(("amount", "state"), [("2.50", "partly_refunded"), ("12.50", "refunded")])
async def test_a_receipt_shows_what_was_paid_back(till: Till, amount: str, state: str) -> None:
    payment = till.take()
    line, code = till.printed(payment)
    await till.send(line)
    refund = RequestRefund(
        id=till.world.new_id(), payment=payment.id, amount=amount, currency="GBP", method="bank", reason="broken"
    )
    await till.world.author(refund)
    assert (await till.state(code))[0] == "paid"

    paid = PayRefund(
        id=till.world.new_id(), payment=payment.id, refund=refund.id, amount=amount, currency="GBP", method="bank"
    )
    assert (await till.world.author(paid))["status"] == "accepted"

    assert (await till.state(code))[0] == state


async def test_a_number_that_was_given_twice_is_told_of_both(till: Till) -> None:
    first, one = till.printed(till.take())
    await till.send(first)
    second, two = till.printed(till.take())
    assert (await till.device.exchange(second)).status_code == 503  # it is suspended by what it sent

    for code in (one, two):
        answer = await till.check(code)
        assert (answer.status_code, answer.json()["code"]) == (422, "receipt_reused")


async def test_a_receipt_for_a_place_that_another_act_has_is_told(till: Till) -> None:
    _, code = till.printed(till.take())
    till.device.seq, till.device.digest = (
        0,
        till.device.__class__(world=till.world, key=till.device.key, answer=till.device.answer).digest,
    )
    line, _ = till.printed(till.take("1.00"), number=2)
    await till.send(line)

    answer = await till.check(code)

    assert (answer.status_code, answer.json()["code"]) == (422, "receipt_reused")


def altered(code: str, place: int) -> str:
    raw = bytearray(from_letters(code))
    raw[place] ^= 1
    return to_letters(bytes(raw))


async def test_a_receipt_that_is_none_is_told_with_the_reason(till: Till) -> None:
    _, code = till.printed(till.take())
    stranger = KeySigner(Ed25519PrivateKey.generate())
    enrolment = Enrolment(
        code_hash=b"", town_id=till.world.town_id, role="driver", user_id=None, warehouse_id=None, expires_at=""
    )
    certificate = device_certificate(
        stranger,
        enrolment,
        device_id=till.device.answer.device_id,
        public_key=encode_bytes(till.device.key.public_key().public_bytes_raw()),
        now_seconds=1,
    )
    foreign = issue(certificate, till.device.key, number=1, seq=1, digest=bytes(32), at_ms=1, sums={"GBP": 1})
    told = {}
    for name, bad in {
        "receipt_unreadable": "HELLO",
        "receipt_key_unknown": foreign,
        "receipt_forged": altered(code, 100),
        "receipt_altered": altered(code, -70),
    }.items():
        answer = await till.check(bad)
        told[answer.json()["code"]] = (name, answer.status_code)

    assert told == {
        "receipt_unreadable": ("receipt_unreadable", 400),
        "receipt_key_unknown": ("receipt_key_unknown", 422),
        "receipt_forged": ("receipt_forged", 422),
        "receipt_altered": ("receipt_altered", 422),
    }


async def test_a_browser_gets_a_page_also_by_the_address_of_the_qr_code(till: Till) -> None:
    line, code = till.printed(till.take())
    await till.send(line)

    for path in (f"/v1/receipts/{code}", f"/V1/RECEIPTS/{code}"):
        answer = await till.world.client.get(path, headers={"Accept": "text/html,*/*"})
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/html")
        assert "<h1>This receipt is good.</h1>" in answer.text
        assert "12.50 GBP" in answer.text


async def test_a_page_about_no_receipt_says_why_and_shows_nothing_of_what_was_sent(till: Till) -> None:
    answer = await till.check("%3Cscript%3E", accept="text/html")

    assert answer.status_code == 400
    assert "script" not in answer.text.lower()
    assert "no receipt code" in answer.text


async def test_a_receipt_shows_what_was_given_back_without_a_refund(till: Till) -> None:
    payment = till.take()
    line, code = till.printed(payment)
    await till.send(line)

    await till.world.author(PayRefund(payment=payment.id, amount="12.50", currency="GBP", method="bank"))

    assert (await till.state(code))[0] == "refunded"
