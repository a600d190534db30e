"""Golden files about evidence between the two halves: epochs, leases, what is sealed, keys over time, snapshots.

Made like those of `tests.support.make_vectors`, which writes them with its own, and checked by
`tests/sync/protocol/test_evidence_vectors.py`. Nothing in them depends on how a library compresses: what is packed is
stored as it is, which every reader of zlib and zstd takes.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sync.engine.chain import (
    encode_bytes,
    epoch_message,
    head_message,
    journal_hash,
    journal_message,
    line_hash,
    sign,
)
from sync.engine.keyring import key_message
from sync.engine.leases import Lease, lease_message
from sync.engine.sealing import seal
from sync.kernel.ids import derived_id
from sync.protocol.bundle import PURPOSE, receipt_message, sealed_message, wipe_message

DEVICE_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SERVER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(64, 96)))
SEALING_KEY = X25519PrivateKey.from_private_bytes(bytes(range(96, 128)))
EPHEMERAL = bytes(range(128, 160))
TOWN, DEVICE, BUCKET = derived_id("town", "ashford"), derived_id("device", 1), "property"
EPOCHS = [derived_id("epoch", number) for number in range(1, 5)]
TIMES = [f"2026-11-{day}T08:15:02.114Z" for day in (21, 22, 23, 24)]
ZSTD_FRAME = bytes.fromhex("28b52ffd")


def public(key: Ed25519PrivateKey | X25519PrivateKey) -> str:
    """The public key in base64url."""
    return encode_bytes(key.public_key().public_bytes_raw())


def epochs() -> dict[str, Any]:
    """Where epochs began, and what a client makes of being told so; a head, signed in one epoch, shown as another's."""
    first, second = _mark(0, 7), _mark(1, 9)
    known = {"epoch": EPOCHS[0], "heard_at": TIMES[0], "witness": {"version": 7, "journal": first["journal"]}}
    other = {"version": 7, "journal": encode_bytes(bytes(32))}
    lost = known | {"epoch": derived_id("epoch", "lost"), "witness": None}
    elsewhere = [first, _mark(1, 9, epoch=EPOCHS[3])]
    cases: list[tuple[str, dict[str, Any], list[dict[str, Any]], str]] = [
        ("one epoch on", known, [first], "goes_over"),
        ("two epochs on", known, [first, second], "goes_over"),
        ("the witness is of the lost part", known | {"witness": other | {"version": 8}}, [first], "goes_over"),
        ("the last epoch of one that the server has lost", lost, [second], "goes_over"),
        ("nothing is told", known, [], "alarm"),
        ("it ends in another epoch than the welcome", known, elsewhere, "alarm"),
        ("one is left out", known, [first, _mark(2, 11)], "alarm"),
        ("the witness is contradicted", known | {"witness": other}, [first], "alarm"),
        ("one from before the last contact", lost | {"heard_at": TIMES[3]}, [second], "alarm"),
        ("a reason that was not signed", known, [first | {"reason": "another"}], "unknown_signature"),
        ("signed by a stranger", known, [_mark(0, 7, key=STRANGER)], "unknown_signature"),
    ]
    return {
        "town": TOWN,
        "seed_hex": SERVER_KEY.private_bytes_raw().hex(),
        "public_key": public(SERVER_KEY),
        "marks": [{**mark, "message": epoch_message({"town": TOWN, **mark}).decode()} for mark in (first, second)],
        "cases": [
            {
                "what": what,
                "known": known_then,
                "welcome_epoch": told[-1]["epoch"] if told and told is not elsewhere else EPOCHS[2],
                "epochs": told,
                "outcome": outcome,
            }
            for what, known_then, told, outcome in cases
        ],
        "heads": [_head(shown) for shown in EPOCHS[:2]],
    }


def leases() -> dict[str, Any]:
    """Signed leases, and what a device may record under them."""
    money = ("payment.take",)
    bounded = Lease(issued=TIMES[0], until=TIMES[1], cash_units=100, operations=money)
    free = Lease(issued=TIMES[0], until=TIMES[3], cash_units=None, operations=(*money, "refund.pay"))
    none = Lease(issued=TIMES[0], until=TIMES[3], cash_units=0, operations=())
    over = "2026-11-22T08:15:02.115Z"
    cases: list[tuple[Lease, list[str], str, dict[str, int], dict[str, int], str | None]] = [
        (bounded, ["payment.take"], TIMES[1], {"GBP": 10_000}, {}, None),
        (bounded, ["payment.take"], over, {"GBP": 1}, {}, "engine.lease_over"),
        (bounded, ["payment.take"], TIMES[0], {"GBP": 1}, {"GBP": 10_000}, "engine.cash_ceiling"),
        (bounded, ["payment.take"], TIMES[0], {"UGX": 100}, {"GBP": 10_000}, None),
        (bounded, ["payment.take"], TIMES[0], {"UGX": 101}, {}, "engine.cash_ceiling"),
        (bounded, ["refund.pay"], TIMES[0], {}, {}, "engine.lease_lacks"),
        (bounded, ["delivery.complete"], over, {}, {}, None),
        (free, ["payment.take", "refund.pay"], over, {"GBP": 10**12}, {"GBP": 10**12}, None),
        (none, ["delivery.complete", "payment.take"], TIMES[0], {"GBP": 1}, {}, "engine.lease_lacks"),
    ]
    return {
        "town": TOWN,
        "device": DEVICE,
        "seed_hex": SERVER_KEY.private_bytes_raw().hex(),
        "public_key": public(SERVER_KEY),
        "leases": [_lease(lease) for lease in (bounded, free, none)],
        "cases": [
            {
                "lease": _lease_members(lease),
                "operations": names,
                "now": now,
                "taking_minor": taking,
                "unheard_minor": unheard,
                "refused_by": refused_by,
            }
            for lease, names, now, taking, unheard, refused_by in cases
        ],
    }


