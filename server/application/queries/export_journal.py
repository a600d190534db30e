"""A town's journal as lines for an auditor, who has nothing but them and the published key.

Lines of JSON: a `journal` line with the keys, a `device` line for each certificate, an `epoch` line for each epoch that
was begun, then for each version an `entry` line and a `set` line for each of its change sets, in the entry's order, and
an `end` line that the server signs over the hash of all of them. Bytes that are hashed are told as text, so they come
out as they went in; a line of a device that is no UTF-8 is told in base64url.
`server.application.queries.check_journal` reads it.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson

from server.application.evidence import EvidenceStore, StoredSet, TownEvidence
from server.application.ports import Signer
from sync.engine.chain import encode_bytes
from sync.engine.replay import KeptEntry

FORMAT = 2


def export_message(town: str, version: int, journal: str, at: str, digest: str) -> bytes:
    """What the server signs below an export: that this is the whole journal at this time, and these are its lines.

    `digest` is the SHA-256 of every line before the end, each with its newline.
    """
    return f"tallystick/journal-export/{FORMAT}\n{town}\n{version}\n{journal}\n{at}\n{digest}".encode()


async def export_journal(
    store: EvidenceStore, town_id: str, *, signer: Signer, at: str
) -> AsyncIterator[tuple[int, bytes]]:
    """(version so far, line without newline) for each line, out of one snapshot."""
    digest = hashlib.sha256()
    async with store.evidence(town_id) as evidence:
        version, journal, change_sets = 0, bytes(32), 0
        async for line in _opening(evidence, signer, at):
            digest.update(line + b"\n")
            yield version, line
        async for entry, sets in evidence.journal():
            version, journal, change_sets = entry.version, entry.digest, change_sets + len(sets)
            for line in _version(entry, sets):
                digest.update(line + b"\n")
                yield version, line
        head, lines = encode_bytes(journal), encode_bytes(digest.digest())
        sig = signer.sign(export_message(town_id, version, head, at, lines))
        end = {"t": "end", "version": version, "journal": head, "at": at, "sets": change_sets, "lines": lines}
        yield version, orjson.dumps({**end, "sig": sig})


async def _opening(evidence: TownEvidence, signer: Signer, at: str) -> AsyncIterator[bytes]:
    keys = [key.model_dump() for key in signer.published]
    yield orjson.dumps({"t": "journal", "v": FORMAT, "town": evidence.head.town, "at": at, "keys": keys})
    async for device_id, stored in evidence.rows("device"):
        told = {name: stored.fields[name] for name in ("public_key", "certificate")}
        yield orjson.dumps({"t": "device", "device": device_id, **told})
    for record in await evidence.epochs():
        yield orjson.dumps({"t": "epoch", **record.mark(), "sig": record.signature})


def _version(entry: KeptEntry, sets: Sequence[StoredSet]) -> list[bytes]:
    said = {"body": _text(entry.body), "hash": encode_bytes(entry.digest), "sig": entry.signature}
    order = {(device, seq): place for place, (device, seq, *_) in enumerate(orjson.loads(entry.body)["sets"])}
    ordered = sorted(sets, key=lambda one: order.get((one.device, one.seq), len(order)))
    return [orjson.dumps({"t": "entry", "version": entry.version, **said}), *map(_set, ordered)]


def _set(one: StoredSet) -> bytes:
    told: dict[str, Any] = {"t": "set", "device": one.device, "seq": one.seq, "line": _text(one.line)}
    return orjson.dumps({**told, "sig": one.signature, "verdict": _text(one.verdict)})


def _text(raw: bytes) -> str | dict[str, str]:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"base64url": encode_bytes(raw)}
