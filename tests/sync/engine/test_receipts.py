"""A receipt holds by itself, under the installation's public key alone; what is wrong with one is told apart."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
import segno
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from server.adapters.keys import KeySigner
from server.application.certificates import device_certificate, server_certificate
from server.application.ports import Enrolment
from sync.engine.chain import encode_bytes
from sync.engine.receipt_bytes import CODE_LETTERS_MAX, ReceiptUnreadable, from_letters, to_letters
from sync.engine.receipts import (
    ROLES,
    CertificateUnfit,
    Receipt,
    ReceiptAltered,
    ReceiptForeign,
    ReceiptForged,
    ReceiptKeyUnknown,
    ReceiptReused,
    check_numbers,
    issue,
    verify_receipt,
)
from sync.kernel.errors import TallystickError
from sync.kernel.ids import derived_id

TOWN, OTHER_TOWN, DEVICE, USER = (derived_id(name) for name in ("town", "other town", "device", "user"))
KEY, OTHER_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))
SERVER, OTHER_SERVER = (KeySigner(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32), []) for number in (3, 4))
DIGEST = hashlib.sha256(b"the line").digest()
AT_MS = 1_795_248_902_114
QR_MODULES_MAX = 72
"""As many as a head of 203 dots an inch prints 1 mm wide on 72 mm, the width that an 80 mm slip has for print."""


def certificate(signer: KeySigner = SERVER, *, role: str = "driver", user: str | None = USER) -> str:
    enrolment = Enrolment(
        code_hash=b"", town_id=TOWN, role=role, user_id=user, warehouse_id=None, expires_at="2026-11-21T08:15:02.114Z"
    )
    public_key = encode_bytes(KEY.public_key().public_bytes_raw())
    return device_certificate(signer, enrolment, device_id=DEVICE, public_key=public_key, now_seconds=1_790_000_000)


def code(signer: KeySigner = SERVER, key: Ed25519PrivateKey = KEY, *, number: int = 17, seq: int = 341) -> str:
    sums = {"GBP": 1250}
    return issue(certificate(signer), key, number=number, seq=seq, digest=DIGEST, at_ms=AT_MS, sums=sums)


def told(text: str, town: str | None = None) -> str:
    """The code of the fault with which a receipt is refused, or "good"."""
    try:
        verify_receipt(text, [SERVER.public_key], town)
    except TallystickError as fault:
        return fault.code
    return "good"


def with_byte(place: int, value: int) -> str:
    raw = bytearray(from_letters(code()))
    raw[place] ^= value
    return to_letters(bytes(raw))


def test_a_receipt_says_what_was_issued() -> None:
    assert verify_receipt(code(), [SERVER.public_key]) == Receipt(
        town_id=TOWN,
        device_id=DEVICE,
        user_id=USER,
        role="driver",
        number=17,
        seq=341,
        hash=encode_bytes(DIGEST),
        at="2026-11-21T08:15:02.114Z",
        sums=(("GBP", 1250),),
        kid=SERVER.kid,
    )


def test_a_receipt_is_printed_with_its_number_and_amounts() -> None:
    receipt = verify_receipt(code(), [SERVER.public_key])

    assert receipt.label == "HC29HZ-000017"
    assert receipt.amounts == ("12.50 GBP",)


def test_the_same_act_gives_the_same_code() -> None:
    assert code() == code()


@given(
    st.integers(1, 2**40),
    st.integers(1, 2**53),
    st.dictionaries(st.sampled_from(["GBP", "JPY", "KWD", "ZWG", "AED"]), st.integers(0, 2**53 - 1), min_size=1),
    st.sampled_from(ROLES),
    st.sampled_from([None, USER]),
)
def test_whatever_is_issued_is_read_back(
    number: int, seq: int, sums: dict[str, int], role: str, user: str | None
) -> None:
    text = issue(certificate(role=role, user=user), KEY, number=number, seq=seq, digest=DIGEST, at_ms=0, sums=sums)
    receipt = verify_receipt(text, [SERVER.public_key], TOWN)

    assert (receipt.number, receipt.seq, dict(receipt.sums)) == (number, seq, sums)
    assert (receipt.role, receipt.user_id, receipt.at) == (role, user, "1970-01-01T00:00:00.000Z")
    assert len(text) <= CODE_LETTERS_MAX


@given(st.binary(min_size=1, max_size=500))
def test_letters_and_bytes_have_one_way_each(raw: bytes) -> None:
    assert from_letters(to_letters(raw)) == raw


def test_a_receipt_fits_as_a_qr_code_on_a_slip_of_80_mm() -> None:
    for text in (code(), f"HTTPS://SYNC.TOWN.EXAMPLE/V1/RECEIPTS/{code()}"):
        qr = segno.make(text, error="l", micro=False, boost_error=False)
        assert qr.mode == "alphanumeric"
        assert qr.symbol_size()[0] <= QR_MODULES_MAX


def test_a_receipt_is_read_out_of_the_url_of_its_qr_code_in_any_case_of_letters() -> None:
    assert told(f"HTTPS://SYNC.EXAMPLE/V1/RECEIPTS/{code()}") == "good"
    assert told(f" https://sync.example/v1/receipts/{code().lower()}\n") == "good"


def test_a_receipt_of_an_unknown_installation_is_told() -> None:
    assert told(code(OTHER_SERVER)) == ReceiptKeyUnknown.code


def test_a_receipt_of_another_town_is_told() -> None:
    assert told(code(), TOWN) == "good"
    assert told(code(), OTHER_TOWN) == ReceiptForeign.code


def test_a_receipt_of_a_device_that_was_never_certified_is_forged() -> None:
    forger = KeySigner(Ed25519PrivateKey.from_private_bytes(bytes([9]) * 32))
    raw = bytearray(from_letters(code(forger)))
    raw[1:9] = bytes.fromhex(SERVER.kid)

    assert told(to_letters(bytes(raw))) == ReceiptForged.code


def test_a_receipt_that_another_key_has_signed_is_altered() -> None:
    assert told(code(key=OTHER_KEY)) == ReceiptAltered.code


def test_no_bit_of_a_receipt_can_be_changed() -> None:
    size = len(from_letters(code()))
    answers = {told(with_byte(place, 1 << place % 8)) for place in range(size)}

    assert answers == {
        ReceiptAltered.code,
        ReceiptForged.code,
        ReceiptKeyUnknown.code,
        ReceiptUnreadable.code,
    }


@pytest.mark.parametrize(
    "text",
    ["", "HELLO", "A", "é" * 400, "Z" * (CODE_LETTERS_MAX + 1), code()[:-1], code()[3:], code() + "000", "::" + code()],
)
def test_what_is_no_receipt_is_unreadable(text: str) -> None:
    assert told(text) == ReceiptUnreadable.code


def test_a_newer_receipt_is_unreadable_to_an_older_app() -> None:
    assert told(with_byte(0, 3)) == ReceiptUnreadable.code


def test_one_number_for_two_acts_is_seen() -> None:
    first = verify_receipt(code(), [SERVER.public_key])

    check_numbers([first, first, replace(first, number=18, seq=342)])
    with pytest.raises(ReceiptReused):
        check_numbers([first, replace(first, seq=342)])
    with pytest.raises(ReceiptReused):
        check_numbers([first, replace(first, hash="another")])


@pytest.mark.parametrize("text", ["", "a.b.c", server_certificate(SERVER, TOWN), certificate() + "A"])
def test_a_certificate_of_another_kind_makes_no_receipt(text: str) -> None:
    with pytest.raises(CertificateUnfit):
        issue(text, KEY, number=1, seq=1, digest=DIGEST, at_ms=0, sums={"GBP": 1})