def sealed() -> dict[str, Any]:
    """Lines on the other way: bundle, box, claim, receipt, and the order that asks for them."""
    lines = [b'{"v":1,"seq":17}', '{"v":1,"seq":18,"note":"Zoë"}'.encode()]
    heads = [head_message(DEVICE, seq, line_hash(line)) for seq, line in enumerate(lines, start=17)]
    signatures = [sign(DEVICE_KEY, head) for head in heads]
    head = {"bundle": 1, "town": TOWN, "device": DEVICE, "from_seq": 17, "signatures": signatures}
    bundle = b"\n".join([orjson.dumps(head), *lines])
    packed = zlib.compress(bundle, 0)
    box = seal(packed, public(SEALING_KEY), purpose=PURPOSE, ephemeral=EPHEMERAL)
    last, name = encode_bytes(line_hash(lines[-1])), encode_bytes(hashlib.sha256(box).digest())
    claim_message = sealed_message(town=TOWN, device=DEVICE, from_seq=17, to_seq=18, head=last, box=name)
    claim = {"from_seq": 17, "to_seq": 18, "head": last, "box": name, "sig": sign(DEVICE_KEY, claim_message)}
    other = seal(packed, public(SEALING_KEY), purpose="another purpose", ephemeral=EPHEMERAL)
    changed = box[:-1] + bytes([box[-1] ^ 1])
    return {
        "town": TOWN,
        "device": DEVICE,
        "device_seed_hex": DEVICE_KEY.private_bytes_raw().hex(),
        "server_seed_hex": SERVER_KEY.private_bytes_raw().hex(),
        "sealing_seed_hex": SEALING_KEY.private_bytes_raw().hex(),
        "sealing_key": public(SEALING_KEY),
        "purpose": PURPOSE,
        "ephemeral_hex": EPHEMERAL.hex(),
        "lines": [line.decode() for line in lines],
        "bundle": bundle.decode(),
        "packed_hex": packed.hex(),
        "sealed_hex": box.hex(),
        "claim": {"message": claim_message.decode(), **claim},
        "upload_hex": (orjson.dumps(claim) + b"\n" + box).hex(),
        "receipt": _server_signed(receipt_message(TOWN, DEVICE, 18, last)) | {"to_seq": 18, "head": last},
        "wipe": _server_signed(wipe_message(TOWN, DEVICE, TIMES[0])) | {"at": TIMES[0]},
        "bad_hex": [part.hex() for part in (b"", box[:83], box[:-1], changed, box + b"\0", other, b"x" + box[1:])],
        "bad_packed_hex": [
            part.hex() for part in (packed[:-1], packed + b"\0", bundle, zlib.compress(bundle.rpartition(b"\n")[0], 0))
        ],
    }


def keys() -> dict[str, Any]:
    """A ring of three keys, each endorsed by the one before, and what a client trusts after hearing of it."""
    ring = [SERVER_KEY, STRANGER, Ed25519PrivateKey.from_private_bytes(bytes(range(160, 192)))]
    first, second, third = published = [_published(key, ring[at - 1] if at else None) for at, key in enumerate(ring)]
    pinned = {first["kid"]: first["public_key"]}
    newest = {third["kid"]: third["public_key"]}
    two = {key["kid"]: key["public_key"] for key in (first, second)}
    whole = {key["kid"]: key["public_key"] for key in published}
    stranger = _published(DEVICE_KEY, None)
    by_stranger = _published(ring[2], DEVICE_KEY) | {"endorsed_by": second["kid"]}
    other = third | {"sealing_key": public(SEALING_KEY), "sig": third["endorsement"]}
    cases: list[tuple[str, dict[str, str], list[dict[str, Any]], dict[str, str] | None]] = [
        ("nothing new", pinned, [first], pinned),
        ("two rotations at once", pinned, published, whole),
        ("what is older is passed over", newest, published, newest),
        ("one is left out", pinned, [first, third], None),
        ("one that nothing leads to yet is passed over", pinned, [first, third, second], two),
        ("a stranger's alone", pinned, [stranger], None),
        ("a stranger's at the end", pinned, [first, stranger], None),
        ("endorsed by a stranger", pinned, [first, second, by_stranger], None),
        ("the sealing key is not its own", pinned, [first, second, other], None),
        ("a trusted kid with another key", pinned, [first | {"public_key": public(STRANGER)}], None),
    ]
    return {
        "seeds_hex": [key.private_bytes_raw().hex() for key in ring],
        "keys": [{**key, "message": _key_message(key).decode()} for key in published],
        "cases": [
            {
                "what": what,
                "trusted": trusted,
                "heard": heard,
                "trusted_after": after,
                "sealing_key": heard[-1]["sealing_key"] if after else None,
            }
            for what, trusted, heard, after in cases
        ],
    }


