"""Write the golden files of `sync/protocol/vectors`: `python -m tests.support.make_vectors`.

They are made by our own code, checked in, and checked by `tests/sync/protocol/test_vectors.py`, which does the
cryptography again with plain libraries. Change them only together with the protocol.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from server.adapters.keys import KeySigner
from server.domain.devices import certificate_claims
from sync.engine.chain import (
    encode_bytes,
    genesis_hash,
    head_message,
    journal_hash,
    journal_message,
    line_hash,
    older_journal_message,
    sign,
    verdict_hash,
)
from sync.engine.feed import BucketSum, row_sum
from sync.engine.receipts import CERTIFICATE_TYPE, issue, verify_receipt
from sync.kernel.ids import derived_id, make_id
from sync.protocol.messages import enrol_message
from tests.support import make_evidence_vectors

VECTORS = Path(__file__).resolve().parents[2] / "sync" / "protocol" / "vectors"
DEVICE_SEED = bytes(range(32))
SERVER_SEED = bytes(range(32, 64))
TOWN, DEVICE, ACTOR = derived_id("town", "ashford"), derived_id("device", 1), derived_id("user", 1)
EPOCH, ORDER = derived_id("epoch", 1), derived_id("order", 1)
CERTIFICATE = "eyJhbGciOiJFZERTQSIsImtpZCI6Im9uZSJ9.eyJzdWIiOiJkZXZpY2UifQ.c2lnbmF0dXJl"
BODIES = (b'{"v":1,"version":1,"sets":[]}', b'{"v":1,"version":2,"sets":[]}')


def public(seed: bytes) -> str:
    """The public key of a seed, in base64url."""
    return encode_bytes(Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw())


def chain() -> dict[str, Any]:
    """A device's first two lines, their hashes and signed heads."""
    key = Ed25519PrivateKey.from_private_bytes(DEVICE_SEED)
    before = genesis_hash(CERTIFICATE)
    heads = [_head(key, 0, before)]
    lines = []
    for seq, operation in enumerate(_operations(), start=1):
        line = _line(seq, encode_bytes(before), operation)
        before = line_hash(line)
        lines.append({"seq": seq, "line": line.decode(), "hash": encode_bytes(before)})
        heads.append(_head(key, seq, before))
    return {
        "device": DEVICE,
        "seed_hex": DEVICE_SEED.hex(),
        "public_key": public(DEVICE_SEED),
        "certificate": CERTIFICATE,
        "genesis": encode_bytes(genesis_hash(CERTIFICATE)),
        "lines": lines,
        "heads": heads,
    }


def journal() -> dict[str, Any]:
    """Two journal entries and a verdict, their hashes and the signed head."""
    key = Ed25519PrivateKey.from_private_bytes(SERVER_SEED)
    verdict = (
        b'{"t":"verdict","seq":1,"hash":"' + encode_bytes(bytes(32)).encode() + b'","status":"accepted","version":1}'
    )
    entries = []
    for version, body in enumerate(BODIES, start=1):
        digest = journal_hash(body)
        message = journal_message(TOWN, EPOCH, version, digest)
        older = older_journal_message(TOWN, version, digest)
        entries.append(
            {
                "version": version,
                "body": body.decode(),
                "hash": encode_bytes(digest),
                "message": message.decode(),
                "signature": sign(key, message),
                "older": {"message": older.decode(), "signature": sign(key, older)},
            }
        )
    return {
        "town": TOWN,
        "epoch": EPOCH,
        "seed_hex": SERVER_SEED.hex(),
        "public_key": public(SERVER_SEED),
        "verdict": {"line": verdict.decode(), "hash": encode_bytes(verdict_hash(verdict))},
        "entries": entries,
    }


def enrolment() -> dict[str, Any]:
    """A proof of possession."""
    key, code = Ed25519PrivateKey.from_private_bytes(DEVICE_SEED), "K7Q2-M4TX-9RWD-P3HN"
    message = enrol_message(code, public(DEVICE_SEED))
    return {
        "code": code,
        "seed_hex": DEVICE_SEED.hex(),
        "public_key": public(DEVICE_SEED),
        "message": message.decode(),
        "proof": sign(key, message),
    }


def ids() -> dict[str, Any]:
    """Made ids, derived ids, and what is none."""
    parts: list[list[str | int]] = [["stock_level", ORDER, DEVICE], ["conflict", DEVICE, 17, 1], ["a"], ["ä", ""]]
    good = [make_id(1_795_262_400_000, bytes(range(10))), derived_id("a")]
    return {
        "made": [{"unix_ms": 1_795_262_400_000, "random_hex": bytes(range(10)).hex(), "id": good[0]}],
        "derived": [{"parts": part, "id": derived_id(*part)} for part in parts],
        "good": good,
        "bad": [
            "",
            good[0].upper(),
            good[0].replace("-", ""),
            "{" + good[0] + "}",
            good[0] + "0",
            "00000000-0000-0000-0000-000000000000",
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            "f47ac10b-58cc-4372-a567-0e02b2c3d479",
            "019a0000-0000-7000-c000-000000000000",
        ],
    }


