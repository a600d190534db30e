"""The rates at the doors: where a request comes from, before anything of it is read, and which device asks.

The address is that of the socket, or what a proxy says that the settings trust. A caller on this machine is not
counted: it is the operator's own, or a proxy that the settings do not name, behind which everybody would be one.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.parts import Parts
from server.api.problems import answer_fault
from server.api.security import device_caller
from server.application.patience import patience
from server.domain.access import DeviceCaller
from server.domain.people import address_subject
from server.domain.rates import RateLimited

UNCOUNTED_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""Asked by whoever keeps the process running."""


class AddressGuard:
    """The layer that counts every request by its address, which is the first thing that it may have to wait for."""

    def __init__(self, app: ASGIApp, parts: Parts) -> None:
        self._app = app
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer `rate_limited`."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with patience():
            await self._counted(scope, receive, send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] not in UNCOUNTED_PATHS:
            address = client_address(scope)
            try:
                if not _is_of_this_machine(address):
                    await self._parts.rates.take_address(address_subject(address).hex())
            except RateLimited as fault:
                await (await answer_fault(Request(scope), fault))(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def counted_device(request: Request, parts: Parts, town_id: str, *, may_be_barred: bool = False) -> DeviceCaller:
    """The device that calls for its own town, counted. Raises `RateLimited`, and as `device_caller` does."""
    caller = device_caller(request, parts, town_id, may_be_barred=may_be_barred)
    await parts.rates.take_device(caller.device_id, caller.town_id)
    return caller


async def counted_customer(request: Request, parts: Parts, town_id: str) -> None:
    """Count what a customer asks a town to do, at the till's own rates. Raises `RateLimited`."""
    address = client_address(request.scope)
    subject = None if _is_of_this_machine(address) else address_subject(address).hex()
    await parts.rates.take_customer(subject, town_id)


def client_address(scope: Scope) -> str:
    """Where the request comes from; empty when the server does not know."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def _is_of_this_machine(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return parsed.is_loopback
