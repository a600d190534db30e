"""Bundles of lines: the same bytes come out, each signed, and nothing larger than allowed is ever inflated."""

from __future__ import annotations

import tracemalloc
import zlib
from dataclasses import replace

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sync.engine.chain import encode_bytes, head_message, line_hash, sign
from sync.kernel.errors import LimitExceeded, Malformed
from sync.kernel.ids import derived_id
from sync.protocol import limits
from sync.protocol.bundle import Bundle, pack, unpack

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
PUBLIC = encode_bytes(KEY.public_key().public_bytes_raw())
TOWN, DEVICE = derived_id("town", 1), derived_id("device", 1)
LINES = [b'{"seq":7}', b"\xff not even text", b'{"seq":9}']
BUNDLE = Bundle(
    town=TOWN,
    device=DEVICE,
    from_seq=7,
    lines=LINES,
    signatures=tuple(sign(KEY, head_message(DEVICE, seq, line_hash(line))) for seq, line in enumerate(LINES, start=7)),
)


def test_a_bundle_comes_out_as_it_was_packed() -> None:
    assert unpack(pack(BUNDLE)) == BUNDLE
    assert BUNDLE.to_seq == 9


def test_each_beginning_of_a_bundle_can_be_believed_by_itself() -> None:
    assert [BUNDLE.first(count).is_by(PUBLIC) for count in range(4)] == [True] * 4


@pytest.mark.parametrize(
    "forged",
    [
        replace(BUNDLE, from_seq=8),
        replace(BUNDLE, device=derived_id("device", 2)),
        replace(BUNDLE, lines=[*LINES[:2], b'{"seq":10}']),
        replace(BUNDLE, lines=LINES[::-1]),
    ],
    ids=["place", "device", "line", "order"],
)
def test_lines_that_the_device_has_not_signed_like_this_are_not_its_own(forged: Bundle) -> None:
    assert not forged.is_by(PUBLIC)


def test_a_bundle_is_not_inflated_beyond_its_limit() -> None:
    with pytest.raises(LimitExceeded):
        unpack(zlib.compress(bytes(10_000_000)), bytes_max=1_000)


def test_no_line_in_a_bundle_is_longer_than_one_on_the_wire() -> None:
    with pytest.raises(LimitExceeded):
        unpack(pack(replace(BUNDLE, lines=[*LINES[:2], b"x" * (limits.LINE_BYTES_MAX + 1)])))


def test_lines_without_a_head_are_counted_and_not_made_objects_of() -> None:
    packed = zlib.compress(b'{"bundle":1}' + b"\n" * 8_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(Malformed):
            unpack(packed)
        assert tracemalloc.get_traced_memory()[1] < 40_000_000  # 8 MB and a copy; split it would be 70 MB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"not zlib",
        pack(BUNDLE)[:-1],
        pack(BUNDLE) + b"x",
        zlib.compress(b"no head"),
        zlib.compress(orjson.dumps({"bundle": 1, "town": TOWN, "device": DEVICE, "from_seq": 1, "signatures": []})),
        zlib.compress(zlib.decompress(pack(BUNDLE)) + b"\n{}"),
        zlib.compress(zlib.decompress(pack(BUNDLE)).replace(b'"bundle":1', b'"bundle":2')),
    ],
    ids=["empty", "other", "cut", "more behind", "no head", "no lines", "a line too many", "another version"],
)
def test_what_is_no_bundle_is_said_to_be_none(packed: bytes) -> None:
    with pytest.raises(Malformed):
        unpack(packed)
