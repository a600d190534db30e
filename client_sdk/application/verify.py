"""Check a replica against itself: chain, signatures, checksums, overlay. Finds tampering and bugs; changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from client_sdk.application.overlay import decide_pending
from client_sdk.application.ports import Entry, Identity, LineStatus, Store
from client_sdk.application.verify_ports import Contents
from sync.engine.chain import head_message, is_signed, line_hash
from sync.engine.feed import BucketSum
from sync.kernel.changeset import ChangeSet, Fields, RowKey
from sync.kernel.module import Registry
from sync.protocol.codec import ParsedLine, parse_line


def verify(store: Store, registry: Registry) -> tuple[str, ...]:
    """What does not fit, one sentence each; empty when everything does."""
    identity, contents = store.identity(), store.contents()
    lines = {
        entry.seq: parse_line(entry.line, town=identity.town_id, device=identity.device_id, registry=registry)
        for entry in contents.entries
    }
    return (
        *_chain(contents, lines, identity),
        *_sums(contents),
        *_overlay(contents, lines, registry, identity),
    )


def _chain(contents: Contents, lines: dict[int, ParsedLine], identity: Identity) -> Iterator[str]:
    key = identity.key.public_key()
    seq, digest = contents.before
    for entry in contents.entries:
        parsed = lines[entry.seq]
        if entry.seq != seq + 1 and entry.seq - 1 in contents.joints:  # what is between is another copy's
            seq, digest = entry.seq - 1, contents.joints[entry.seq - 1]
        seq += 1
        if entry.seq != seq:
            yield f"change set {seq} is missing from the chain"
            seq = entry.seq
        elif parsed.claimed_seq not in (None, seq) or parsed.claimed_prev not in (None, digest):
            yield f"change set {seq} does not follow on from the one before it"
        if line_hash(entry.line) != entry.digest:
            yield f"the bytes of change set {seq} have been changed"
        if not is_signed(key, entry.signature, head_message(identity.device_id, seq, entry.digest)):
            yield f"the signature of change set {seq} does not fit"
        digest = entry.digest
    head = contents.head
    if head.digest not in {digest if head.seq == seq else None, contents.joints.get(head.seq)}:
        yield f"the chain ends at change set {seq}, but {head.seq} were recorded"


def _sums(contents: Contents) -> Iterator[str]:
    counted = dict.fromkeys(contents.sums, BucketSum())
    for mark in contents.marks:
        counted[mark.bucket] = counted.get(mark.bucket, BucketSum()).with_row(mark.entity, mark.row_id, mark.version)
    for bucket in sorted(counted):
        if counted[bucket] != contents.sums.get(bucket):
            yield f"the rows of bucket {bucket or '(none)'} do not add up to its checksum"


def _overlay(contents: Contents, lines: dict[int, ParsedLine], registry: Registry, identity: Identity) -> Iterator[str]:
    overlay: dict[RowKey, Fields] = {}

    def visible(entity: str, row_id: str) -> Fields | None:
        return overlay.get((entity, row_id), contents.base.get((entity, row_id)))

    for change_set in _pending(contents.entries, lines):
        overlay.update(decide_pending(change_set, visible, registry, identity)[0].rows)
    for key in sorted(overlay.keys() | contents.overlay.keys()):
        if overlay.get(key) != contents.overlay.get(key):
            yield f"the {key[0]} {key[1]} is shown otherwise than pending work makes it"


def _pending(entries: Iterable[Entry], lines: dict[int, ParsedLine]) -> Iterator[ChangeSet]:
    for entry in entries:
        change_set = lines[entry.seq].change_set
        if entry.status is LineStatus.PENDING and isinstance(change_set, ChangeSet):
            yield change_set
