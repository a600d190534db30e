"""What every answer tells a browser not to do (OWASP, HTTP Headers Cheat Sheet; RFC 6797 for HSTS).

An answer of the API is no page: nothing may be loaded for it and nothing may frame it. A page loads from this server
alone, without inline script or style. A route that has said something itself about caching keeps it.
"""

from __future__ import annotations

from typing import Final

from starlette.datastructures import MutableHeaders

DOCUMENT_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"
PAGE_POLICY: Final = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
)
DOCS_POLICY: Final = (
    "default-src 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'; "
    "script-src 'self' 'unsafe-inline' https://cdn.jsdelivr.net; style-src 'self' https://cdn.jsdelivr.net; "
    "img-src 'self' data: https://fastapi.tiangolo.com"
)
"""The page about the API, which is FastAPI's and there only when the operator has asked for it."""

DOCS_PATH: Final = "/docs"
HSTS: Final = "max-age=31536000; includeSubDomains"

_ALWAYS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with `no-referrer` a browser sends forms with `Origin: null`
    "Cross-Origin-Resource-Policy": "same-origin",
}


def secure(headers: MutableHeaders, *, path: str, is_over_tls: bool) -> None:
    """Add to the headers of an answer; `is_over_tls` is how browsers reach this server, maybe by a proxy."""
    for name, value in _ALWAYS.items():
        headers[name] = value
    headers.setdefault("Cache-Control", "no-store")
    is_page = headers.get("Content-Type", "").startswith("text/html")
    policy = DOCS_POLICY if path == DOCS_PATH else PAGE_POLICY
    headers["Content-Security-Policy"] = policy if is_page else DOCUMENT_POLICY
    if is_over_tls:
        headers["Strict-Transport-Security"] = HSTS
