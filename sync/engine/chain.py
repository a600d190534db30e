"""Evidence: the device chain, the town journal, heads and signatures.

A line is hashed as it is; each line names the hash of the one before, so a signed head covers everything behind it.
Hash uses are kept apart by a leading byte, signatures by a typed first line. Signature bytes are never an id.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sync.kernel.errors import ChainBroken, ChainForked, ChainGap, Malformed

HASH_BYTES = 32
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64
_LINE = b"\x01"
_JOURNAL = b"\x02"
_VERDICT = b"\x03"

# The eight small-order points of edwards25519 and their non-canonical encodings. A signature under one of them can be
# made without a private key. Source: Chalkias, Garillot, Nikolaenko, "Taming the many EdDSAs", 2020, table 1.
_WEAK_KEYS = frozenset(
    bytes.fromhex(text)
    for text in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ]
)


class WeakKey(Malformed):
    """The public key is one that anybody can sign for; make a new key pair."""

    code = "weak_key"


def encode_bytes(raw: bytes) -> str:
    """Bytes -> base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode_bytes(text: str, size: int) -> bytes:
    """Base64url without padding -> exactly `size` bytes; raise `Malformed`."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise Malformed from None
    if len(raw) != size or encode_bytes(raw) != text:
        raise Malformed
    return raw


def line_hash(line: bytes) -> bytes:
    """The hash of a change set's line, without its newline."""
    return hashlib.sha256(_LINE + line).digest()


def genesis_hash(certificate: str) -> bytes:
    """What the first line of a device names as the one before: SHA-256 of its certificate."""
    return hashlib.sha256(certificate.encode()).digest()


def verdict_hash(verdict: bytes) -> bytes:
    """The hash under which the journal keeps a verdict."""
    return hashlib.sha256(_VERDICT + verdict).digest()


def journal_hash(body: bytes) -> bytes:
    """The hash of a journal entry; its body names the hash of the one before."""
    return hashlib.sha256(_JOURNAL + body).digest()


def head_message(device: str, seq: int, digest: bytes) -> bytes:
    """What a device signs when it makes a line."""
    return f"tallystick/head/1\n{device}\n{seq}\n{encode_bytes(digest)}".encode()


def journal_message(town: str, epoch: str, version: int, digest: bytes) -> bytes:
    """What the server signs when it makes a journal entry: in which epoch, too."""
    return f"tallystick/journal/2\n{town}\n{epoch}\n{version}\n{encode_bytes(digest)}".encode()


def older_journal_message(town: str, version: int, digest: bytes) -> bytes:
    """What the server signed before it named the epoch; kept signatures and older devices know only this form."""
    return f"tallystick/journal/1\n{town}\n{version}\n{encode_bytes(digest)}".encode()


def epoch_message(mark: Mapping[str, str | int]) -> bytes:
    """What the server signs when an epoch begins: everything that its record says, the reason last."""
    told = (mark[name] for name in ("town", "epoch", "before", "version", "journal", "at", "reason"))
    return "\n".join(("tallystick/epoch/1", *map(str, told))).encode()


def sign(key: Ed25519PrivateKey, message: bytes) -> str:
    """An Ed25519 signature (RFC 8032) as base64url."""
    return encode_bytes(key.sign(message))


def parse_public_key(text: str) -> Ed25519PublicKey:
    """Read a raw Ed25519 public key in base64url; raise `WeakKey` for points of small order."""
    raw = decode_bytes(text, PUBLIC_KEY_BYTES)
    if raw in _WEAK_KEYS:
        raise WeakKey
    return Ed25519PublicKey.from_public_bytes(raw)


def is_signed(key: Ed25519PublicKey, signature: str, message: bytes) -> bool:
    """Whether `signature` is by `key` over exactly `message`."""
    try:
        key.verify(decode_bytes(signature, SIGNATURE_BYTES), message)
    except (InvalidSignature, Malformed):
        return False
    return True


def is_journal_signed(
    keys: Collection[Ed25519PublicKey], signature: str, *, town: str, epoch: str, version: int, digest: bytes
) -> bool:
    """Whether one of `keys` has signed this journal head, in the form of now or in the older one."""
    messages = (journal_message(town, epoch, version, digest), older_journal_message(town, version, digest))
    return any(is_signed(key, signature, message) for message in messages for key in keys)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChainHead:
    """The last position of a device's chain that one side holds."""

    seq: int
    digest: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """What the chain needs to know of one line: its place, its hash, and the place it claims (None if unreadable)."""

    seq: int
    digest: bytes
    claimed_seq: int | None
    claimed_prev: bytes | None


def check_links(links: Sequence[Link], before: bytes | None) -> None:
    """Check that `links` follow on from each other, and the first from `before` when that is known.

    A line that cannot be read claims nothing; it is held by the line after it, or by the signed head.
    Raises `ChainBroken`.
    """
    previous = before
    for link in links:
        if link.claimed_seq is not None and link.claimed_seq != link.seq:
            raise ChainBroken(f"the line at position {link.seq} says that it is at {link.claimed_seq}")
        if previous is not None and link.claimed_prev is not None and link.claimed_prev != previous:
            raise ChainBroken(f"the line at position {link.seq} does not follow on from the one before it")
        previous = link.digest


def split_new(
    links: Sequence[Link], head: ChainHead, known: Mapping[int, bytes]
) -> tuple[Sequence[Link], Sequence[Link]]:
    """Divide `links` into those the server has and those that are new, in order.

    `known` gives the stored hash of every position up to the head that `links` repeats. Raises `ChainGap` when a line
    is missing, `ChainForked` when a position was used before by another line or the first new line names another past.
    """
    if links and links[0].seq > head.seq + 1:
        raise ChainGap(head.seq + 1)
    repeated = [link for link in links if link.seq <= head.seq]
    fresh = links[len(repeated) :]
    for link in repeated:
        if known.get(link.seq) != link.digest:
            raise ChainForked(link.seq)
    if fresh and fresh[0].claimed_prev is not None and fresh[0].claimed_prev != head.digest:
        raise ChainForked(head.seq)
    return repeated, fresh
