"""The golden files about evidence: both halves agree with them, and so do plain libraries that know nothing of ours."""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import orjson
import pytest
from backports import zstd
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from client_sdk.adapters.memory import MemoryStore
from client_sdk.application.snapshots import fetch_snapshots
from client_sdk.errors import SnapshotUnusable
from sync.engine.chain import decode_bytes, head_message, is_signed, journal_message, line_hash, parse_public_key
from sync.engine.keyring import KeyForged, follow
from sync.engine.leases import check_lease, lease_of
from sync.engine.replica import Asked, object_to_epochs
from sync.engine.sealing import SealUnreadable, open_sealed, recipient_of, seal
from sync.engine.transitions import Event
from sync.kernel.clock import parse_time
from sync.kernel.draft import Refused
from sync.kernel.errors import Malformed
from sync.modules import registry
from sync.protocol.bundle import SealedClaim, unpack
from sync.protocol.messages import LeaseMark, ServerKey, SnapshotLine, Welcome
from sync.protocol.version import SIGNED_FORMS
from tests.support.fake_system import FakeSystem
from tests.support.make_vectors import VECTORS

if TYPE_CHECKING:
    from client_sdk.application.ports import Transport

OUTCOMES = {None: "goes_over", Event.HISTORY_BACK: "alarm", Event.SIGNATURE_WRONG: "unknown_signature"}


def vector(name: str) -> dict[str, Any]:
    told: dict[str, Any] = orjson.loads((VECTORS / f"{name}.json").read_bytes())
    return told


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def signed(seed_hex: str, message: str) -> str:
    return b64(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed_hex)).sign(message.encode()))


def lines_of(*parts: object) -> str:
    return "\n".join(map(str, parts))


def cases_of(name: str, part: str = "cases") -> list[Any]:
    """Every case of a golden file, named by what it is about."""
    return [pytest.param(one, id=one.get("what", str(at))) for at, one in enumerate(vector(name)[part])]


def test_what_is_signed_begins_with_the_number_of_its_form() -> None:
    forms = set(re.findall(r"tallystick/([a-z-]+)/([0-9]+)\\n", "".join(f.read_text() for f in VECTORS.glob("*.json"))))

    assert forms == {(name, str(number)) for name, number in SIGNED_FORMS.items()} | {("journal", "1")}


def test_the_beginning_of_an_epoch_is_signed_over_all_that_it_says() -> None:
    told = vector("epochs")

    for mark in told["marks"]:
        said = [mark[name] for name in ("epoch", "before", "version", "journal", "at", "reason")]
        assert mark["message"] == lines_of("tallystick/epoch/1", told["town"], *said)
        assert mark["sig"] == signed(told["seed_hex"], mark["message"])


@pytest.mark.parametrize("case", cases_of("epochs"))
def test_a_client_goes_over_into_another_epoch_or_takes_nothing(case: dict[str, Any]) -> None:
    told, known = vector("epochs"), case["known"]
    witness = known["witness"]
    asked = Asked(
        town=told["town"],
        server_keys=[parse_public_key(told["public_key"])],
        epoch=known["epoch"],
        version=witness["version"] if witness else 0,
        witness=(witness["version"], witness["journal"]) if witness else None,
        from_seq=1,
        digests=[],
        head_seq=0,
        buckets=frozenset(),
        heard_at=known["heard_at"],
    )
    said = {"t": "welcome", "protocol": 1, "time": known["heard_at"], "acked": 0}

    objection = object_to_epochs(
        asked, Welcome.model_validate({**said, "epoch": case["welcome_epoch"], "epochs": case["epochs"]})
    )

    assert OUTCOMES[objection[0] if objection else None] == case["outcome"]


@pytest.mark.parametrize("case", cases_of("epochs", "heads"))
def test_a_journal_head_is_signed_as_one_of_its_own_epoch(case: dict[str, Any]) -> None:
    told = vector("epochs")
    shown_as, version, journal = case["shown_as_epoch"], case["version"], case["journal"]
    message = journal_message(told["town"], shown_as, version, decode_bytes(journal, 32))

    assert message.decode() == lines_of("tallystick/journal/2", told["town"], shown_as, version, journal)
    assert is_signed(parse_public_key(told["public_key"]), case["sig"], message) == case["is_signed"]
    assert (case["sig"] == signed(told["seed_hex"], message.decode())) == case["is_signed"]


