"""What one request says: the hello, the lines that it carries, and the head that covers them.

Where the server misses a line that is not kept here, a request carries none, and its head is the last one before it.
"""

from __future__ import annotations

from collections.abc import Sequence

from client_sdk.application.ports import ExchangeState, Identity, OutboxLine, Store
from client_sdk.errors import ReplicaCorrupt, ServerProblem
from sync.engine.chain import encode_bytes, genesis_hash, head_message, parse_public_key, sign
from sync.engine.replica import Asked
from sync.kernel.clock import format_time
from sync.protocol import limits
from sync.protocol.messages import Hello, SignedHead, Told, Witness
from sync.protocol.version import PROTOCOL, SCHEMA

SDK_VERSION = "0.1.0"

LINES_BYTES_MAX = limits.BODY_WIRE_BYTES_MAX - limits.LINE_BYTES_MAX
"""Change sets in one request, in bytes before compression; they fit on the wire, hello and all, even uncompressed."""


def keeps(store: Store, seq: int) -> bool:
    """Whether the line at this position is here."""
    return any(line.seq == seq for line in store.outbox_from(seq, lines_max=1, bytes_max=1))


def lines_from(store: Store, first: int, lines_max: int) -> Sequence[OutboxLine]:
    """What one request can carry from a position on."""
    return store.outbox_from(first, lines_max=lines_max, bytes_max=LINES_BYTES_MAX)


def lost(seq: int) -> ServerProblem:
    """What the user is told when nobody can send this position."""
    told = f"the server has lost change set {seq}, and this device no longer keeps it; tell an admin"
    return ServerProblem("chain_gap", status=409, message=told, expected_seq=seq)


def asked_of(store: Store, state: ExchangeState, lines: Sequence[OutboxLine], hello: Hello) -> Asked:
    """What the answer is judged against."""
    identity, contact, first = store.identity(), store.standing().contact, hello.from_seq
    return Asked(
        town=identity.town_id,
        server_keys=[parse_public_key(key) for key in identity.server_keys.values()],
        epoch=state.epoch,
        version=state.version,
        witness=state.witness,
        from_seq=first,
        digests=[encode_bytes(line.digest) for line in lines],
        head_seq=max(state.head_seq, first + len(lines) - 1),
        buckets=frozenset(state.cursors),
        heard_at=contact.server_time if contact else "",
        device=identity.device_id,
        clock=hello.clock,
    )


def hello_of(
    state: ExchangeState, *, head: SignedHead, first: int, told: Sequence[Told], now_ms: int, app: str
) -> Hello:
    """The first line of a request."""
    return Hello.model_validate(
        {
            "protocol": PROTOCOL,
            "schema": SCHEMA,
            "sdk": SDK_VERSION,
            "app": app,
            "clock": format_time(now_ms),
            "epoch": state.epoch,
            "cursors": dict(state.cursors),
            "head": head,
            "from_seq": first,
            "pending": max(0, state.head_seq - first + 1),
            "witness": _witness(state),
            "told": told,
        }
    )


def _witness(state: ExchangeState) -> Witness | None:
    if state.witness is None:
        return None
    return Witness(version=state.witness[0], journal=state.witness[1], sig=state.witness_signature)


def signed_head(store: Store, identity: Identity, lines: Sequence[OutboxLine], first: int) -> SignedHead:
    """The head that covers everything up to the last line sent; without lines, the last one known before them."""
    if lines:
        return SignedHead(seq=lines[-1].seq, hash=encode_bytes(lines[-1].digest), sig=lines[-1].signature)
    begin = (0, genesis_hash(identity.certificate))
    seq, digest = begin if first == 1 else store.known_before(first) or begin
    if seq != first - 1:
        raise ReplicaCorrupt(f"change set {first - 1}, the last one recorded, is missing from the replica")
    # It may be a line of another copy of this device, which has signed it with the same key.
    return SignedHead(
        seq=seq, hash=encode_bytes(digest), sig=sign(identity.key, head_message(identity.device_id, seq, digest))
    )
