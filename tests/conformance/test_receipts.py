"""Every act that takes money has a receipt: numbered without a gap, printed again as it was, good without a server."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from client_sdk.application.ports import Store
from client_sdk.application.reauthor import reauthor, receipt_at
from client_sdk.application.record import Recorded
from client_sdk.errors import NoQrCode, NoReceipt, Refused
from client_sdk.receipts import Receipt, ReceiptForeign, ReceiptReused, verify_receipt
from server.adapters.keys import KeySigner
from server.domain.devices import certificate_claims
from sync.engine.chain import encode_bytes
from sync.engine.receipts import CERTIFICATE_TYPE
from tests.conformance.test_rebasing import released
from tests.support.desk import town_with_jobs
from tests.support.stores import new_store, note
from tests.support.toy import (
    DEVICE_ID,
    REGISTRY,
    SERVER_KEY,
    TOWN_ID,
    FinishJob,
    PlaceJob,
    TakeCash,
    ToyTown,
    exchange,
    toy_identity,
)
from tests.support.toy import job_id as job

SIGNER = KeySigner(SERVER_KEY)
KEYS = {SIGNER.kid: SIGNER.public_key}


@pytest.fixture
def town() -> ToyTown:
    return town_with_jobs()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path, town: ToyTown) -> Store:
    """A store with the certificate of a real device, in sync with the town."""
    made = new_store(request.param, tmp_path)
    key = made.device_key()
    claims = certificate_claims(
        town_id=TOWN_ID,
        device_id=DEVICE_ID,
        role="driver",
        user_id=None,
        public_key=encode_bytes(key.public_key().public_bytes_raw()),
        now_seconds=1_790_000_000,
    )
    made.enrolled(replace(toy_identity(key), certificate=SIGNER.jws(claims, CERTIFICATE_TYPE)))
    exchange(made, town)
    return made


def take(store: Store, *amounts: str, currency: str = "GBP") -> Recorded:
    return note(store, *(TakeCash(job=job(1), amount=amount, currency=currency) for amount in amounts))


def good(recorded: Recorded) -> Receipt:
    assert recorded.receipt is not None
    return verify_receipt(recorded.receipt.code, KEYS)


def test_a_receipt_says_what_was_taken_where_in_the_chain(store: Store) -> None:
    done = take(store, "12.50", "0.70")

    receipt = good(done)
    assert (receipt.number, receipt.seq, receipt.hash) == (1, done.seq, done.hash)
    assert (receipt.sums, receipt.at, receipt.town_id) == ((("GBP", 1320),), done.at[:-5], TOWN_ID)
    assert done.receipt is not None
    assert (done.receipt.number, done.receipt.amounts) == (receipt.label, ("13.20 GBP",))


def test_only_acts_that_take_money_have_numbers_and_none_is_left_out(store: Store) -> None:
    first = take(store, "1.00")
    assert note(store, FinishJob(job=job(1))).receipt is None
    with pytest.raises(Refused):
        note(store, PlaceJob(name=""), TakeCash(job=job(1), amount="1.00", currency="GBP"))
    second = take(store, "2.00")

    assert [good(first).number, good(second).number] == [1, 2]


def test_a_receipt_of_two_currencies_says_both(store: Store) -> None:
    pounds, yen = (TakeCash(job=job(1), amount="5", currency=currency) for currency in ("GBP", "JPY"))

    assert good(note(store, pounds, yen)).sums == (("GBP", 500), ("JPY", 5))


def test_a_receipt_is_printed_again_as_it_was(store: Store) -> None:
    done = take(store, "12.50")
    note(store, FinishJob(job=job(1)))

    assert receipt_at(store, REGISTRY, done.seq) == done.receipt
    for seq in (done.seq + 1, done.seq + 2):
        with pytest.raises(NoReceipt):
            receipt_at(store, REGISTRY, seq)


def test_a_line_that_is_written_anew_keeps_the_receipt_that_was_printed(store: Store, town: ToyTown) -> None:
    done = take(store, "12.50")

    assert reauthor(store, store.exchange_state(), released(store, town)) == 1

    again = store.entries()[0]
    assert again.seq != done.seq
    assert receipt_at(store, REGISTRY, again.seq) == done.receipt


def test_a_copy_from_yesterday_goes_on_after_the_numbers_that_the_server_has_seen(store: Store, town: ToyTown) -> None:
    take(store, "12.50")

    reauthor(store, store.exchange_state(), released(store, town, receipts=41))

    assert good(take(store, "1.00")).number == 42


def test_receipts_of_other_towns_and_numbers_given_twice_are_refused(store: Store) -> None:
    done = take(store, "12.50")
    receipt = good(done)
    assert done.receipt is not None

    assert verify_receipt(done.receipt.url, SIGNER.public_key, town=TOWN_ID, known=[receipt]) == receipt
    with pytest.raises(ReceiptForeign):
        verify_receipt(done.receipt.code, [SIGNER.public_key], town=DEVICE_ID)
    with pytest.raises(ReceiptReused):
        verify_receipt(done.receipt.code, KEYS, known=[replace(receipt, seq=99)])


def test_a_receipt_has_a_qr_code_that_fits_the_slip(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    receipt = take(store, "12.50").receipt
    assert receipt is not None
    assert receipt.url == f"HTTP://127.0.0.1:9/V1/RECEIPTS/{receipt.code}"

    image = receipt.qr_svg()
    width_mm = float(image.partition('width="')[2].partition("mm")[0])
    assert image.startswith("<svg")
    assert 50 < width_mm <= 72

    monkeypatch.setitem(sys.modules, "segno", None)
    with pytest.raises(NoQrCode):
        receipt.qr_svg()
