"""The application: routes, problems, and the layers around everything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from server.api import (
    devices,
    exchange,
    health,
    keys,
    live,
    metrics,
    paying,
    receipts,
    sealed,
    shop,
    snapshots,
    tokens,
    webhooks,
)
from server.api.head_guard import HeadGuard
from server.api.office import OFFICE_ROUTERS
from server.api.openapi import described
from server.api.parts import Parts
from server.api.problems import install_problems
from server.api.rate_guard import AddressGuard
from server.api.security_headers import DOCS_PATH, secure
from server.telemetry import RequestTelemetry

_ROUTERS = (devices.router, tokens.router, keys.router, exchange.router, health.router, metrics.router)


def create_app(parts: Parts) -> FastAPI:
    """The ASGI application over `parts`; further routers and mounts may be added before it serves."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with parts.running():
            yield

    app = _Application(
        title="Tallystick",
        lifespan=lifespan,
        openapi_url="/openapi.json" if parts.has_docs else None,
        docs_url=DOCS_PATH if parts.has_docs else None,
        redoc_url=None,
        redirect_slashes=False,
        # Ours are in `server.tracing` and `server.metrics`.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.parts = parts
    install_problems(app)
    live_routers = [*([live.router] if parts.live else []), *([snapshots.router] if parts.snapshots else [])]
    shop_routers = (shop.router, paying.router) if parts.shop else ()
    more = ((sealed, parts.sealed), (webhooks, parts.callbacks), (receipts, parts.receipts))
    others = [module.router for module, part in more if part]
    for router in (*_ROUTERS, *live_routers, *others, *shop_routers, *(OFFICE_ROUTERS if parts.staff else ())):
        # As they are: `include_router` builds every route anew for each application, within its first request.
        app.router.routes.extend(router.routes)
    return app


class _Application(FastAPI):
    """FastAPI with our layers outside of its own: they must see the answer to an unhandled exception too."""

    def openapi(self) -> dict[str, Any]:
        """What `/openapi.json` says, for who asks for it in the settings."""
        if self.openapi_schema is None:
            self.openapi_schema = described(super().openapi())
        return self.openapi_schema

    def build_middleware_stack(self) -> ASGIApp:
        parts: Parts = self.state.parts
        is_over_tls = parts.public_url.startswith("https://")
        guarded = Guard(HeadGuard(AddressGuard(super().build_middleware_stack(), parts)), is_over_tls=is_over_tls)
        layers = cast("ASGIApp", RequestTelemetry(guarded))
        if parts.trusted_proxies:
            layers = cast("ASGIApp", ProxyHeadersMiddleware(cast("Any", layers), list(parts.trusted_proxies)))
        return layers


class Guard:
    """Adds the headers that every answer has, and ends a connection whose request body was not read to its end.

    A server goes on reading such a body for as long as the client likes; closing sets the client a limit.
    """

    def __init__(self, app: ASGIApp, *, is_over_tls: bool) -> None:
        self._app = app
        self._is_over_tls = is_over_tls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_read = not _has_body(scope)

        async def watched_receive() -> Message:
            nonlocal is_read
            message = await receive()
            is_read = is_read or not message.get("more_body", False)
            return message

        async def guarded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                secure(headers, path=scope["path"], is_over_tls=self._is_over_tls)
                if not is_read:
                    headers["Connection"] = "close"
            await send(message)

        await self._app(scope, watched_receive, guarded_send)


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0") != b"")
        for name, value in scope["headers"]
    )
