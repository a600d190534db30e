"""Who calls: the bearer token of a request and the town in its path."""

from __future__ import annotations

from starlette.requests import Request

from server.api.parts import Parts
from server.application.batch import DeviceBarred
from server.domain.access import DeviceCaller, NotFound, Unauthorized, kid_of, read_access_token
from sync.engine.chain import parse_public_key

TOKENS_KEPT = 4_096
"""Access tokens whose signature this process has checked and remembers; each is good for 15 minutes at most."""

KEYS_BELIEVED = 2
"""The newest signing key and the one before it, under which a process makes tokens that was not restarted since.

No older one: after two rotations nobody comes in with a key that was stolen before them.
"""

_SCHEME = "bearer "


def device_caller(request: Request, parts: Parts, town_id: str, *, may_be_barred: bool = False) -> DeviceCaller:
    """The device that calls for its own town; its status is for the caller to read, in the snapshot it works on.

    Raises `Unauthorized` for a token that does not hold, `NotFound` for another town than the token's, whether there is
    such a town or not, and `DeviceBarred` for the token of a suspended device where that may not come in.
    """
    token = bearer_token(request)
    caller = parts.tokens.get(token)
    if caller is None:
        caller = parts.tokens[token] = _read(token, parts)
        if len(parts.tokens) > TOKENS_KEPT:
            del parts.tokens[next(iter(parts.tokens))]
    if parts.system.now_ms() // 1000 >= caller.until_seconds:
        raise Unauthorized
    if caller.town_id != town_id:
        raise NotFound
    if caller.is_barred and not may_be_barred:
        raise DeviceBarred
    return caller


def _read(token: str, parts: Parts) -> DeviceCaller:
    """The caller that a token names, as long as it holds."""
    kid, signer = kid_of(token), parts.signer
    believed = signer.published[-KEYS_BELIEVED:]
    public_key = next((key.public_key for key in believed if key.kid == kid), signer.public_key)
    return read_access_token(
        token,
        key=parse_public_key(public_key),
        audience=parts.public_url,
        now_seconds=parts.system.now_ms() // 1000,
    )


def bearer_token(request: Request) -> str:
    """The token that a request brings (RFC 6750, section 2.1); raises `Unauthorized` when there is not exactly one."""
    told = request.headers.getlist("authorization")
    if len(told) != 1 or not told[0].lower().startswith(_SCHEME):
        raise Unauthorized
    return told[0][len(_SCHEME) :].strip()
