"""Is the process alive, and can it serve? For load balancers and for whoever is woken at night."""

from __future__ import annotations

import asyncio

import orjson
import structlog
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from server.api.body import JSON_TYPE
from server.api.documents import gives
from server.api.parts import Check, parts_of

CHECK_SECONDS_MAX = 2.0
READY, UNREADY = 200, 503
READY_EXAMPLE = {"status": "ready", "checks": {"database": "ok", "schema": "ok", "redis": "ok"}}

router = APIRouter()
_log = structlog.stdlib.get_logger(__name__)


@router.get("/healthz", tags=["operation"], responses=gives("The process answers.", {"status": "alive"}, usual=[]))
async def get_health(_request: Request) -> Response:
    """The process answers; nothing else is looked at, so that a sick database does not have it killed."""
    return Response(orjson.dumps({"status": "alive"}), media_type=JSON_TYPE)


@router.get(
    "/readyz",
    tags=["operation"],
    responses=gives("It can serve.", READY_EXAMPLE, usual=[])
    | gives("It cannot.", READY_EXAMPLE | {"status": "unready"}, status=UNREADY, usual=[]),
)
async def get_readiness(request: Request) -> Response:
    """Every check by name, `ok` or `failed`, and 503 when one failed; the reasons are in the log, not in the answer."""
    checks = parts_of(request).checks
    results = await asyncio.gather(*(_run(name, check) for name, check in checks.items()))
    told = dict(zip(checks, results, strict=True))
    is_ready = all(result == "ok" for result in results)
    said = {"status": "ready" if is_ready else "unready", "checks": told}
    return Response(orjson.dumps(said), status_code=READY if is_ready else UNREADY, media_type=JSON_TYPE)


async def _run(name: str, check: Check) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS_MAX):
            await check()
    except Exception as fault:  # noqa: BLE001 - a check may fail in any way, and one must not hide the others
        _log.warning("check_failed", check=name, reason=f"{type(fault).__name__}: {fault}")
        return "failed"
    return "ok"