def test_a_lease_is_signed_with_the_device_and_the_clock_that_it_answers() -> None:
    told = vector("leases")

    for lease in told["leases"]:
        cash = "" if lease["cash_units"] is None else lease["cash_units"]
        said = [told["town"], told["device"], lease["clock"], lease["issued"], lease["until"], cash]
        assert lease["message"] == lines_of("tallystick/lease/1", *said, *lease["operations"])
        assert lease["sig"] == signed(told["seed_hex"], lease["message"])


@pytest.mark.parametrize("case", cases_of("leases"))
def test_a_lease_allows_or_refuses(case: dict[str, Any]) -> None:
    lease = lease_of(LeaseMark.model_validate({**case["lease"], "sig": "A" * 86}))
    refused_by = None

    try:
        check_lease(
            lease,
            case["operations"],
            now_ms=parse_time(case["now"]),
            taking=case["taking_minor"],
            unheard=case["unheard_minor"],
        )
    except Refused as refusal:
        refused_by = refusal.case.id

    assert refused_by == case["refused_by"]


def test_a_bundle_is_its_lines_with_the_signature_of_every_head() -> None:
    told = vector("sealed")
    packed = bytes.fromhex(told["packed_hex"])

    bundle = unpack(packed)

    assert zlib.decompress(packed).decode() == told["bundle"]
    assert told["bundle"].split("\n")[1:] == told["lines"]
    assert (bundle.town, bundle.device, bundle.from_seq, bundle.to_seq) == (told["town"], told["device"], 17, 18)
    assert [line.decode() for line in bundle.lines] == told["lines"]
    assert bundle.signatures == tuple(
        signed(told["device_seed_hex"], head_message(told["device"], seq, line_hash(line.encode())).decode())
        for seq, line in enumerate(told["lines"], start=17)
    )


def test_a_box_is_opened_by_plain_libraries_and_made_again_byte_for_byte() -> None:
    told = vector("sealed")
    sealed, packed = bytes.fromhex(told["sealed_hex"]), bytes.fromhex(told["packed_hex"])
    ours = X25519PrivateKey.from_private_bytes(bytes.fromhex(told["sealing_seed_hex"]))
    head, purpose = sealed[:84], told["purpose"].encode()
    secret = ours.exchange(X25519PublicKey.from_public_bytes(head[52:]))
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=head + purpose).derive(secret)

    assert head[:52] == b"tallystick/sealed/1\n" + ours.public_key().public_bytes_raw()
    assert ChaCha20Poly1305(key).decrypt(bytes(12), sealed[84:], head) == packed
    assert open_sealed(sealed, ours, purpose=told["purpose"]) == packed
    ephemeral = bytes.fromhex(told["ephemeral_hex"])
    assert seal(packed, told["sealing_key"], purpose=told["purpose"], ephemeral=ephemeral) == sealed
    assert recipient_of(sealed) == told["sealing_key"]


@pytest.mark.parametrize("text", vector("sealed")["bad_hex"])
def test_what_was_not_sealed_so_is_not_opened(text: str) -> None:
    told = vector("sealed")
    ours = X25519PrivateKey.from_private_bytes(bytes.fromhex(told["sealing_seed_hex"]))

    with pytest.raises(SealUnreadable):
        open_sealed(bytes.fromhex(text), ours, purpose=told["purpose"])


@pytest.mark.parametrize("text", vector("sealed")["bad_packed_hex"])
def test_what_is_no_bundle_is_not_unpacked(text: str) -> None:
    with pytest.raises(Malformed):
        unpack(bytes.fromhex(text))


