"""What an auditor can tell without a server: running totals, certificates, which keys follow from a published one."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.adapters.keys import KeySigner
from server.domain.audit import Amounts, read_certificate, ring_of
from sync.engine.keyring import KeyForged

OLD, NEW = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
RING = KeySigner(NEW, [OLD])
STRANGER = KeySigner(Ed25519PrivateKey.generate())


def line(taken: str, said: str | None, currency: str = "GBP") -> dict[str, Any]:
    """A line that takes an amount and says that so much was taken in all."""
    ops = [{"op": "payment.take", "amount": taken, "currency": currency}] if taken else [{"op": "pick.line"}]
    return {"ops": ops} | ({"totals": {currency: {"in": said, "out": "0"}}} if said is not None else {})


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        ([line("12.50", "12.50"), line("0.25", "12.75"), line("", "12.75")], []),
        ([line("1.00", "1.00"), {"ops": []}, line("1.00", "2.00")], []),
        ([line("1.00", None), line("1.00", "2.00")], []),
        ([line("1.00", "1.00"), line("5.00", "5.00", "KES") | {"totals": {}}, line("", "5.00", "KES")], [2]),
        ([line("1.00", "1.00"), line("1.00", "3.00"), line("1.00", "4.00")], [1]),
        ([line("1.00", "1.00"), line("", "0.00")], [1]),
        ([line("1.00", "1.00"), line("1.00", "2.00", "KES")], [1]),
        ([line("1.00", "much"), line("1.00", "7.00")], [0]),
    ],
)
def test_each_line_says_the_totals_before_it_and_what_it_moved(lines: list[dict[str, Any]], wrong: list[int]) -> None:
    amounts = Amounts()

    assert [place for place, one in enumerate(lines) if amounts.take(one, is_read=True)] == wrong


def test_after_what_nobody_could_read_or_nobody_has_the_next_totals_are_believed() -> None:
    amounts = Amounts()
    amounts.take(line("1.00", "1.00"), is_read=True)

    assert amounts.take({"ops": "of a later day"}, is_read=False) == ""
    assert amounts.take(line("1.00", "9.00"), is_read=True) == ""
    assert amounts.take({"ops": [{"op": "till.of_a_later_day"}]}, is_read=False) == ""
    assert amounts.take(line("1.00", "19.00"), is_read=True) == ""
    amounts.lose_count()
    assert amounts.take(line("1.00", "29.00"), is_read=True) == ""
    assert amounts.take(line("1.00", "29.00"), is_read=True) == (
        "its running totals say 29.00 GBP in, those before and this line give 30.00"
    )


def test_a_certificate_is_read_when_a_key_of_the_ring_has_signed_it() -> None:
    claims = {"sub": "a device"}
    keys = ring_of(RING.published, RING.public_key)

    assert read_certificate(RING.jws(claims, "a kind"), keys) == claims
    assert read_certificate(KeySigner(OLD).jws(claims, "a kind"), keys) == claims
    for other in (STRANGER.jws(claims, "a kind"), "", "a.b", RING.jws(claims, "a kind")[:-4] + "AAAA"):
        assert read_certificate(other, keys) is None


def test_the_ring_is_every_key_when_each_endorses_the_next() -> None:
    assert list(ring_of(RING.published, None).values()) == [KeySigner(OLD).public_key, RING.public_key]
    old, new = RING.published
    for forged, trusted in (
        ([old, new], STRANGER.public_key),
        ([old, *STRANGER.published], None),
        ([new, old], None),
        ([old.model_copy(update={"kid": new.kid}), new], None),
        ([old.model_copy(update={"sealing_key": new.sealing_key})], None),
    ):
        with pytest.raises(KeyForged):
            ring_of(forged, trusted)
