"""The golden files of the protocol: our code agrees with them, and so do plain libraries that know nothing of it."""

from __future__ import annotations

import base64
import hashlib
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sync.engine.chain import Link, check_links, decode_bytes, is_signed, parse_public_key
from sync.kernel.clock import Hlc, format_time, parse_time
from sync.kernel.errors import InvalidClockReading, InvalidId, InvalidMoney, Malformed
from sync.kernel.ids import parse_id
from sync.kernel.money import to_minor
from sync.protocol.codec import parse_json
from tests.support.make_vectors import MAKERS, VECTORS, made


def vector(name: str) -> dict[str, Any]:
    told: dict[str, Any] = orjson.loads((VECTORS / f"{name}.json").read_bytes())
    return told


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def signature(seed_hex: str, message: str) -> str:
    return b64(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed_hex)).sign(message.encode()))


def public_key(seed_hex: str) -> str:
    return b64(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed_hex)).public_key().public_bytes_raw())


@pytest.mark.parametrize("name", MAKERS)
def test_our_code_still_makes_the_golden_bytes(name: str) -> None:
    assert (VECTORS / f"{name}.json").read_bytes() == made(name)


def test_there_is_no_golden_file_that_nobody_checks() -> None:
    assert {path.stem for path in VECTORS.glob("*.json")} == set(MAKERS)


@pytest.mark.parametrize("name", ["chain", "journal", "enrolment"])
def test_a_public_key_follows_from_its_seed(name: str) -> None:
    told = vector(name)

    assert public_key(told["seed_hex"]) == told["public_key"]


def test_a_line_is_hashed_as_it_is_and_names_the_one_before() -> None:
    told = vector("chain")
    before = told["genesis"]

    assert before == b64(sha256(told["certificate"].encode()))
    for line in told["lines"]:
        assert orjson.loads(line["line"])["prev"] == before
        before = b64(sha256(b"\x01", line["line"].encode()))
        assert line["hash"] == before


def test_a_head_is_signed_over_exactly_its_message() -> None:
    told = vector("chain")

    for head in told["heads"]:
        assert head["message"] == f"tallystick/head/1\n{told['device']}\n{head['seq']}\n{head['hash']}"
        assert head["signature"] == signature(told["seed_hex"], head["message"])
        assert is_signed(parse_public_key(told["public_key"]), head["signature"], head["message"].encode())


def test_the_golden_chain_holds() -> None:
    told = vector("chain")
    links = [
        Link(
            seq=line["seq"],
            digest=decode_bytes(line["hash"], 32),
            claimed_seq=parse_json(line["line"].encode())["seq"],
            claimed_prev=decode_bytes(parse_json(line["line"].encode())["prev"], 32),
        )
        for line in told["lines"]
    ]

    check_links(links, decode_bytes(told["genesis"], 32))
    assert [link.claimed_seq for link in links] == [1, 2]


def test_journal_entries_and_verdicts_have_hashes_of_their_own_kind() -> None:
    told = vector("journal")

    assert told["verdict"]["hash"] == b64(sha256(b"\x03", told["verdict"]["line"].encode()))
    for entry in told["entries"]:
        assert entry["hash"] == b64(sha256(b"\x02", entry["body"].encode()))
        place = f"{entry['version']}\n{entry['hash']}"
        assert entry["message"] == f"tallystick/journal/2\n{told['town']}\n{told['epoch']}\n{place}"
        assert entry["older"]["message"] == f"tallystick/journal/1\n{told['town']}\n{place}"
        for form in (entry, entry["older"]):
            assert form["signature"] == signature(told["seed_hex"], form["message"])


def test_a_proof_of_possession_covers_code_and_key() -> None:
    told = vector("enrolment")

    assert told["message"] == f"tallystick/enrol/1\n{told['code']}\n{told['public_key']}"
    assert told["proof"] == signature(told["seed_hex"], told["message"])


def test_a_derived_id_is_the_hash_of_its_parts_as_a_version_8_uuid() -> None:
    for derived in vector("ids")["derived"]:
        raw = bytearray(sha256("\0".join(str(part) for part in derived["parts"]).encode())[:16])
        raw[6], raw[8] = raw[6] & 0x0F | 0x80, raw[8] & 0x3F | 0x80
        assert str(uuid.UUID(bytes=bytes(raw))) == derived["id"]
        assert uuid.UUID(derived["id"]).version == 8


