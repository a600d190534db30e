"""The few values of which a replica has one each, as JSON under a key: identity, head, standing, spool and the like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import apsw
import orjson

from client_sdk.application.lease_ports import Leased, Reading
from client_sdk.application.leases import with_reading
from client_sdk.application.ports import Contact, LocalHead, Standing
from client_sdk.errors import ReplicaCorrupt, ReplicaWiped
from sync.engine.chain import HASH_BYTES, decode_bytes, encode_bytes
from sync.engine.leases import Lease
from sync.protocol.messages import Checkpoint

WIPED = "wiped"
"""When the replica began to destroy itself; there is nothing else any more."""

SIGNED_OF_BEFORE = 3
"""Parts of a kept head from before its signature was kept with it."""

_GET = "SELECT value FROM meta WHERE key = ?"
_PUT = "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)"
_DROP = "DELETE FROM meta WHERE key = ?"


def get(connection: apsw.Connection, key: str) -> Any | None:
    """The value under `key`, or None."""
    text = connection.execute(_GET, (key,)).get
    return None if text is None else orjson.loads(text)


def put(connection: apsw.Connection, key: str, value: object) -> None:
    """Keep `value` under `key`."""
    connection.execute(_PUT, (key, orjson.dumps(value).decode()))


def drop(connection: apsw.Connection, key: str) -> None:
    """Forget what is under `key`."""
    connection.execute(_DROP, (key,))


def read_head(connection: apsw.Connection) -> LocalHead:
    """The end of the local chain."""
    said = _must(connection, "head")
    return LocalHead(**{**said, "digest": decode_bytes(said["digest"], HASH_BYTES)})


def write_head(connection: apsw.Connection, head: LocalHead) -> None:
    """Move the end of the local chain."""
    said = {"seq": head.seq, "digest": encode_bytes(head.digest), "signature": head.signature, "at": head.at}
    totals = {currency: dict(sums) for currency, sums in head.totals.items()}
    put(connection, "head", {**said, "totals": totals, "receipts": head.receipts})


def read_standing(connection: apsw.Connection) -> Standing:
    """The last checkpoint."""
    said: Mapping[str, Any] = get(connection, "standing") or {}
    witness, contact = said.get("witness"), said.get("contact")
    return Standing(
        epoch=said.get("epoch"),
        version=said.get("version", 0),
        witness=(witness[0], witness[1]) if witness else None,
        contact=Contact(**contact) if contact else None,
        witness_signature=said.get("witness_signature"),
        leased=_leased(said.get("leased")),
    )


def write_standing(connection: apsw.Connection, standing: Standing) -> None:
    """Keep the checkpoint that was just taken."""
    put(connection, "standing", asdict(standing))


def saw(connection: apsw.Connection, reading: Reading) -> None:
    """Keep the latest time that was seen, if there is a lease."""
    write_standing(connection, with_reading(read_standing(connection), reading))


def read_witness(connection: apsw.Connection, epoch: str | None) -> tuple[int, str] | None:
    """Version and hash of the last journal head that was heard in `epoch`: of a spooled page, or of the checkpoint."""
    signed = get(connection, "signed")
    if signed and signed[0] == epoch:
        return signed[1], signed[2]
    return read_standing(connection).witness


def read_witness_signature(connection: apsw.Connection, epoch: str | None) -> str | None:
    """The server's signature over that head; None when it was heard by an SDK that did not keep it."""
    signed = get(connection, "signed")
    if signed and signed[0] == epoch:
        return signed[3] if len(signed) > SIGNED_OF_BEFORE else None
    return read_standing(connection).witness_signature


def write_signed(connection: apsw.Connection, page: Checkpoint) -> None:
    """Keep what the server has signed for an intermediate page, also when the page itself is forgotten."""
    put(connection, "signed", [page.epoch, page.journal.version, page.journal.hash, page.journal.sig])


def reached(connection: apsw.Connection, acked: int) -> int:
    """`acked`, or the place where the server stood when since the last checkpoint it was found to be further back."""
    rewound = get(connection, "rewound")
    return acked if rewound is None else min(acked, rewound)


def write_rewound(connection: apsw.Connection, acked: int) -> None:
    """Keep that the server holds nothing after `acked`."""
    put(connection, "rewound", reached(connection, acked))


def forget_heard(connection: apsw.Connection) -> None:
    """A checkpoint is taken: what was signed and said on the way to it is part of it now."""
    drop(connection, "signed")
    drop(connection, "rewound")


def read_before(connection: apsw.Connection) -> tuple[int, bytes]:
    """Place and hash of what the first kept line follows on from: the certificate, or the last line that was let go."""
    seq, digest = _must(connection, "before")
    return seq, decode_bytes(digest, HASH_BYTES)


def write_before(connection: apsw.Connection, seq: int, digest: bytes) -> None:
    """Say what the first kept line follows on from."""
    put(connection, "before", [seq, encode_bytes(digest)])


def read_joints(connection: apsw.Connection) -> dict[int, bytes]:
    """Place and hash of each line of another copy behind which this chain goes on."""
    return {seq: decode_bytes(digest, HASH_BYTES) for seq, digest in get(connection, "joints") or ()}


def write_joints(connection: apsw.Connection, joints: Mapping[int, bytes]) -> None:
    """Say behind which lines of another copy this chain goes on."""
    put(connection, "joints", [[seq, encode_bytes(digest)] for seq, digest in sorted(joints.items())])


def read_generation(connection: apsw.Connection) -> int:
    """How often checkpoints or pages were taken."""
    return int(get(connection, "generation") or 0)


def empty(connection: apsw.Connection, at: str) -> None:
    """Forget everything that is here, first of all the keys, and keep only that it was so."""
    connection.execute("DELETE FROM meta")
    put(connection, WIPED, at)


def next_generation(connection: apsw.Connection) -> None:
    """Make exchanges that began before this moment stale."""
    put(connection, "generation", read_generation(connection) + 1)


def _leased(said: Mapping[str, Any] | None) -> Leased | None:
    if said is None:
        return None
    lease = Lease(**{**said["lease"], "operations": tuple(said["lease"]["operations"])})
    return Leased(lease=lease, latest=Reading(**said["latest"]))


def _must(connection: apsw.Connection, key: str) -> Any:
    said = get(connection, key)
    if said is None and get(connection, WIPED) is not None:
        raise ReplicaWiped
    if said is None:
        raise ReplicaCorrupt(f"the replica has lost its {key}")
    return said
