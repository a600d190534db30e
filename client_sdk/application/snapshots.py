"""First sync at the speed of the line: the rows of a bucket as a file, fetched, checked, and taken with its checkpoint.

The file is a page of the feed in another dress. It is fetched when the page that names it is heard, before that page is
spooled; its lines are applied where its name stands, in the transaction of the final checkpoint. A file that cannot be
had or is not what was promised makes the replica ask again without files: the same rows come over the feed.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson
from pydantic import ValidationError

from client_sdk.application.lines import whole_lines
from client_sdk.application.ports import Store, System, Transport
from client_sdk.application.snapshot_ports import Downloads, SnapshotSource
from client_sdk.errors import BadAnswer, ServerProblem, SnapshotUnusable
from sync.protocol.messages import SnapshotLine

SNAPSHOT_START = b'{"t":"snapshot",'
PART_BYTES = 1024 * 1024
"""What is kept of a download at a time, and lost at most when it is cut."""

INFLATED_BYTES = 1024 * 1024
"""What is inflated at a time."""

LINE_BYTES_MAX = 16 * 1024 * 1024


def wants_snapshots(store: Store, transport: Transport) -> bool:
    """Whether this replica takes files now."""
    return _zstd() is not None and isinstance(transport, SnapshotSource) and not store.downloads.is_declining()


def fetch_snapshots(store: Store, transport: Transport, system: System, page: Sequence[bytes]) -> None:
    """Have every file that a page names, whole and checked. Raises `SnapshotUnusable`, `Offline`."""
    for line in page:
        if line.startswith(SNAPSHOT_START) and isinstance(transport, SnapshotSource):
            try:
                _fetch(store.downloads, transport, system, SnapshotLine.model_validate(orjson.loads(line)))
            except (ServerProblem, BadAnswer, ValidationError, ValueError) as problem:
                store.downloads.decline()
                raise SnapshotUnusable from problem


def snapshot_lines(line: bytes, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The `rows` lines of the file that `line` names, of which `pieces` are the bytes. Raises `BadAnswer`."""
    bucket = orjson.loads(line)["b"]
    start = b'{"t":"rows","b":' + orjson.dumps(bucket) + b","
    for found in _lines(_inflated(pieces)):
        if not found.startswith(start):
            raise BadAnswer(f"the snapshot of {bucket} has a line of something else")
        yield found


def sha256_of(line: bytes) -> str:
    """Which file a snapshot line names."""
    return str(orjson.loads(line)["sha256"])


def _fetch(downloads: Downloads, source: SnapshotSource, system: System, offer: SnapshotLine) -> None:
    held = downloads.size(offer.sha256)
    if held < offer.bytes:
        _fetch_rest(downloads, source, system, offer, held)
    system.reached("snapshot.before_check")
    digest = hashlib.sha256()
    for piece in downloads.read(offer.sha256):
        digest.update(piece)
    if digest.hexdigest() != offer.sha256:
        downloads.drop(offer.sha256)
        raise BadAnswer(f"the snapshot of {offer.b} is not the one that was offered")
    rows = sum(1 for _ in snapshot_lines(offer.model_dump_json().encode(), downloads.read(offer.sha256)))
    if not rows:
        raise BadAnswer(f"the snapshot of {offer.b} is empty")
    system.reached("snapshot.after_check")


def _fetch_rest(downloads: Downloads, source: SnapshotSource, system: System, offer: SnapshotLine, held: int) -> None:
    """Keep what comes in parts, also the last one of a download that is cut."""
    part = bytearray()
    try:
        for piece in source.snapshot(offer.sha256, held):
            part += piece
            held += len(piece)
            if held > offer.bytes:
                raise BadAnswer(f"the snapshot of {offer.b} is longer than {offer.bytes} bytes")
            if len(part) >= PART_BYTES:
                downloads.add(offer.sha256, bytes(part))
                part.clear()
                system.reached("snapshot.after_part")
    finally:
        if part:
            downloads.add(offer.sha256, bytes(part))
    system.reached("snapshot.after_fetch")
    if held != offer.bytes:
        downloads.drop(offer.sha256)
        raise BadAnswer(f"the snapshot of {offer.b} has {held} of {offer.bytes} bytes")


def _inflated(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """One zstd frame, inflated a little at a time."""
    zstd = _zstd()
    assert zstd is not None, "files are only asked for with zstd"
    frame = zstd.ZstdDecompressor()
    try:
        for piece in pieces:
            yield frame.decompress(piece, max_length=INFLATED_BYTES)
            while not frame.needs_input and not frame.eof:
                yield frame.decompress(b"", max_length=INFLATED_BYTES)
    except (zstd.ZstdError, EOFError):
        raise BadAnswer("a snapshot cannot be inflated") from None
    if not frame.eof or frame.unused_data:
        raise BadAnswer("a snapshot is not one whole frame")


def _zstd() -> Any | None:
    """The module, None when it is not installed: an SDK without it syncs over the feed."""
    try:
        return importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    except ImportError:
        return None


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    return whole_lines(
        chunks,
        LINE_BYTES_MAX,
        too_long=BadAnswer("a snapshot has a line without end"),
        cut=BadAnswer("a snapshot ends in the middle of a line"),
    )