def test_a_made_id_is_a_version_7_uuid_of_its_time() -> None:
    for one in vector("ids")["made"]:
        parsed = uuid.UUID(one["id"])
        assert (parsed.version, parsed.variant, parsed.int >> 80) == (7, uuid.RFC_4122, one["unix_ms"])


def test_ids_are_read_or_refused() -> None:
    told = vector("ids")

    assert [parse_id(text) for text in told["good"]] == told["good"]
    for text in told["bad"]:
        with pytest.raises(InvalidId):
            parse_id(text)


def test_a_bucket_is_summed_modulo_two_to_the_64() -> None:
    told = vector("sums")
    total = 0

    for row in told["rows"]:
        share = sha256(f"{row['entity']}\0{row['id']}\0{row['version']}".encode())[:8]
        assert row["sum"] == share.hex()
        total += int.from_bytes(share, "big")
    assert told["bucket"] == {"rows": len(told["rows"]), "sum": f"{total % 2**64:016x}"}


def test_amounts_are_read_or_refused() -> None:
    told = vector("money")

    for one in told["good"]:
        assert to_minor(one["amount"], one["currency"]) == one["minor"]
        assert Decimal(one["amount"]).scaleb(one["digits"]) == one["minor"]
    for one in told["bad"]:
        with pytest.raises(InvalidMoney):
            to_minor(one["amount"], one["currency"])


def test_times_are_milliseconds_since_1970() -> None:
    for time in vector("clocks")["times"]:
        plain = datetime.strptime(time["text"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
        assert round(plain.timestamp() * 1000) == time["unix_ms"]
        assert (parse_time(time["text"]), format_time(time["unix_ms"])) == (time["unix_ms"], time["text"])


def test_clock_readings_are_read_tick_or_are_refused() -> None:
    told = vector("clocks")

    for reading in told["readings"]:
        assert Hlc.parse(reading["text"]) == Hlc(unix_ms=reading["unix_ms"], counter=reading["counter"])
    for tick in told["ticks"]:
        assert str(Hlc.parse(tick["from"]).tick(tick["now_ms"])) == tick["to"]
    for text in told["bad"]:
        with pytest.raises(InvalidClockReading):
            Hlc.parse(text)


def test_strict_json_is_read_as_any_reader_reads_it() -> None:
    for text in vector("strict_json")["good"]:
        assert parse_json(text.encode()) == orjson.loads(text)


@pytest.mark.parametrize("raw", [text.encode() for text in vector("strict_json")["bad"]])
def test_what_is_not_strict_json_is_refused(raw: bytes) -> None:
    with pytest.raises(Malformed):
        parse_json(raw)


@pytest.mark.parametrize("text", vector("strict_json")["bad_hex"])
def test_what_is_no_text_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse_json(bytes.fromhex(text))


LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ$*-.:"


def read_letters(code: str) -> bytes:
    groups = [code[at : at + 3] for at in range(0, len(code), 3)]
    values = [sum(LETTERS.index(letter) * 41**place for place, letter in enumerate(group)) for group in groups]
    return b"".join(value.to_bytes(len(group) - 1) for value, group in zip(values, groups, strict=True))


def test_a_receipt_code_is_signed_by_device_and_server_over_what_it_says() -> None:
    told = vector("receipts")
    device = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(told["seed_hex"])).public_key()

    for one in told["receipts"]:
        raw, claims = read_letters(one["code"]), one["certificate"].rpartition(".")
        server_signature = base64.urlsafe_b64decode(claims[2] + "==")
        assert raw[0] == 1
        assert (
            raw[1:9].hex() == one["says"]["kid"] == sha256(base64.urlsafe_b64decode(told["server_key"] + "="))[:8].hex()
        )
        assert [str(uuid.UUID(bytes=raw[at : at + 16])) for at in (9, 25)] == [
            one["says"]["town_id"],
            one["says"]["device_id"],
        ]
        assert raw[41:73] == device.public_bytes_raw()
        assert server_signature in raw
        assert base64.urlsafe_b64decode(one["says"]["hash"] + "=") in raw[raw.index(server_signature) :]
        device.verify(raw[-64:], b"tallystick/receipt/1\n" + raw[:-64])
