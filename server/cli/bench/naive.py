"""The peer: the sync endpoint that everybody writes first. One INSERT per row, a cursor by timestamp.

It loses rows: a row is stamped when its transaction begins and seen when it commits, and a client that pulls in
between moves its cursor past it for good.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from fastapi import FastAPI
from psycopg.types.json import Json
from psycopg_pool import AsyncConnectionPool
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

URL_VARIABLE = "NAIVE_DATABASE_URL"
CONNECTIONS_MAX = 16
SINCE_EVER = "2000-01-01T00:00:00+00:00"

_TABLE = """
DROP TABLE IF EXISTS naive_rows;
CREATE TABLE naive_rows (id uuid PRIMARY KEY, body jsonb NOT NULL, updated_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX naive_rows_updated_at ON naive_rows (updated_at);
"""
_PUT = """
INSERT INTO naive_rows (id, body) VALUES (%s, %s::jsonb)
ON CONFLICT (id) DO UPDATE SET body = excluded.body, updated_at = now()
"""
_PULL = "SELECT id::text, body, updated_at::text FROM naive_rows WHERE updated_at > %s ORDER BY updated_at"


class PushedRow(BaseModel):
    """One row of a client."""

    id: str
    body: dict[str, Any]


class Push(BaseModel):
    """What a client sends."""

    rows: list[PushedRow]


def app_factory() -> FastAPI:
    """The application; for `uvicorn --factory`."""
    pool = AsyncConnectionPool(os.environ[URL_VARIABLE], min_size=1, max_size=CONNECTIONS_MAX, open=False)

    @asynccontextmanager
    async def running(_app: FastAPI) -> AsyncIterator[None]:
        async with pool:
            async with pool.connection() as connection:
                await connection.execute(_TABLE)
            yield

    app = FastAPI(lifespan=running)

    @app.post("/push")
    async def push(pushed: Push) -> dict[str, int]:
        async with pool.connection() as connection:
            for row in pushed.rows:
                await connection.execute(_PUT, [row.id, Json(row.body)])
        return {"rows": len(pushed.rows)}

    @app.get("/pull")
    async def pull(request: Request) -> Response:
        async with pool.connection() as connection:
            cursor = await connection.execute(_PULL, [request.query_params.get("since", SINCE_EVER)])
            rows = await cursor.fetchall()
        return Response(orjson.dumps(rows), media_type="application/json")

    return app