def snapshots() -> dict[str, Any]:
    """A bucket's rows as a file, and files that are none."""
    put = [[derived_id("property", number), number, {"name": f"Högstraße {number}"}] for number in (1, 2)]
    rows = orjson.dumps({"t": "rows", "b": BUCKET, "e": "property", "put": put, "gone": []}) + b"\n"
    foreign = rows.replace(b'"b":"property"', b'"b":"driver:a"')
    file = _frame(rows)
    bad = [
        ("cut", file[:-1], None),
        ("something behind it", file + b"\0", None),
        ("two frames", file + file, None),
        ("not compressed", rows, None),
        ("the last line has no end", _frame(rows[:-1]), None),
        ("a row of another bucket", _frame(rows + foreign), None),
        ("no rows at all", _frame(b""), None),
        ("shorter than was promised", _frame(rows), file + b"\0"),
        ("longer than was promised", file, file[:-1]),
        ("a byte was changed", file[:40] + bytes([file[40] ^ 1]) + file[41:], file),
    ]
    return {
        "file_hex": file.hex(),
        "inflated": rows.decode(),
        "line": _snapshot_line(file, len(put)),
        "bad": [
            {"what": what, "file_hex": wrong.hex(), "line": _snapshot_line(promised or wrong, len(put))}
            for what, wrong, promised in bad
        ],
    }


def _mark(before: int, version: int, *, epoch: str = "", key: Ed25519PrivateKey = SERVER_KEY) -> dict[str, Any]:
    said: dict[str, str | int] = {
        "epoch": epoch or EPOCHS[before + 1],
        "before": EPOCHS[before],
        "version": version,
        "journal": encode_bytes(journal_hash(str(version).encode())),
        "at": TIMES[before + 1],
        "reason": "a backup was restored",
    }
    return said | {"sig": sign(key, epoch_message({"town": TOWN, **said}))}


def _head(shown_as: str) -> dict[str, Any]:
    digest = journal_hash(b"8")
    return {
        "shown_as_epoch": shown_as,
        "version": 8,
        "journal": encode_bytes(digest),
        "sig": sign(SERVER_KEY, journal_message(TOWN, EPOCHS[0], 8, digest)),
        "is_signed": shown_as == EPOCHS[0],
    }


def _lease_members(lease: Lease) -> dict[str, Any]:
    return {
        "issued": lease.issued,
        "until": lease.until,
        "cash_units": lease.cash_units,
        "operations": list(lease.operations),
    }


def _lease(lease: Lease) -> dict[str, Any]:
    message = lease_message(TOWN, DEVICE, TIMES[0], lease)
    return {
        "clock": TIMES[0],
        **_lease_members(lease),
        "message": message.decode(),
        "sig": sign(SERVER_KEY, message),
    }


def _server_signed(message: bytes) -> dict[str, Any]:
    return {"message": message.decode(), "sig": sign(SERVER_KEY, message)}


def _published(key: Ed25519PrivateKey, before: Ed25519PrivateKey | None) -> dict[str, Any]:
    sealing = X25519PrivateKey.from_private_bytes(hashlib.sha256(key.private_bytes_raw()).digest())
    said = {"kid": _kid(key), "public_key": public(key), "sealing_key": public(sealing)}
    message = _key_message(said)
    return {
        **said,
        "sig": sign(key, message),
        "endorsed_by": _kid(before) if before else None,
        "endorsement": sign(before, message) if before else None,
    }


def _key_message(key: dict[str, Any]) -> bytes:
    return key_message(key["kid"], key["public_key"], key["sealing_key"])


def _kid(key: Ed25519PrivateKey) -> str:
    return hashlib.sha256(key.public_key().public_bytes_raw()).hexdigest()[:16]


def _frame(content: bytes) -> bytes:
    """One zstd frame (RFC 8878, section 3.1.1) with a size of two bytes and one raw block."""
    size = (len(content) - 256).to_bytes(2, "little") if len(content) >= 256 else bytes([len(content)])
    descriptor = 0x60 if len(content) >= 256 else 0x20
    block = (len(content) << 3 | 1).to_bytes(3, "little")
    return ZSTD_FRAME + bytes([descriptor]) + size + block + content


def _snapshot_line(file: bytes, rows: int) -> dict[str, Any]:
    digest = hashlib.sha256(file).hexdigest()
    url = f"/v1/towns/{TOWN}/snapshots/{digest}"
    told = {"t": "snapshot", "b": BUCKET, "version": 2, "url": url}
    return told | {"rows": rows, "bytes": len(file), "sha256": digest}


MAKERS = {"epochs": epochs, "leases": leases, "sealed": sealed, "keys": keys, "snapshots": snapshots}
