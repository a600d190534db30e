"""What a sandbox answers: documents, problems, and what a caller meets who is meant to have bad luck."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import orjson
from starlette.responses import Response

HANG_SECONDS: Final = 3600


class Cut(Response):
    """An answer that promises more than it brings, so that the server cuts the connection."""

    def __init__(self) -> None:
        super().__init__(b"", headers={"Content-Length": "10"})


async def met(fault: str) -> Response | None:
    """What the caller gets of a `scripts.Fault`; None of anything else."""
    if fault.startswith("500"):
        return problem(500, "INTERNAL_PROCESSING_ERROR")
    if fault.startswith("hang"):
        await asyncio.sleep(HANG_SECONDS)
    if fault.startswith("cut"):
        return Cut()
    return None


def json_answer(status: int, value: Any) -> Response:
    """A document."""
    return Response(orjson.dumps(value), status_code=status, media_type="application/json")


def problem(status: int, code: str) -> Response:
    """A refusal, as both providers write it."""
    return json_answer(status, {"code": code, "message": code.replace("_", " ").capitalize()})