def test_sealed_lines_are_handed_in_signed_for_and_asked_for() -> None:
    told = vector("sealed")
    claim, receipt, wipe = told["claim"], told["receipt"], told["wipe"]
    names = (told["town"], told["device"])
    head_line, box = bytes.fromhex(told["upload_hex"]).split(b"\n", 1)

    assert box.hex() == told["sealed_hex"]
    assert claim["box"] == b64(hashlib.sha256(box).digest())
    assert SealedClaim.model_validate_json(head_line).model_dump() == {
        name: claim[name] for name in ("from_seq", "to_seq", "head", "box", "sig")
    }
    said = [claim[name] for name in ("from_seq", "to_seq", "head", "box")]
    assert claim["message"] == lines_of("tallystick/sealed-lines/1", *names, *said)
    assert claim["sig"] == signed(told["device_seed_hex"], claim["message"])
    assert receipt["message"] == lines_of("tallystick/sealed-receipt/1", *names, receipt["to_seq"], receipt["head"])
    assert wipe["message"] == lines_of("tallystick/wipe/1", *names, wipe["at"])
    for one in (receipt, wipe):
        assert one["sig"] == signed(told["server_seed_hex"], one["message"])


def test_a_key_signs_itself_and_the_one_after_it() -> None:
    told = vector("keys")
    before = None

    for key, seed_hex in zip(told["keys"], told["seeds_hex"], strict=True):
        raw = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed_hex)).public_key().public_bytes_raw()
        assert (key["kid"], key["public_key"]) == (hashlib.sha256(raw).hexdigest()[:16], b64(raw))
        said = (key["kid"], key["public_key"], key["sealing_key"])
        assert key["message"] == lines_of("tallystick/server-key/1", *said)
        assert key["sig"] == signed(seed_hex, key["message"])
        assert (key["endorsed_by"], key["endorsement"]) == (
            (before[0], signed(before[1], key["message"])) if before else (None, None)
        )
        before = (key["kid"], seed_hex)


@pytest.mark.parametrize("case", cases_of("keys"))
def test_a_client_follows_the_keys_or_takes_nothing(case: dict[str, Any]) -> None:
    heard = [ServerKey.model_validate(key) for key in case["heard"]]

    try:
        after = follow(case["trusted"], heard)
    except KeyForged:
        assert case["trusted_after"] is None
    else:
        assert (dict(after.keys), after.sealing_key) == (case["trusted_after"], case["sealing_key"])


class OneFile:
    """A server that has this file and no other."""

    def __init__(self, file: bytes) -> None:
        self.file = file

    def snapshot(self, sha256: str, start: int) -> Iterator[bytes]:
        """Its bytes from `start` on, whatever is asked for."""
        assert len(sha256) == 64
        yield self.file[start:]


def fetched(line: dict[str, Any], file: bytes) -> list[bytes]:
    """The lines that a client makes of a snapshot line and the bytes that it gets."""
    store, system = MemoryStore(registry(), FakeSystem()), FakeSystem()
    fetch_snapshots(store, cast("Transport", OneFile(file)), system, [orjson.dumps(line)])
    return list(store.downloads.expanded([orjson.dumps(line)]))


def test_a_snapshot_is_one_frame_of_rows_lines_under_its_hash() -> None:
    told = vector("snapshots")
    file, line = bytes.fromhex(told["file_hex"]), told["line"]

    assert SnapshotLine.model_validate(line).sha256 == hashlib.sha256(file).hexdigest()
    assert (line["bytes"], line["url"]) == (len(file), f"{line['url'].rpartition('/')[0]}/{line['sha256']}")
    assert zstd.decompress(file).decode() == told["inflated"]
    assert b"".join(found + b"\n" for found in fetched(line, file)).decode() == told["inflated"]
    assert sum(len(orjson.loads(found)["put"]) for found in told["inflated"].splitlines()) == line["rows"]


@pytest.mark.parametrize("case", cases_of("snapshots", "bad"))
def test_a_file_that_is_not_what_was_promised_is_not_kept(case: dict[str, Any]) -> None:
    with pytest.raises(SnapshotUnusable):
        fetched(case["line"], bytes.fromhex(case["file_hex"]))
