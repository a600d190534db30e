"""`GET /v1/towns/{town}/live`: server-sent events that tell a device that there is something to pull, and never what.

A stream holds no database connection. It ends when its token does, when the device is put out of use, when hints cannot
be heard any more, or when the device opens more streams than it may have; whatever it missed, the device finds by
asking again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.api.parts import LiveDoor, Parts, live_door_of, parts_of
from server.api.rate_guard import counted_device
from server.api.streams import TimelyResponse
from server.application.commands.issue_token import check_status, find_device
from server.application.live_ports import Ear, Hint
from server.application.ports import DeviceRecord, Unavailable
from server.domain.access import DeviceCaller, Unauthorized
from sync.kernel.errors import TallystickError

EVENTS_TYPE = "text/event-stream"
OPENING = b": live\n\n"
KEEP_ALIVE = b": keep-alive\n\n"

router = APIRouter()


@router.get("/v1/towns/{town_id}/live")
async def get_live(request: Request, town_id: str) -> Response:
    """Hints for the calling device."""
    parts, door = parts_of(request), live_door_of(request)
    caller = await counted_device(request, parts, town_id)
    device = await _look_up(parts, caller)
    held = ExitStack()
    ear = held.enter_context(door.hints.listening(town_id, frozenset(device.buckets)))
    try:
        held.enter_context(door.streams.admitted(caller.device_id, ear))
    except BaseException:
        held.close()
        raise
    return LiveStream(_events(parts, door, caller, ear), held=held)


class LiveStream(TimelyResponse):
    """A stream that lets go of what it holds however it ends."""

    def __init__(self, events: AsyncIterator[bytes], *, held: ExitStack) -> None:
        super().__init__(events, media_type=EVENTS_TYPE, headers={"X-Accel-Buffering": "no"})
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it until either side ends it."""
        with self._held:
            await super().__call__(scope, receive, send)


async def _events(parts: Parts, door: LiveDoor, caller: DeviceCaller, ear: Ear) -> AsyncIterator[bytes]:
    """The opening, then hints and keep-alives; the device's status is read again once in a keep-alive's time."""
    yield OPENING
    now_ms = parts.system.now_ms
    checked_ms = now_ms()
    while now_ms() < caller.until_seconds * 1000:
        try:
            hint = await ear.heard(door.keep_alive_seconds)
            if hint is None or now_ms() - checked_ms >= door.keep_alive_seconds * 1000:
                await _look_up(parts, caller)
                checked_ms = now_ms()
        except TallystickError:  # the device asks again, and hears why as a problem
            return
        yield KEEP_ALIVE if hint is None else _event(hint)


def _event(hint: Hint) -> bytes:
    """One event (HTML Living Standard, section 9.2)."""
    return b"data: " + orjson.dumps({"version": hint.version, "buckets": sorted(hint.buckets)}) + b"\n\n"


async def _look_up(parts: Parts, caller: DeviceCaller) -> DeviceRecord:
    """The device as it stands. Raises `Unauthorized`, `DeviceBarred`, `Unavailable`."""
    device = await find_device(parts.towns, caller.town_id, caller.device_id)
    if device is None:
        raise Unauthorized
    check_status(device)
    if not device.buckets:
        raise Unavailable
    return device
