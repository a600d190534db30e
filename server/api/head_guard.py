"""The head of a request, bounded: the parser counts what comes in pieces; what comes at once is counted here."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.problems import HeadTooLarge, answer_fault

HEADERS_BYTES_MAX: Final = 64 * 1024
"""The names and values of all headers of one request, with its path and query."""

HEADERS_MAX: Final = 200
"""Headers of one request."""


class HeadGuard:
    """The layer that refuses a head that is too large (RFC 6585, section 5)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer `head_too_large`."""
        if scope["type"] == "http" and _is_too_large(scope):
            await (await answer_fault(Request(scope), HeadTooLarge()))(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _is_too_large(scope: Scope) -> bool:
    headers = scope["headers"]
    if len(headers) > HEADERS_MAX:
        return True
    size = sum(len(name) + len(value) for name, value in headers)
    return size + len(scope["path"]) + len(scope["query_string"]) > HEADERS_BYTES_MAX