def sums() -> dict[str, Any]:
    """Row checksums and the sum of a bucket."""
    rows = [("order", ORDER, 1), ("order", ORDER, 2**53 - 1), ("stock_level", derived_id("stock_level", 1), 17)]
    total = BucketSum()
    for entity, row_id, version in rows:
        total = total.with_row(entity, row_id, version)
    return {
        "rows": [
            {"entity": entity, "id": row_id, "version": version, "sum": f"{row_sum(entity, row_id, version):016x}"}
            for entity, row_id, version in rows
        ],
        "bucket": {"rows": total.rows, "sum": f"{total.total:016x}"},
        "empty": {"rows": 0, "sum": "0" * 16},
    }


def money() -> dict[str, Any]:
    """Amounts on the wire and in minor units, and what is none."""
    return {
        "good": [
            {"amount": "12.50", "currency": "GBP", "digits": 2, "minor": 1250},
            {"amount": "12.5", "currency": "GBP", "digits": 2, "minor": 1250},
            {"amount": "0", "currency": "KES", "digits": 2, "minor": 0},
            {"amount": "0.01", "currency": "KES", "digits": 2, "minor": 1},
            {"amount": "500", "currency": "UGX", "digits": 0, "minor": 500},
            {"amount": "1.234", "currency": "KWD", "digits": 3, "minor": 1234},
            {"amount": "999999999999.99", "currency": "GBP", "digits": 2, "minor": 99_999_999_999_999},
        ],
        "bad": [
            {"amount": amount, "currency": currency}
            for amount, currency in (
                ("-1", "GBP"),
                ("+1", "GBP"),
                ("1.", "GBP"),
                (".5", "GBP"),
                ("01", "GBP"),
                ("1,5", "GBP"),
                ("1e3", "GBP"),
                (" 1", "GBP"),
                ("1.005", "GBP"),
                ("1.5", "JPY"),
                ("1000000000000", "GBP"),
                ("\u0661", "GBP"),
                ("", "GBP"),
                ("1", "gbp"),
                ("1", "XXX"),
                ("1", "ZZZ"),
            )
        ],
    }


def clocks() -> dict[str, Any]:
    """Times, readings of the hybrid clock, how it ticks, and what is none."""
    moment = "2026-11-21T08:15:02"
    return {
        "times": [
            {"text": "1970-01-01T00:00:00.000Z", "unix_ms": 0},
            {"text": "2026-11-21T08:15:02.114Z", "unix_ms": 1_795_248_902_114},
            {"text": "2024-02-29T23:59:59.999Z", "unix_ms": 1_709_251_199_999},
            {"text": "9999-12-31T23:59:59.999Z", "unix_ms": 253_402_300_799_999},
        ],
        "readings": [
            {"text": "2026-11-21T08:15:02.114Z-0003", "unix_ms": 1_795_248_902_114, "counter": 3},
            {"text": "2026-11-21T08:15:02.114Z-FFFF", "unix_ms": 1_795_248_902_114, "counter": 65_535},
        ],
        "ticks": [
            {"from": f"{moment}.114Z-{counter}", "now_ms": now_ms, "to": f"{moment}.{after}"}
            for counter, now_ms, after in (
                ("0003", 1_795_248_902_115, "115Z-0000"),
                ("0003", 1_795_248_902_114, "114Z-0004"),
                ("0003", 0, "114Z-0004"),
                ("FFFF", 0, "115Z-0000"),
            )
        ],
        "bad": [
            "2026-11-21T08:15:02.114-0003",
            "2026-11-21T08:15:02.114+00:00-0003",
            "2026-11-21T08:15:02Z-0003",
            "2026-11-21T08:15:02.114Z-003",
            "2026-11-21T08:15:02.114Z-00ff",
            "2026-11-21T08:15:02.114Z",
            "2026-02-30T08:15:02.114Z-0000",
            "2026-11-21T24:00:00.000Z-0000",
            "0000-01-01T00:00:00.000Z-0000",
            "1969-12-31T23:59:59.999Z-0000",
            "2026-11-21 08:15:02.114Z-0000",
        ],
    }


