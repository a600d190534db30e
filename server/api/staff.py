"""Who calls from a browser: the session cookie, the proofs that the call is the person's own, and the town in the path.

A town that is not open to this person is `not_found`, whether there is such a town or not. Whoever writes to a town
also brings `X-CSRF-Token`, and no `Origin` but ours (OWASP, Cross-Site Request Forgery Prevention).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Header
from fastapi.security import APIKeyCookie
from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import Response

from server.api.parts import parts_of, staff_door_of
from server.application.commands.act import Staff
from server.application.commands.sign_in import who_is
from server.domain.access import NotFound
from server.domain.people import CrossSite, Membership, NotSignedIn, Principal, csrf_token

COOKIE: Final = "__Host-tallystick"
"""A cookie that a browser takes only over TLS, for this host alone (RFC 6265bis, section 4.1.3.2)."""

LOOPBACK_COOKIE: Final = "tallystick"
"""On one machine without TLS, where a browser would not take the other."""

LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SITES: Final = frozenset({"same-origin", "none"})
_TOKEN_CHARACTERS_MAX = 100

_scheme = APIKeyCookie(name=COOKIE, scheme_name="session", description="Made by `POST /v1/sessions`.", auto_error=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedIn:
    """Who calls, and the token of the session."""

    principal: Principal
    token: str


async def signed_in(
    request: Request,
    _cookie: Annotated[str | None, Depends(_scheme)],
    _csrf: Annotated[
        str | None,
        Header(alias="X-CSRF-Token", description="The session's `csrf_token`, for whatever changes something."),
    ] = None,
) -> SignedIn:
    """Whoever calls. Raises `NotSignedIn`, and `CrossSite` for a call that changes something without the proofs."""
    token = session_token(request)
    if token is None:
        raise NotSignedIn
    check_origin(request)
    principal = await who_is(staff_door_of(request).people, token)
    if request.method not in SAFE_METHODS:
        told = request.headers.getlist("x-csrf-token")
        if len(told) != 1 or not hmac.compare_digest(told[0].encode(), csrf_token(token).encode()):
            raise CrossSite
    return SignedIn(principal=principal, token=token)


Caller = Annotated[SignedIn, Depends(signed_in)]
"""A parameter of a route that somebody must be signed in for."""


async def in_town(town_id: str, caller: Caller) -> Staff:
    """Whoever calls, as the user of the town in the path. Raises `NotFound`, and as `signed_in` does."""
    member = membership(caller.principal, town_id)
    return Staff(
        account_id=caller.principal.account_id,
        town_id=town_id,
        user_id=member.user_id,
        roles=member.roles,
        seen=caller.principal.town_ids,
        school_id=member.school_id,
    )


InTown = Annotated[Staff, Depends(in_town)]
"""A parameter of a route below `/v1/towns/{town_id}` that is for people who work there."""


def membership(principal: Principal, town_id: str) -> Membership:
    """What this person is in the town. Raises `NotFound`."""
    member = principal.memberships.get(town_id)
    if member is None:
        raise NotFound
    return member


def check_origin(request: Request) -> None:
    """Raise `CrossSite` when a browser says that a page of another site has sent this."""
    if request.method in SAFE_METHODS:
        return
    origins, site = request.headers.getlist("origin"), request.headers.get("sec-fetch-site", "none")
    if site not in OWN_SITES or not all(_is_ours(origin, parts_of(request).public_url) for origin in origins):
        raise CrossSite


def session_token(request: Request) -> str | None:
    """What the session cookie holds, if there is one that could be ours."""
    token = request.cookies.get(_cookie_name(parts_of(request).public_url), "")
    return token if 0 < len(token) <= _TOKEN_CHARACTERS_MAX and token.isascii() else None


def set_session(request: Request, response: Response, token: str) -> None:
    """Have the browser keep the session until it is closed."""
    name = _cookie_name(parts_of(request).public_url)
    response.set_cookie(name, token, path="/", secure=name == COOKIE, httponly=True, samesite="strict")


def drop_session(request: Request, response: Response) -> None:
    """Have the browser forget the session."""
    name = _cookie_name(parts_of(request).public_url)
    response.delete_cookie(name, path="/", secure=name == COOKIE, httponly=True, samesite="strict")


def _cookie_name(public_url: str) -> str:
    parts = URL(public_url)
    return LOOPBACK_COOKIE if parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS else COOKIE


def _is_ours(origin: str, public_url: str) -> bool:
    """Whether a page of this origin is one of ours; the names of this machine are one."""
    if origin == public_url:
        return True
    try:
        theirs, ours = URL(origin), URL(public_url)
        is_same_place = (theirs.scheme, theirs.port) == (ours.scheme, ours.port) == ("http", ours.port)
    except ValueError:  # a port that is none
        return False
    return is_same_place and {theirs.hostname, ours.hostname} <= LOOPBACK_HOSTS
