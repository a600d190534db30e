"""Who calls now: access tokens of the server and the assertions with which devices ask for them.

Pure functions over text, keys and a `now` that is passed in. One algorithm, EdDSA over Ed25519, is pinned; each kind
of token has its own `typ` or audience, so that none can be used as another. Transport only: what a device recorded is
proven by its chain, never by a token. Sources: RFC 7515, RFC 7519, RFC 7523, RFC 8725, RFC 9068.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sync.kernel.errors import Malformed, TallystickError
from sync.kernel.ids import parse_id
from sync.protocol.codec import parse_json

ACCESS_SECONDS = 900
ACCESS_TYPE = "at+jwt"
ASSERTION_SECONDS_MAX = 60
SKEW_SECONDS = 5
"""How far ahead of the server's clock an assertion may be made."""
TOKEN_CHARACTERS_MAX = 4096
JTI_CHARACTERS_MAX = 100
UNPROVEN = "the token cannot be read, or its signature does not fit"
"""Also what is said of an unknown device, so that nobody learns which devices there are."""

ALGORITHM = "EdDSA"

_JWS = jwt.PyJWS(algorithms=[ALGORITHM])


class Unauthorized(TallystickError):
    """The access token is missing, wrong or expired; ask for a new one."""

    code: ClassVar[str] = "unauthorized"


class InvalidClient(TallystickError):
    """The assertion does not prove who is asking."""

    code: ClassVar[str] = "invalid_client"

    def __init__(self, message: str | None = None, *, server_time: str) -> None:
        super().__init__(message)
        self.server_time = server_time


class NotFound(TallystickError):
    """There is nothing here, or nothing that you may see."""

    code: ClassVar[str] = "not_found"


class WrongToken(Exception):
    """A token that does not hold; says why, for the sentence of whoever asked for the check."""


BARRED_SCOPE = "evidence"
"""What the token of a suspended device is good for: handing in its record, which is kept without effect."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceCaller:
    """A device that proved itself at most 15 minutes ago; the proof holds until `until_seconds`.

    `is_barred`: it was suspended then, and may only hand in what it has recorded.
    """

    device_id: str
    town_id: str
    role: str
    until_seconds: int = 0
    is_barred: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Assertion:
    """A proven request for a token: its id, to be used once, and when it could no longer be used anyway."""

    jti: str
    expires_seconds: int


def access_claims(caller: DeviceCaller, *, audience: str, now_seconds: int, jti: str) -> dict[str, Any]:
    """What an access token says."""
    scope = {"scope": BARRED_SCOPE} if caller.is_barred else {}
    return {
        **scope,
        "iss": audience,
        "aud": audience,
        "sub": caller.device_id,
        "client_id": caller.device_id,
        "town": caller.town_id,
        "role": caller.role,
        "iat": now_seconds,
        "exp": now_seconds + ACCESS_SECONDS,
        "jti": jti,
    }


def kid_of(token: str) -> str | None:
    """The key id that a token names, not believed yet; None when it names none."""
    try:
        kid = _opened(token, None)[0].get("kid")
    except WrongToken:
        return None
    return kid if isinstance(kid, str) else None


def read_access_token(token: str, *, key: Ed25519PublicKey, audience: str, now_seconds: int) -> DeviceCaller:
    """The caller that an access token of this server names; raise `Unauthorized`."""
    try:
        header, claims = _opened(token, key)
        if header.get("typ") != ACCESS_TYPE or claims.get("iss") != audience or claims.get("aud") != audience:
            raise Unauthorized
        until_seconds = _seconds(claims, "exp")
        if not now_seconds < until_seconds:
            raise Unauthorized
        return DeviceCaller(
            device_id=parse_id(_text(claims, "sub")),
            town_id=parse_id(_text(claims, "town")),
            role=_text(claims, "role"),
            until_seconds=until_seconds,
            is_barred=claims.get("scope") == BARRED_SCOPE,
        )
    except (WrongToken, Malformed):
        raise Unauthorized from None


def peek_assertion(assertion: str) -> tuple[str, str]:
    """(town id, device id) that an assertion claims to come from; nothing is proven yet. Raises `WrongToken`."""
    claims = _opened(assertion, None)[1]
    try:
        return parse_id(_text(claims, "town")), parse_id(_text(claims, "sub"))
    except Malformed:
        raise WrongToken("the assertion does not name a town and a device") from None


def read_assertion(
    assertion: str, *, device_id: str, town_id: str, key: Ed25519PublicKey, audience: str, now_seconds: int
) -> Assertion:
    """The assertion if the device signed it for this server within the last minute; raise `WrongToken`."""
    claims = _opened(assertion, key)[1]
    if (claims.get("iss"), claims.get("sub"), claims.get("town")) != (device_id, device_id, town_id):
        raise WrongToken("the assertion names different devices")
    named = claims.get("aud")
    if audience not in (named if isinstance(named, list) else [named]):
        raise WrongToken(f"the assertion is not made out to {audience}")
    made, expires = _seconds(claims, "iat"), _seconds(claims, "exp")
    if not 0 < expires - made <= ASSERTION_SECONDS_MAX:
        raise WrongToken(f"the assertion is good for longer than {ASSERTION_SECONDS_MAX} seconds, or for none")
    if made > now_seconds + SKEW_SECONDS or now_seconds >= expires:
        raise WrongToken("the assertion is not from now; compare your clock with server_time")
    jti = _text(claims, "jti")
    if not 1 <= len(jti) <= JTI_CHARACTERS_MAX:
        raise WrongToken(f"the assertion's jti has 1 to {JTI_CHARACTERS_MAX} characters")
    return Assertion(jti=jti, expires_seconds=expires)


def _opened(token: str, key: Ed25519PublicKey | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a compact JWS; signed by `key` unless that is None."""
    if len(token) > TOKEN_CHARACTERS_MAX:
        raise WrongToken("the token is too long")
    try:
        if key is None:
            opened = _JWS.decode_complete(token, options={"verify_signature": False})
        else:
            opened = _JWS.decode_complete(token, key, algorithms=[ALGORITHM])
        return opened["header"], parse_json(opened["payload"])
    except (jwt.PyJWTError, Malformed, ValueError):
        raise WrongToken(UNPROVEN) from None


def _seconds(claims: dict[str, Any], name: str) -> int:
    value = claims.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise WrongToken(f"the token has no {name} in whole seconds")
    return value


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str):
        raise WrongToken(f"the token has no {name}")
    return value