def strict_json() -> dict[str, Any]:
    """Lines that are read and lines that are not, as text or, where they are no text, in hexadecimal."""
    return {
        "good": [
            "{}",
            ' { "a" : [ 1 , -2 , true , false , null ] } ',
            '{"a":"\\u00e4\\ud83d\\ude00"}',
            '{"a":9007199254740991}',
            '{"a":' + "[" * 14 + "]" * 14 + "}",
            '{"a":{"a":1}}',
        ],
        "bad": [
            "",
            "[]",
            '"a"',
            "1",
            "null",
            "{",
            '{"a":1',
            '{"a":1}{"a":1}',
            '{"a":1,}',
            "{'a':1}",
            '{"a":1,"a":1}',
            '{"b":{"a":1,"\\u0061":2}}',
            '{"a":1.0}',
            '{"a":1e3}',
            '{"a":NaN}',
            '{"a":Infinity}',
            '{"a":1e999}',
            '{"a":01}',
            '{"a":9007199254740992}',
            '{"a":-9007199254740992}',
            '{"a":"\\u0000"}',
            '{"a\\u0000":1}',
            '{"a":"\\ud83d"}',
            '{"a":"\n"}',
            '{"a":' + "[" * 16 + "]" * 16 + "}",
            '{"a":"' + "x" * 4097 + '"}',
            "/* */{}",
            "\ufeff{}",
        ],
        "bad_hex": [
            raw.hex() for raw in (b'{"a":"\xff"}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\xc0\x80"}', b'{"a":"\x00"}')
        ],
    }


def receipts() -> dict[str, Any]:
    """Codes of receipts, and what they say; their certificates are signed by the server's seed."""
    server, device = (Ed25519PrivateKey.from_private_bytes(seed) for seed in (SERVER_SEED, DEVICE_SEED))
    signer = KeySigner(server)
    told = []
    for user, number, seq, money in RECEIPTS:
        claims = certificate_claims(
            town_id=TOWN,
            device_id=DEVICE,
            role="driver" if user else "warehouse_staff",
            user_id=user,
            public_key=public(DEVICE_SEED),
            now_seconds=1_790_000_000,
        )
        certificate, digest = signer.jws(claims, CERTIFICATE_TYPE), hashlib.sha256(str(seq).encode()).digest()
        code = issue(certificate, device, number=number, seq=seq, digest=digest, at_ms=1_795_248_902_114, sums=money)
        receipt = verify_receipt(code, [signer.public_key])
        told.append({"certificate": certificate, "code": code, "label": receipt.label, "says": asdict(receipt)})
    return {"seed_hex": DEVICE_SEED.hex(), "server_key": signer.public_key, "receipts": told}


RECEIPTS: list[tuple[str | None, int, int, dict[str, int]]] = [
    (ACTOR, 17, 341, {"GBP": 1250}),
    (None, 1_000_000, 1, {"KWD": 1, "GBP": 0, "JPY": 2**53 - 1}),
]
"""Of whom, number, place and sums."""

MAKERS: dict[str, Callable[[], dict[str, Any]]] = {
    "chain": chain,
    "journal": journal,
    "enrolment": enrolment,
    "ids": ids,
    "sums": sums,
    "money": money,
    "clocks": clocks,
    "strict_json": strict_json,
    **make_evidence_vectors.MAKERS,
    "receipts": receipts,
}


def made(name: str) -> bytes:
    """The bytes of one golden file as they should be now."""
    return orjson.dumps(MAKERS[name](), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _head(key: Ed25519PrivateKey, seq: int, digest: bytes) -> dict[str, Any]:
    message = head_message(DEVICE, seq, digest)
    return {"seq": seq, "hash": encode_bytes(digest), "message": message.decode(), "signature": sign(key, message)}


def _operations() -> list[dict[str, Any]]:
    blob = hashlib.sha256(b"").hexdigest()
    return [
        {"op": "delivery.complete", "id": derived_id("operation", 1), "dispatch": ORDER, "received_by": 'Zoë ☂ \\ " /'},
        {"op": "order.of_tomorrow", "id": derived_id("operation", 2), "blob": blob, "quantity": -3, "spare": None},
    ]


def _line(seq: int, prev: str, operation: dict[str, Any]) -> bytes:
    said = {
        "v": 1,
        "town": TOWN,
        "device": DEVICE,
        "seq": seq,
        "prev": prev,
        "actor": ACTOR,
        "base": 1204,
        "epoch": EPOCH,
        "at": f"2026-11-21T08:15:02.114Z-000{seq}",
        "ops": [operation],
    }
    # The second line has white space: what is hashed is the bytes, not what they mean.
    return orjson.dumps(said) if seq == 1 else orjson.dumps(said).replace(b'","', b'", "')


if __name__ == "__main__":
    for each in MAKERS:
        (VECTORS / f"{each}.json").write_bytes(made(each))
