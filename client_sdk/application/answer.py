"""The lines of an answer as values, and verdicts from JSON. The fields of rows pass through as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import ValidationError

from client_sdk.errors import BadAnswer
from sync.engine.chain import encode_bytes
from sync.kernel.changeset import Fields, Note, Status, Verdict
from sync.protocol.messages import BucketLine, VerdictLine


@dataclass(frozen=True, kw_only=True, slots=True)
class RowsLine:
    """Changed rows of one entity in one bucket: (id, version, fields) to put, (id, version) that have left it."""

    bucket: str
    entity: str
    put: Sequence[tuple[str, int, Fields]]
    gone: Sequence[tuple[str, int]]


def read_line(line: bytes) -> VerdictLine | BucketLine | RowsLine | None:
    """One line of an answer; None for a kind that this version does not know. Raises `BadAnswer`."""
    try:
        said = orjson.loads(line)
        kind = said["t"]
        if kind == "rows":
            return _rows(said)
        if kind == "verdict":
            return VerdictLine.model_validate(said)
        return BucketLine.model_validate(said) if kind == "bucket" else None
    except (ValidationError, ValueError, KeyError, TypeError) as problem:
        raise BadAnswer(f"a line of the answer cannot be read: {type(problem).__name__}") from None


def _rows(said: dict[str, Any]) -> RowsLine:
    put, gone = said.get("put", []), said.get("gone", [])
    if not all(type(row_id) is str and type(version) is int and type(row) is dict for row_id, version, row in put):
        raise BadAnswer("a row in the answer is not an id, a version and fields")
    if not all(type(row_id) is str and type(version) is int for row_id, version in gone):
        raise BadAnswer("a row that is gone is not an id and a version")
    if not (isinstance(said["b"], str) and isinstance(said["e"], str)):
        raise BadAnswer("rows come without their bucket or entity")
    return RowsLine(bucket=said["b"], entity=said["e"], put=put, gone=gone)


def verdict_of(line: VerdictLine) -> Verdict:
    """The verdict that a line of the answer tells."""
    return read_verdict(line.model_dump(include={"status", "rule", "notes", "conflicts"}))


def read_verdict(said: Mapping[str, Any]) -> Verdict:
    """The inverse of `Verdict.as_dict`; notes of newer servers may lack what this version knows."""
    notes = tuple(
        Note(code=str(note.get("code", "")), text=str(note.get("text", "")), data=note.get("data") or {})
        for note in said.get("notes", ())
    )
    conflicts = tuple(said.get("conflicts", ()))
    return Verdict(status=Status(said["status"]), rule=said.get("rule"), notes=notes, conflicts=conflicts)


def check_hash(line: VerdictLine, digest: bytes | None) -> None:
    """Raise `BadAnswer` unless the verdict is for exactly the bytes that this replica has at that place."""
    if digest is None or line.hash != encode_bytes(digest):
        raise BadAnswer(f"the verdict for position {line.seq} is for a line that was not recorded here")
