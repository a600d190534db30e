"""Who calls: the bearer token of a request and the town in its path."""

from __future__ import annotations

from starlette.requests import Request

from server.api.parts import Parts
from server.domain.access import DeviceCaller, NotFound, Unauthorized, read_access_token
from sync.engine.chain import parse_public_key

_SCHEME = "bearer "


def device_caller(request: Request, parts: Parts, town_id: str) -> DeviceCaller:
    """The device that calls for its own town; its status is for the caller to read, in the snapshot it works on.

    Raises `Unauthorized` for a token that does not hold, and `NotFound` for another town than the token's, whether
    there is such a town or not.
    """
    caller = read_access_token(
        bearer_token(request),
        key=parse_public_key(parts.signer.public_key),
        audience=parts.public_url,
        now_seconds=parts.system.now_ms() // 1000,
    )
    if caller.town_id != town_id:
        raise NotFound
    return caller


def bearer_token(request: Request) -> str:
    """The token that a request brings (RFC 6750, section 2.1); raises `Unauthorized` when there is not exactly one."""
    told = request.headers.getlist("authorization")
    if len(told) != 1 or not told[0].lower().startswith(_SCHEME):
        raise Unauthorized
    return told[0][len(_SCHEME) :].strip()
