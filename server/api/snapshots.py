"""`GET /v1/towns/{town}/snapshots/{sha256}`: the rows of a bucket as one file that never changes.

A device gets the file of a bucket that it may hold; every other hash looks as if there were nothing. Parts of it can be
asked for (RFC 9110, section 14), so that a torn download goes on where it stopped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.api.parts import Parts, SnapshotDoor, parts_of, snapshot_door_of
from server.api.problems import problem
from server.api.rate_guard import counted_device
from server.api.streams import TimelyResponse
from server.application.commands.issue_token import check_status, find_device
from server.domain.access import DeviceCaller, NotFound, Unauthorized

ZSTD_TYPE = "application/zstd"
KEPT = "private, max-age=31536000, immutable"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{0,15})")

router = APIRouter()


@router.get("/v1/towns/{town_id}/snapshots/{sha256}")
async def get_snapshot(request: Request, town_id: str, sha256: str) -> Response:
    """The file, or the part of it that a Range header asks for."""
    parts, door = parts_of(request), snapshot_door_of(request)
    caller = await counted_device(request, parts, town_id)
    size = await _size(parts, door, caller, sha256)
    tag = f'"{sha256}"'
    headers = {"ETag": tag, "Cache-Control": KEPT, "Accept-Ranges": "bytes"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    is_same = request.headers.get("if-range", tag) == tag
    part = _part(request.headers.get("range", ""), size) if is_same else None
    if part is not None and part.start >= size:
        told = {"Content-Range": f"bytes */{size}", "Cache-Control": "no-store"}
        return problem(416, "range_not_satisfiable", "The file ends before this place.", headers=headers | told)
    asked = part or _Part(start=0, stop=size)
    headers["Content-Length"] = str(asked.stop - asked.start)
    if part:
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{size}"
    pieces = door.blobs.read(town_id, sha256, asked.start, asked.stop)
    return TimelyResponse(pieces, status_code=206 if part else 200, media_type=ZSTD_TYPE, headers=headers)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """The bytes from `start` up to `stop`."""

    start: int
    stop: int


async def _size(parts: Parts, door: SnapshotDoor, caller: DeviceCaller, sha256: str) -> int:
    """How long the file is; raise `NotFound` when there is none for this device."""
    device = await find_device(parts.towns, caller.town_id, caller.device_id)
    if device is None:
        raise Unauthorized
    check_status(device)
    if not _SHA256.fullmatch(sha256):
        raise NotFound
    if await door.snapshots.find(caller.town_id, sha256, device.buckets) is None:
        raise NotFound
    size = await door.blobs.size(caller.town_id, sha256)
    if size is None:
        raise NotFound
    return size


def _part(asked: str, size: int) -> _Part | None:
    """One range from a place on; whatever else a Range header says is left out, as one may."""
    found = _RANGE.fullmatch(asked.replace(" ", ""))
    if found is None:
        return None
    start, last = int(found[1]), int(found[2]) if found[2] else size - 1
    return _Part(start=start, stop=min(last + 1, size)) if last >= start or start >= size else None
