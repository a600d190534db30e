"""`GET /metrics`: the figures of this machine's processes and of every town, for whoever holds the token.

It is behind a token and not behind the caller's address: a reverse proxy on the same machine makes every caller look
local. Without a token in the settings there is no such page.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

import structlog
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server import metrics
from server.api.parts import parts_of
from server.api.security import bearer_token
from server.application.commands.work_off_outbox import NEVER
from server.application.ports import Sights, TownSight, Unavailable
from server.domain.access import NotFound, Unauthorized
from sync.kernel.clock import format_time

router = APIRouter()
_log = structlog.stdlib.get_logger(__name__)


@router.get("/metrics", include_in_schema=False)
async def get_metrics(request: Request) -> Response:
    """The page; also while the database is away, then without figures of towns."""
    parts = parts_of(request)
    door = parts.metrics
    if door is None:
        raise NotFound
    if not hmac.compare_digest(bearer_token(request).encode(), door.token.encode()):
        raise Unauthorized
    towns = await _towns(door.sights, format_time(parts.system.now_ms()))
    return Response(metrics.exposition(towns), media_type=metrics.CONTENT_TYPE)


async def _towns(sights: Sights, now: str) -> Sequence[TownSight] | None:
    try:
        return await sights.towns(now, NEVER)
    except Unavailable as fault:
        _log.warning("metrics_without_database", reason=str(fault.__cause__ or fault))
        return None
